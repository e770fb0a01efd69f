//! A pcscd of its own for the tests: private socket, one reader with two slots, killed and started again at will.
//!
//! pcscd has `/run/pcscd` compiled in, so it runs in a mount namespace in which that is a directory of the test. Its
//! socket is an ordinary file there, and libpcsclite is led to it by `PCSCLITE_CSOCK_NAME`: only pcscd needs the
//! namespace, not what is tested.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::client::{Client, SLOTS};
use super::link::wait_until;
use crate::program::{Missing, system};

/// vsmartcard's driver, where Debian puts it.
const DRIVER: &str = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so";
const INSTALL: &str = "apt-get install pcscd vsmartcard-vpcd";
/// The reader's name, to which pcscd adds serial and slot: what a YubiKey's reader is called.
const READER: &str = "Yubico YubiKey OTP+FIDO+CCID";
/// How long pcscd may take to start, and to notice a card: it polls twice a second.
const START_MAX: Duration = Duration::from_secs(20);

/// The environment variable that leads libpcsclite to a socket.
pub const SOCKET_VARIABLE: &str = "PCSCLITE_CSOCK_NAME";

/// A running pcscd; it ends when this is dropped, and when the test process dies.
pub struct Daemon {
    directory: PathBuf,
    running: Option<Running>,
}

struct Running {
    shell: Child,
    pid: rustix::process::Pid,
}

/// Starts pcscd where `$1` is its run directory, says its pid, and ends it when standard input ends. The directory
/// it has compiled in is there only where pcscd ran before.
const SCRIPT: &str = r#"
test -d /run/pcscd || { mount -t tmpfs tmpfs /run && mkdir /run/pcscd; } || exit 1
mount --bind "$1" /run/pcscd || exit 1
pcscd --foreground --critical --config "$2" >"$3" 2>&1 </dev/null &
echo $!
read -r _
kill -9 $! 2>/dev/null"#;

impl Daemon {
    /// Starts pcscd with its files below `directory`. Its reader's slots are at `port` and the next; who listens there
    /// must answer by now, for pcscd asks while it starts.
    ///
    /// # Errors
    /// [`Missing`] without pcscd, vsmartcard's driver or the right to a mount namespace.
    pub(super) fn start(directory: &Path, port: u16) -> Result<Self> {
        system("pcscd", INSTALL)?;
        system("unshare", "apt-get install util-linux")?;
        if !Path::new(DRIVER).is_file() {
            return Err(Missing::new("vsmartcard's driver for pcscd", INSTALL).into());
        }
        let config = directory.join("reader.conf.d");
        std::fs::create_dir_all(&config)?;
        std::fs::write(
            config.join("vpcd"),
            format!(
                "FRIENDLYNAME \"{READER}\"\nDEVICENAME 127.0.0.1:{port}\nLIBPATH {DRIVER}\nCHANNELID {port}\n"
            ),
        )?;
        let mut daemon = Self { directory: directory.to_owned(), running: None };
        daemon.restart()?;
        Ok(daemon)
    }

    /// The variable that leads libpcsclite to this pcscd.
    pub fn environment(&self) -> (&'static str, OsString) {
        (SOCKET_VARIABLE, self.socket().into_os_string())
    }

    /// pcscd's socket.
    pub fn socket(&self) -> PathBuf {
        self.run_directory().join("pcscd.comm")
    }

    /// Kills pcscd, as a crash or the kernel would (signal 9).
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = rustix::process::kill_process(running.pid, rustix::process::Signal::KILL);
            drop(running.shell.stdin.take());
            let _ = running.shell.wait();
        }
    }

    /// Starts pcscd anew, killing it first if it runs; returns when it answers.
    ///
    /// # Errors
    /// If it does not answer in time.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let run = self.run_directory();
        // A killed pcscd leaves its socket and pid file, and none starts while they are there.
        match std::fs::remove_dir_all(&run) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => std::fs::create_dir_all(&run)?,
        }
        let log = self.directory.join("pcscd.log");
        let config = self.directory.join("reader.conf.d");
        let mut shell = namespace()
            .args(["sh", "-c", SCRIPT, "sh"])
            .args([&run, &config, &log])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(shell.stdout.take().context("stdout is a pipe")?).read_line(&mut line)?;
        let Some(pid) = line.trim().parse().ok().and_then(rustix::process::Pid::from_raw) else {
            let _ = shell.wait();
            return Err(Missing::new("a mount namespace with /run/pcscd", "run the tests as root").into());
        };
        self.running = Some(Running { shell, pid });
        let answers = || Client::connect(&self.socket()).and_then(|mut client| client.slots()).is_ok();
        wait_until(START_MAX, "pcscd to answer", answers)
            .with_context(|| std::fs::read_to_string(&log).unwrap_or_default())
    }

    /// Waits until pcscd sees a card in a slot, or none.
    ///
    /// # Errors
    /// If it does not in time.
    pub fn wait_for_card(&self, slot: usize, present: bool) -> Result<()> {
        let what = format!("pcscd to see {} in slot {slot}", if present { "a card" } else { "no card" });
        wait_until(START_MAX, &what, || {
            let slots = Client::connect(&self.socket()).and_then(|mut client| client.slots());
            slots.is_ok_and(|slots| slots.get(slot).is_some_and(|seen| seen.present == present))
        })
    }

    /// Holds the card in a slot exclusively, as another program would (a gpg-agent's scdaemon, for one).
    ///
    /// # Errors
    /// If pcscd refuses.
    pub fn hold(&self, slot: usize) -> Result<Client> {
        let mut client = Client::connect(&self.socket())?;
        client.open(slot, true)?;
        Ok(client)
    }

    fn run_directory(&self) -> PathBuf {
        self.directory.join("run")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A mount namespace; without root, one of a user namespace, where the system allows that.
fn namespace() -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--mount", "--"]);
    command
}

/// Two listeners at neighbouring ports of 127.0.0.1, as vpcd's two slots want them.
///
/// # Errors
/// If the system has no such ports to give.
pub(super) fn neighbours() -> Result<[TcpListener; SLOTS]> {
    const ATTEMPTS: usize = 100;
    for _ in 0..ATTEMPTS {
        let first = TcpListener::bind("127.0.0.1:0")?;
        let Some(next) = first.local_addr()?.port().checked_add(1) else { continue };
        if let Ok(second) = TcpListener::bind(("127.0.0.1", next)) {
            return Ok([first, second]);
        }
    }
    bail!("no two neighbouring ports among {ATTEMPTS}")
}
