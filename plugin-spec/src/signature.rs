//! A raw signature in the one encoding the contract knows, made from whatever a vault returns.
//!
//! RSA: the signature as a big-endian integer as wide as the modulus. ECDSA: `r ‖ s`, each as wide as the order of
//! the curve (RFC 7518 section 3.4, RFC 9053 section 2.1), never ASN.1 DER.

use std::fmt;

use der::asn1::UintRef;
use der::{Decode, Reader, SliceReader};

use crate::key::KeySpec;

/// How many leading zero bytes of an RSA signature a vault may have dropped; more than this is no accident.
const RSA_ZEROS_DROPPED_MAX: usize = 4;

/// Signature bytes whose length belongs to the key spec, and what the vault says of how they were made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawSignature {
    spec: KeySpec,
    bytes: Vec<u8>,
    key_version: Option<String>,
    request_id: Option<String>,
}

/// Why bytes are no raw signature of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignatureError {
    /// The length does not belong to the key spec.
    Length {
        /// The key that signed.
        spec: KeySpec,
        /// Bytes found.
        found: usize,
        /// Whether the bytes are an ASN.1 DER `ECDSA-Sig-Value`, the usual mistake.
        looks_like_der: bool,
    },
    /// An `ECDSA-Sig-Value` (RFC 3279) was expected and is malformed, or holds numbers wider than the curve.
    MalformedDer {
        /// The key that signed.
        spec: KeySpec,
    },
    /// An ECDSA constructor was used for an RSA key or the other way round.
    WrongKeyKind {
        /// The key that signed.
        spec: KeySpec,
    },
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { spec, found, looks_like_der } => {
                write!(f, "a raw {spec} signature has {} bytes, found {found}", spec.signature_len())?;
                if *looks_like_der {
                    f.write_str(" that look like ASN.1 DER; r||s of fixed width is required")?;
                }
                Ok(())
            }
            Self::MalformedDer { spec } => write!(f, "not a DER ECDSA-Sig-Value of an {spec} key"),
            Self::WrongKeyKind { spec } => {
                write!(f, "this signature encoding does not exist for {spec} keys")
            }
        }
    }
}

impl std::error::Error for SignatureError {}

impl RawSignature {
    /// Takes bytes that are in the contract's encoding already.
    ///
    /// # Errors
    /// [`SignatureError::Length`] if the length is not [`KeySpec::signature_len`].
    pub fn from_fixed_width(spec: KeySpec, bytes: Vec<u8>) -> Result<Self, SignatureError> {
        if bytes.len() != spec.signature_len() {
            let looks_like_der = !spec.is_rsa() && parse_sig_value(&bytes).is_some();
            return Err(SignatureError::Length { spec, found: bytes.len(), looks_like_der });
        }
        Ok(Self { spec, bytes, key_version: None, request_id: None })
    }

    /// Converts an ASN.1 DER `ECDSA-Sig-Value` (RFC 3279 section 2.2.3), as AWS KMS and PIV return it.
    ///
    /// # Errors
    /// [`SignatureError::WrongKeyKind`] for RSA keys, [`SignatureError::MalformedDer`] if the bytes are not strict
    /// DER, carry trailing bytes or numbers wider than the curve's order.
    pub fn from_ecdsa_der(spec: KeySpec, der: &[u8]) -> Result<Self, SignatureError> {
        if spec.is_rsa() {
            return Err(SignatureError::WrongKeyKind { spec });
        }
        let malformed = SignatureError::MalformedDer { spec };
        let (r, s) = parse_sig_value(der).ok_or(malformed.clone())?;
        let width = spec.signature_len() / 2;
        let mut bytes = left_padded(r, width).ok_or(malformed.clone())?;
        bytes.extend(left_padded(s, width).ok_or(malformed)?);
        Ok(Self { spec, bytes, key_version: None, request_id: None })
    }

    /// Takes an RSA signature as a vault returns it, restoring leading zero bytes some vaults drop.
    ///
    /// # Errors
    /// [`SignatureError::WrongKeyKind`] for EC keys, [`SignatureError::Length`] if it is longer than the modulus or
    /// shorter by more than four bytes.
    pub fn from_rsa(spec: KeySpec, bytes: &[u8]) -> Result<Self, SignatureError> {
        if !spec.is_rsa() {
            return Err(SignatureError::WrongKeyKind { spec });
        }
        let wrong_length = SignatureError::Length { spec, found: bytes.len(), looks_like_der: false };
        if bytes.len() + RSA_ZEROS_DROPPED_MAX < spec.signature_len() {
            return Err(wrong_length);
        }
        let bytes = left_padded(bytes, spec.signature_len()).ok_or(wrong_length)?;
        Ok(Self { spec, bytes, key_version: None, request_id: None })
    }

    /// Names the version of the key that signed, as the vault calls it.
    #[must_use]
    pub fn signed_by_version(mut self, version: impl Into<String>) -> Self {
        self.key_version = Some(version.into());
        self
    }

    /// Names the id under which the vault logged the request.
    #[must_use]
    pub fn with_request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }

    /// The version of the key that signed, if the vault has versions.
    pub fn key_version(&self) -> Option<&str> {
        self.key_version.as_deref()
    }

    /// The id under which the vault logged the request.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// The key spec this signature was made with.
    pub const fn spec(&self) -> KeySpec {
        self.spec
    }

    /// The signature in the contract's encoding.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn parse_sig_value(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = SliceReader::new(der).ok()?;
    let (r, s) = reader
        .sequence(|inner| Ok::<_, der::Error>((UintRef::decode(inner)?, UintRef::decode(inner)?)))
        .ok()?;
    reader.finish().ok()?;
    Some((r.as_bytes(), s.as_bytes()))
}

fn left_padded(number: &[u8], width: usize) -> Option<Vec<u8>> {
    let mut padded = vec![0; width.checked_sub(number.len())?];
    padded.extend_from_slice(number);
    Some(padded)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEQUENCE { INTEGER 0x80.. (33 bytes with its zero), INTEGER 1 }
    fn short_s() -> Vec<u8> {
        let mut der = vec![0x30, 2 + 33 + 3, 0x02, 33, 0x00, 0x80];
        der.extend([0x11; 31]);
        der.extend([0x02, 0x01, 0x01]);
        der
    }

    #[test]
    fn der_numbers_are_padded_to_the_width_of_the_curve() {
        let signature = RawSignature::from_ecdsa_der(KeySpec::Ec256, &short_s()).unwrap();
        assert_eq!(signature.bytes().len(), 64);
        assert_eq!(signature.bytes()[0], 0x80);
        assert_eq!(&signature.bytes()[32..], [&[0; 31][..], &[1]].concat());
    }

    #[test]
    fn malformed_der_is_refused() {
        let good = short_s();
        let trailing = [&good[..], &[0]].concat();
        let mut too_wide = vec![0x30, 2 + 33 + 3, 0x02, 33, 0x01];
        too_wide.extend([0x11; 32]);
        too_wide.extend([0x02, 0x01, 0x01]);
        let negative = vec![0x30, 6, 0x02, 1, 0x80, 0x02, 1, 1];
        for bad in [&good[..good.len() - 1], &trailing, &too_wide, &negative, &[]] {
            let error = RawSignature::from_ecdsa_der(KeySpec::Ec256, bad).unwrap_err();
            assert_eq!(error, SignatureError::MalformedDer { spec: KeySpec::Ec256 });
        }
    }

    #[test]
    fn der_where_fixed_width_belongs_is_called_by_its_name() {
        let error = RawSignature::from_fixed_width(KeySpec::Ec256, short_s()).unwrap_err();
        assert!(error.to_string().contains("look like ASN.1 DER"), "{error}");
        let error = RawSignature::from_fixed_width(KeySpec::Ec256, vec![7; 63]).unwrap_err();
        assert!(!error.to_string().contains("DER"), "{error}");
    }

    #[test]
    fn dropped_zeros_of_an_rsa_signature_are_restored() {
        let signature = RawSignature::from_rsa(KeySpec::Rsa2048, &[9; 255]).unwrap();
        assert_eq!((signature.bytes().len(), signature.bytes()[0]), (256, 0));
        for wrong in [251, 257, 0] {
            assert!(RawSignature::from_rsa(KeySpec::Rsa2048, &vec![9; wrong]).is_err());
        }
        assert!(RawSignature::from_rsa(KeySpec::Ec256, &[9; 64]).is_err());
    }
}
