//! A public key as SubjectPublicKeyInfo; its key spec follows from it.

use std::fmt;

use der::asn1::{ObjectIdentifier, UintRef};
use der::{Decode, Reader, SliceReader};
use spki::SubjectPublicKeyInfoRef;

use crate::key::KeySpec;

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const CURVES: [(ObjectIdentifier, KeySpec, usize); 3] = [
    (ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"), KeySpec::Ec256, 65),
    (ObjectIdentifier::new_unwrap("1.3.132.0.34"), KeySpec::Ec384, 97),
    (ObjectIdentifier::new_unwrap("1.3.132.0.35"), KeySpec::Ec521, 133),
];

/// A public key of one of the six key specs.
#[derive(Clone, Debug)]
pub struct PublicKey {
    spec: KeySpec,
    spki: Vec<u8>,
    bits: Vec<u8>,
}

/// Why bytes are no public key that can sign for Notary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKeyError {
    /// Not a DER SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7), or trailing bytes behind one.
    Malformed,
    /// The key is none of the six specs; the text says what it is.
    Unsupported(String),
}

impl fmt::Display for PublicKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("not a DER SubjectPublicKeyInfo"),
            Self::Unsupported(found) => {
                write!(
                    f,
                    "{found} keys cannot sign, expected RSA 2048, 3072 or 4096 or EC P-256, P-384 or P-521"
                )
            }
        }
    }
}

impl std::error::Error for PublicKeyError {}

impl PublicKey {
    /// Parses a DER SubjectPublicKeyInfo. EC keys must name their curve and hold an uncompressed point.
    ///
    /// # Errors
    /// [`PublicKeyError`] if the bytes are malformed or the key is none of the six specs.
    pub fn from_spki_der(spki: &[u8]) -> Result<Self, PublicKeyError> {
        let info = SubjectPublicKeyInfoRef::from_der(spki).map_err(|_| PublicKeyError::Malformed)?;
        let bits = info.subject_public_key.as_bytes().ok_or(PublicKeyError::Malformed)?;
        let spec = match info.algorithm.oid {
            RSA_ENCRYPTION => rsa_spec(bits)?,
            EC_PUBLIC_KEY => ec_spec(info.algorithm.parameters_oid().ok(), bits)?,
            other => return Err(PublicKeyError::Unsupported(format!("algorithm {other}"))),
        };
        Ok(Self { spec, spki: spki.to_vec(), bits: bits.to_vec() })
    }

    /// Builds the SubjectPublicKeyInfo of an RSA key (RFC 3279) from big-endian modulus and exponent, as PKCS#11
    /// tokens and JSON web keys hold them.
    ///
    /// # Errors
    /// [`PublicKeyError`] as for [`PublicKey::from_spki_der`].
    pub fn from_rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, PublicKeyError> {
        let bits = sequence(&[unsigned_integer(modulus), unsigned_integer(exponent)].concat());
        // AlgorithmIdentifier { rsaEncryption, NULL }
        let algorithm = sequence(&[tlv(0x06, RSA_ENCRYPTION.as_bytes()), tlv(0x05, &[])].concat());
        Self::from_spki_der(&sequence(&[algorithm, bit_string(&bits)].concat()))
    }

    /// Builds the SubjectPublicKeyInfo of an EC key (RFC 5480) from its spec and the uncompressed point
    /// `04 ‖ x ‖ y`.
    ///
    /// # Errors
    /// [`PublicKeyError`] as for [`PublicKey::from_spki_der`]; also for an RSA spec.
    pub fn from_ec_point(spec: KeySpec, point: &[u8]) -> Result<Self, PublicKeyError> {
        let curve = CURVES.iter().find(|(_, s, _)| *s == spec).map(|(oid, ..)| oid);
        let curve = curve.ok_or_else(|| PublicKeyError::Unsupported(format!("EC points of {spec}")))?;
        let algorithm =
            sequence(&[tlv(0x06, EC_PUBLIC_KEY.as_bytes()), tlv(0x06, curve.as_bytes())].concat());
        Self::from_spki_der(&sequence(&[algorithm, bit_string(point)].concat()))
    }

    /// Which of the six specs the key has.
    pub const fn spec(&self) -> KeySpec {
        self.spec
    }

    /// The DER SubjectPublicKeyInfo as received or built.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// The content of `subjectPublicKey`: PKCS#1 RSAPublicKey or the uncompressed point.
    pub fn key_bits(&self) -> &[u8] {
        &self.bits
    }
}

impl PartialEq for PublicKey {
    /// Equal keys, even if one names its algorithm with other parameters (an absent NULL).
    fn eq(&self, other: &Self) -> bool {
        self.spec == other.spec && self.bits == other.bits
    }
}

impl Eq for PublicKey {}

fn rsa_spec(bits: &[u8]) -> Result<KeySpec, PublicKeyError> {
    let mut reader = SliceReader::new(bits).map_err(|_| PublicKeyError::Malformed)?;
    let modulus = reader
        .sequence(|key| {
            let modulus = UintRef::decode(key)?;
            UintRef::decode(key)?;
            Ok::<_, der::Error>(modulus)
        })
        .map_err(|_| PublicKeyError::Malformed)?;
    let bytes = modulus.as_bytes();
    let unused = bytes.first().map_or(0, |b| b.leading_zeros() as usize);
    match bytes.len() * 8 - unused {
        2048 => Ok(KeySpec::Rsa2048),
        3072 => Ok(KeySpec::Rsa3072),
        4096 => Ok(KeySpec::Rsa4096),
        other => Err(PublicKeyError::Unsupported(format!("RSA {other} bit"))),
    }
}

fn ec_spec(curve: Option<ObjectIdentifier>, point: &[u8]) -> Result<KeySpec, PublicKeyError> {
    let curve = curve.ok_or_else(|| PublicKeyError::Unsupported("EC with explicit parameters".to_owned()))?;
    let found = CURVES.iter().find(|(oid, ..)| *oid == curve);
    let (_, spec, len) = found.ok_or_else(|| PublicKeyError::Unsupported(format!("EC curve {curve}")))?;
    if point.len() != *len || point.first() != Some(&4) {
        return Err(PublicKeyError::Unsupported("EC with a compressed point".to_owned()));
    }
    Ok(*spec)
}

fn sequence(content: &[u8]) -> Vec<u8> {
    tlv(0x30, content)
}

fn bit_string(content: &[u8]) -> Vec<u8> {
    tlv(0x03, &[&[0], content].concat())
}

fn unsigned_integer(big_endian: &[u8]) -> Vec<u8> {
    let zeros = big_endian.iter().take_while(|b| **b == 0).count();
    let number = big_endian.get(zeros..).unwrap_or_default();
    let sign: &[u8] = if number.first().is_none_or(|b| *b >= 0x80) { &[0] } else { &[] };
    tlv(0x02, &[sign, number].concat())
}

/// One DER element; lengths of up to 65,535 bytes, far above any key.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
    let header = match content.len() {
        0..=127 => vec![tag, low],
        128..=255 => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [&header, content].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_built_from_parts_parse_to_their_spec() {
        for (bytes, spec) in [(256, KeySpec::Rsa2048), (384, KeySpec::Rsa3072), (512, KeySpec::Rsa4096)] {
            let key = PublicKey::from_rsa(&vec![0xC3; bytes], &[1, 0, 1]).unwrap();
            assert_eq!(key.spec(), spec);
            let with_zero = [&[0][..], &vec![0xC3; bytes]].concat();
            assert_eq!(PublicKey::from_rsa(&with_zero, &[1, 0, 1]).unwrap(), key);
        }
        for (spec, len) in [(KeySpec::Ec256, 65), (KeySpec::Ec384, 97), (KeySpec::Ec521, 133)] {
            let mut point = vec![7; len];
            point[0] = 4;
            assert_eq!(PublicKey::from_ec_point(spec, &point).unwrap().spec(), spec);
            point[0] = 2;
            assert!(PublicKey::from_ec_point(spec, &point).is_err());
        }
    }

    #[test]
    fn other_sizes_and_kinds_are_refused_by_name() {
        let error = PublicKey::from_rsa(&[0xC3; 320], &[1, 0, 1]).unwrap_err();
        assert_eq!(error, PublicKeyError::Unsupported("RSA 2560 bit".to_owned()));
        // Ed25519 (RFC 8410)
        let algorithm = sequence(&tlv(0x06, &[0x2B, 0x65, 0x70]));
        let spki = sequence(&[algorithm, bit_string(&[1; 32])].concat());
        let error = PublicKey::from_spki_der(&spki).unwrap_err();
        assert!(error.to_string().contains("1.3.101.112"), "{error}");
        assert_eq!(PublicKey::from_spki_der(&[0x30, 0]).unwrap_err(), PublicKeyError::Malformed);
    }
}
