//! The two envelope formats and their media types.

use std::fmt;
use std::str::FromStr;

/// An envelope format of the Notary Project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EnvelopeFormat {
    /// JSON Web Signature in flattened JSON serialization (RFC 7515 section 7.2.2).
    Jws,
    /// Tagged `COSE_Sign1` (RFC 9052 section 4.2).
    Cose,
}

/// A name or media type of neither format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownFormat {
    found: String,
}

impl fmt::Display for UnknownFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "envelope format {:?} is not supported, expected jws (application/jose+json) or cose (application/cose)",
            self.found
        )
    }
}

impl std::error::Error for UnknownFormat {}

impl EnvelopeFormat {
    /// Both, in the order of the specification.
    pub const ALL: [EnvelopeFormat; 2] = [Self::Jws, Self::Cose];

    /// The short name used on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jws => "jws",
            Self::Cose => "cose",
        }
    }

    /// The media type of the envelope as a blob of a signature manifest.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Jws => "application/jose+json",
            Self::Cose => "application/cose",
        }
    }

    /// The format that belongs to a media type; compared byte for byte.
    ///
    /// # Errors
    /// [`UnknownFormat`] for any other media type.
    pub fn from_media_type(media_type: &str) -> Result<Self, UnknownFormat> {
        let known = Self::ALL.into_iter().find(|f| f.media_type() == media_type);
        known.ok_or_else(|| UnknownFormat { found: crate::quoted(media_type) })
    }
}

impl fmt::Display for EnvelopeFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EnvelopeFormat {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        let known = Self::ALL.into_iter().find(|f| f.as_str() == text);
        known.ok_or_else(|| UnknownFormat { found: crate::quoted(text) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_media_types_lead_back_to_the_format() {
        for format in EnvelopeFormat::ALL {
            assert_eq!(format.as_str().parse(), Ok(format));
            assert_eq!(EnvelopeFormat::from_media_type(format.media_type()), Ok(format));
        }
        let error = EnvelopeFormat::from_media_type("application/jose+json; charset=utf-8").unwrap_err();
        assert!(error.to_string().contains("charset"), "{error}");
        assert!("JWS".parse::<EnvelopeFormat>().is_err());
    }
}
