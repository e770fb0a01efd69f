//! A content digest, `algorithm:hex`, as the OCI image specification defines it.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest as sha;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;
use crate::text;

/// The digest algorithms that are registered for OCI content and strong enough to sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DigestAlgorithm {
    /// SHA-256, 64 hex digits.
    Sha256,
    /// SHA-384, 96 hex digits.
    Sha384,
    /// SHA-512, 128 hex digits.
    Sha512,
}

impl DigestAlgorithm {
    /// The name before the colon: `sha256`, `sha384` or `sha512`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha384 => 96,
            Self::Sha512 => 128,
        }
    }

    fn implementation(self) -> &'static sha::Algorithm {
        match self {
            Self::Sha256 => &sha::SHA256,
            Self::Sha384 => &sha::SHA384,
            Self::Sha512 => &sha::SHA512,
        }
    }
}

/// A content digest whose algorithm is known and whose hex part is lower-case and complete.
///
/// The hex part is safe as a file name: it holds nothing but `0-9a-f`. Source: OCI image specification,
/// "Descriptors, Digests".
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: DigestAlgorithm,
    hex: String,
}

impl Digest {
    /// The SHA-256 digest of `bytes`, the canonical algorithm of OCI registries.
    pub fn sha256(bytes: &[u8]) -> Self {
        Self::of(DigestAlgorithm::Sha256, bytes)
    }

    /// The digest of `bytes` by `algorithm`.
    pub fn of(algorithm: DigestAlgorithm, bytes: &[u8]) -> Self {
        let value = sha::digest(algorithm.implementation(), bytes);
        Self { algorithm, hex: text::hex(value.as_ref()) }
    }

    /// The algorithm before the colon.
    pub fn algorithm(&self) -> DigestAlgorithm {
        self.algorithm
    }

    /// The lower-case hex digits after the colon.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// Whether `bytes` have this digest. Says nothing about their size.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        Self::of(self.algorithm, bytes) == *self
    }

    /// Fails with [`Error::DigestMismatch`] when `bytes` have another digest; `what` names them in the message.
    pub fn verify(&self, bytes: &[u8]) -> Result<(), Error> {
        let found = Self::of(self.algorithm, bytes);
        if found == *self {
            return Ok(());
        }
        Err(Error::DigestMismatch { what: "the content".into(), expected: self.clone(), found })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(value: &str) -> Result<Self, Error> {
        let invalid = |expected| Error::InvalidDigest { found: text::printable(value), expected };
        let (name, hex) = value.split_once(':').ok_or_else(|| invalid("algorithm:hex"))?;
        let algorithm = match name {
            "sha256" => DigestAlgorithm::Sha256,
            "sha384" => DigestAlgorithm::Sha384,
            "sha512" => DigestAlgorithm::Sha512,
            _ => return Err(invalid("one of the algorithms sha256, sha384, sha512")),
        };
        if hex.len() != algorithm.hex_len() {
            return Err(invalid("64 hex digits for sha256, 96 for sha384, 128 for sha512"));
        }
        if !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(invalid("lower-case hex digits after the colon"));
        }
        Ok(Self { algorithm, hex: hex.to_owned() })
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_json_has_its_well_known_digest() {
        let digest = Digest::sha256(b"{}");
        assert_eq!(
            digest.to_string(),
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert!(digest.matches(b"{}"));
        assert!(matches!(digest.verify(b"{ }"), Err(Error::DigestMismatch { .. })));
    }

    #[test]
    fn longer_algorithms_round_trip() {
        for algorithm in [DigestAlgorithm::Sha384, DigestAlgorithm::Sha512] {
            let digest = Digest::of(algorithm, b"x");
            assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        }
    }

    #[test]
    fn anything_that_could_leave_the_blobs_folder_is_refused() {
        let long = "a".repeat(64);
        for bad in [
            "",
            "sha256",
            "sha256:",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            "sha256:../../etc/passwd",
            &format!("sha256:{}", "A".repeat(64)),
            &format!("sha256:{}", "../".repeat(21) + "a"),
            &format!("SHA256:{long}"),
            &format!("sha256:{long}a"),
            &format!("sha512:{long}"),
        ] {
            assert!(matches!(bad.parse::<Digest>(), Err(Error::InvalidDigest { .. })), "{bad}");
        }
    }
}
