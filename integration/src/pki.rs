//! Certificates for tests: an authority, and leaves for any public key.

use anyhow::Result;
use prokura_plugin::{KeySpec, PublicKey};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, RsaKeySize, SignatureAlgorithm,
};

/// A root that issues code-signing certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    /// A new self-signed root with a P-256 key.
    ///
    /// # Errors
    /// If the key or the certificate cannot be made.
    pub fn new(common_name: &str) -> Result<Self> {
        let key = generate_key(KeySpec::Ec256)?;
        let mut params = named(common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    /// The root, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A code-signing leaf for the DER SubjectPublicKeyInfo of a key that is elsewhere; PEM.
    ///
    /// # Errors
    /// If the key is none of the six specs.
    pub fn issue(&self, spki: &[u8], common_name: &str) -> Result<String> {
        let key = Elsewhere(PublicKey::from_spki_der(spki)?);
        self.issue_to(&key, common_name, |_| ())
    }

    /// As [`Authority::issue`], with `change` applied before signing: for certificates that break a rule.
    ///
    /// # Errors
    /// If the certificate cannot be made.
    pub fn issue_to(
        &self,
        key: &impl PublicKeyData,
        common_name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Result<String> {
        let mut params = named(common_name);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        change(&mut params);
        Ok(params.signed_by(key, &self.issuer)?.pem())
    }
}

/// A new private key in this process.
///
/// # Errors
/// If the crypto library refuses.
pub fn generate_key(spec: KeySpec) -> Result<KeyPair> {
    Ok(match spec {
        KeySpec::Rsa2048 => KeyPair::generate_rsa_for(algorithm(spec), RsaKeySize::_2048)?,
        KeySpec::Rsa3072 => KeyPair::generate_rsa_for(algorithm(spec), RsaKeySize::_3072)?,
        KeySpec::Rsa4096 => KeyPair::generate_rsa_for(algorithm(spec), RsaKeySize::_4096)?,
        KeySpec::Ec256 | KeySpec::Ec384 | KeySpec::Ec521 => KeyPair::generate_for(algorithm(spec))?,
    })
}

fn algorithm(spec: KeySpec) -> &'static SignatureAlgorithm {
    match spec {
        KeySpec::Rsa2048 => &rcgen::PKCS_RSA_SHA256,
        KeySpec::Rsa3072 => &rcgen::PKCS_RSA_SHA384,
        KeySpec::Rsa4096 => &rcgen::PKCS_RSA_SHA512,
        KeySpec::Ec256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        KeySpec::Ec384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        KeySpec::Ec521 => &rcgen::PKCS_ECDSA_P521_SHA512,
    }
}

/// The public half of a key that is not in this process.
pub(crate) struct Elsewhere(pub(crate) PublicKey);

impl PublicKeyData for Elsewhere {
    fn der_bytes(&self) -> &[u8] {
        self.0.key_bits()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        algorithm(self.0.spec())
    }
}

fn named(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CountryName, "US");
    name.push(DnType::StateOrProvinceName, "WA");
    name.push(DnType::LocalityName, "Seattle");
    name.push(DnType::OrganizationName, "Prokura Tests");
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    params
}
