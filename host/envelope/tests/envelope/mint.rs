//! Keys, certificates and envelopes for the tests; everything is made here, nothing is trusted elsewhere.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaKeyPair, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use jiff::Timestamp;
use prokura_envelope::{Attributes, Descriptor, Envelope, EnvelopeFormat, Payload, SigningScheme, Unsigned};
use prokura_plugin::{CertificateChain, KeySpec, RawSignature};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, RsaKeySize,
    SignatureAlgorithm,
};

static KEYS: [LazyLock<KeyPair>; 6] = [
    LazyLock::new(|| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap()),
    LazyLock::new(|| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA384, RsaKeySize::_3072).unwrap()),
    LazyLock::new(|| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA512, RsaKeySize::_4096).unwrap()),
    LazyLock::new(|| ec_key(&rcgen::PKCS_ECDSA_P256_SHA256)),
    LazyLock::new(|| ec_key(&rcgen::PKCS_ECDSA_P384_SHA384)),
    LazyLock::new(|| ec_key(&rcgen::PKCS_ECDSA_P521_SHA512)),
];
/// Key of the intermediate: EC P-256, as a leaf could have.
pub(crate) static INTERMEDIATE_KEY: LazyLock<KeyPair> =
    LazyLock::new(|| ec_key(&rcgen::PKCS_ECDSA_P256_SHA256));
/// Key of the root.
pub(crate) static ROOT_KEY: LazyLock<KeyPair> = LazyLock::new(|| ec_key(&rcgen::PKCS_ECDSA_P384_SHA384));

fn ec_key(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).unwrap()
}

/// The one key of a spec.
pub(crate) fn key(spec: KeySpec) -> &'static KeyPair {
    &KEYS[KeySpec::ALL.iter().position(|s| *s == spec).unwrap()]
}

/// Signs as a vault does.
pub(crate) fn sign(spec: KeySpec, message: &[u8]) -> RawSignature {
    RawSignature::from_fixed_width(spec, sign_with(key(spec), spec, message)).unwrap()
}

/// Signs with any key of the spec.
pub(crate) fn sign_with(key: &KeyPair, spec: KeySpec, message: &[u8]) -> Vec<u8> {
    let ec = |algorithm| {
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, key.serialized_der()).unwrap();
        pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    };
    match spec {
        KeySpec::Rsa2048 => sign_rsa(spec, &RSA_PSS_SHA256, message),
        KeySpec::Rsa3072 => sign_rsa(spec, &RSA_PSS_SHA384, message),
        KeySpec::Rsa4096 => sign_rsa(spec, &RSA_PSS_SHA512, message),
        KeySpec::Ec256 => ec(&ECDSA_P256_SHA256_FIXED_SIGNING),
        KeySpec::Ec384 => ec(&ECDSA_P384_SHA384_FIXED_SIGNING),
        KeySpec::Ec521 => ec(&ECDSA_P521_SHA512_FIXED_SIGNING),
    }
}

/// Signs with the RSA key of the spec in any padding.
pub(crate) fn sign_rsa(spec: KeySpec, padding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
    let pair = RsaKeyPair::from_pkcs8(key(spec).serialized_der()).unwrap();
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(padding, &SystemRandom::new(), message, &mut signature).unwrap();
    signature
}

/// What the certificates of a chain are made from. Public, so that a test can break any of it.
pub(crate) struct Plan {
    pub(crate) leaf: CertificateParams,
    pub(crate) intermediate: CertificateParams,
    pub(crate) root: CertificateParams,
}

impl Plan {
    /// A chain of three that keeps every rule from 2020 to 2040.
    pub(crate) fn good() -> Self {
        Self {
            leaf: params("leaf", IsCa::NoCa, &[KeyUsagePurpose::DigitalSignature]),
            intermediate: params(
                "intermediate",
                IsCa::Ca(BasicConstraints::Unconstrained),
                &[KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign],
            ),
            root: params("root", IsCa::Ca(BasicConstraints::Unconstrained), &[KeyUsagePurpose::KeyCertSign]),
        }
    }

    /// The chain for a leaf key: leaf, intermediate, root.
    pub(crate) fn chain_for(&self, leaf_key: &KeyPair) -> Vec<Vec<u8>> {
        let root_issuer = Issuer::from_params(&self.root, &*ROOT_KEY);
        let intermediate_issuer = Issuer::from_params(&self.intermediate, &*INTERMEDIATE_KEY);
        let leaf = self.leaf.signed_by(leaf_key, &intermediate_issuer).unwrap();
        let intermediate = self.intermediate.signed_by(&*INTERMEDIATE_KEY, &root_issuer).unwrap();
        let root = self.root.self_signed(&*ROOT_KEY).unwrap();
        [leaf, intermediate, root].map(|c| c.der().to_vec()).to_vec()
    }
}

fn params(name: &str, is_ca: IsCa, usages: &[KeyUsagePurpose]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CountryName, "US");
    params.distinguished_name.push(DnType::StateOrProvinceName, "WA");
    params.distinguished_name.push(DnType::OrganizationName, "Notary");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = is_ca;
    params.key_usages = usages.to_vec();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2040, 1, 1);
    params
}

/// A good chain for the key of a spec.
pub(crate) fn chain(spec: KeySpec) -> CertificateChain {
    CertificateChain::from_der(Plan::good().chain_for(key(spec))).unwrap()
}

pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn attributes() -> Attributes {
    Attributes {
        scheme: SigningScheme::X509,
        signing_time: time("2026-01-31T08:00:00Z"),
        expiry: None,
        extended: Vec::new(),
        signing_agent: Some("prokura/0.1.0".to_owned()),
    }
}

pub(crate) fn payload() -> Payload {
    let target = Descriptor {
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        digest: "sha256:73c803930ea3ba1e54bc25c2bdc53edd0284c62ed651fe7b00369da519a3c333".to_owned(),
        size: 16724,
        annotations: BTreeMap::new(),
    };
    Payload::new(target, BTreeMap::from([("buildId".to_owned(), "101".to_owned())])).unwrap()
}

/// A good envelope.
pub(crate) fn envelope(format: EnvelopeFormat, spec: KeySpec) -> Envelope {
    let unsigned = Unsigned::new(format, &payload(), attributes(), spec).unwrap();
    let signature = sign(spec, unsigned.to_be_signed());
    unsigned.finish(signature, &chain(spec)).unwrap()
}
