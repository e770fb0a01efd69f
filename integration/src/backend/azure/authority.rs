//! The intermediate authority between the test root and the fake's leaves.

use anyhow::Result;
use prokura_plugin::KeySpec;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::pki::{Authority, generate_key};

/// PEM, and what signs with it.
pub(super) fn intermediate(root: &Authority) -> Result<(String, Issuer<'static, KeyPair>)> {
    let key = generate_key(KeySpec::Ec256)?;
    let mut made = CertificateParams::default();
    let pem = root.issue_to(&key, "Azure test intermediate", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.extended_key_usages.clear();
        made = params.clone();
    })?;
    Ok((pem, Issuer::new(made, key)))
}

/// A code-signing certificate, PEM.
pub(super) fn leaf(issuer: &Issuer<'_, KeyPair>, key: &KeyPair, name: &str) -> Result<String> {
    let mut params = CertificateParams::default();
    for (kind, text) in [
        (DnType::CountryName, "US"),
        (DnType::StateOrProvinceName, "WA"),
        (DnType::OrganizationName, "Prokura Tests"),
        (DnType::CommonName, name),
    ] {
        params.distinguished_name.push(kind, text);
    }
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    Ok(params.signed_by(key, issuer)?.pem())
}
