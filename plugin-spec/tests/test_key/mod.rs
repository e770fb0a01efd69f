//! A signing key in memory and its chain (leaf, intermediate, root), for the tests of the SDK.

#![allow(dead_code, reason = "each test file uses its part")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use aws_lc_rs::digest;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{self, EcdsaKeyPair, RsaEncoding, UnparsedPublicKey, VerificationAlgorithm};
use prokura_plugin::{
    CertificateChain, Deadline, Digest, Error, HashAlgorithm, KeySpec, PublicKey, RawSignature, SigningKey,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, RsaKeySize,
};

/// A key of one of the six specs with its complete chain.
pub(crate) struct TestKey {
    private: Private,
    public: PublicKey,
    pub(crate) chain: CertificateChain,
}

enum Private {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

impl TestKey {
    pub(crate) fn generate(spec: KeySpec) -> Self {
        let key = match spec {
            KeySpec::Ec256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            KeySpec::Ec384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            KeySpec::Ec521 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512),
            KeySpec::Rsa2048 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048),
            KeySpec::Rsa3072 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_3072),
            KeySpec::Rsa4096 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_4096),
        }
        .unwrap();
        let pkcs8 = key.serialize_der();
        let private = match spec {
            KeySpec::Ec256 => ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8),
            KeySpec::Ec384 => ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING, &pkcs8),
            KeySpec::Ec521 => ec(&signature::ECDSA_P521_SHA512_FIXED_SIGNING, &pkcs8),
            _ => Private::Rsa(RsaKeyPair::from_pkcs8(&pkcs8).unwrap()),
        };
        let public = PublicKey::from_spki_der(&key.subject_public_key_info()).unwrap();
        Self { private, public, chain: chain(&key) }
    }

    pub(crate) fn spec(&self) -> KeySpec {
        self.public.spec()
    }
}

fn ec(algorithm: &'static signature::EcdsaSigningAlgorithm, pkcs8: &[u8]) -> Private {
    Private::Ec(EcdsaKeyPair::from_pkcs8(algorithm, pkcs8).unwrap())
}

fn chain(key: &KeyPair) -> CertificateChain {
    let authority = |name: &str| {
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    };
    let root = CertifiedIssuer::self_signed(authority("vector root"), KeyPair::generate().unwrap()).unwrap();
    let intermediate =
        CertifiedIssuer::signed_by(authority("vector intermediate"), KeyPair::generate().unwrap(), &root)
            .unwrap();
    let mut leaf = named("vector leaf");
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    let leaf = leaf.signed_by(key, &intermediate).unwrap();
    let certificates = [leaf.der().to_vec(), intermediate.der().to_vec(), root.der().to_vec()];
    CertificateChain::from_der(certificates.to_vec()).unwrap()
}

fn named(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

impl SigningKey for TestKey {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn certificate_chain(&self) -> Result<CertificateChain, Error> {
        Ok(self.chain.clone())
    }

    fn sign_digest(&self, digest: &Digest, _: Deadline) -> Result<RawSignature, Error> {
        let (algorithm, padding): (_, &'static dyn RsaEncoding) = match digest.algorithm() {
            HashAlgorithm::Sha256 => (&digest::SHA256, &signature::RSA_PSS_SHA256),
            HashAlgorithm::Sha384 => (&digest::SHA384, &signature::RSA_PSS_SHA384),
            HashAlgorithm::Sha512 => (&digest::SHA512, &signature::RSA_PSS_SHA512),
        };
        let digest = digest::Digest::import_less_safe(digest.bytes(), algorithm).unwrap();
        let bytes = match &self.private {
            Private::Ec(key) => key.sign_digest(&digest).unwrap().as_ref().to_vec(),
            Private::Rsa(key) => {
                let mut bytes = vec![0; key.public_modulus_len()];
                key.sign_digest(padding, &digest, &mut bytes).unwrap();
                bytes
            }
        };
        Ok(RawSignature::from_fixed_width(self.spec(), bytes)?)
    }
}

/// Whether `signature` is the key's over `message`, in the contract's encoding.
pub(crate) fn verifies(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    let algorithm: &dyn VerificationAlgorithm = match key.spec() {
        KeySpec::Ec256 => &signature::ECDSA_P256_SHA256_FIXED,
        KeySpec::Ec384 => &signature::ECDSA_P384_SHA384_FIXED,
        KeySpec::Ec521 => &signature::ECDSA_P521_SHA512_FIXED,
        KeySpec::Rsa2048 => &signature::RSA_PSS_2048_8192_SHA256,
        KeySpec::Rsa3072 => &signature::RSA_PSS_2048_8192_SHA384,
        KeySpec::Rsa4096 => &signature::RSA_PSS_2048_8192_SHA512,
    };
    UnparsedPublicKey::new(algorithm, key.key_bits()).verify(message, signature).is_ok()
}

/// A handle on a shared key: what an open-key function returns more than once.
pub(crate) struct Handle(pub(crate) std::sync::Arc<TestKey>);

impl SigningKey for Handle {
    fn public_key(&self) -> &PublicKey {
        self.0.public_key()
    }

    fn certificate_chain(&self) -> Result<CertificateChain, Error> {
        self.0.certificate_chain()
    }

    fn sign_digest(&self, digest: &Digest, deadline: Deadline) -> Result<RawSignature, Error> {
        self.0.sign_digest(digest, deadline)
    }
}
