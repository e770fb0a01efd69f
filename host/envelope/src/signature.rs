//! Verifies raw signatures over to-be-signed bytes.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPssSaltLength,
    RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use der::asn1::UintRef;
use der::{Decode, Reader, SliceReader};
use prokura_plugin::{Digest, KeySpec, PublicKey};

use crate::error::Mismatch;

/// Which salts an RSA-PSS signature may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Salt {
    /// As long as the hash: what the specification demands, what is written, and what COSE verifiers accept.
    HashLength,
    /// Of any length: what JWS verifiers have accepted so far.
    Any,
}

/// Whether `signature` is one over `message` by `key`, with the algorithm that belongs to the key.
pub(crate) fn verifies(key: &PublicKey, message: &[u8], signature: &[u8], salt: Salt) -> bool {
    if signature.len() != key.spec().signature_len() {
        return false;
    }
    let algorithm: &'static dyn VerificationAlgorithm = match key.spec() {
        KeySpec::Rsa2048 => &RSA_PSS_2048_8192_SHA256,
        KeySpec::Rsa3072 => &RSA_PSS_2048_8192_SHA384,
        KeySpec::Rsa4096 => &RSA_PSS_2048_8192_SHA512,
        KeySpec::Ec256 => &ECDSA_P256_SHA256_FIXED,
        KeySpec::Ec384 => &ECDSA_P384_SHA384_FIXED,
        KeySpec::Ec521 => &ECDSA_P521_SHA512_FIXED,
    };
    UnparsedPublicKey::new(algorithm, key.key_bits()).verify(message, signature).is_ok()
        || (salt == Salt::Any && salt_length(key, message, signature).is_some())
}

/// Says which of the usual mistakes made a signature that [`verifies`] has refused with the same arguments.
pub(crate) fn explain(key: &PublicKey, message: &[u8], signature: &[u8], salt: Salt) -> Mismatch {
    let digest = Digest::of(key.spec().hash_algorithm(), message);
    if verifies(key, digest.bytes(), signature, Salt::HashLength) {
        return Mismatch::HashedTwice;
    }
    // Under `Salt::Any` every length has been tried in vain; the signature may be hostile and the search is dear.
    let searched = salt == Salt::Any;
    if let Some(found) = (!searched).then(|| salt_length(key, message, signature)).flatten() {
        return Mismatch::SaltLength { found, expected: key.spec().hash_algorithm().digest_len() };
    }
    let pkcs1: &'static RsaParameters = match key.spec() {
        KeySpec::Rsa2048 => &RSA_PKCS1_2048_8192_SHA256,
        KeySpec::Rsa3072 => &RSA_PKCS1_2048_8192_SHA384,
        KeySpec::Rsa4096 => &RSA_PKCS1_2048_8192_SHA512,
        KeySpec::Ec256 | KeySpec::Ec384 | KeySpec::Ec521 => return Mismatch::Unknown,
    };
    match UnparsedPublicKey::new(pkcs1, key.key_bits()).verify(message, signature) {
        Ok(()) => Mismatch::Pkcs1,
        Err(_) => Mismatch::Unknown,
    }
}

/// The salt length with which an RSA-PSS signature verifies.
///
/// aws-lc-rs wants to be told the length, so every possible one is tried, the longest (the default of several
/// libraries) first. At most 447 RSA public operations, below 50 ms.
fn salt_length(key: &PublicKey, message: &[u8], signature: &[u8]) -> Option<usize> {
    let spec = key.spec();
    let (n, e) = spec.is_rsa().then(|| modulus_and_exponent(key.key_bits())).flatten()?;
    let components = RsaPublicKeyComponents { n, e };
    // RFC 8017 section 9.1.1: emLen >= hLen + sLen + 2, and emLen is the modulus length for these sizes.
    let longest = spec.signature_len() - spec.hash_algorithm().digest_len() - 2;
    (0..=longest).rev().find(|length| {
        let parameters = u16::try_from(*length).ok().and_then(|length| pss_with_salt(spec, length));
        parameters.is_some_and(|parameters| components.verify(&parameters, message, signature).is_ok())
    })
}

const fn pss_with_salt(spec: KeySpec, length: u16) -> Option<RsaParameters> {
    let salt = RsaPssSaltLength::Custom(length);
    Some(match spec {
        KeySpec::Rsa2048 => RSA_PSS_2048_8192_SHA256.with_pss_salt_length(salt),
        KeySpec::Rsa3072 => RSA_PSS_2048_8192_SHA384.with_pss_salt_length(salt),
        KeySpec::Rsa4096 => RSA_PSS_2048_8192_SHA512.with_pss_salt_length(salt),
        KeySpec::Ec256 | KeySpec::Ec384 | KeySpec::Ec521 => return None,
    })
}

fn modulus_and_exponent(rsa_public_key: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = SliceReader::new(rsa_public_key).ok()?;
    let both = reader.sequence(|key| {
        Ok::<_, der::Error>((UintRef::decode(key)?.as_bytes(), UintRef::decode(key)?.as_bytes()))
    });
    both.ok()
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{RSA_PSS_SHA256, RsaKeyPair};
    use rcgen::{KeyPair, PKCS_RSA_SHA256, PublicKeyData as _, RsaKeySize};

    use super::*;

    #[test]
    fn the_salt_is_searched_for_once() {
        let made = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let key = PublicKey::from_spki_der(&made.subject_public_key_info()).unwrap();
        let pair = RsaKeyPair::from_pkcs8(made.serialized_der()).unwrap();
        let mut signature = vec![0; pair.public_modulus_len()];
        let padding = &const { RSA_PSS_SHA256.with_pss_salt_length(RsaPssSaltLength::Custom(20)) };
        pair.sign(padding, &SystemRandom::new(), b"message", &mut signature).unwrap();
        assert!(verifies(&key, b"message", &signature, Salt::Any));
        assert!(!verifies(&key, b"message", &signature, Salt::HashLength));
        let explained = explain(&key, b"message", &signature, Salt::HashLength);
        assert_eq!(explained, Mismatch::SaltLength { found: 20, expected: 32 });
        // `verifies` would have found it: not searched for again, so not found.
        assert_eq!(explain(&key, b"message", &signature, Salt::Any), Mismatch::Unknown);
    }
}
