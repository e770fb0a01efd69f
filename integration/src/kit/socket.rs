//! Runs a plugin that serves `prokura.plugin.v1` on a UNIX socket, and calls it.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hyper_util::rt::TokioIo;
use prokura_plugin::limits::GRPC_MESSAGE_BYTES_MAX;
use prokura_proto::plugin::v1::plugin_client::PluginClient;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::Subject;
use super::stdio::PATIENCE;

/// A connected client.
pub(super) type Client = PluginClient<Channel>;

const SERVICE: &str = "prokura.plugin.v1.Plugin";
const READY: &str = "ready prokura.plugin.v1\n";
/// Draining takes at most 5 s; what is more is for slow machines.
const STOPPING: Duration = Duration::from_secs(10);

/// A serving plugin. Dropping it kills the process.
pub(super) struct Serving {
    child: Child,
    socket: PathBuf,
    runtime: tokio::runtime::Runtime,
    channel: Channel,
    _directory: TempDir,
}

impl Serving {
    /// Starts the plugin and connects.
    pub(super) fn start(subject: &Subject) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("prokura-kit-").tempdir()?;
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700))?;
        let socket = directory.path().join("s");
        let mut child = Command::new(&subject.program)
            .arg("serve")
            .arg("--socket")
            .arg(&socket)
            .envs(subject.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", subject.program.display()))?;
        let connected = ready_line(&mut child).and_then(|line| {
            ensure!(line == READY, "the first line on stdout is {line:?}, expected {READY:?}");
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
            let channel = runtime.block_on(connect(socket.clone()))?;
            Ok((runtime, channel))
        });
        match connected {
            Ok((runtime, channel)) => Ok(Self { child, socket, runtime, channel, _directory: directory }),
            Err(error) => {
                end(&mut child);
                Err(error)
            }
        }
    }

    /// Makes one call and waits for its answer.
    pub(super) fn call<T, F>(&self, call: impl FnOnce(Client) -> F) -> Result<T, tonic::Status>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let client = PluginClient::new(self.channel.clone())
            .max_decoding_message_size(GRPC_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(GRPC_MESSAGE_BYTES_MAX);
        let answer = async { tokio::time::timeout(PATIENCE, call(client)).await };
        match self.runtime.block_on(answer) {
            Ok(answer) => answer.map(tonic::Response::into_inner),
            Err(_) => Err(tonic::Status::deadline_exceeded("the kit's patience ended")),
        }
    }

    /// Asks the standard health service for the plugin's service.
    pub(super) fn health(&self) -> Result<()> {
        let mut client = HealthClient::new(self.channel.clone());
        let request = HealthCheckRequest { service: SERVICE.to_owned() };
        let answer = async { tokio::time::timeout(PATIENCE, client.check(request)).await };
        let answer = self.runtime.block_on(answer).context("no answer from the health service")?;
        let status = answer.map_err(|status| anyhow::anyhow!("{:?}: {}", status.code(), status.message()))?;
        let status = status.into_inner().status();
        ensure!(status == ServingStatus::Serving, "it is {status:?}, expected Serving");
        Ok(())
    }

    /// Mode bits of the socket.
    pub(super) fn socket_mode(&self) -> Result<u32> {
        Ok(std::fs::metadata(&self.socket)?.permissions().mode() & 0o777)
    }

    /// Closes the plugin's stdin and waits for it to end; returns its exit code.
    pub(super) fn stop(mut self) -> Result<Option<i32>> {
        drop(self.child.stdin.take());
        let until = Instant::now() + STOPPING;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("it did not end within {} s after its stdin was closed", STOPPING.as_secs())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn ready_line(child: &mut Child) -> Result<String> {
    let stdout = child.stdout.take().context("stdout is a pipe")?;
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = BufReader::new(stdout).read_line(&mut line);
        let _ = sender.send(read.map(|_| line));
    });
    let line = receiver.recv_timeout(PATIENCE).context("there is no ready line")?;
    Ok(line?)
}

async fn connect(socket: PathBuf) -> Result<Channel> {
    // The address is not used: the connector below knows the way.
    let endpoint = Endpoint::from_static("http://plugin.invalid");
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
    });
    endpoint.connect_with_connector(connector).await.context("cannot connect to the socket")
}
