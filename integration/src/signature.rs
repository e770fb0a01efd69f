//! Raw signatures by keys of this process: for replies nobody but a test makes.

use anyhow::{Context as _, Result};
use aws_lc_rs::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, RsaEncoding};
use aws_lc_rs::{digest, rsa};
use prokura_plugin::{Digest, HashAlgorithm, KeySpec};
use rcgen::KeyPair;

/// Signs with the algorithm that belongs to the key.
///
/// # Errors
/// If the key is not of this spec.
pub fn sign(pair: &KeyPair, spec: KeySpec, digest: &Digest) -> Result<Vec<u8>> {
    match spec {
        KeySpec::Ec256 => sign_ec(pair, &signature::ECDSA_P256_SHA256_FIXED_SIGNING, digest),
        KeySpec::Ec384 => sign_ec(pair, &signature::ECDSA_P384_SHA384_FIXED_SIGNING, digest),
        KeySpec::Ec521 => sign_ec(pair, &signature::ECDSA_P521_SHA512_FIXED_SIGNING, digest),
        KeySpec::Rsa2048 => sign_rsa(pair, &signature::RSA_PSS_SHA256, digest),
        KeySpec::Rsa3072 => sign_rsa(pair, &signature::RSA_PSS_SHA384, digest),
        KeySpec::Rsa4096 => sign_rsa(pair, &signature::RSA_PSS_SHA512, digest),
    }
}

/// Signs with an EC key in the encoding of the algorithm, fixed width or ASN.1 DER.
///
/// # Errors
/// If the key is not of this curve.
pub fn sign_ec(
    pair: &KeyPair,
    algorithm: &'static EcdsaSigningAlgorithm,
    digest: &Digest,
) -> Result<Vec<u8>> {
    let pair =
        EcdsaKeyPair::from_pkcs8(algorithm, pair.serialized_der()).context("not a key of this curve")?;
    Ok(pair.sign_digest(&imported(digest)?)?.as_ref().to_vec())
}

/// Signs with an RSA key and the padding given.
///
/// # Errors
/// If the key is no RSA key.
pub fn sign_rsa(pair: &KeyPair, padding: &'static dyn RsaEncoding, digest: &Digest) -> Result<Vec<u8>> {
    let pair = rsa::KeyPair::from_pkcs8(pair.serialized_der()).context("not an RSA key")?;
    let mut bytes = vec![0; pair.public_modulus_len()];
    pair.sign_digest(padding, &imported(digest)?, &mut bytes)?;
    Ok(bytes)
}

fn imported(digest: &Digest) -> Result<digest::Digest> {
    let algorithm = match digest.algorithm() {
        HashAlgorithm::Sha256 => &digest::SHA256,
        HashAlgorithm::Sha384 => &digest::SHA384,
        HashAlgorithm::Sha512 => &digest::SHA512,
    };
    Ok(digest::Digest::import_less_safe(digest.bytes(), algorithm)?)
}
