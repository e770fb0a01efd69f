//! The rogue over gRPC: the service written by hand, so that it can break its rules.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use prokura_plugin::{Digest, SigningKey as _};
use prokura_proto::plugin::v1::plugin_server::{Plugin, PluginServer};
use prokura_proto::plugin::v1::{
    CreateKeyRequest, CreateKeyResponse, DescribeKeyRequest, DescribeKeyResponse, GetMetadataRequest,
    GetMetadataResponse, InstallCertificateRequest, InstallCertificateResponse, InteractRequest,
    InteractResponse, KeyDetails, KeyReference, ListKeysRequest, ListKeysResponse, SignDigestRequest,
    SignDigestResponse, SignDigestsRequest, SignDigestsResponse,
};
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Code, Request, Response, Status, Streaming};

use super::key::RogueKey;
use super::stdio::refusal_parts;
use super::vault::{Answers, Vault};
use super::{Break, Told, process};

/// The argument of a child that serves instead of the process that was started.
pub(super) const ELSEWHERE: &str = "serve-elsewhere";

const READY: &[u8] = b"ready prokura.plugin.v1\n";
/// Long enough to be seen, short enough for every deadline of the tests.
const SLOW_START: Duration = Duration::from_secs(1);
/// Above the 1 MiB a message may have.
const HUGE: usize = 2 * 1024 * 1024;

/// `serve --socket PATH`, until stdin is closed.
pub(super) fn serve(socket: &Path) -> Result<ExitCode> {
    let told = Told::reborn()?;
    match told.switch {
        Break::GrpcNoReadyLine => process::hang(),
        Break::GrpcAbortsAtStart => process::abort("libvendor: cannot map the token\n")?,
        Break::GrpcWrongReadyLine => {
            say(b"Listening on the socket\n")?;
            wait_for_end();
        }
        Break::GrpcNoSocket => {
            say(READY)?;
            wait_for_end();
        }
        Break::GrpcOtherPid => {
            let mut child = Command::new(std::env::current_exe()?)
                .arg(ELSEWHERE)
                .arg(socket)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()?;
            while !socket.exists() {
                std::thread::sleep(Duration::from_millis(5));
            }
            say(READY)?;
            wait_for_end();
            drop(child.stdin.take());
            child.wait()?;
        }
        _ => run(socket, told, true)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Serves the socket of the parent.
pub(super) fn serve_elsewhere(socket: &Path) -> Result<ExitCode> {
    let told = Told::remembered()?;
    process::note_pid(told.pids.as_deref())?;
    run(socket, told, false)?;
    Ok(ExitCode::SUCCESS)
}

fn run(socket: &Path, told: Told, says_ready: bool) -> Result<()> {
    let never_stops = told.switch == Break::GrpcNeverStops;
    if told.switch == Break::GrpcFloodsStderr {
        std::thread::spawn(|| while std::io::stderr().write_all(&[b'e'; 4096]).is_ok() {});
    }
    if told.switch == Break::GrpcSlowStart {
        std::thread::sleep(SLOW_START);
    }
    let connections = Connections::default();
    let key = Arc::new(RogueKey::new(&told)?);
    let vault = Vault::new(&told, Arc::clone(&key));
    let service = Service { key, vault, told, connections: Arc::clone(&connections) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async move {
        let listener = UnixListener::bind(socket)?;
        let incoming =
            UnixListenerStream::new(listener).map(move |accepted| remember(&connections, accepted));
        if says_ready {
            say(READY)?;
        }
        let server = tonic::transport::Server::builder().serve_with_incoming_shutdown(
            PluginServer::new(service),
            incoming,
            async move {
                let _ = tokio::task::spawn_blocking(wait_for_end).await;
                if never_stops {
                    std::future::pending::<()>().await;
                }
            },
        );
        Ok(server.await?)
    })
}

/// Another handle of each connection, so that it can be closed in the middle of a call.
type Connections = Arc<Mutex<Vec<std::os::unix::net::UnixStream>>>;

fn remember(connections: &Connections, accepted: std::io::Result<UnixStream>) -> std::io::Result<UnixStream> {
    let stream = accepted?.into_std()?;
    let again = stream.try_clone()?;
    connections
        .lock()
        .map(|mut all| all.push(again))
        .map_err(|_| std::io::Error::other("a thread panicked"))?;
    UnixStream::from_std(stream)
}

fn say(line: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout();
    stdout.write_all(line)?;
    Ok(stdout.flush()?)
}

fn wait_for_end() {
    let _ = std::io::stdin().lock().read_to_end(&mut Vec::new());
}

struct Service {
    told: Told,
    key: Arc<RogueKey>,
    vault: Vault,
    connections: Connections,
}

impl Service {
    /// What the switch does to the process when it is asked to sign with `key_id`.
    async fn misbehave(&self, key_id: &str) -> Result<()> {
        process::note_pid(self.told.signs.as_deref())?;
        if self.told.only.as_deref().is_some_and(|only| only != key_id) {
            tokio::time::sleep(self.told.takes).await;
            return Ok(());
        }
        match self.told.switch {
            Break::GrpcHangsInSign => {}
            Break::GrpcDiesWhileSigning => process::die_by_signal()?,
            Break::GrpcAbortsInSign => process::abort("libvendor: assertion failed: session != NULL\n")?,
            Break::GrpcStopsInSign => process::stop()?,
            Break::GrpcHangsUpInSign => self.hang_up()?,
            _ => {
                tokio::time::sleep(self.told.takes).await;
                return Ok(());
            }
        }
        // The signal may reach another thread a moment later than this one goes on.
        std::future::pending().await
    }

    fn hang_up(&self) -> Result<()> {
        let connections = self.connections.lock().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
        connections.iter().try_for_each(|connection| Ok(connection.shutdown(Shutdown::Both)?))
    }

    /// What the switch makes of the bytes that came beside the digest, or did not.
    fn seen(&self, digest: Digest, bytes: &[u8]) -> Result<Digest, Status> {
        let of_bytes = |bytes: &[u8]| Digest::of(digest.algorithm(), bytes);
        match self.told.switch {
            Break::GrpcSignsOtherBytes => Ok(of_bytes(&[bytes, b"!"].concat())),
            Break::GrpcNeedsBytes if of_bytes(bytes) != digest => {
                Err(Status::invalid_argument("what was hashed is missing"))
            }
            Break::GrpcUnaskedBytes if !bytes.is_empty() => {
                Err(Status::invalid_argument("what was hashed is none of this plugin's business"))
            }
            _ => Ok(digest),
        }
    }

    fn refusal(&self) -> Result<(), Status> {
        let Some((code, message)) = refusal_parts(self.told.switch) else { return Ok(()) };
        let details = prokura_proto::plugin::v1::Error {
            code: code.to_owned(),
            message: message.to_owned(),
            ..Default::default()
        };
        let details = prost::Message::encode_to_vec(&details);
        // A header cannot hold the control characters; they travel in the details.
        let plain: String = message.chars().filter(|c| !c.is_control()).collect();
        Err(Status::with_details(Code::Unknown, plain, details.into()))
    }
}

fn echoed(key: Option<KeyReference>, spoil: bool) -> String {
    let mut id = key.unwrap_or_default().key_id;
    if spoil {
        id.push_str("-of-somebody-else");
    }
    id
}

#[tonic::async_trait]
impl Plugin for Service {
    type SignDigestsStream = Answers<SignDigestsResponse>;
    type ListKeysStream = Answers<ListKeysResponse>;
    type InteractStream = Answers<InteractRequest>;

    async fn get_metadata(
        &self,
        _: Request<GetMetadataRequest>,
    ) -> Result<Response<GetMetadataResponse>, Status> {
        let mut metadata = self.told.metadata();
        if self.told.switch == Break::GrpcOtherName {
            metadata.name = "somebody-else".to_owned();
        }
        Ok(Response::new(GetMetadataResponse {
            name: metadata.name,
            description: metadata.description,
            version: metadata.version,
            url: metadata.url,
            supported_contract_versions: metadata.supported_contract_versions,
            capabilities: metadata.capabilities,
        }))
    }

    async fn describe_key(
        &self,
        request: Request<DescribeKeyRequest>,
    ) -> Result<Response<DescribeKeyResponse>, Status> {
        let spoil = self.told.switch == Break::OtherKeyIdDescribed;
        Ok(Response::new(DescribeKeyResponse {
            key_id: echoed(request.into_inner().key, spoil),
            key_spec: self.key.told_spec().to_owned(),
            public_key: self.key.public_key().spki_der().to_vec(),
            certificate_chain: self.key.sent_chain(),
            details: Some(KeyDetails { touch_policy: self.told.touch.clone(), ..KeyDetails::default() }),
        }))
    }

    async fn sign_digest(
        &self,
        request: Request<SignDigestRequest>,
    ) -> Result<Response<SignDigestResponse>, Status> {
        let request = request.into_inner();
        self.refusal()?;
        let defect = |error: anyhow::Error| Status::internal(format!("{error:#}"));
        let key_id = request.key.as_ref().map(|key| key.key_id.as_str()).unwrap_or_default();
        self.misbehave(key_id).await.map_err(defect)?;
        let hash = request.hash_algorithm.parse().map_err(|_| Status::invalid_argument("hash_algorithm"))?;
        let digest =
            Digest::from_bytes(hash, request.digest).map_err(|e| Status::invalid_argument(e.to_string()))?;
        let digest = self.seen(digest, &request.to_be_signed)?;
        let rotated = (self.told.switch == Break::KeyRotates).then(|| RogueKey::new(&self.told)).transpose();
        let rotated = rotated.map_err(defect)?;
        let key = rotated.as_ref().unwrap_or(&self.key);
        let mut signature = key.sent_signature(&digest).map_err(defect)?;
        if self.told.switch == Break::GrpcHugeAnswer {
            signature.resize(HUGE, 0);
        }
        Ok(Response::new(SignDigestResponse {
            key_id: echoed(request.key, self.told.switch == Break::OtherKeyId),
            signature,
            signing_algorithm: key.told_algorithm().to_owned(),
            public_key: key.public_key().spki_der().to_vec(),
            ..Default::default()
        }))
    }

    async fn sign_digests(
        &self,
        requests: Request<Streaming<SignDigestsRequest>>,
    ) -> Result<Response<Self::SignDigestsStream>, Status> {
        self.vault.stream(requests.into_inner()).await
    }

    async fn list_keys(&self, _: Request<ListKeysRequest>) -> Result<Response<Self::ListKeysStream>, Status> {
        self.vault.list()
    }

    async fn create_key(
        &self,
        request: Request<CreateKeyRequest>,
    ) -> Result<Response<CreateKeyResponse>, Status> {
        self.vault.create(request.get_ref()).map(Response::new)
    }

    async fn install_certificate(
        &self,
        request: Request<InstallCertificateRequest>,
    ) -> Result<Response<InstallCertificateResponse>, Status> {
        self.vault.install(request.get_ref())?;
        Ok(Response::new(InstallCertificateResponse::default()))
    }

    async fn interact(
        &self,
        _: Request<Streaming<InteractResponse>>,
    ) -> Result<Response<Self::InteractStream>, Status> {
        self.vault.interact()
    }
}
