//! How X.509 names the six signing algorithms and encodes their signatures (RFC 4055, RFC 5758).

use der::asn1::{Null, ObjectIdentifier, UintRef};
use der::{Any, Encode, Sequence};
use prokura_plugin::{HashAlgorithm, KeySpec, RawSignature};
use spki::AlgorithmIdentifierOwned;

use super::IssueError;

const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const MGF1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.8");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");
const SHA256_ECDSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const SHA384_ECDSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const SHA512_ECDSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4");

/// `RSASSA-PSS-params` of RFC 4055; the trailer field has its default.
#[derive(Sequence)]
struct PssParameters {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    hash: AlgorithmIdentifierOwned,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT")]
    mask: AlgorithmIdentifierOwned,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT")]
    salt_length: u8,
}

#[derive(Sequence)]
struct EcdsaSignature<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

/// The algorithm identifier of signatures by keys of a spec.
pub(super) fn of(spec: KeySpec) -> Result<AlgorithmIdentifierOwned, IssueError> {
    let hash = spec.hash_algorithm();
    if spec.is_rsa() {
        return pss(hash);
    }
    let oid = match hash {
        HashAlgorithm::Sha256 => SHA256_ECDSA,
        HashAlgorithm::Sha384 => SHA384_ECDSA,
        HashAlgorithm::Sha512 => SHA512_ECDSA,
    };
    Ok(AlgorithmIdentifierOwned { oid, parameters: None })
}

/// The bytes X.509 puts into the signature's bit string.
pub(super) fn x509_signature(signature: &RawSignature) -> Result<Vec<u8>, IssueError> {
    if signature.spec().is_rsa() {
        return Ok(signature.bytes().to_vec());
    }
    let (r, s) = signature.bytes().split_at(signature.bytes().len() / 2);
    Ok(EcdsaSignature { r: UintRef::new(r)?, s: UintRef::new(s)? }.to_der()?)
}

fn pss(hash: HashAlgorithm) -> Result<AlgorithmIdentifierOwned, IssueError> {
    let oid = match hash {
        HashAlgorithm::Sha256 => SHA256,
        HashAlgorithm::Sha384 => SHA384,
        HashAlgorithm::Sha512 => SHA512,
    };
    let hash_id = AlgorithmIdentifierOwned { oid, parameters: Some(Any::encode_from(&Null)?) };
    let mask = AlgorithmIdentifierOwned { oid: MGF1, parameters: Some(Any::encode_from(&hash_id)?) };
    let salt_length = u8::try_from(hash.digest_len()).map_err(|e| IssueError::Der(e.to_string()))?;
    let parameters = PssParameters { hash: hash_id, mask, salt_length };
    Ok(AlgorithmIdentifierOwned { oid: RSASSA_PSS, parameters: Some(Any::encode_from(&parameters)?) })
}
