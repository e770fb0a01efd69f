//! The executable over gRPC: one process, one login, many signatures at a time.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use libtest_mimic::Trial;
use prokura_plugin::{Digest, HashAlgorithm};
use prokura_proto::plugin::v1::plugin_client::PluginClient;
use prokura_proto::plugin::v1::{DescribeKeyRequest, KeyReference, SignDigestRequest};
use tokio::net::UnixStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::world::World;

pub(crate) fn trials(world: &'static World) -> Vec<Trial> {
    vec![
        world.trial("one_process_serves_sixteen_at_once", one_process_serves_sixteen_at_once),
        world.trial("sixteen_callers_with_a_wrong_pin_are_one_attempt", sixteen_callers_with_a_wrong_pin),
    ]
}

struct Served {
    child: Child,
    stdout: BufReader<ChildStdout>,
    socket: PathBuf,
    _directory: tempfile::TempDir,
}

impl Served {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let socket = directory.path().join("plugin.sock");
        let mut child = Command::new(env!("CARGO_BIN_EXE_notation-pkcs11"))
            .args(["serve", "--socket"])
            .arg(&socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "ready prokura.plugin.v1\n");
        Self { child, stdout, socket, _directory: directory }
    }

    async fn client(&self) -> PluginClient<Channel> {
        let socket = self.socket.clone();
        let connector = tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(hyper_util::rt::TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://plugin.invalid");
        PluginClient::new(endpoint.connect_with_connector(connector).await.unwrap())
    }

    /// Closes stdin, as a host does that is done.
    fn stop(mut self) {
        drop(self.child.stdin.take());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
        let mut rest = String::new();
        self.stdout.read_line(&mut rest).unwrap();
        assert_eq!(rest, "", "stdout belongs to the protocol");
    }
}

fn one_process_serves_sixteen_at_once(world: &World) {
    let served = Served::start();
    let key =
        KeyReference { key_id: world.uri("token=Build%20Keys;object=EC-256"), plugin_config: [].into() };
    runtime().block_on(async {
        let mut client = served.client().await;
        let described = client.describe_key(DescribeKeyRequest { key: Some(key.clone()) }).await.unwrap();
        assert_eq!(described.into_inner().certificate_chain.len(), 2);
        let mut calls = tokio::task::JoinSet::new();
        for caller in 0..16 {
            let (mut client, key) = (client.clone(), key.clone());
            calls.spawn(async move {
                for n in 0..8 {
                    let message = format!("{caller} {n}").into_bytes();
                    let digest = Digest::of(HashAlgorithm::Sha256, &message).bytes().to_vec();
                    let signed = client.sign_digest(request(key.clone(), digest)).await.unwrap().into_inner();
                    let key = prokura_plugin::PublicKey::from_spki_der(&signed.public_key).unwrap();
                    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.key_bits());
                    key.verify(&message, &signed.signature).unwrap();
                }
            });
        }
        calls.join_all().await;
    });
    served.stop();
}

fn sixteen_callers_with_a_wrong_pin(world: &World) {
    let served = Served::start();
    let pin = world.directory.join("wrong-pin");
    write_wrong_pin(&pin);
    let key = KeyReference {
        key_id: world.uri_without_pin("token=quiet;object=k"),
        plugin_config: [("pin-source".to_owned(), pin.display().to_string())].into(),
    };
    runtime().block_on(async {
        let client = served.client().await;
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let (mut client, key) = (client.clone(), key.clone());
            calls.spawn(async move { client.sign_digest(request(key, vec![7; 32])).await.unwrap_err() });
        }
        let refusals = calls.join_all().await;
        assert!(refusals.iter().all(|r| r.code() == Code::PermissionDenied), "{refusals:?}");
        let again = client.clone().sign_digest(request(key, vec![7; 32])).await.unwrap_err();
        assert!(again.message().contains("not tried again"), "{again}");
    });
    served.stop();
}

fn write_wrong_pin(path: &Path) {
    std::fs::write(path, "pin-0000").unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn request(key: KeyReference, digest: Vec<u8>) -> SignDigestRequest {
    SignDigestRequest {
        key: Some(key),
        key_spec: "EC-256".to_owned(),
        hash_algorithm: "SHA-256".to_owned(),
        digest,
        to_be_signed: Vec::new(),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
