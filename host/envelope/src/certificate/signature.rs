//! Signatures on certificates: which algorithms are accepted, and whether they verify.

use aws_lc_rs::signature as alg;
use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode, Reader, SliceReader, TagMode, TagNumber};
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

use super::Certificate;

/// Why a certificate is not signed by another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignedByError {
    /// MD5 or SHA-1: collisions can be made, so the signature proves nothing.
    #[error("it is signed with {algorithm}, which is broken; SHA-256 or stronger is required")]
    Broken {
        /// Name of the algorithm.
        algorithm: &'static str,
    },
    /// Neither RSA, ECDSA nor Ed25519 as they are used in certificates, or an unusual parameter or curve.
    #[error(
        "its signature algorithm {found} is not supported; supported are RSA (PKCS#1 v1.5 and PSS) and ECDSA \
         on P-256, P-384 and P-521, both with SHA-256, SHA-384 or SHA-512, and Ed25519"
    )]
    Unsupported {
        /// OID and, where it matters, the kind of the issuer's key.
        found: String,
    },
    /// The algorithm is named differently inside and outside the signed part.
    #[error("its signature algorithm differs inside and outside of the signed part")]
    Inconsistent,
    /// The signature does not verify.
    #[error("its signature does not verify under that key")]
    DoesNotVerify,
}

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const MD2_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.2");
const MD5_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.4");
const SHA1_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.5");
const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const SHA256_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const SHA384_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
const SHA512_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");
const SHA1_ECDSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.1");
const SHA256_ECDSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const SHA384_ECDSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const SHA512_ECDSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const MGF1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.8");
const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");

pub(super) fn verify(certificate: &Certificate, issuer: &Certificate) -> Result<(), SignedByError> {
    let parsed = &certificate.parsed;
    if parsed.signature_algorithm() != parsed.tbs_certificate().signature() {
        return Err(SignedByError::Inconsistent);
    }
    let oid = parsed.signature_algorithm().oid;
    let parameters = parsed.signature_algorithm().parameters.as_ref().map(AnyRef::from);
    refuse_broken(oid, parameters)?;
    let unsupported = |found: String| SignedByError::Unsupported { found };
    let spki = SubjectPublicKeyInfoRef::from_der(&issuer.parts.spki);
    let spki = spki.map_err(|_| unsupported(format!("{oid} with a malformed issuer key")))?;
    let key = spki.subject_public_key.as_bytes().unwrap_or_default();
    let signature = parsed.signature().as_bytes().ok_or(SignedByError::DoesNotVerify)?;
    let curve = spki.algorithm.parameters_oid().ok();
    let algorithm = algorithm(oid, parameters, spki.algorithm.oid, curve)
        .ok_or_else(|| unsupported(format!("{oid} with an issuer key of type {}", spki.algorithm.oid)))?;
    let verified = alg::UnparsedPublicKey::new(algorithm, key).verify(&certificate.parts.tbs, signature);
    verified.map_err(|_| SignedByError::DoesNotVerify)
}

fn refuse_broken(oid: ObjectIdentifier, parameters: Option<AnyRef<'_>>) -> Result<(), SignedByError> {
    let algorithm = match oid {
        MD2_RSA => "MD2",
        MD5_RSA => "MD5",
        SHA1_RSA | SHA1_ECDSA => "SHA-1",
        // Absent parameters mean SHA-1 (RFC 4055 section 3.1).
        RSASSA_PSS if pss_hash(parameters) == Some(SHA1) => "SHA-1",
        _ => return Ok(()),
    };
    Err(SignedByError::Broken { algorithm })
}

/// The verification algorithm for a signature OID under an issuer key of type `key` on `curve`.
fn algorithm(
    oid: ObjectIdentifier,
    parameters: Option<AnyRef<'_>>,
    key: ObjectIdentifier,
    curve: Option<ObjectIdentifier>,
) -> Option<&'static dyn alg::VerificationAlgorithm> {
    Some(match (oid, key, curve) {
        (SHA256_RSA, RSA_ENCRYPTION, _) => &alg::RSA_PKCS1_2048_8192_SHA256,
        (SHA384_RSA, RSA_ENCRYPTION, _) => &alg::RSA_PKCS1_2048_8192_SHA384,
        (SHA512_RSA, RSA_ENCRYPTION, _) => &alg::RSA_PKCS1_2048_8192_SHA512,
        (RSASSA_PSS, RSA_ENCRYPTION, _) => match pss_hash(parameters)? {
            SHA256 => &alg::RSA_PSS_2048_8192_SHA256,
            SHA384 => &alg::RSA_PSS_2048_8192_SHA384,
            SHA512 => &alg::RSA_PSS_2048_8192_SHA512,
            _ => return None,
        },
        (SHA256_ECDSA, EC_PUBLIC_KEY, Some(P256)) => &alg::ECDSA_P256_SHA256_ASN1,
        (SHA384_ECDSA, EC_PUBLIC_KEY, Some(P256)) => &alg::ECDSA_P256_SHA384_ASN1,
        (SHA512_ECDSA, EC_PUBLIC_KEY, Some(P256)) => &alg::ECDSA_P256_SHA512_ASN1,
        (SHA256_ECDSA, EC_PUBLIC_KEY, Some(P384)) => &alg::ECDSA_P384_SHA256_ASN1,
        (SHA384_ECDSA, EC_PUBLIC_KEY, Some(P384)) => &alg::ECDSA_P384_SHA384_ASN1,
        (SHA512_ECDSA, EC_PUBLIC_KEY, Some(P384)) => &alg::ECDSA_P384_SHA512_ASN1,
        (SHA256_ECDSA, EC_PUBLIC_KEY, Some(P521)) => &alg::ECDSA_P521_SHA256_ASN1,
        (SHA384_ECDSA, EC_PUBLIC_KEY, Some(P521)) => &alg::ECDSA_P521_SHA384_ASN1,
        (SHA512_ECDSA, EC_PUBLIC_KEY, Some(P521)) => &alg::ECDSA_P521_SHA512_ASN1,
        (ED25519, ED25519, _) => &alg::ED25519,
        _ => return None,
    })
}

/// The hash of `RSASSA-PSS-params` (RFC 4055 section 3.1), if MGF1 uses the same one and the salt has its length;
/// SHA-1 whatever the rest, which is refused in any case.
fn pss_hash(parameters: Option<AnyRef<'_>>) -> Option<ObjectIdentifier> {
    let Some(parameters) = parameters else { return Some(SHA1) };
    parameters.sequence(pss_fields).ok().flatten()
}

fn pss_fields(fields: &mut SliceReader<'_>) -> der::Result<Option<ObjectIdentifier>> {
    let hash: Option<AlgorithmIdentifierRef<'_>> =
        fields.context_specific(TagNumber(0), TagMode::Explicit)?;
    let mask: Option<AlgorithmIdentifierRef<'_>> =
        fields.context_specific(TagNumber(1), TagMode::Explicit)?;
    let salt: Option<u16> = fields.context_specific(TagNumber(2), TagMode::Explicit)?;
    let _trailer: Option<u16> = fields.context_specific(TagNumber(3), TagMode::Explicit)?;
    let salt_expected = match hash.map(|h| h.oid) {
        None | Some(SHA1) => return Ok(Some(SHA1)),
        Some(SHA256) => 32,
        Some(SHA384) => 48,
        Some(SHA512) => 64,
        Some(_) => return Ok(None),
    };
    let mask_hash = match mask {
        Some(AlgorithmIdentifierRef { oid: MGF1, parameters: Some(inner) }) => {
            Some(inner.decode_as::<AlgorithmIdentifierRef<'_>>()?.oid)
        }
        _ => None,
    };
    let hash = hash.map(|h| h.oid);
    Ok(hash.filter(|_| mask_hash == hash && salt == Some(salt_expected)))
}
