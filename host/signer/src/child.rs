//! The only place that starts processes: one plugin process in its own group, with its own directory and environment.
//!
//! Whatever way a call ends (answer, deadline, flood, the caller going away), the whole process group gets `SIGKILL`.
//! The group is killed before its leader is reaped: until then the kernel gives the group's id to nobody else. What left
//! the group is found by its working directory. The leader dies with this process, however that ends.

mod place;
mod starter;
mod stragglers;
mod tether;

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use prokura_plugin::limits::OUTPUT_BYTES_MAX;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::signal::unix::SignalKind;
use tokio::time::Instant;

use crate::directory::Executable;
use crate::environment::Environment;
use crate::error::{Error, Stream};
use crate::limits::{BUSY_PAUSE, BUSY_TRIES_MAX, PIPE_GRACE, REAP_GRACE};
use crate::unfit::{self, PinnedSha256, Unfit};
use place::Place;
use tether::Image;

const READ_BYTES: usize = 64 * 1024;

/// What is started, with what it may see.
pub(crate) struct Program {
    pub(crate) executable: Executable,
    pub(crate) environment: Environment,
    /// Compared before each start.
    pub(crate) pinned_sha256: Option<PinnedSha256>,
}

/// Removes what hosts of this user that were killed left in the directory for temporary files, and ends what still runs
/// there.
pub(crate) async fn clear_stale(environment: &Environment) {
    let temporary = environment.temporary_directory();
    let _ = tokio::task::spawn_blocking(move || place::clear_stale(&temporary)).await;
}

/// What one finished process left behind.
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// Runs a plugin with one argument, hands it `input` on stdin and collects what it writes.
///
/// # Errors
/// `NotRunnable` or `System` if it does not start, `TooSlow` after `limit`, `Flooded` if an output exceeds
/// [`OUTPUT_BYTES_MAX`]. A failure status is no error here.
pub(crate) async fn run(
    program: &Program,
    call: &'static str,
    input: &[u8],
    limit: Duration,
) -> Result<Output, Error> {
    let deadline = Instant::now() + limit;
    let Started { mut group, stdin, stdout, stderr } = start(program, |_| vec![call.into()]).await?;
    let mut output = Collected::default();
    let talk = talk(&mut group, (stdin, input), (stdout, stderr), &mut output);
    let ended = tokio::time::timeout_at(deadline, talk).await;
    let status = group.end().await;
    let plugin = || program.executable.name().clone();
    match ended {
        Err(_) => Err(Error::TooSlow { plugin: plugin(), call, limit }),
        Ok(Err(Stopped::Flooded(stream))) => {
            Err(Error::Flooded { plugin: plugin(), call, stream, limit: OUTPUT_BYTES_MAX })
        }
        Ok(Err(Stopped::Unreadable(source))) => {
            Err(Error::System { plugin: plugin(), what: "its output cannot be read", source: source.into() })
        }
        Ok(Ok(())) => match status {
            Ok(status) => Ok(Output { status, stdout: output.stdout, stderr: output.stderr }),
            Err(source) => Err(Error::System {
                plugin: plugin(),
                what: "its end cannot be awaited",
                source: source.into(),
            }),
        },
    }
}

/// A process that was just started, with its pipes.
pub(crate) struct Started {
    pub(crate) group: Group,
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: ChildStdout,
    pub(crate) stderr: ChildStderr,
}

/// Starts a plugin in a new process group, in a new private directory (mode 0700, removed with the [`Group`]) and with
/// `environment` alone. `arguments` is told that directory.
pub(crate) async fn start(
    program: &Program,
    arguments: impl FnOnce(&std::path::Path) -> Vec<std::ffi::OsString>,
) -> Result<Started, Error> {
    let plugin = program.executable.name();
    let system =
        |what| move |source: io::Error| Error::System { plugin: plugin.clone(), what, source: source.into() };
    check_pin(program).await?;
    let place = Place::new(&program.environment.temporary_directory());
    let place = place.map_err(system("no private directory can be made"))?;
    let arguments = arguments(place.work());
    // Listening starts before the process does, so that its end cannot be missed.
    let ends =
        tokio::signal::unix::signal(SignalKind::child()).map_err(system("signals cannot be awaited"))?;
    let mut child = spawn(program, &arguments, place.work()).await?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    match (id, pipes) {
        (Some(id), (Some(stdin), Some(stdout), Some(stderr))) => {
            let group = Group { child, id, ends, ended: false, place };
            Ok(Started { group, stdin, stdout, stderr })
        }
        _ => Err(system("it has no pipes")(io::ErrorKind::BrokenPipe.into())),
    }
}

/// A plugin's process group. Dropping it kills the group and what left it; the leader is reaped by the runtime.
pub(crate) struct Group {
    child: Child,
    id: Pid,
    ends: tokio::signal::unix::Signal,
    ended: bool,
    place: Place,
}

impl Group {
    /// Process id of the leader.
    pub(crate) const fn id(&self) -> Pid {
        self.id
    }

    /// How the leader has ended, if it has. It is not reaped.
    pub(crate) fn exit_name(&self) -> Option<String> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        match rustix::process::waitid(WaitId::Pid(self.id), options) {
            Ok(None) => None,
            Ok(Some(status)) => Some(status_name(status.exit_status(), status.terminating_signal())),
            Err(_) => Some("an unknown status".to_owned()), // there is no such child any more
        }
    }

    /// Waits until the leader has ended. It is not reaped.
    pub(crate) async fn exited(&mut self) {
        while self.exit_name().is_none() {
            if self.ends.recv().await.is_none() {
                return;
            }
        }
    }

    /// Kills what is left of the group and what left it, reaps the leader and says how it ended.
    pub(crate) async fn end(mut self) -> io::Result<ExitStatus> {
        let work = self.place.work().to_owned();
        self.kill();
        // Whoever is dead starts no other: first the group, then who left it.
        let _ = tokio::task::spawn_blocking(move || stragglers::end(&work)).await;
        self.ended = true;
        let status = tokio::time::timeout(REAP_GRACE, self.child.wait()).await;
        status.unwrap_or_else(|_| Err(io::Error::other("the process does not end after SIGKILL")))
    }

    /// Kills the group. Its leader stays unreaped as long as this lives.
    pub(crate) fn kill(&self) {
        // The group may be gone already; nothing else can go wrong with one's own children.
        let _ = rustix::process::kill_process_group(self.id, Signal::KILL);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.ended {
            self.kill();
            stragglers::end(self.place.work());
        }
    }
}

impl Output {
    /// How the process ended, for people.
    pub(crate) fn status_name(&self) -> String {
        status_name(self.status.code(), self.status.signal())
    }
}

fn status_name(code: Option<i32>, signal: Option<i32>) -> String {
    match (code, signal) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}{}", signal_name(signal)),
        (None, None) => "an unknown status".to_owned(),
    }
}

const fn signal_name(signal: i32) -> &'static str {
    match signal {
        4 => " (SIGILL)",
        6 => " (SIGABRT)",
        7 => " (SIGBUS)",
        9 => " (SIGKILL)",
        11 => " (SIGSEGV)",
        13 => " (SIGPIPE)",
        15 => " (SIGTERM)",
        _ => "",
    }
}

async fn check_pin(program: &Program) -> Result<(), Error> {
    let Some(pin) = program.pinned_sha256 else { return Ok(()) };
    let path = program.executable.path().to_owned();
    let checked = tokio::task::spawn_blocking(move || unfit::check_sha256(&path, pin)).await;
    let checked = checked.unwrap_or_else(|e| Err(Unfit::Unreadable(io::Error::other(e).into())));
    checked.map_err(|reason| not_runnable(&program.executable, reason))
}

fn not_runnable(executable: &Executable, reason: Unfit) -> Error {
    Error::NotRunnable { plugin: executable.name().clone(), path: executable.path().to_owned(), reason }
}

async fn spawn(
    program: &Program,
    arguments: &[std::ffi::OsString],
    directory: &std::path::Path,
) -> Result<Child, Error> {
    let executable = &program.executable;
    let mut tries = 1;
    loop {
        let started = match command(program, arguments, directory) {
            Ok(command) => starter::start(command).await,
            Err(error) => Err(error),
        };
        let error = match started {
            Ok(child) => return Ok(child),
            Err(error) => error,
        };
        // Somebody has the file open for writing, often only until a process he started has reached its own exec.
        if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES_MAX {
            tries += 1;
            tokio::time::sleep(BUSY_PAUSE).await;
            continue;
        }
        return Err(match unfit::start_refusal(executable.path(), error) {
            Ok(reason) => not_runnable(executable, reason),
            Err(source) => {
                let plugin = executable.name().clone();
                Error::System { plugin, what: "no process can be started", source: source.into() }
            }
        });
    }
}

/// Arguments and environment are the image's; the command is left the streams, the group and the directory.
#[expect(clippy::disallowed_methods, reason = "the one place that starts processes")]
fn command(
    program: &Program,
    arguments: &[std::ffi::OsString],
    directory: &std::path::Path,
) -> io::Result<tokio::process::Command> {
    let path = program.executable.path().as_os_str();
    let environment = program.environment.variables().iter().map(|(name, value)| (&**name, &**value));
    let image = Image::new(path, arguments.iter().map(|argument| &**argument), environment)?;
    let mut command = tokio::process::Command::new(path);
    command
        .env_clear()
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    tether::tie(&mut command, image);
    Ok(command)
}

#[derive(Default)]
struct Collected {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

enum Stopped {
    Flooded(Stream),
    Unreadable(io::Error),
}

/// Writes and reads at once until both outputs are closed and the leader has ended, or until [`PIPE_GRACE`] after the
/// leader's end: a descendant that keeps the pipes open is not waited for.
async fn talk(
    group: &mut Group,
    (stdin, input): (ChildStdin, &[u8]),
    (stdout, stderr): (ChildStdout, ChildStderr),
    output: &mut Collected,
) -> Result<(), Stopped> {
    let written = feed(stdin, input);
    let read = async {
        tokio::try_join!(
            collect(stdout, &mut output.stdout, Stream::Stdout),
            collect(stderr, &mut output.stderr, Stream::Stderr)
        )
    };
    tokio::pin!(written, read);
    let (mut is_written, mut is_read) = (false, false);
    loop {
        tokio::select! {
            () = &mut written, if !is_written => is_written = true,
            result = &mut read, if !is_read => {
                result?;
                is_read = true;
            }
            () = group.exited() => break,
        }
    }
    if !is_read && let Ok(result) = tokio::time::timeout(PIPE_GRACE, read).await {
        result?;
    }
    Ok(())
}

/// Writes the request and closes stdin. A plugin that does not read it answers without; its answer decides.
async fn feed(mut stdin: ChildStdin, input: &[u8]) {
    let _ = stdin.write_all(input).await;
}

async fn collect(
    mut pipe: impl AsyncRead + Unpin,
    output: &mut Vec<u8>,
    stream: Stream,
) -> Result<(), Stopped> {
    loop {
        output.reserve(READ_BYTES);
        let length = pipe.read_buf(output).await.map_err(Stopped::Unreadable)?;
        if output.len() > OUTPUT_BYTES_MAX {
            return Err(Stopped::Flooded(stream));
        }
        if length == 0 {
            return Ok(());
        }
    }
}
