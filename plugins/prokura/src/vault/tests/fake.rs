//! A broker in this process, on a UNIX socket or behind TLS, that fails as it is told.

use std::collections::VecDeque;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use prokura_plugin::{Digest, HashAlgorithm, KeySpec, PublicKey};
use prokura_proto::broker::v1;
use prokura_proto::broker::v1::broker_server::{Broker, BrokerServer};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, UnixListener};
use tonic::{Code, Request, Response, Status, Streaming};

/// What the next signature meets.
#[derive(Clone, Copy)]
pub(super) enum Fault {
    HangUp,
    Hang,
    Refuse(&'static str),
    OtherAlgorithm,
    ShortSignature,
    NoReceipt,
    OtherReceipt,
}

#[derive(Clone, Copy)]
pub(super) enum Listening {
    Unix,
    Tls,
}

#[derive(Default)]
struct Seen {
    next: VecDeque<Fault>,
    signed: Vec<v1::SignRequest>,
    deadlines_ms: Vec<u64>,
    tokens: Vec<String>,
    connections: usize,
}

type Shared = Arc<Mutex<Seen>>;

/// A running broker; ends when dropped.
pub(super) struct Fake {
    seen: Shared,
    config: Vec<(&'static str, String)>,
    directory: TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Fake {
    pub(super) fn start(listening: Listening) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let seen = Shared::default();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let config = runtime.block_on(async {
            match listening {
                Listening::Unix => listen_unix(directory.path(), &seen),
                Listening::Tls => listen_tls(directory.path(), &seen).await,
            }
        });
        Self { seen, config, directory, _runtime: runtime }
    }

    pub(super) fn config(&self) -> Vec<(&'static str, String)> {
        self.config.clone()
    }

    pub(super) fn next<const N: usize>(&self, faults: [Fault; N]) {
        self.seen.lock().unwrap().next.extend(faults);
    }

    pub(super) fn signed(&self) -> Vec<v1::SignRequest> {
        self.seen.lock().unwrap().signed.clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }

    pub(super) fn deadlines_ms(&self) -> Vec<u64> {
        self.seen.lock().unwrap().deadlines_ms.clone()
    }

    pub(super) fn tokens(&self) -> Vec<String> {
        self.seen.lock().unwrap().tokens.clone()
    }

    /// A CA that issued nothing.
    pub(super) fn other_ca(&self) -> String {
        let path = self.directory.path().join("other.pem");
        std::fs::write(&path, authority().1).unwrap();
        path.display().to_string()
    }

    pub(super) fn token_file(&self) -> String {
        private(&self.directory.path().join("token"), "canary")
    }
}

fn private(path: &Path, text: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}

fn listen_unix(directory: &Path, seen: &Shared) -> Vec<(&'static str, String)> {
    let path = directory.join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let seen = Arc::clone(seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            serve(stream, &seen);
        }
    });
    vec![("address", format!("unix://{}", path.display()))]
}

async fn listen_tls(directory: &Path, seen: &Shared) -> Vec<(&'static str, String)> {
    let (issuer, ca) = authority();
    let ca_der = CertificateDer::from_pem_slice(ca.as_bytes()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca_der).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let (certificate, key) = issued(&issuer, "localhost");
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, acceptor) = (Arc::clone(seen), tokio_rustls::TlsAcceptor::from(Arc::new(tls)));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream, &seen);
            }
        }
    });
    let (certificate, key) = issued(&issuer, "build-machine.example");
    let ca_path = directory.join("ca.pem");
    std::fs::write(&ca_path, ca).unwrap();
    vec![
        ("address", format!("https://localhost:{port}")),
        ("ca", ca_path.display().to_string()),
        ("identity", private(&directory.join("id.pem"), &format!("{certificate}{key}"))),
    ]
}

fn authority() -> (Issuer<'static, KeyPair>, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap().pem();
    (Issuer::new(params, key), certificate)
}

fn issued(issuer: &Issuer<'static, KeyPair>, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}

fn serve(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, seen: &Shared) {
    seen.lock().unwrap().connections += 1;
    let service = BrokerServer::new(Service(Arc::clone(seen)));
    let one = tokio_stream::once(Ok::<_, std::io::Error>(Connection(stream)));
    let endless = tokio_stream::StreamExt::chain(one, tokio_stream::pending());
    tokio::spawn(tonic::transport::Server::builder().serve_with_incoming(service, endless));
}

struct Connection<T>(T);

impl<T> tonic::transport::server::Connected for Connection<T> {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl<T: AsyncRead + Unpin> AsyncRead for Connection<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Connection<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

struct Service(Shared);

type Answers<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

fn signed(fault: Option<Fault>) -> v1::SignResponse {
    let entry = b"entry".to_vec();
    let leaf = Digest::of(HashAlgorithm::Sha256, &[b"\0", &entry[..]].concat());
    let root = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, leaf.bytes());
    let entry = if matches!(fault, Some(Fault::OtherReceipt)) { b"other".to_vec() } else { entry };
    let checkpoint = format!("log\n1\n{root}\n\n\u{2014} log AAAA\n");
    let receipt = v1::Receipt { index: 0, entry, proof: Vec::new(), checkpoint };
    let is_other = matches!(fault, Some(Fault::OtherAlgorithm));
    v1::SignResponse {
        signature: vec![1; if matches!(fault, Some(Fault::ShortSignature)) { 63 } else { 64 }],
        signing_algorithm: if is_other { "ECDSA-SHA-384" } else { "ECDSA-SHA-256" }.to_owned(),
        key_version: "7".to_owned(),
        receipt: Some(receipt).filter(|_| !matches!(fault, Some(Fault::NoReceipt))),
        request_id: "r-1".to_owned(),
        ..v1::SignResponse::default()
    }
}

#[tonic::async_trait]
impl Broker for Service {
    type ListKeysStream = Answers<v1::ListKeysResponse>;
    type SignStreamStream = Answers<v1::SignStreamResponse>;

    async fn describe_key(
        &self,
        request: Request<v1::DescribeKeyRequest>,
    ) -> Result<Response<v1::DescribeKeyResponse>, Status> {
        let mut point = vec![7; 65];
        point[0] = 4;
        let key = PublicKey::from_ec_point(KeySpec::Ec256, &point).unwrap();
        Ok(Response::new(v1::DescribeKeyResponse {
            key_name: request.into_inner().key_name,
            key_spec: "EC-256".to_owned(),
            public_key: key.spki_der().to_vec(),
            ..v1::DescribeKeyResponse::default()
        }))
    }

    async fn sign(&self, request: Request<v1::SignRequest>) -> Result<Response<v1::SignResponse>, Status> {
        let header = |name| request.metadata().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let fault = {
            let mut seen = self.0.lock().unwrap();
            seen.tokens.extend(header("authorization"));
            seen.deadlines_ms.extend(header("grpc-timeout").map(|text| milliseconds(&text)));
            seen.signed.push(request.into_inner());
            seen.next.pop_front()
        };
        match fault {
            // What a replica that dies leaves: no details.
            Some(Fault::HangUp) => Err(Status::unavailable("draining")),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Refuse(code)) => {
                let refusal = v1::Refusal {
                    code: code.to_owned(),
                    message: "no".to_owned(),
                    retry_after_ms: 1500,
                    policies: vec!["only-release".to_owned()],
                    ..v1::Refusal::default()
                };
                Err(Status::with_details(
                    Code::PermissionDenied,
                    "no",
                    crate::error::status::details(&refusal).into(),
                ))
            }
            fault => Ok(Response::new(signed(fault))),
        }
    }

    async fn who_am_i(&self, _: Request<v1::WhoAmIRequest>) -> Result<Response<v1::WhoAmIResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_keys(
        &self,
        _: Request<v1::ListKeysRequest>,
    ) -> Result<Response<Self::ListKeysStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn sign_stream(
        &self,
        _: Request<Streaming<v1::SignStreamRequest>>,
    ) -> Result<Response<Self::SignStreamStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn explain(&self, _: Request<v1::ExplainRequest>) -> Result<Response<v1::ExplainResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// `grpc-timeout`: digits and a unit.
fn milliseconds(text: &str) -> u64 {
    let (digits, unit) = text.split_at(text.len() - 1);
    let number: u64 = digits.parse().unwrap();
    match unit {
        "n" => number / 1_000_000,
        "u" => number / 1000,
        "m" => number,
        _ => number * 1000,
    }
}
