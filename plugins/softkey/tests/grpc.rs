//! The executable over gRPC: one process, many signatures, ended by closing its stdin.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Stdio};
use std::time::{Duration, Instant};

use fixture::{KEYS, softkey, verifies};
use prokura_plugin::grpc::{READY_LINE, error_from_status};
use prokura_plugin::{Digest, ErrorCode, KeySpec};
use prokura_proto::plugin::v1::plugin_client::PluginClient;
use prokura_proto::plugin::v1::{
    DescribeKeyRequest, GetMetadataRequest, KeyReference, SignDigestRequest, SignDigestResponse,
};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

struct Server {
    child: Child,
    stdin: Option<ChildStdin>,
    directory: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let mut child = softkey()
            .args(["serve", "--socket"])
            .arg(directory.path().join("s"))
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut ready).unwrap();
        assert_eq!(ready, READY_LINE);
        let stdin = child.stdin.take();
        Self { child, stdin, directory }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("s")
    }

    async fn channel(&self) -> Channel {
        let uri = format!("unix:{}", self.socket().display());
        Endpoint::from_shared(uri).unwrap().connect().await.unwrap()
    }

    async fn client(&self) -> PluginClient<Channel> {
        PluginClient::new(self.channel().await)
    }

    /// Closes stdin and returns how long the process went on.
    fn stop(&mut self) -> Duration {
        let started = Instant::now();
        drop(self.stdin.take());
        while self.child.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < Duration::from_secs(20), "the process does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        started.elapsed()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn key(id: &str) -> Option<KeyReference> {
    Some(KeyReference { key_id: id.to_owned(), plugin_config: KEYS.config().into_iter().collect() })
}

fn sign_request(spec: KeySpec, payload: &[u8]) -> SignDigestRequest {
    SignDigestRequest {
        key: key(spec.as_str()),
        key_spec: spec.to_string(),
        hash_algorithm: spec.hash_algorithm().to_string(),
        digest: Digest::of(spec.hash_algorithm(), payload).bytes().to_vec(),
        to_be_signed: Vec::new(),
    }
}

async fn sign(
    client: &mut PluginClient<Channel>,
    request: SignDigestRequest,
) -> Result<SignDigestResponse, Status> {
    client.sign_digest(request).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn describes_and_signs_with_all_six_specs() {
    let server = Server::start();
    let mut client = server.client().await;
    for spec in KeySpec::ALL {
        let described = client.describe_key(DescribeKeyRequest { key: key(spec.as_str()) }).await.unwrap();
        let described = described.into_inner();
        assert_eq!((described.key_id.as_str(), described.key_spec.as_str()), (spec.as_str(), spec.as_str()));
        assert_eq!(described.certificate_chain.len(), 2);
        let signed = sign(&mut client, sign_request(spec, b"payload")).await.unwrap();
        assert_eq!(signed.key_id, spec.as_str());
        assert_eq!(signed.signing_algorithm, spec.signing_algorithm().as_str());
        assert_eq!(signed.public_key, described.public_key);
        assert!(verifies(&signed.public_key, b"payload", &signed.signature), "{spec}");
    }
}

#[tokio::test]
async fn signs_in_parallel() {
    let server = Server::start();
    let client = server.client().await;
    let calls = (0..100_usize).map(|n| {
        let mut client = client.clone();
        let spec = KeySpec::ALL[n % KeySpec::ALL.len()];
        let payload = format!("payload {n}").into_bytes();
        tokio::spawn(async move {
            let signed = sign(&mut client, sign_request(spec, &payload)).await.unwrap();
            verifies(&signed.public_key, &payload, &signed.signature)
        })
    });
    for call in calls.collect::<Vec<_>>() {
        assert!(call.await.unwrap());
    }
}

#[tokio::test]
async fn says_who_it_is_and_that_it_serves() {
    let server = Server::start();
    let metadata = server.client().await.get_metadata(GetMetadataRequest {}).await.unwrap().into_inner();
    assert_eq!((metadata.name.as_str(), metadata.version.as_str()), ("softkey", env!("CARGO_PKG_VERSION")));
    assert!(metadata.capabilities.iter().any(|c| c == "TRANSPORT.GRPC.1"));
    assert_eq!(metadata.supported_contract_versions, ["1.0"]);

    use tonic_health::pb::health_client::HealthClient;
    for service in ["", "prokura.plugin.v1.Plugin"] {
        let request = tonic_health::pb::HealthCheckRequest { service: service.to_owned() };
        let health = HealthClient::new(server.channel().await).check(request).await.unwrap().into_inner();
        assert_eq!(health.status, tonic_health::ServingStatus::Serving as i32, "{service:?}");
    }
}

#[tokio::test]
async fn refusals_carry_code_and_details() {
    let server = Server::start();
    let mut client = server.client().await;
    let good = sign_request(KeySpec::Ec256, b"payload");
    let short = SignDigestRequest { digest: vec![7; 31], ..good.clone() };
    let other_hash = SignDigestRequest { hash_algorithm: "SHA-384".to_owned(), ..good.clone() };
    let other_spec = SignDigestRequest { key: key("EC-384"), ..good.clone() };
    let no_key = SignDigestRequest { key: None, ..good.clone() };
    let unknown = SignDigestRequest { key: key("absent"), ..good };
    for (request, words) in [
        (short, "a SHA-256 digest has 32 bytes, found 31"),
        (other_hash, "hashAlgorithm SHA-384 does not belong to keySpec EC-256"),
        (other_spec, "key changed"),
        (no_key, "key is missing"),
        (unknown, "absent.key cannot be read"),
    ] {
        let status = sign(&mut client, request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert!(!status.details().is_empty());
        let error = error_from_status(&status);
        assert_eq!(error.code, ErrorCode::ValidationError);
        assert!(error.message.contains(words), "{error}");
    }
    // The process goes on after refusals.
    assert!(sign(&mut client, sign_request(KeySpec::Ec256, b"x")).await.is_ok());
}

#[tokio::test]
async fn messages_above_the_limit_are_refused() {
    let server = Server::start();
    let limit = prokura_plugin::limits::GRPC_MESSAGE_BYTES_MAX;
    let request = SignDigestRequest { digest: vec![0; limit], ..sign_request(KeySpec::Ec256, b"") };
    let status = sign(&mut server.client().await, request).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
}

#[tokio::test]
async fn closing_stdin_ends_the_process_and_removes_the_socket() {
    let mut server = Server::start();
    let mut client = server.client().await;
    sign(&mut client, sign_request(KeySpec::Ec256, b"x")).await.unwrap();
    assert_eq!(std::fs::metadata(server.socket()).unwrap().permissions().mode() & 0o777, 0o600);
    // The client is still connected. The wait runs elsewhere, so that its connection can be told to go.
    let (elapsed, server) = tokio::task::spawn_blocking(move || (server.stop(), server)).await.unwrap();
    assert!(elapsed < Duration::from_secs(1), "{elapsed:?}");
    assert!(!server.socket().exists());
    drop(client);
}

/// Starts a server that must not come up and returns what it says.
fn refused_start(socket: &std::path::Path) -> String {
    let mut child = softkey()
        .args(["serve", "--socket"])
        .arg(socket)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let (mut stdout, mut stderr) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(stdout, "");
    stderr
}

#[test]
fn a_directory_open_to_others_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let stderr = refused_start(&directory.path().join("s"));
    assert!(stderr.contains("VALIDATION_ERROR") && stderr.contains("expected 0700"), "{stderr}");
}

#[test]
fn a_file_in_the_place_of_the_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let path = directory.path().join("s");
    std::fs::write(&path, "precious").unwrap();
    let stderr = refused_start(&path);
    assert!(stderr.contains("\"ERROR\"") && stderr.contains("in use"), "{stderr}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}
