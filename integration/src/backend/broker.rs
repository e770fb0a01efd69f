//! A broker of the tests: reads what it signs as strictly as envelopes are read, has a key of each spec asked for, and
//! hands out receipts of a log of one entry. It knows no callers and no policy but the name of a key.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use prokura_envelope::{EnvelopeFormat, Payload, ToBeSigned};
use prokura_plugin::{CertificateChain, Digest, HashAlgorithm, KeySpec};
use prokura_proto::broker::v1;
use prokura_proto::broker::v1::broker_server::{Broker, BrokerServer};
use rcgen::KeyPair;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::key::id;
use crate::pki::{Authority, generate_key};
use crate::signature::sign;

/// A key with which nobody may sign.
pub const FORBIDDEN: &str = "forbidden";

/// A running broker; ends when dropped.
pub struct StandIn {
    /// Root of all chains, PEM.
    pub root: String,
    socket: PathBuf,
    seen: Arc<Mutex<Vec<Seen>>>,
    _runtime: tokio::runtime::Runtime,
}

/// What was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `notary_jws` or `notary_cose`.
    pub content_type: &'static str,
    /// Digest of the artifact.
    pub artifact: String,
    /// Chosen by the client.
    pub idempotency_key: String,
}

impl StandIn {
    /// Listens on a socket in `directory`, with a key of each spec, named as test keys are.
    ///
    /// # Errors
    /// If it cannot.
    pub fn start(directory: &Path, specs: &[KeySpec]) -> Result<Self> {
        let authority = Authority::new("broker test root")?;
        let root = authority.certificate().to_owned();
        let named =
            specs.iter().map(|spec| (id(*spec), *spec)).chain([(FORBIDDEN.to_owned(), KeySpec::Ec256)]);
        let keys = named.map(|(name, spec)| Key::new(&authority, name, spec)).collect::<Result<Vec<_>>>()?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let service = Service { keys, seen: Arc::clone(&seen) };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let socket = directory.join("broker.sock");
        let _inside = runtime.enter();
        let incoming = UnixListenerStream::new(UnixListener::bind(&socket)?);
        runtime.spawn(
            tonic::transport::Server::builder().serve_with_incoming(BrokerServer::new(service), incoming),
        );
        drop(_inside);
        Ok(Self { root, socket, seen, _runtime: runtime })
    }

    /// For plugin config `address`.
    pub fn address(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// What was signed with a key so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().map(|seen| seen.clone()).unwrap_or_default()
    }
}

struct Key {
    name: String,
    spec: KeySpec,
    pair: KeyPair,
    chain: Vec<Vec<u8>>,
}

impl Key {
    fn new(authority: &Authority, name: String, spec: KeySpec) -> Result<Self> {
        let pair = generate_key(spec)?;
        let leaf = authority.issue_to(&pair, &format!("broker {name}"), |_| ())?;
        let pem = format!("{leaf}{}", authority.certificate());
        let chain = CertificateChain::from_pem(pem.as_bytes())?.certificates().to_vec();
        Ok(Self { name, spec, pair, chain })
    }
}

struct Service {
    keys: Vec<Key>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

fn refused(code: &str, message: &str) -> Status {
    let refusal = v1::Refusal {
        code: code.to_owned(),
        message: message.to_owned(),
        policies: vec!["only-release-branches".to_owned()],
        request_id: "request-2".to_owned(),
        ..v1::Refusal::default()
    };
    let detail = Any {
        type_url: "type.googleapis.com/prokura.broker.v1.Refusal".to_owned(),
        value: prost::Message::encode_to_vec(&refusal),
    };
    let details = RpcStatus { details: vec![detail] };
    Status::with_details(Code::PermissionDenied, message, prost::Message::encode_to_vec(&details).into())
}

/// What the plugin reads of a `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

impl Service {
    fn key(&self, name: &str) -> Result<&Key, Status> {
        self.keys
            .iter()
            .find(|key| key.name == name)
            .ok_or_else(|| refused("NO_SUCH_KEY", "there is no such key"))
    }

    fn signed(&self, request: v1::SignRequest) -> Result<v1::SignResponse> {
        let key = self.key(&request.key_name)?;
        let (format, content_type, bytes) = match request.content.and_then(|content| content.content) {
            Some(v1::content::Content::NotaryJws(bytes)) => (EnvelopeFormat::Jws, "notary_jws", bytes),
            Some(v1::content::Content::NotaryCose(bytes)) => (EnvelopeFormat::Cose, "notary_cose", bytes),
            _ => anyhow::bail!("a digest, which this broker does not sign"),
        };
        let content = ToBeSigned::parse(format, &bytes)?;
        let artifact = Payload::parse(&content.payload)?.target().digest.clone();
        let idempotency_key = request.idempotency_key;
        let seen = Seen { content_type, artifact, idempotency_key };
        self.seen.lock().ok().context("a test panicked")?.push(seen);
        let digest = Digest::of(key.spec.hash_algorithm(), &bytes);
        Ok(v1::SignResponse {
            signature: sign(&key.pair, key.spec, &digest)?,
            signing_algorithm: key.spec.signing_algorithm().to_string(),
            key_version: "3".to_owned(),
            receipt: Some(receipt(b"{\"signed\":true}")),
            attempts: 1,
            request_id: "request-1".to_owned(),
            ..v1::SignResponse::default()
        })
    }
}

/// In a log whose one entry it is.
fn receipt(entry: &[u8]) -> v1::Receipt {
    let root = Digest::of(HashAlgorithm::Sha256, &[b"\0", entry].concat());
    let root = base64::engine::general_purpose::STANDARD.encode(root.bytes());
    let checkpoint = format!("broker.test/log\n1\n{root}\n\n\u{2014} broker.test/log AAAA\n");
    v1::Receipt { index: 0, entry: entry.to_vec(), proof: Vec::new(), checkpoint }
}

type Answers<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Broker for Service {
    type ListKeysStream = Answers<v1::ListKeysResponse>;
    type SignStreamStream = Answers<v1::SignStreamResponse>;

    async fn list_keys(
        &self,
        _: Request<v1::ListKeysRequest>,
    ) -> Result<Response<Self::ListKeysStream>, Status> {
        let listed = self.keys.iter().map(|key| {
            Ok(v1::ListKeysResponse { key_name: key.name.clone(), key_spec: key.spec.to_string() })
        });
        let listed: Vec<_> = listed.collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(listed))))
    }

    async fn describe_key(
        &self,
        request: Request<v1::DescribeKeyRequest>,
    ) -> Result<Response<v1::DescribeKeyResponse>, Status> {
        let key = self.key(&request.into_inner().key_name)?;
        Ok(Response::new(v1::DescribeKeyResponse {
            key_name: key.name.clone(),
            key_spec: key.spec.to_string(),
            public_key: rcgen::PublicKeyData::subject_public_key_info(&key.pair),
            certificate_chain: key.chain.clone(),
            key_version: "3".to_owned(),
        }))
    }

    async fn sign(&self, request: Request<v1::SignRequest>) -> Result<Response<v1::SignResponse>, Status> {
        let request = request.into_inner();
        if request.key_name == FORBIDDEN {
            return Err(refused("DENIED", "this caller may not sign with this key"));
        }
        let signed = self.signed(request).map_err(|error| refused("INVALID", &format!("{error:#}")))?;
        Ok(Response::new(signed))
    }

    async fn who_am_i(&self, _: Request<v1::WhoAmIRequest>) -> Result<Response<v1::WhoAmIResponse>, Status> {
        Err(Status::unimplemented("not for tests"))
    }

    async fn sign_stream(
        &self,
        _: Request<Streaming<v1::SignStreamRequest>>,
    ) -> Result<Response<Self::SignStreamStream>, Status> {
        Err(Status::unimplemented("not for tests"))
    }

    async fn explain(&self, _: Request<v1::ExplainRequest>) -> Result<Response<v1::ExplainResponse>, Status> {
        Err(Status::unimplemented("not for tests"))
    }
}
