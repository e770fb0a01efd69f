//! A signature as the card returned it, checked against the public key before anybody sees it.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};
use prokura_plugin::{Digest, KeySpec, PublicKey, RawSignature};

use super::pss;

/// Takes what the card returned into the contract's encoding; `None` if it is no signature of the digest by the key.
pub(crate) fn checked(key: &PublicKey, digest: &Digest, returned: &[u8]) -> Option<RawSignature> {
    let spec = key.spec();
    let signature = if spec.is_rsa() {
        RawSignature::from_rsa(spec, returned).ok()?
    } else {
        RawSignature::from_ecdsa_der(spec, returned).ok()?
    };
    let hash = pss::algorithm(digest.algorithm());
    let digest = digest::Digest::import_less_safe(digest.bytes(), hash).ok()?;
    let public = UnparsedPublicKey::new(algorithm(spec)?, key.key_bits());
    public.verify_digest(&digest, signature.bytes()).ok().map(|()| signature)
}

fn algorithm(spec: KeySpec) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match spec {
        KeySpec::Rsa2048 => &RSA_PSS_2048_8192_SHA256,
        KeySpec::Rsa3072 => &RSA_PSS_2048_8192_SHA384,
        KeySpec::Rsa4096 => &RSA_PSS_2048_8192_SHA512,
        KeySpec::Ec256 => &ECDSA_P256_SHA256_FIXED,
        KeySpec::Ec384 => &ECDSA_P384_SHA384_FIXED,
        KeySpec::Ec521 => return None,
    })
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
        RSA_PSS_SHA384, RsaEncoding, RsaKeyPair,
    };
    use prokura_plugin::HashAlgorithm;

    use super::*;

    #[test]
    fn only_a_signature_of_the_digest_by_the_key_passes() {
        let pair = || EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let (right, wrong) = (pair(), pair());
        let key = PublicKey::from_ec_point(KeySpec::Ec256, right.public_key().as_ref()).unwrap();
        let digest = |text: &str| {
            Digest::from_bytes(
                HashAlgorithm::Sha256,
                digest::digest(&digest::SHA256, text.as_bytes()).as_ref().to_vec(),
            )
            .unwrap()
        };
        let sign = |pair: &EcdsaKeyPair| pair.sign(&SystemRandom::new(), b"text").unwrap().as_ref().to_vec();
        let good = sign(&right);
        assert!(checked(&key, &digest("text"), &good).is_some());
        assert!(checked(&key, &digest("other"), &good).is_none());
        assert!(checked(&key, &digest("text"), &sign(&wrong)).is_none());
        assert!(checked(&key, &digest("text"), &good[..good.len() - 1]).is_none());
        assert!(checked(&key, &digest("text"), &[]).is_none());
    }

    #[test]
    fn rsa_signatures_with_another_padding_do_not_pass() {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let spki = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap();
        let key = PublicKey::from_spki_der(spki.as_ref()).unwrap();
        let bytes = digest::digest(&digest::SHA256, b"text").as_ref().to_vec();
        let digest = Digest::from_bytes(HashAlgorithm::Sha256, bytes).unwrap();
        for (padding, passes) in [
            (&RSA_PSS_SHA256 as &dyn RsaEncoding, true),
            (&RSA_PSS_SHA384, false),
            (&RSA_PKCS1_SHA256, false),
        ] {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(padding, &SystemRandom::new(), b"text", &mut signature).unwrap();
            assert_eq!(checked(&key, &digest, &signature).is_some(), passes, "{padding:?}");
        }
    }
}
