//! TLS with the vault: whom to trust, who we are, which name the server must have.

use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prokura_plugin::Error;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Certificate, ClientBuilder, Identity};
use url::Url;
use zeroize::Zeroizing;

use crate::config::{ConnectionConfig, TlsConfig, is_loopback};
use crate::limits::{TLS_FILE_BYTES_MAX, TLS_FILES_MAX};

/// Sets up TLS, and returns the address to connect to: with a server name of its own it carries that name.
///
/// # Errors
/// `VALIDATION_ERROR` naming the file that is unfit.
pub(crate) fn apply(
    builder: ClientBuilder,
    config: &ConnectionConfig,
) -> Result<(ClientBuilder, Url), Error> {
    let mut builder = builder.https_only(config.address.scheme() == "https");
    if is_loopback(&config.address) {
        // No proxy knows the way to this machine; the vault's own tools leave it out too.
        builder = builder.no_proxy();
    }
    let trusted = trusted(&config.tls)?;
    if !trusted.is_empty() {
        builder = builder.tls_certs_only(trusted);
    }
    if let Some((certificate, key)) = &config.tls.client {
        builder = builder.identity(identity(certificate, key)?);
    }
    let mut address = config.address.clone();
    if let Some(name) = &config.tls.server_name {
        let real = address.host_str().unwrap_or_default().to_owned();
        let unfit = || Error::validation(format!("TLS server name {name:?} is no host name"));
        address.set_host(Some(name)).map_err(|_| unfit())?;
        builder = builder.dns_resolver(Arc::new(Elsewhere { name: name.to_ascii_lowercase(), real }));
    }
    Ok((builder, address))
}

/// Whether TLS itself failed: certificate, name, protocol version.
pub(crate) fn is_refusal(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(reason) = next {
        if reason.is::<rustls::Error>() {
            return true;
        }
        // An `io::Error` shows what it wraps only this way; its source is the source of that.
        let wrapped = reason.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => reason.source(),
        };
    }
    false
}

fn trusted(tls: &TlsConfig) -> Result<Vec<Certificate>, Error> {
    if let Some(text) = &tls.ca_text {
        return certificates(text.as_bytes(), "the CA certificates in VAULT_CACERT_BYTES");
    }
    let files: Vec<PathBuf> = match (&tls.ca_file, &tls.ca_directory) {
        (Some(file), _) => vec![file.clone()],
        (None, Some(directory)) => files(directory)?,
        (None, None) => return Ok(Vec::new()),
    };
    let mut found = Vec::new();
    for file in files {
        found.extend(certificates(&bounded(&file)?, &format!("CA file {}", file.display()))?);
    }
    Ok(found)
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<Certificate>, Error> {
    let found = Certificate::from_pem_bundle(pem).ok().filter(|found| !found.is_empty());
    found.ok_or_else(|| Error::validation(format!("{what}: no certificate found, expected PEM")))
}

fn files(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let unfit = |e: std::io::Error| Error::validation(format!("CA directory {}: {e}", directory.display()));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unfit)?.take(TLS_FILES_MAX) {
        found.extend(Some(entry.map_err(unfit)?.path()).filter(|path| path.is_file()));
    }
    Ok(found)
}

fn identity(certificate: &Path, key: &Path) -> Result<Identity, Error> {
    let mut pem = bounded(certificate)?;
    pem.push(b'\n');
    pem.extend_from_slice(&bounded(key)?);
    Identity::from_pem(&pem).map_err(|e| {
        let (certificate, key) = (certificate.display(), key.display());
        Error::validation(format!("TLS client certificate {certificate} with key {key}: {e}, expected PEM"))
    })
}

fn bounded(path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    let shown = path.display();
    let unfit = |e: std::io::Error| Error::validation(format!("TLS file {shown}: {e}"));
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path).map_err(unfit)?.take(TLS_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unfit)?;
    if bytes.len() as u64 > TLS_FILE_BYTES_MAX {
        return Err(Error::validation(format!("TLS file {shown} is larger than {TLS_FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// Finds the vault's real host under the name its certificate has.
struct Elsewhere {
    name: String,
    real: String,
}

impl Resolve for Elsewhere {
    fn resolve(&self, name: Name) -> Resolving {
        let host = if name.as_str() == self.name { self.real.clone() } else { name.as_str().to_owned() };
        Box::pin(async move {
            let host = host.trim_matches(['[', ']']).to_owned();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
