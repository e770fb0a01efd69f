//! Where a key's certificates come from (the key itself, KV, PKI), and installing one with the key.

use prokura_plugin::{CertificateChain, Deadline, Error, KeyRequest, Scope};
use serde_json::{Value, json};

use crate::config::{CertificateSource, TransitId};
use crate::error::malformed;
use crate::key::TransitKey;
use crate::vault::client::{Call, Verb};
use crate::vault::{Vault, Vaults};

/// All certificates the sources hold, each once. `own` is the PEM that the vault keeps with the key.
///
/// # Errors
/// What the vault says; `VALIDATION_ERROR` if a source that was named holds no certificate.
pub(crate) fn gather(
    vault: &Vault,
    sources: &[CertificateSource],
    own: &str,
    id: &TransitId,
    deadline: Deadline,
) -> Result<CertificateChain, Error> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    for source in sources {
        let (pem, path) = match source.api_path() {
            None => (own.to_owned(), id.key_path()),
            Some(path) => (read(vault, source, &path, deadline)?, path),
        };
        if pem.trim().is_empty() {
            continue;
        }
        let chain = CertificateChain::from_pem(pem.as_bytes())
            .map_err(|e| Error::validation(format!("certificates at {path}: {e}")).with_scope(Scope::Key))?;
        if chain.certificates().is_empty() {
            return Err(Error::validation(format!("what is at {path} holds no certificate, expected PEM"))
                .with_scope(Scope::Key));
        }
        for certificate in chain.certificates() {
            if !found.contains(certificate) {
                found.push(certificate.clone());
            }
        }
    }
    CertificateChain::from_der(found)
        .map_err(|e| Error::validation(format!("certificates of key {id}: {e}")).with_scope(Scope::Key))
}

fn read(vault: &Vault, source: &CertificateSource, path: &str, deadline: Deadline) -> Result<String, Error> {
    let call = Call::read(path, format!("read certificates from {path}"));
    let data = vault.ask(&call, deadline)?.data;
    match source {
        CertificateSource::Kv { field, .. } => {
            // Version 2 wraps the secret in `data` beside its `metadata`; version 1 is the secret itself.
            let wrapped = data.get("data").filter(|_| data.get("metadata").is_some());
            let secret = wrapped.unwrap_or(&data);
            let text = secret.get(field).and_then(Value::as_str).map(str::to_owned);
            text.ok_or_else(|| {
                let fields = secret.as_object().map(|o| o.keys().take(8).cloned().collect::<Vec<_>>().join(", "));
                Error::validation(format!(
                    "cannot {}: the secret has no text field {field:?}, found {}; store PEM there, or name another field \
                     with --plugin-config certificates=kv:{path}#FIELD",
                    call.doing,
                    fields.filter(|f| !f.is_empty()).unwrap_or_else(|| "none".to_owned())
                ))
                .with_scope(Scope::Key)
            })
        }
        CertificateSource::Pki { .. } | CertificateSource::Transit => {
            let own = data.get("certificate").and_then(Value::as_str);
            let above = data.get("ca_chain").and_then(Value::as_array).into_iter().flatten();
            let all: Vec<&str> = own.into_iter().chain(above.filter_map(Value::as_str)).collect();
            if all.is_empty() { Err(malformed(&call, "a certificate")) } else { Ok(all.join("\n")) }
        }
    }
}

/// Stores a chain with the version of the key that would sign.
///
/// # Errors
/// As for the other calls; the vault checks that the leaf holds the key.
pub(crate) fn install(vaults: &Vaults, request: &KeyRequest, chain: &CertificateChain) -> Result<(), Error> {
    let vault = vaults.vault(request.vault())?;
    let id = TransitId::parse(request.key_id().as_str(), request.config_optional("mount"))?;
    let version = TransitKey::open(vault.clone(), id.clone(), Vec::new(), request.deadline())?.version();
    let body = json!({"certificate_chain": pem(chain)?, "version": version});
    let path = format!("{}/set-certificate", id.key_path());
    let call = Call::write(
        Verb::Update,
        path,
        &body,
        format!("install the certificate of key {id} version {version}"),
    )?;
    vault.ask(&call, request.deadline()).map(|_| ())
}

fn pem(chain: &CertificateChain) -> Result<String, Error> {
    let one = |der: &Vec<u8>| der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, der);
    chain
        .certificates()
        .iter()
        .map(one)
        .collect::<Result<Vec<_>, _>>()
        .map(|all| all.concat())
        .map_err(Error::internal)
}
