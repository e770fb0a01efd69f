//! The public key of a private key in a token, from wherever the token keeps it.

use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode, Encode, Tag, Tagged};
use prokura_plugin::{Error, KeySpec, PublicKey};

use crate::certificate;
use crate::config::uri::ObjectFilter;
use crate::error::Refusal;
use crate::key::object::{PrivateKey, attribute, described, find, template};

/// Names of curves people meet in tokens, for messages. The first three can sign (RFC 5480 section 2.1.1.1).
const CURVES: [(&str, &str, Option<KeySpec>); 8] = [
    ("1.2.840.10045.3.1.7", "P-256", Some(KeySpec::Ec256)),
    ("1.3.132.0.34", "P-384", Some(KeySpec::Ec384)),
    ("1.3.132.0.35", "P-521", Some(KeySpec::Ec521)),
    ("1.2.840.10045.3.1.1", "P-192", None),
    ("1.3.132.0.33", "P-224", None),
    ("1.3.132.0.10", "secp256k1", None),
    ("1.3.36.3.3.2.8.1.1.7", "brainpoolP256r1", None),
    ("1.3.36.3.3.2.8.1.1.11", "brainpoolP384r1", None),
];

/// The public key: from the private key's own attributes, from the public key object of the same id (or label), or
/// from the certificate of the same id (or label).
///
/// # Errors
/// `VALIDATION_ERROR` if the key is of a kind that cannot sign for Notary, or if there is no public key.
pub fn public_key(session: &Session, private: &PrivateKey) -> Result<PublicKey, Refusal> {
    let read = match private.kind {
        Some(KeyType::RSA) => rsa,
        Some(KeyType::EC) => ec,
        other => return Err(unsupported(private, &other.map_or("unknown".to_owned(), |k| format!("{k}")))),
    };
    if let Some(key) = read(session, private, private.handle)? {
        return Ok(key);
    }
    for same in same_names(&private.object) {
        for public in find(session, &template(ObjectClass::PUBLIC_KEY, &same))? {
            if let Some(key) = read(session, private, public)? {
                return Ok(key);
            }
        }
    }
    from_certificate(session, private)
}

/// Objects belong together by their id (PKCS#11 v3.1 section 4.8); by their label where there is no id.
pub fn same_names(object: &ObjectFilter) -> Vec<ObjectFilter> {
    let by_id = object.id.clone().map(|id| ObjectFilter { id: Some(id), label: None });
    let by_label = object.label.clone().map(|label| ObjectFilter { id: None, label: Some(label) });
    by_id.into_iter().chain(by_label).collect()
}

fn rsa(session: &Session, private: &PrivateKey, from: ObjectHandle) -> Result<Option<PublicKey>, Refusal> {
    let modulus = attribute(session, from, AttributeType::Modulus)?;
    let exponent = attribute(session, from, AttributeType::PublicExponent)?;
    match (modulus, exponent) {
        (Some(Attribute::Modulus(n)), Some(Attribute::PublicExponent(e)))
            if !n.is_empty() && !e.is_empty() =>
        {
            PublicKey::from_rsa(&n, &e).map(Some).map_err(|e| unusable(private, &e.to_string()))
        }
        _ => Ok(None),
    }
}

fn ec(session: &Session, private: &PrivateKey, from: ObjectHandle) -> Result<Option<PublicKey>, Refusal> {
    // The curve is asked of the private key first: some public key objects leave it out.
    let mut params = attribute(session, private.handle, AttributeType::EcParams)?;
    if !matches!(&params, Some(Attribute::EcParams(p)) if !p.is_empty()) {
        params = attribute(session, from, AttributeType::EcParams)?;
    }
    let Some(Attribute::EcParams(params)) = params else { return Ok(None) };
    let spec = curve(&params).map_err(|found| unsupported(private, &found))?;
    match attribute(session, from, AttributeType::EcPoint)? {
        Some(Attribute::EcPoint(point)) if !point.is_empty() => {
            ec_point(spec, &point).map(Some).map_err(|e| unusable(private, &e))
        }
        _ => Ok(None),
    }
}

/// The spec of a curve given as CKA_EC_PARAMS; otherwise what was found there.
fn curve(params: &[u8]) -> Result<KeySpec, String> {
    let oid = <ObjectIdentifier>::from_der(params)
        .map_err(|_| "EC with explicit parameters".to_owned())?
        .to_string();
    match CURVES.iter().find(|(known, ..)| *known == oid) {
        Some((_, _, Some(spec))) => Ok(*spec),
        Some((_, name, None)) => Err(format!("EC {name}")),
        None => Err(format!("EC curve {oid}")),
    }
}

/// `CKA_EC_PARAMS` of a curve: its name as a DER object identifier. Empty for RSA.
pub fn curve_parameters(spec: KeySpec) -> Vec<u8> {
    let curve = CURVES.iter().find(|(_, _, known)| *known == Some(spec));
    let oid = curve.and_then(|(oid, ..)| ObjectIdentifier::new(oid).ok());
    oid.and_then(|oid| oid.to_der().ok()).unwrap_or_default()
}

/// Takes a point in a DER OCTET STRING, as PKCS#11 asks, or bare, as some tokens return it.
fn ec_point(spec: KeySpec, point: &[u8]) -> Result<PublicKey, String> {
    let wrapped = AnyRef::from_der(point).ok().filter(|any| any.tag() == Tag::OctetString);
    let bare = wrapped.map_or(point, |any| any.value());
    PublicKey::from_ec_point(spec, bare)
        .or_else(|error| PublicKey::from_ec_point(spec, point).map_err(|_| error))
        .map_err(|error| error.to_string())
}

fn from_certificate(session: &Session, private: &PrivateKey) -> Result<PublicKey, Refusal> {
    let mut unusable_certificate = None;
    for der in certificate::same_named(session, &private.object)? {
        let Some(parts) = certificate::parts(&der) else { continue };
        match PublicKey::from_spki_der(parts.spki) {
            Ok(key) if key.spec().is_rsa() == (private.kind == Some(KeyType::RSA)) => return Ok(key),
            Ok(_) => {}
            Err(error) => unusable_certificate = Some(error),
        }
    }
    Err(match unusable_certificate {
        Some(error) => unusable(private, &error.to_string()),
        None => Refusal::Final(Error::validation(format!(
            "private key {} has no public key in the token: neither its own attributes, nor a public key object or \
             certificate of the same id or label. Whoever manages the token must add one",
            described(&private.object)
        ))),
    })
}

fn unsupported(private: &PrivateKey, found: &str) -> Refusal {
    unusable(
        private,
        &format!("{found} keys cannot sign, expected RSA 2048, 3072 or 4096 or EC P-256, P-384 or P-521"),
    )
}

fn unusable(private: &PrivateKey, why: &str) -> Refusal {
    Refusal::Final(Error::validation(format!("private key {}: {why}", described(&private.object))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const P256: [u8; 10] = [0x06, 8, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];

    #[test]
    fn curves_are_told_by_their_oid() {
        assert_eq!(curve(&P256), Ok(KeySpec::Ec256));
        assert_eq!(curve(&[0x06, 5, 0x2B, 0x81, 0x04, 0x00, 0x22]), Ok(KeySpec::Ec384));
        assert_eq!(curve(&[0x06, 5, 0x2B, 0x81, 0x04, 0x00, 0x23]), Ok(KeySpec::Ec521));
        assert_eq!(curve(&[0x06, 5, 0x2B, 0x81, 0x04, 0x00, 0x0A]), Err("EC secp256k1".to_owned()));
        assert_eq!(curve(&[0x06, 3, 0x2B, 0x65, 0x70]), Err("EC curve 1.3.101.112".to_owned()));
        for explicit in [&[0x30, 0][..], b"\x13\x0cedwards25519", &[], &P256[..9]] {
            assert_eq!(curve(explicit), Err("EC with explicit parameters".to_owned()));
        }
    }

    #[test]
    fn curves_are_written_as_they_are_read() {
        for spec in [KeySpec::Ec256, KeySpec::Ec384, KeySpec::Ec521] {
            assert_eq!(curve(&curve_parameters(spec)), Ok(spec));
        }
    }

    #[test]
    fn points_are_read_wrapped_and_bare() {
        for (spec, len) in [(KeySpec::Ec256, 65), (KeySpec::Ec384, 97), (KeySpec::Ec521, 133)] {
            let mut bare = vec![9; len];
            bare[0] = 4;
            let header = if len < 128 { vec![4, len as u8] } else { vec![4, 0x81, len as u8] };
            let wrapped = [&header, &bare[..]].concat();
            assert_eq!(ec_point(spec, &bare).unwrap(), ec_point(spec, &wrapped).unwrap());
            assert_eq!(ec_point(spec, &bare).unwrap().key_bits(), bare);
            // A bare point that happens to read as an OCTET STRING: 04 and its own length.
            bare[1] = u8::try_from(len - 2).unwrap_or(0x81);
            if len > 129 {
                bare[2] = (len - 3) as u8;
            }
            assert_eq!(ec_point(spec, &bare).unwrap().key_bits(), bare);
            assert!(ec_point(spec, &bare[1..]).is_err());
        }
    }
}
