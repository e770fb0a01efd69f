//! The process that serves: start, ready line, whose socket it is, stderr, stop.
//!
//! The host chooses the socket, in the process's private directory. The peer of the connection must be the child
//! itself: nobody else's server is spoken to, whoever managed to bind the path.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use prokura_plugin::PluginName;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::UnixStream;
use tokio::process::{ChildStdin, ChildStdout};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::checks;
use crate::child::{self, Group, Program, Started};
use crate::error::{Error, Violation};
use crate::limits::{
    READY_DEADLINE, READY_LINE_BYTES_MAX, SOCKET_PATH_BYTES_MAX, STDERR_TAIL_BYTES_MAX, STOP_GRACE,
};
use crate::text::{cleaned_bytes, excerpt};

/// Name of the command in errors.
pub(crate) const SERVE: &str = "serve";
const READY_LINE: &[u8] = b"ready prokura.plugin.v1\n";
const SOCKET_NAME: &str = "plugin.sock";
/// How long after its connection broke the end of a process is waited for.
const EXIT_GRACE: Duration = Duration::from_millis(500);
const EXIT_POLL: Duration = Duration::from_millis(10);

/// A serving process. Dropping it kills its group.
pub(super) struct Process {
    stdin: ChildStdin,
    group: Group,
    stderr: Arc<Mutex<Tail>>,
    drains: Vec<JoinHandle<()>>,
}

/// The end of what was written to stderr.
#[derive(Default)]
struct Tail(Vec<u8>);

pub(super) async fn start(program: &Program, limit: Duration) -> Result<(Process, Channel), Error> {
    let mut socket = std::path::PathBuf::new();
    let arguments = |directory: &Path| {
        socket = directory.join(SOCKET_NAME);
        vec![SERVE.into(), "--socket".into(), socket.clone().into_os_string()]
    };
    let Started { group, stdin, mut stdout, stderr } = child::start(program, arguments).await?;
    let plugin = program.executable.name();
    check_socket_path(plugin, &socket)?;
    let tail = Arc::new(Mutex::new(Tail::default()));
    let drains = vec![tokio::spawn(keep_tail(stderr, Arc::clone(&tail)))];
    let mut process = Process { stdin, group, stderr: tail, drains };
    let ready = timeout(limit, read_line(&mut stdout, &mut process.group)).await;
    let Ok(line) = ready else {
        return Err(Error::TooSlow { plugin: plugin.clone(), call: SERVE, limit });
    };
    check_ready(plugin, &process, &line).await?;
    process.drains.push(tokio::spawn(discard(stdout)));
    let channel = connect(plugin, &process.group, &socket).await?;
    Ok((process, channel))
}

impl Process {
    /// How the process has ended, if it has.
    pub(super) fn exit_name(&self) -> Option<String> {
        self.group.exit_name()
    }

    /// The error that says how the process died, if it does so within a moment.
    pub(super) async fn died(&self, plugin: &PluginName, call: &'static str) -> Option<Error> {
        let exited = async {
            loop {
                if self.exit_name().is_some() {
                    return;
                }
                tokio::time::sleep(EXIT_POLL).await;
            }
        };
        timeout(EXIT_GRACE, exited).await.ok()?;
        // What it wrote last may still be in the pipe.
        tokio::time::sleep(EXIT_POLL).await;
        Some(self.death(plugin, call))
    }

    /// The error that says how the process died, as far as it can be seen now.
    pub(super) fn death(&self, plugin: &PluginName, call: &'static str) -> Error {
        let status = self.exit_name().unwrap_or_else(|| "an unknown status".to_owned());
        Error::Died { plugin: plugin.clone(), call, status, stderr: cleaned_bytes(&self.written()) }
    }

    pub(super) fn id(&self) -> u32 {
        self.group.id().as_raw_pid().unsigned_abs()
    }

    /// Kills the process and its group.
    pub(super) fn kill(&self) {
        self.group.kill();
    }

    /// Closes stdin and waits for the process to end by itself; then ends its group.
    pub(super) async fn stop(mut self) {
        drop(self.stdin);
        if timeout(STOP_GRACE, self.group.exited()).await.is_err() {
            tracing::warn!(process = self.group.id().as_raw_pid(), "the plugin does not stop and is killed");
        }
        if let Err(error) = self.group.end().await {
            tracing::warn!(%error, "the plugin's end cannot be awaited");
        }
        // Whoever left the group may still hold its pipes.
        self.drains.iter().for_each(JoinHandle::abort);
    }

    fn written(&self) -> Vec<u8> {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

fn check_socket_path(plugin: &PluginName, socket: &Path) -> Result<(), Error> {
    if socket.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
        return Ok(());
    }
    let what = "TMPDIR is so long that no socket fits into it; shorten it";
    Err(Error::System {
        plugin: plugin.clone(),
        what,
        source: Arc::new(io::ErrorKind::InvalidFilename.into()),
    })
}

/// What is on stdout up to the first newline, the end of the output or of the process, or the limit.
async fn read_line(stdout: &mut ChildStdout, group: &mut Group) -> Vec<u8> {
    let mut line = Vec::with_capacity(READY_LINE_BYTES_MAX);
    while line.len() < READY_LINE_BYTES_MAX && !line.contains(&b'\n') {
        let read = tokio::select! {
            biased;
            read = stdout.read_buf(&mut line) => read,
            () = group.exited() => break,
        };
        if !read.is_ok_and(|length| length > 0) {
            break;
        }
    }
    line
}

async fn check_ready(plugin: &PluginName, process: &Process, line: &[u8]) -> Result<(), Error> {
    if line == READY_LINE {
        return Ok(());
    }
    if line.is_empty()
        && let Some(died) = process.died(plugin, SERVE).await
    {
        return Err(match checks::refusal(&process.written()) {
            Some(refusal) => refusal.of(plugin, SERVE),
            None => died,
        });
    }
    let expected = excerpt(READY_LINE);
    let message = format!("found {:?} on stdout, expected the one line {expected:?}", excerpt(line));
    Err(Violation::new("GRPC-1", message).by(plugin, SERVE))
}

/// Connects and makes sure of the peer, now and whenever the connection is made anew.
async fn connect(plugin: &PluginName, group: &Group, socket: &Path) -> Result<Channel, Error> {
    let child = group.id().as_raw_pid();
    let first = connect_to(child, socket).await;
    let first = first.map_err(|message| Violation::new("GRPC-2", message).by(plugin, SERVE))?;
    let first = Arc::new(Mutex::new(Some(first)));
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let prepared = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let socket = socket.clone();
        async move {
            let stream = match prepared {
                Some(stream) => stream,
                None => connect_to(child, &socket).await.map_err(io::Error::other)?,
            };
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    // The authority is never resolved; HTTP/2 asks for one.
    let endpoint = Endpoint::from_static("http://plugin.invalid");
    let connected = timeout(READY_DEADLINE, endpoint.connect_with_connector(connector)).await;
    let refused = |what: String| Violation::new("GRPC-6", what).by(plugin, SERVE);
    connected
        .map_err(|_| refused("the plugin does not speak HTTP/2 on its socket".to_owned()))?
        .map_err(|error| refused(format!("the plugin does not speak HTTP/2 on its socket: {error}")))
}

async fn connect_to(child: i32, socket: &Path) -> Result<UnixStream, String> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|e| format!("the plugin said it was ready, but its socket cannot be connected to: {e}"))?;
    let peer = stream.peer_cred().map_err(|e| format!("the peer of the socket is unknown: {e}"))?;
    match peer.pid() {
        Some(found) if found == child => Ok(stream),
        Some(found) => Err(format!("the socket is served by process {found}, expected the child {child}")),
        None => Err(format!("the socket is served by an unknown process, expected the child {child}")),
    }
}

/// Keeps the end of stderr until it is closed.
async fn keep_tail(mut stderr: impl AsyncRead + Unpin, tail: Arc<Mutex<Tail>>) {
    let mut buffer = vec![0; STDERR_TAIL_BYTES_MAX];
    while let Ok(length @ 1..) = stderr.read(&mut buffer).await {
        let written = buffer.get(..length).unwrap_or_default();
        tail.lock().unwrap_or_else(PoisonError::into_inner).push(written);
    }
}

/// Behind the ready line stdout has no meaning; it is read so that the plugin does not block.
async fn discard(mut stdout: ChildStdout) {
    let mut buffer = vec![0; STDERR_TAIL_BYTES_MAX];
    while let Ok(1..) = stdout.read(&mut buffer).await {}
}

impl Tail {
    fn push(&mut self, written: &[u8]) {
        self.0.extend_from_slice(written);
        let surplus = self.0.len().saturating_sub(STDERR_TAIL_BYTES_MAX);
        self.0.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_stderr_is_kept() {
        let mut tail = Tail::default();
        tail.push(&[b'a'; STDERR_TAIL_BYTES_MAX]);
        tail.push(b"end");
        assert_eq!(tail.0.len(), STDERR_TAIL_BYTES_MAX);
        assert!(tail.0.ends_with(b"aend"));
    }

    #[tokio::test]
    async fn a_socket_of_another_process_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let _listener = tokio::net::UnixListener::bind(&path).unwrap();
        let own = rustix::process::getpid().as_raw_pid();
        assert!(connect_to(own, &path).await.is_ok());
        let error = connect_to(own + 1, &path).await.unwrap_err();
        assert_eq!(error, format!("the socket is served by process {own}, expected the child {}", own + 1));
    }
}
