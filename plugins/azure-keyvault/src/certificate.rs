//! Where certificates come from, and installing one.

use azure_security_keyvault_certificates::models::{
    Certificate, CertificateClientGetCertificateOptions, MergeCertificateParameters,
};
use azure_security_keyvault_secrets::models::SecretClientGetSecretOptions;
use der::{Reader as _, SliceReader};
use prokura_plugin::{CertificateChain, Deadline, Error, KeyRequest, PublicKey};
use zeroize::Zeroizing;

use crate::config::key_name::{Collection, KeyName};
use crate::config::{ChainFrom, Config};
use crate::error::{Operation, Refusal, shown};
use crate::vault::{Connection, Vault};

/// The certificates the vault has for a version of a key; none if there is no certificate of that version.
///
/// # Errors
/// The vault's refusal; `VALIDATION_ERROR` if the secret must not or cannot be read.
pub(crate) fn chain(
    connection: &Connection,
    name: &KeyName,
    version: &str,
    from: ChainFrom,
) -> Result<CertificateChain, Error> {
    let object = KeyName { collection: Collection::Certificates, ..name.clone() };
    let certificate = match read(connection, &object, Deadline::NONE)? {
        Ok(certificate) => certificate,
        Err(refusal) if refusal.is_not_found() => return Ok(CertificateChain::default()),
        Err(refusal) => return Err(connection.refused(Operation::GetCertificate, &object, refusal)),
    };
    // Key Vault has been seen to answer with the newest version instead of none.
    if !certificate.kid.as_deref().is_some_and(|kid| kid.ends_with(&format!("/{version}"))) {
        return Ok(CertificateChain::default());
    }
    match from {
        ChainFrom::Secret => from_secret(connection, &object, &certificate),
        _ => checked(certificate.cer.into_iter().collect()),
    }
}

/// Asks for a certificate, in the version that `name` says or the newest.
pub(crate) fn read(
    connection: &Connection,
    name: &KeyName,
    deadline: Deadline,
) -> Result<Result<Certificate, Refusal>, Error> {
    connection.try_call(deadline, async || {
        let options = CertificateClientGetCertificateOptions {
            certificate_version: name.version.clone(),
            ..Default::default()
        };
        connection.certificates.get_certificate(&name.name, Some(options)).await?.into_model()
    })
}

/// The whole chain, from the secret behind a certificate. Asked for only if it cannot hold the private key.
fn from_secret(
    connection: &Connection,
    name: &KeyName,
    certificate: &Certificate,
) -> Result<CertificateChain, Error> {
    let policy = certificate.policy.as_ref();
    let exportable = policy.and_then(|p| p.key_properties.as_ref()).and_then(|k| k.exportable);
    let refuse = |why: &str| {
        Error::validation(format!(
            "certificate {name}: chain_from=secret: {why}; remove chain_from and put the certificates above the leaf into \
             the PEM file that plugin config ca_certs names"
        ))
    };
    if exportable != Some(false) {
        return Err(refuse(
            "its policy does not say that its key is not exportable, so its secret holds the private key, which is never fetched",
        ));
    }
    let (kind, text) = connection.call(Operation::GetSecret, name, Deadline::NONE, async || {
        let options =
            SecretClientGetSecretOptions { secret_version: name.version.clone(), ..Default::default() };
        let secret = connection.secrets.get_secret(&name.name, Some(options)).await?.into_model()?;
        Ok((secret.content_type, Zeroizing::new(secret.value.unwrap_or_default())))
    })?;
    match kind.as_deref() {
        Some("application/x-pem-file") => {
            CertificateChain::from_pem(text.as_bytes()).map_err(|e| refuse(&e.to_string()))
        }
        other => {
            let found = shown(other.unwrap_or("unknown"));
            Err(refuse(&format!(
                "the secret is of content type {found}, expected application/x-pem-file, which the certificate's policy \
                 decides (secretProperties.contentType) when the certificate is made"
            )))
        }
    }
}

/// Certificates as a chain.
pub(crate) fn checked(certificates: Vec<Vec<u8>>) -> Result<CertificateChain, Error> {
    CertificateChain::from_der(certificates)
        .map_err(|e| Error::internal(format!("certificates in the vault: {e}")))
}

/// The key of a certificate that is being issued; none if none is.
pub(crate) fn pending_key(
    connection: &Connection,
    name: &KeyName,
    deadline: Deadline,
) -> Result<Option<PublicKey>, Error> {
    let operation = connection.try_call(deadline, async || {
        connection.certificates.get_certificate_operation(&name.name, None).await?.into_model()
    })?;
    let csr = match operation {
        Ok(operation) if operation.status.as_deref() == Some("inProgress") => operation.csr,
        Ok(_) => None,
        Err(refusal) if refusal.is_not_found() => None,
        Err(refusal) => return Err(connection.refused(Operation::GetCertificate, name, refusal)),
    };
    let Some(csr) = csr else { return Ok(None) };
    let key = spki_of_request(&csr).ok_or_else(|| "its request is no PKCS#10".to_owned()).and_then(parsed);
    key.map(Some).map_err(|why| Error::validation(format!("certificate {name}: {why}")))
}

/// Completes a certificate that is being issued. Key Vault has no other way to a certificate for a key it keeps.
///
/// # Errors
/// `VALIDATION_ERROR` if none is being issued, the vault's refusal otherwise.
pub(crate) fn install(vault: &Vault, request: &KeyRequest, chain: &CertificateChain) -> Result<(), Error> {
    let config = Config::of(request.vault(), vault.surroundings())?;
    let name = config.key_name(request.key_id().as_str())?;
    let name = KeyName { collection: Collection::Certificates, version: None, ..name };
    if name.host.is_managed_hsm() {
        return Err(nowhere(&name, "a Managed HSM keeps no certificates"));
    }
    let connection = vault.connect(&name.host, &config)?;
    let Some(pending) = pending_key(&connection, &name, request.deadline())? else {
        return Err(nowhere(
            &name,
            "Key Vault takes a certificate only for a key that it made for one, and none is being issued",
        ));
    };
    if chain.certificates().first().and_then(|leaf| public_key(leaf).ok()).as_ref() != Some(&pending) {
        return Err(Error::validation(format!(
            "certificate {name}: the certificate is for another key than the one being issued; have the request of az \
             keyvault certificate pending show --vault-name {} --name {} signed",
            name.host.short_name(),
            name.name
        )));
    }
    let certificates = chain.certificates().to_vec();
    let parameters =
        || MergeCertificateParameters { x509_certificates: Some(certificates.clone()), ..Default::default() };
    connection.call(Operation::MergeCertificate, &name, request.deadline(), async || {
        connection
            .certificates
            .merge_certificate(&name.name, parameters().try_into()?, None)
            .await
            .map(|_| ())
    })
}

fn nowhere(name: &KeyName, why: &str) -> Error {
    Error::validation(format!(
        "certificate {name}: {why}. Keep the certificate and its chain in a PEM file, name it with plugin config ca_certs \
         and set chain_from=bundle; or let Key Vault make key and request together (az keyvault certificate create with \
         issuer Unknown) and install the certificate issued for that request"
    ))
}

/// The key a certificate is for.
///
/// # Errors
/// What is wrong with the certificate or its key.
pub(crate) fn public_key(certificate: &[u8]) -> Result<PublicKey, String> {
    spki_of_certificate(certificate).ok_or_else(|| "it is no X.509 certificate".to_owned()).and_then(parsed)
}

fn parsed(spki: &[u8]) -> Result<PublicKey, String> {
    PublicKey::from_spki_der(spki).map_err(|e| e.to_string())
}

/// RFC 5280 section 4.1: version?, serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo.
fn spki_of_certificate(der: &[u8]) -> Option<&[u8]> {
    const EXPLICIT_VERSION: u8 = 0xA0;
    let mut tbs = inner(inner(der)?)?;
    let mut reader = SliceReader::new(tbs).ok()?;
    if reader.tlv_bytes().ok()?.first() == Some(&EXPLICIT_VERSION) {
        tbs = tbs.get(usize::try_from(reader.position()).ok()?..)?;
    }
    let mut reader = SliceReader::new(tbs).ok()?;
    for _ in ["serialNumber", "signature", "issuer", "validity", "subject"] {
        reader.tlv_bytes().ok()?;
    }
    reader.tlv_bytes().ok()
}

/// RFC 2986 section 4.1: version, subject, subjectPKInfo.
fn spki_of_request(der: &[u8]) -> Option<&[u8]> {
    let mut reader = SliceReader::new(inner(inner(der)?)?).ok()?;
    for _ in ["version", "subject"] {
        reader.tlv_bytes().ok()?;
    }
    reader.tlv_bytes().ok()
}

/// The content of the SEQUENCE that `der` begins with.
fn inner(der: &[u8]) -> Option<&[u8]> {
    use der::{Decode as _, Tagged as _};
    let mut reader = SliceReader::new(der).ok()?;
    let element = der::asn1::AnyRef::decode(&mut reader).ok()?;
    (element.tag() == der::Tag::Sequence).then(|| element.value())
}
