//! A listener with a gRPC service behind it, and clients for it.

use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::HealthServer;

use crate::identity::pinned::PinnedKeys;
use crate::identity::testing::{Authority, Client};
use crate::identity::tls::{ServerIdentity, Tls};
use crate::identity::{Evidence, Trust};
use crate::listen::{ConnectionInfo, Counts, Incoming, Limits, http2};

/// A broker that answers health checks alone, and tells by which evidence each came.
pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    pub(crate) counts: Arc<Counts>,
    pub(crate) seen: mpsc::UnboundedReceiver<ConnectionInfo>,
    stop: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<()>,
}

impl Broker {
    pub(crate) fn tcp(tls: &Arc<Tls>, limits: Limits) -> Self {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Self::serve(Incoming::tcp(socket, Arc::clone(tls), limits).unwrap())
    }

    pub(crate) fn serve(incoming: Incoming) -> Self {
        let address = incoming.address().unwrap_or_else(|| ([127, 0, 0, 1], 0).into());
        let counts = incoming.counts();
        let (tell, seen) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let service = tonic_health::server::HealthService::from_health_reporter(
            tonic_health::server::HealthReporter::new(),
        );
        let service = HealthServer::with_interceptor(service, move |request: Request<()>| {
            let info = request.extensions().get::<ConnectionInfo>().cloned();
            let _ = tell.send(info.ok_or_else(|| Status::internal("no connection info"))?);
            Ok(request)
        });
        let serving =
            http2::server(Duration::from_secs(10)).serve_with_incoming_shutdown(service, incoming, async {
                let _ = stopped.await;
            });
        let served = tokio::spawn(async move { serving.await.unwrap() });
        Self { address, counts, seen, stop, served }
    }

    /// Asks it to stop and waits until it has.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        tokio::time::timeout(Duration::from_secs(10), self.served).await.unwrap().unwrap();
    }

    pub(crate) async fn evidence(&mut self) -> Evidence {
        tokio::time::timeout(Duration::from_secs(5), self.seen.recv()).await.unwrap().unwrap().evidence
    }
}

/// A server's certificate from `authority`, through the files that operators have.
pub(crate) fn server_identity(authority: &Authority) -> ServerIdentity {
    let directory = tempfile::TempDir::new().unwrap();
    let server = authority.server();
    let (certificate, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    std::fs::write(&certificate, pem(server.chain.first().unwrap())).unwrap();
    write_key(&key, &server.key.serialize_pem(), 0o600);
    ServerIdentity::read(&certificate, &key).unwrap()
}

pub(crate) fn pem(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

pub(crate) fn write_key(path: &Path, pem: &str, mode: u32) {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    let mut file =
        std::fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(pem.as_bytes()).unwrap();
    file.set_permissions(std::fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn trust(authorities: &[&Authority], pins: &[String]) -> Arc<Trust> {
    let authorities = authorities.iter().map(|authority| authority.der.clone()).collect();
    Arc::new(Trust::new(authorities, PinnedKeys::parse(pins).unwrap()).unwrap())
}

pub(crate) fn tls(server: &Authority, trust: Arc<Trust>, tokens: bool) -> Arc<Tls> {
    Arc::new(Tls::new(server_identity(server), trust, tokens).unwrap())
}

/// How a client speaks TLS: it trusts `server`, and shows a certificate if it has one.
pub(crate) fn client_config(server: &Authority, client: Option<&Client>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(server.der.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let key = PrivateKeyDer::try_from(client.key.serialize_der()).unwrap();
            builder.with_client_auth_cert(client.chain.clone(), key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

pub(crate) async fn connect(
    address: SocketAddr,
    config: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::IpAddress(std::net::IpAddr::from([127, 0, 0, 1]).into());
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// A gRPC channel on a connection of its own.
pub(crate) async fn channel(
    address: SocketAddr,
    config: ClientConfig,
) -> Result<HealthClient<Channel>, String> {
    let connector = Connector { address, config };
    let endpoint = Endpoint::from_static("http://broker.example").connect_timeout(Duration::from_secs(5));
    let channel = endpoint.connect_with_connector(connector).await.map_err(|e| format!("{e:?}"))?;
    Ok(HealthClient::new(channel))
}

pub(crate) async fn check(client: &mut HealthClient<Channel>) -> Result<(), Status> {
    let request = HealthCheckRequest { service: String::new() };
    client.check(request).await.map(drop)
}

/// Connects and asks once.
pub(crate) async fn call(address: SocketAddr, config: ClientConfig) -> Result<(), String> {
    let mut client = channel(address, config).await?;
    check(&mut client).await.map_err(|e| format!("{e:?}"))
}

#[derive(Clone)]
struct Connector {
    address: SocketAddr,
    config: ClientConfig,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { address, config } = self.clone();
        Box::pin(async move { connect(address, config).await.map(TokioIo::new) })
    }
}
