//! What both transports do with an opened key: describe it, complete its chain, sign a digest.

use std::path::Path;

use crate::certificate::{CertificateChain, ChainError, Completed, read_bundle};
use crate::error::Error;
use crate::key::{HashAlgorithm, KeySpec};
use crate::request::{Deadline, KeyId, KeyRequest};
use crate::signature::RawSignature;
use crate::signing_key::SigningKey;
use crate::to_be_signed::ToBeSigned;

/// The plugin config entry every plugin made with this SDK knows: the path of a PEM file with certificates from which
/// a chain is completed.
pub const CA_CERTS: &str = "ca_certs";

/// Reads `keySpec` and `hashAlgorithm` and checks that they belong together.
///
/// # Errors
/// `VALIDATION_ERROR` naming the field.
pub(crate) fn spec_and_hash(spec: &str, hash: &str) -> Result<(KeySpec, HashAlgorithm), Error> {
    for (name, value) in [("keySpec", spec), ("hashAlgorithm", hash)] {
        if value.is_empty() {
            return Err(Error::validation(format!("{name} is missing or empty")));
        }
    }
    let spec: KeySpec = spec.parse().map_err(|e| Error::validation(format!("keySpec: {e}")))?;
    let hash: HashAlgorithm = hash.parse().map_err(|e| Error::validation(format!("hashAlgorithm: {e}")))?;
    // SPEC REQ-8: the hash follows from the key.
    if hash != spec.hash_algorithm() {
        let expected = spec.hash_algorithm();
        return Err(Error::validation(format!(
            "hashAlgorithm {hash} does not belong to keySpec {spec}, expected {expected}"
        )));
    }
    Ok((spec, hash))
}

/// Signs, after the last look at the key and the clock.
///
/// # Errors
/// `VALIDATION_ERROR` if the key is of another spec than the host was told, `TIMEOUT` if it is too late, and
/// whatever the vault says.
pub(crate) fn sign(
    key: &dyn SigningKey,
    id: &KeyId,
    asked: KeySpec,
    content: &ToBeSigned,
    deadline: Deadline,
) -> Result<RawSignature, Error> {
    same_spec(key, id, asked)?;
    deadline.check()?;
    let signature = key.sign_content(content, deadline)?;
    if signature.spec() != asked {
        let found = signature.spec();
        return Err(Error::internal(format!(
            "the plugin returned a signature of an {found} key from an {asked} key; report this to its author"
        )));
    }
    Ok(signature)
}

/// Refuses a key that is not of the spec the host was told (SPEC REQ-9).
pub(crate) fn same_spec(key: &dyn SigningKey, id: &KeyId, asked: KeySpec) -> Result<(), Error> {
    let found = key.public_key().spec();
    if found == asked {
        return Ok(());
    }
    let id = id.as_str();
    Err(Error::validation(format!(
        "keySpec is {asked} but key {id:?} is {found}: the key changed since it was described, ask for it again"
    )))
}

/// The chain from leaf to root.
///
/// # Errors
/// `VALIDATION_ERROR` if no certificate holds the key or the chain ends before a root, naming what is missing.
pub(crate) fn full_chain(key: &dyn SigningKey, request: &KeyRequest) -> Result<CertificateChain, Error> {
    let id = request.key_id().as_str();
    let completed = completed_chain(key, request)?.map_err(|e| refused_chain(id, &e))?;
    match completed.missing_issuer {
        None => Ok(completed.chain),
        Some(issuer) => Err(Error::validation(format!(
            "the certificate chain of key {id:?} ends before its root: the certificate of issuer {issuer:?} is \
             missing; add it to the PEM file that plugin config {CA_CERTS:?} names (--plugin-config {CA_CERTS}=FILE)"
        ))),
    }
}

/// The chain as far as it is known; empty for a key that has no certificate yet.
///
/// # Errors
/// `VALIDATION_ERROR` if the vault hands out certificates and none holds the key.
#[cfg(feature = "grpc")]
pub(crate) fn known_chain(key: &dyn SigningKey, request: &KeyRequest) -> Result<CertificateChain, Error> {
    let id = request.key_id().as_str();
    match completed_chain(key, request)? {
        Ok(completed) => Ok(completed.chain),
        Err(ChainError::NoLeaf) if key.certificate_chain()?.certificates().is_empty() => {
            Ok(CertificateChain::default())
        }
        Err(error) => Err(refused_chain(id, &error)),
    }
}

fn completed_chain(
    key: &dyn SigningKey,
    request: &KeyRequest,
) -> Result<Result<Completed, ChainError>, Error> {
    let bundle = request.config_optional(CA_CERTS).map(|path| read_bundle(Path::new(path))).transpose()?;
    Ok(key.certificate_chain()?.complete(key.public_key(), bundle.unwrap_or_default()))
}

fn refused_chain(id: &str, error: &ChainError) -> Error {
    Error::validation(format!(
        "certificate chain of key {id:?}: {error}; put the certificate issued for this key into the vault or into \
         the PEM file that plugin config {CA_CERTS:?} names (--plugin-config {CA_CERTS}=FILE)"
    ))
}
