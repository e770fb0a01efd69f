//! Whether a raw signature is one over a digest by a key: what a vault returns is not believed.

use aws_lc_rs::digest::{self, Algorithm};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ParsedPublicKey,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, VerificationAlgorithm,
};
use prokura_plugin::{Digest, HashAlgorithm, KeySpec, PublicKey, RawSignature};

/// A public key, parsed once.
#[derive(Debug)]
pub(super) struct VerifyingKey {
    spec: KeySpec,
    key: ParsedPublicKey,
}

impl VerifyingKey {
    /// `None` if AWS-LC does not take the key.
    pub(super) fn new(key: &PublicKey) -> Option<Self> {
        let spec = key.spec();
        let algorithm: &'static dyn VerificationAlgorithm = match spec {
            KeySpec::Rsa2048 => &RSA_PSS_2048_8192_SHA256,
            KeySpec::Rsa3072 => &RSA_PSS_2048_8192_SHA384,
            KeySpec::Rsa4096 => &RSA_PSS_2048_8192_SHA512,
            KeySpec::Ec256 => &ECDSA_P256_SHA256_FIXED,
            KeySpec::Ec384 => &ECDSA_P384_SHA384_FIXED,
            KeySpec::Ec521 => &ECDSA_P521_SHA512_FIXED,
        };
        let key = ParsedPublicKey::new(algorithm, key.key_bits()).ok()?;
        Some(Self { spec, key })
    }

    /// Whether `signature` is one over `digest`; RSA-PSS with a salt as long as the hash.
    pub(super) fn verifies(&self, digest: &Digest, signature: &RawSignature) -> bool {
        if digest.algorithm() != self.spec.hash_algorithm()
            || signature.bytes().len() != self.spec.signature_len()
        {
            return false;
        }
        let Ok(imported) = digest::Digest::import_less_safe(digest.bytes(), algorithm(digest.algorithm()))
        else {
            return false;
        };
        self.key.verify_digest_sig(&imported, signature.bytes()).is_ok()
    }
}

const fn algorithm(hash: HashAlgorithm) -> &'static Algorithm {
    match hash {
        HashAlgorithm::Sha256 => &digest::SHA256,
        HashAlgorithm::Sha384 => &digest::SHA384,
        HashAlgorithm::Sha512 => &digest::SHA512,
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PSS_SHA384, RsaKeyPair,
    };

    use super::*;

    fn check(key: &PublicKey, message: &[u8], signature: Vec<u8>) {
        let spec = key.spec();
        let verifying = VerifyingKey::new(key).unwrap();
        let raw = RawSignature::from_fixed_width(spec, signature.clone()).unwrap();
        let digest = Digest::of(spec.hash_algorithm(), message);
        assert!(verifying.verifies(&digest, &raw), "{spec}");
        assert!(!verifying.verifies(&Digest::of(spec.hash_algorithm(), b"other"), &raw), "{spec}");
        assert!(!verifying.verifies(&Digest::of(HashAlgorithm::Sha256, message), &raw), "another hash");
        let mut bent = signature;
        bent[20] ^= 1;
        let bent = RawSignature::from_fixed_width(spec, bent).unwrap();
        assert!(!verifying.verifies(&digest, &bent), "{spec}");
    }

    #[test]
    fn signatures_over_the_digest_verify_and_nothing_else() {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::generate(&ECDSA_P521_SHA512_FIXED_SIGNING).unwrap();
        let signature = pair.sign(&random, b"m").unwrap().as_ref().to_vec();
        let key = PublicKey::from_ec_point(KeySpec::Ec521, pair.public_key().as_ref()).unwrap();
        check(&key, b"m", signature);
        let pair = RsaKeyPair::generate(KeySize::Rsa3072).unwrap();
        let mut signature = vec![0; 384];
        pair.sign(&RSA_PSS_SHA384, &random, b"m", &mut signature).unwrap();
        let (n, e) = (pair.public_key().modulus(), pair.public_key().exponent());
        let key =
            PublicKey::from_rsa(n.big_endian_without_leading_zero(), e.big_endian_without_leading_zero());
        check(&key.unwrap(), b"m", signature);
    }
}
