//! The key vocabulary: six key specs and the one hash and signing algorithm that belongs to each.
//!
//! Source: Notary Project specification, "Algorithm Selection". There is no choice to make: the key spec decides.

use std::fmt;
use std::str::FromStr;

use sha2::Digest as _;

/// What kind of key signs. The wire form is the text in [`KeySpec::as_str`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeySpec {
    /// RSA with a 2048-bit modulus.
    Rsa2048,
    /// RSA with a 3072-bit modulus.
    Rsa3072,
    /// RSA with a 4096-bit modulus.
    Rsa4096,
    /// ECDSA on NIST P-256.
    Ec256,
    /// ECDSA on NIST P-384.
    Ec384,
    /// ECDSA on NIST P-521.
    Ec521,
}

/// A hash function of the SHA-2 family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HashAlgorithm {
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-384, 48 bytes.
    Sha384,
    /// SHA-512, 64 bytes.
    Sha512,
}

/// A signature algorithm as named by contract 1.0.
///
/// RSA is RSASSA-PSS with MGF1 over the same hash and a salt as long as the hash (RFC 8017). ECDSA signatures are
/// `r ‖ s`, both padded to the width of the curve's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SigningAlgorithm {
    /// `RSASSA-PSS-SHA-256`, by RSA-2048 keys.
    RsassaPssSha256,
    /// `RSASSA-PSS-SHA-384`, by RSA-3072 keys.
    RsassaPssSha384,
    /// `RSASSA-PSS-SHA-512`, by RSA-4096 keys.
    RsassaPssSha512,
    /// `ECDSA-SHA-256`, by P-256 keys.
    EcdsaSha256,
    /// `ECDSA-SHA-384`, by P-384 keys.
    EcdsaSha384,
    /// `ECDSA-SHA-512`, by P-521 keys.
    EcdsaSha512,
}

impl KeySpec {
    /// All six, in the order of the specification.
    pub const ALL: [KeySpec; 6] =
        [Self::Rsa2048, Self::Rsa3072, Self::Rsa4096, Self::Ec256, Self::Ec384, Self::Ec521];

    /// The wire form, such as `EC-256`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rsa2048 => "RSA-2048",
            Self::Rsa3072 => "RSA-3072",
            Self::Rsa4096 => "RSA-4096",
            Self::Ec256 => "EC-256",
            Self::Ec384 => "EC-384",
            Self::Ec521 => "EC-521",
        }
    }

    /// The hash that belongs to this key.
    pub const fn hash_algorithm(self) -> HashAlgorithm {
        match self {
            Self::Rsa2048 | Self::Ec256 => HashAlgorithm::Sha256,
            Self::Rsa3072 | Self::Ec384 => HashAlgorithm::Sha384,
            Self::Rsa4096 | Self::Ec521 => HashAlgorithm::Sha512,
        }
    }

    /// The signing algorithm that belongs to this key.
    pub const fn signing_algorithm(self) -> SigningAlgorithm {
        match self {
            Self::Rsa2048 => SigningAlgorithm::RsassaPssSha256,
            Self::Rsa3072 => SigningAlgorithm::RsassaPssSha384,
            Self::Rsa4096 => SigningAlgorithm::RsassaPssSha512,
            Self::Ec256 => SigningAlgorithm::EcdsaSha256,
            Self::Ec384 => SigningAlgorithm::EcdsaSha384,
            Self::Ec521 => SigningAlgorithm::EcdsaSha512,
        }
    }

    /// Length of a raw signature in bytes: the modulus for RSA, twice the width of the order for ECDSA.
    pub const fn signature_len(self) -> usize {
        match self {
            Self::Rsa2048 => 256,
            Self::Rsa3072 => 384,
            Self::Rsa4096 => 512,
            Self::Ec256 => 64,
            Self::Ec384 => 96,
            Self::Ec521 => 132,
        }
    }

    /// Whether this is an RSA key.
    pub const fn is_rsa(self) -> bool {
        matches!(self, Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096)
    }
}

impl HashAlgorithm {
    /// All three, shortest first.
    pub const ALL: [HashAlgorithm; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// The wire form, such as `SHA-256`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
        }
    }

    /// Length of a digest in bytes.
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

impl SigningAlgorithm {
    /// All six, in the order of [`KeySpec::ALL`].
    pub const ALL: [SigningAlgorithm; 6] = [
        Self::RsassaPssSha256,
        Self::RsassaPssSha384,
        Self::RsassaPssSha512,
        Self::EcdsaSha256,
        Self::EcdsaSha384,
        Self::EcdsaSha512,
    ];

    /// The wire form, such as `RSASSA-PSS-SHA-256`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RsassaPssSha256 => "RSASSA-PSS-SHA-256",
            Self::RsassaPssSha384 => "RSASSA-PSS-SHA-384",
            Self::RsassaPssSha512 => "RSASSA-PSS-SHA-512",
            Self::EcdsaSha256 => "ECDSA-SHA-256",
            Self::EcdsaSha384 => "ECDSA-SHA-384",
            Self::EcdsaSha512 => "ECDSA-SHA-512",
        }
    }

    /// The one key spec this algorithm belongs to.
    pub const fn key_spec(self) -> KeySpec {
        match self {
            Self::RsassaPssSha256 => KeySpec::Rsa2048,
            Self::RsassaPssSha384 => KeySpec::Rsa3072,
            Self::RsassaPssSha512 => KeySpec::Rsa4096,
            Self::EcdsaSha256 => KeySpec::Ec256,
            Self::EcdsaSha384 => KeySpec::Ec384,
            Self::EcdsaSha512 => KeySpec::Ec521,
        }
    }
}

/// A text that names none of the values of an enumeration of the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    /// What was to be named: `key spec`, `hash algorithm` or `signing algorithm`.
    pub what: &'static str,
    /// The text found, cut to 64 characters, control characters removed.
    pub found: String,
}

impl UnknownName {
    fn new(what: &'static str, found: &str) -> Self {
        Self { what, found: found.chars().filter(|c| !c.is_control()).take(64).collect() }
    }
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known: Vec<&str> = match self.what {
            "key spec" => KeySpec::ALL.iter().map(|v| v.as_str()).collect(),
            "hash algorithm" => HashAlgorithm::ALL.iter().map(|v| v.as_str()).collect(),
            _ => SigningAlgorithm::ALL.iter().map(|v| v.as_str()).collect(),
        };
        write!(f, "unknown {} {:?}, expected one of {}", self.what, self.found, known.join(", "))
    }
}

impl std::error::Error for UnknownName {}

macro_rules! wire_names {
    ($type:ty, $what:literal) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = UnknownName;

            fn from_str(text: &str) -> Result<Self, UnknownName> {
                Self::ALL
                    .into_iter()
                    .find(|v| v.as_str() == text)
                    .ok_or_else(|| UnknownName::new($what, text))
            }
        }
    };
}

wire_names!(KeySpec, "key spec");
wire_names!(HashAlgorithm, "hash algorithm");
wire_names!(SigningAlgorithm, "signing algorithm");

/// A digest together with the hash that made it; its length is right by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    algorithm: HashAlgorithm,
    bytes: Vec<u8>,
}

/// A digest whose length is not that of its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongDigestLength {
    /// The hash that was named.
    pub algorithm: HashAlgorithm,
    /// Bytes found.
    pub found: usize,
}

impl fmt::Display for WrongDigestLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expected = self.algorithm.digest_len();
        write!(f, "a {} digest has {expected} bytes, found {}", self.algorithm, self.found)
    }
}

impl std::error::Error for WrongDigestLength {}

impl Digest {
    /// Hashes `payload`.
    pub fn of(algorithm: HashAlgorithm, payload: &[u8]) -> Self {
        let bytes = match algorithm {
            HashAlgorithm::Sha256 => sha2::Sha256::digest(payload).to_vec(),
            HashAlgorithm::Sha384 => sha2::Sha384::digest(payload).to_vec(),
            HashAlgorithm::Sha512 => sha2::Sha512::digest(payload).to_vec(),
        };
        Self { algorithm, bytes }
    }

    /// Takes a digest made elsewhere.
    ///
    /// # Errors
    /// [`WrongDigestLength`] if the length is not that of `algorithm`.
    pub fn from_bytes(algorithm: HashAlgorithm, bytes: Vec<u8>) -> Result<Self, WrongDigestLength> {
        if bytes.len() != algorithm.digest_len() {
            return Err(WrongDigestLength { algorithm, found: bytes.len() });
        }
        Ok(Self { algorithm, bytes })
    }

    /// The hash that made this digest.
    pub const fn algorithm(&self) -> HashAlgorithm {
        self.algorithm
    }

    /// The digest, 32, 48 or 64 bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_spec_has_its_own_signing_algorithm() {
        for spec in KeySpec::ALL {
            assert_eq!(spec.signing_algorithm().key_spec(), spec);
            assert_eq!(spec.as_str().parse::<KeySpec>(), Ok(spec));
            assert!(spec.signing_algorithm().as_str().ends_with(spec.hash_algorithm().as_str()));
        }
    }

    #[test]
    fn unknown_names_are_refused_and_told() {
        let error = "EC-257\u{1b}[2J".parse::<KeySpec>().unwrap_err();
        assert_eq!(error.found, "EC-257[2J");
        assert!(error.to_string().contains("RSA-2048, RSA-3072"));
        assert!("ec-256".parse::<KeySpec>().is_err());
    }

    #[test]
    fn a_digest_has_the_length_of_its_hash() {
        for algorithm in HashAlgorithm::ALL {
            assert_eq!(Digest::of(algorithm, b"abc").bytes().len(), algorithm.digest_len());
            for wrong in [0, algorithm.digest_len() - 1, algorithm.digest_len() + 1] {
                assert!(Digest::from_bytes(algorithm, vec![0; wrong]).is_err());
            }
        }
    }
}
