//! The way to a broker: a UNIX socket, or TLS over TCP with our certificate.
//!
//! The files of CA and identity are read for each connection, so that a renewed certificate is used by the next one.

use std::io;
use std::path::Path;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use prokura_plugin::Error;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use super::secret;
use crate::config::{Address, ConnectionConfig};
use crate::error::Unfit;
use crate::limits::{CONNECT_TIME_MAX, KEEP_ALIVE_EVERY, KEEP_ALIVE_TIME_MAX, TLS_FILE_BYTES_MAX};

/// A channel that connects when it is first used, and again when it broke. Must be called inside a runtime.
///
/// # Errors
/// `VALIDATION_ERROR` if the address has no place in a URI.
pub(super) fn channel(config: &ConnectionConfig) -> Result<Channel, Error> {
    // Plain to tonic: TLS is the connector's, which knows whom it speaks to.
    let authority = match &config.address {
        Address::Https { .. } => config.address.to_string().replacen("https", "http", 1),
        Address::Unix(_) => "http://broker.invalid".to_owned(),
    };
    let endpoint = Endpoint::from_shared(authority)
        .map_err(|e| Error::validation(format!("plugin config address {}: {e}", config.address)))?
        .http2_keep_alive_interval(KEEP_ALIVE_EVERY)
        .keep_alive_timeout(KEEP_ALIVE_TIME_MAX);
    let config = Arc::new(config.clone());
    let connector = tower::service_fn(move |_: tonic::transport::Uri| {
        let config = Arc::clone(&config);
        async move { Ok::<_, io::Error>(TokioIo::new(in_time(&config).await?)) }
    });
    Ok(endpoint.connect_with_connector_lazy(connector))
}

/// A connection of either kind.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn in_time(config: &ConnectionConfig) -> io::Result<Box<dyn Stream>> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, "no connection within 5 s");
    tokio::time::timeout(CONNECT_TIME_MAX, connected(config)).await.unwrap_or_else(|_| Err(late()))
}

async fn connected(config: &ConnectionConfig) -> io::Result<Box<dyn Stream>> {
    match &config.address {
        Address::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        Address::Https { host, port, ca } => {
            let identity = config.identity.as_ref().map(|(c, k)| (c.as_path(), k.as_path()));
            let tls = tls(ca, identity).map_err(|error| io::Error::other(Unfit(error)))?;
            let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
            let tcp = TcpStream::connect((host.as_str(), *port)).await?;
            tcp.set_nodelay(true)?;
            Ok(Box::new(TlsConnector::from(Arc::new(tls)).connect(name, tcp).await?))
        }
    }
}

fn tls(ca: &Path, identity: Option<(&Path, &Path)>) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca, "ca")? {
        let unfit = |e| Error::validation(format!("plugin config ca, file {}: {e}", ca.display()));
        roots.add(certificate).map_err(unfit)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::internal)?
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate, "identity")?;
            let unfit = |e| {
                let (certificate, key) = (certificate.display(), key.display());
                Error::validation(format!(
                    "plugin config identity, certificate {certificate} with key {key}: {e}"
                ))
            };
            builder.with_client_auth_cert(chain, private_key(key)?).map_err(unfit)?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn certificates(path: &Path, entry: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let unfit =
        |why: String| Error::validation(format!("plugin config {entry}, file {}: {why}", path.display()));
    let pem = secret::bounded(path, TLS_FILE_BYTES_MAX).map_err(unfit)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|e| unfit(e.to_string()))?;
    if found.is_empty() {
        return Err(unfit("no certificate found, expected PEM".to_owned()));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let unfit = |why: String| {
        Error::validation(format!(
            "plugin config identity-key, file {}: {why}, expected a private key in PEM",
            path.display()
        ))
    };
    secret::check_readers(path).map_err(|why| Error::access_denied(why.replace("{what}", "private key")))?;
    let pem = secret::bounded(path, TLS_FILE_BYTES_MAX).map_err(unfit)?;
    // Not the parser's own words: they may quote what is there.
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| unfit("there is none".to_owned()))
}
