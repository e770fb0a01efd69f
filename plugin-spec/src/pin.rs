//! A PIN on its way from where it is kept to the vault: never in argv, a key id, a log or an error.
//!
//! [`Pin`] is the secret itself. With the feature `pin` there are also its sources ([`PinSource`]): a file, an
//! environment variable, a systemd credential, pinentry, the terminal, or whoever the host can ask.

#[cfg(feature = "pin")]
mod file;
#[cfg(feature = "pin")]
mod pinentry;
#[cfg(feature = "pin")]
mod source;
#[cfg(feature = "pin")]
mod terminal;

use zeroize::Zeroizing;

use crate::error::Error;
use crate::limits::PIN_BYTES_MAX;

#[cfg(feature = "pin")]
pub use source::{Defaults, PinSource, Surroundings};

/// A PIN and where it was found. No Debug, no Clone, no Serialize; wiped from memory when dropped.
pub struct Pin {
    text: Zeroizing<Box<str>>,
    origin: String,
}

/// Why there is no PIN to use. No message repeats what was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinError {
    /// `pin-source` names a program.
    Program,
    /// `pin-source` is none of the known forms. It is not repeated: it may be the PIN itself.
    Form,
    /// The source cannot be read.
    Unreadable {
        /// Where the PIN should be.
        origin: String,
        /// The operating system's reason, or ours.
        reason: String,
    },
    /// Other users may read or write the file.
    OpenToOthers {
        /// Where the PIN is.
        origin: String,
        /// Permission bits found.
        mode: u32,
    },
    /// The variable or credential does not exist.
    Absent {
        /// Where the PIN should be.
        origin: String,
        /// What puts it there.
        advice: &'static str,
    },
    /// Empty, longer than any PIN, or not UTF-8.
    NotAPin {
        /// Where the PIN should be.
        origin: String,
        /// What is wrong.
        found: &'static str,
    },
    /// The person who was asked declined.
    Declined {
        /// Who was asked, and how.
        origin: String,
    },
    /// The person who was asked did not answer in time.
    Late {
        /// Who was asked, and how.
        origin: String,
    },
}

impl Pin {
    /// Takes a PIN over from `bytes`, which the caller wipes. `origin` says where it was found, in the form
    /// "from environment variable X"; it is shown.
    ///
    /// # Errors
    /// [`PinError::NotAPin`] if it is empty, longer than 255 bytes or not UTF-8.
    pub fn new(bytes: &[u8], origin: impl Into<String>) -> Result<Self, PinError> {
        let origin = origin.into();
        let found = match std::str::from_utf8(bytes) {
            Ok("") => "empty",
            Ok(text) if text.len() <= PIN_BYTES_MAX => {
                return Ok(Self { text: Zeroizing::new(Box::from(text)), origin });
            }
            Ok(_) => "too long",
            Err(_) => "not text",
        };
        Err(PinError::NotAPin { origin, found })
    }

    /// The PIN, for the vault alone.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Where it was found, for messages.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether both are the same PIN, wherever they were found.
    pub fn is_same(&self, other: &Self) -> bool {
        *self.text == *other.text
    }

    /// Its length in bytes, which vaults limit.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Never: an empty PIN is refused where it is read.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

impl std::fmt::Display for PinError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const FORMS: &str = "file:/PATH, env:NAME, credential:NAME, ask, pinentry or terminal";
        match self {
            Self::Program => {
                write!(f, "pin-source names a program to run, which is refused; expected {FORMS}")
            }
            Self::Form => write!(f, "pin-source is not understood; expected {FORMS}"),
            Self::Unreadable { origin, reason } => write!(f, "PIN {origin}: {reason}"),
            Self::OpenToOthers { origin, mode } => write!(
                f,
                "PIN {origin} has mode {mode:03o}: other users may reach it. Its owner must take those rights away \
                 (chmod o= FILE)"
            ),
            Self::Absent { origin, advice } => write!(f, "PIN {origin} is not set; {advice}"),
            Self::NotAPin { origin, found } => {
                write!(f, "PIN {origin} is {found}, expected 1 to {PIN_BYTES_MAX} bytes of UTF-8")
            }
            Self::Declined { origin } => write!(f, "the PIN was asked for {origin} and not given"),
            Self::Late { origin } => write!(f, "the PIN was asked for {origin} and not given in time"),
        }
    }
}

impl std::error::Error for PinError {}

impl From<PinError> for Error {
    fn from(error: PinError) -> Self {
        match error {
            PinError::Program | PinError::Form => Self::validation(error.to_string()),
            PinError::Late { .. } => Self::timeout(error.to_string()),
            _ => Self::access_denied(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_text_is_a_pin_and_no_error_repeats_it() {
        assert_eq!(Pin::new(b"1234", "here").ok().unwrap().expose(), "1234");
        for (bytes, word) in [
            (&b""[..], "empty"),
            (&[b'7'; PIN_BYTES_MAX + 1][..], "too long"),
            (&b"\xFF\xFE77"[..], "not text"),
        ] {
            let error = Pin::new(bytes, "here").err().unwrap().to_string();
            assert!(error.contains(word) && !error.contains("77"), "{error}");
        }
    }

    #[test]
    fn the_same_pin_from_two_places_is_the_same() {
        let [a, b, c] =
            [("1", "a"), ("1", "b"), ("2", "a")].map(|(p, o)| Pin::new(p.as_bytes(), o).ok().unwrap());
        assert!(a.is_same(&b) && !a.is_same(&c));
    }
}
