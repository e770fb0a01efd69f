//! The plugin as one long-lived process, called over its socket, and the person it can ask.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use hyper_util::rt::TokioIo;
use prokura_integration::program::executable;
use prokura_plugin::{Digest, HashAlgorithm, KeySpec};
use prokura_proto::plugin::v1;
use prokura_proto::plugin::v1::interact_request::Question;
use prokura_proto::plugin::v1::interact_response::Answer;
use prokura_proto::plugin::v1::list_keys_response::Found;
use prokura_proto::plugin::v1::plugin_client::PluginClient;
use prost::Message as _;
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// What a call without a deadline of its own may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(40);

/// What a call was refused with.
pub(super) type Refusal = Box<v1::Error>;

/// A serving plugin. Dropping it kills the process.
pub(super) struct Served {
    child: Child,
    runtime: tokio::runtime::Runtime,
    client: PluginClient<Channel>,
    person: Person,
    _directory: TempDir,
}

/// What the person was asked and told, and the PINs it will type.
#[derive(Clone, Default)]
pub(super) struct Person {
    said: Arc<Mutex<Vec<String>>>,
    pins: Arc<Mutex<VecDeque<String>>>,
}

/// A key as the plugin is asked for it.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) id: String,
    pub(super) spec: KeySpec,
    pub(super) config: BTreeMap<String, String>,
}

impl Person {
    /// Types this PIN when asked; without one every question is declined.
    pub(super) fn types(&self, pin: &str) {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner).push_back(pin.to_owned());
    }

    /// What was said so far: `pin: TEXT (N)`, `touch: TEXT`, `withdrawn`.
    pub(super) fn heard(&self) -> Vec<String> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn hears(&self, question: v1::InteractRequest) -> Option<v1::InteractResponse> {
        let (text, answer) = match question.question? {
            Question::Pin(pin) => {
                let typed = self.pins.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let answer = typed.map_or(Answer::Declined(v1::Declined {}), |p| Answer::Pin(p.into_bytes()));
                (format!("pin: {} ({})", pin.text, pin.tries_left), Some(answer))
            }
            Question::Touch(text) => (format!("touch: {text}"), None),
            Question::Withdrawn(_) => ("withdrawn".to_owned(), None),
            Question::Confirm(text) => (text, Some(Answer::Confirmed(false))),
            Question::Message(text) => (text, None),
        };
        self.said.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        answer.map(|answer| v1::InteractResponse { id: question.id, answer: Some(answer) })
    }
}

impl Served {
    /// Starts the plugin with these environment variables and nothing else, and listens to what it asks.
    pub(super) fn start(environment: &[(&str, OsString)]) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("prokura-faults-").tempdir()?;
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700))?;
        let socket = directory.path().join("s");
        #[expect(clippy::disallowed_methods, reason = "the test is the plugin's host")]
        let mut command = Command::new(executable("notation-yubikey")?);
        command.arg("serve").arg("--socket").arg(&socket).env_clear();
        command.envs(environment.iter().map(|(name, value)| (*name, value)));
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut ready = String::new();
        BufReader::new(child.stdout.take().context("stdout is a pipe")?).read_line(&mut ready)?;
        ensure!(ready.starts_with("ready"), "the plugin says {ready:?}");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let client = PluginClient::new(runtime.block_on(connect(socket))?);
        let person = Person::default();
        let served = Self { child, runtime, client, person, _directory: directory };
        served.listen()?;
        Ok(served)
    }

    pub(super) fn person(&self) -> &Person {
        &self.person
    }

    /// Describes a key.
    pub(super) fn describe(&self, key: &Key) -> Result<v1::DescribeKeyResponse, Refusal> {
        let request = v1::DescribeKeyRequest { key: Some(key.reference()) };
        let mut client = self.client.clone();
        self.call(PATIENCE, async move |request| client.describe_key(request).await, request)
    }

    /// Signs a digest within `deadline`; the host's verification comes after, so that it is made up for here.
    pub(super) fn sign(&self, key: &Key, deadline: Duration) -> Result<v1::SignDigestResponse, Refusal> {
        let mut client = self.client.clone();
        self.call(deadline, async move |request| client.sign_digest(request).await, key.signing())
    }

    /// Lists keys: their ids, or what could not be listed.
    pub(super) fn list(&self, config: &BTreeMap<String, String>) -> Result<Vec<v1::DescribeKeyResponse>> {
        let request = v1::ListKeysRequest { plugin_config: config.clone() };
        let mut client = self.client.clone();
        self.runtime.block_on(async move {
            let mut stream = client.list_keys(request).await?.into_inner();
            let mut keys = Vec::new();
            while let Some(listed) = stream.message().await? {
                match listed.found {
                    Some(Found::Key(key)) => keys.push(key),
                    other => bail!("not a key: {other:?}"),
                }
            }
            Ok(keys)
        })
    }

    /// Makes a key.
    pub(super) fn create(&self, key: &Key) -> Result<v1::DescribeKeyResponse, Refusal> {
        let request = v1::CreateKeyRequest {
            plugin_config: key.config.clone().into_iter().collect(),
            name: key.id.clone(),
            key_spec: key.spec.to_string(),
        };
        let mut client = self.client.clone();
        let made = self.call(PATIENCE, async move |request| client.create_key(request).await, request)?;
        made.key.ok_or_else(Refusal::default)
    }

    /// Installs a certificate.
    pub(super) fn install(&self, key: &Key, leaf: &[u8]) -> Result<(), Refusal> {
        let request = v1::InstallCertificateRequest {
            key: Some(key.reference()),
            certificate_chain: vec![leaf.to_vec()],
        };
        let mut client = self.client.clone();
        self.call(PATIENCE, async move |request| client.install_certificate(request).await, request).map(drop)
    }

    /// Ends the plugin; returns all it wrote to standard error.
    pub(super) fn stop(mut self) -> Result<String> {
        drop(self.child.stdin.take());
        let mut said = String::new();
        self.child.stderr.take().context("stderr is a pipe")?.read_to_string(&mut said)?;
        self.child.wait()?;
        Ok(said)
    }

    fn call<Q, A>(
        &self,
        deadline: Duration,
        call: impl AsyncFnOnce(Request<Q>) -> Result<tonic::Response<A>, Status>,
        request: Q,
    ) -> Result<A, Refusal> {
        let mut request = Request::new(request);
        request.set_timeout(deadline);
        self.runtime.block_on(call(request)).map(tonic::Response::into_inner).map_err(|status| of(&status))
    }

    fn listen(&self) -> Result<()> {
        let person = self.person.clone();
        let mut client = self.client.clone();
        let (answers, stream) = tokio::sync::mpsc::channel(8);
        answers.try_send(v1::InteractResponse::default())?;
        let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
        let mut questions = self.runtime.block_on(client.interact(stream))?.into_inner();
        self.runtime.spawn(async move {
            while let Ok(Some(question)) = questions.message().await {
                if let Some(answer) = person.hears(question)
                    && answers.send(answer).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Key {
    /// The same key with one more entry of plugin config.
    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.config.insert(name.to_owned(), value.into());
        self
    }

    /// A digest of the right length; what was hashed does not matter.
    pub(super) fn digest(&self) -> Result<Digest> {
        let hash: HashAlgorithm = self.spec.hash_algorithm();
        Digest::from_bytes(hash, vec![0x5A; hash.digest_len()]).map_err(|e| anyhow::anyhow!("{e}"))
    }

    fn reference(&self) -> v1::KeyReference {
        v1::KeyReference { key_id: self.id.clone(), plugin_config: self.config.clone().into_iter().collect() }
    }

    fn signing(&self) -> v1::SignDigestRequest {
        let hash = self.spec.hash_algorithm();
        v1::SignDigestRequest {
            key: Some(self.reference()),
            key_spec: self.spec.to_string(),
            hash_algorithm: hash.to_string(),
            digest: vec![0x5A; hash.digest_len()],
            to_be_signed: Vec::new(),
        }
    }
}

/// The error that travels as the status details; without one the status itself.
fn of(status: &Status) -> Refusal {
    let details = v1::Error::decode(status.details()).ok().filter(|error| !error.code.is_empty());
    Box::new(details.unwrap_or_else(|| v1::Error {
        code: format!("{:?}", status.code()),
        message: status.message().to_owned(),
        ..v1::Error::default()
    }))
}

async fn connect(socket: PathBuf) -> Result<Channel> {
    // The address is not used: the connector below knows the way.
    let endpoint = Endpoint::from_static("http://plugin.invalid");
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(tokio::net::UnixStream::connect(socket).await?)) }
    });
    endpoint.connect_with_connector(connector).await.context("cannot connect to the socket")
}
