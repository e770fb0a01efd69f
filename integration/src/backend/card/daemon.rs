//! A pcscd of its own for the tests: private socket, one reader with two slots, killed and started again at will.
//!
//! pcscd has `/run/pcscd` compiled in, and vsmartcard's driver listens on all interfaces; so both run in namespaces of
//! their own, in which that is a directory of the test and those interfaces are none but `lo`. pcscd's socket is an
//! ordinary file of that directory, and `PCSCLITE_CSOCK_NAME` leads libpcsclite to it: what is tested needs no
//! namespace. (The driver can also be told to connect to the card. Debian 12's aborts pcscd when such a card is
//! pulled.)

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::Pid;

use super::client::Client;
use super::link::wait_until;
use crate::program::{Missing, system};

/// vsmartcard's driver, where Debian puts it.
const DRIVER: &str = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so";
const INSTALL: &str = "apt-get install pcscd vsmartcard-vpcd";
/// The reader's name, to which pcscd adds serial and slot: what a YubiKey's reader is called.
const READER: &str = "Yubico YubiKey OTP+FIDO+CCID";
/// How long pcscd may take to start, and to notice a card: it polls twice a second.
const START_MAX: Duration = Duration::from_secs(20);

/// Directories of readers below a daemon's directory: one with vpcd's, and one with none.
const WITH_READER: &str = "reader.conf.d";
const WITHOUT_READER: &str = "no-reader.conf.d";

/// The environment variable that leads libpcsclite to a socket.
pub const SOCKET_VARIABLE: &str = "PCSCLITE_CSOCK_NAME";

/// The driver's port for the first slot, in a network where nobody else has one.
const PORT: u16 = 0x9001;

/// A running pcscd; it ends when this is dropped, and when the test process dies.
pub struct Daemon {
    directory: PathBuf,
    keeper: Child,
    pids: BufReader<ChildStdout>,
    running: Option<Pid>,
}

/// Keeps the namespaces, in which `$1` is the run directory. For every line it reads it starts pcscd with the readers of
/// that directory below `$2`, and says its pid; at the end of its input it kills the last one. The directory pcscd has compiled in is there only where one ran
/// before, and a killed one leaves files with which none would start again.
const KEEPER: &str = r#"
test -d /run/pcscd || { mount -t tmpfs tmpfs /run && mkdir /run/pcscd; } || exit 1
mount --bind "$1" /run/pcscd && ip link set lo up && echo ready || exit 1
pid=
while read -r readers; do
    # One that was killed keeps its ports until it is gone.
    test -z "$pid" || { kill -9 "$pid"; wait "$pid"; }
    rm -f /run/pcscd/*
    pcscd --foreground --critical --config "$2/$readers" >>"$2/pcscd.log" 2>&1 </dev/null &
    pid=$!
    echo "$pid"
done
kill -9 $pid"#;

impl Daemon {
    /// Starts pcscd with its files below `directory`.
    ///
    /// # Errors
    /// [`Missing`] without pcscd, vsmartcard's driver or the right to namespaces.
    pub(super) fn start(directory: &Path) -> Result<Self> {
        for (program, install) in [
            ("pcscd", INSTALL),
            ("unshare", "apt-get install util-linux"),
            ("ip", "apt-get install iproute2"),
        ] {
            system(program, install)?;
        }
        if !Path::new(DRIVER).is_file() {
            return Err(Missing::new("vsmartcard's driver for pcscd", INSTALL).into());
        }
        let (run, config) = (directory.join("run"), directory.join(WITH_READER));
        for directory in [&run, &config, &directory.join(WITHOUT_READER)] {
            std::fs::create_dir_all(directory)?;
        }
        let reader = format!(
            "FRIENDLYNAME \"{READER}\"\nDEVICENAME /dev/null:{PORT}\nLIBPATH {DRIVER}\nCHANNELID {PORT}\n"
        );
        std::fs::write(config.join("vpcd"), reader)?;
        let mut keeper = Command::new("unshare")
            .args(["--mount", "--net", "--", "sh", "-c", KEEPER, "sh"])
            .args([&run, directory])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let pids = BufReader::new(keeper.stdout.take().context("stdout is a pipe")?);
        let mut daemon = Self { directory: directory.to_owned(), keeper, pids, running: None };
        if daemon.heard()? != "ready" {
            return Err(
                Missing::new("the right to mount and network namespaces", "run the tests as root").into()
            );
        }
        daemon.restart()?;
        Ok(daemon)
    }

    fn heard(&mut self) -> Result<String> {
        let mut line = String::new();
        self.pids.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// Where the driver waits for the card of a slot: a network namespace, and a port of its 127.0.0.1.
    pub(super) fn address(&self, slot: u16) -> Result<(File, u16)> {
        let namespace = File::open(format!("/proc/{}/ns/net", self.keeper.id()))?;
        Ok((namespace, PORT + slot))
    }

    /// The variable that leads libpcsclite to this pcscd.
    pub fn environment(&self) -> (&'static str, OsString) {
        (SOCKET_VARIABLE, self.socket().into_os_string())
    }

    /// pcscd's socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("run/pcscd.comm")
    }

    /// Kills pcscd, as a crash or the kernel would (signal 9).
    pub fn kill(&mut self) {
        if let Some(pid) = self.running.take() {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }

    /// Starts pcscd anew, killing it first if it runs; returns when it answers.
    ///
    /// # Errors
    /// If it does not answer in time.
    pub fn restart(&mut self) -> Result<()> {
        self.start_with(WITH_READER)?;
        let has_reader = || Client::connect(&self.socket()).and_then(|mut client| client.slots()).is_ok();
        wait_until(START_MAX, "pcscd to have its reader", has_reader).with_context(|| self.log())
    }

    /// As [`Daemon::restart`], but there is no reader at all: as where no YubiKey was ever plugged in.
    ///
    /// # Errors
    /// If it does not answer in time.
    pub fn restart_without_reader(&mut self) -> Result<()> {
        self.start_with(WITHOUT_READER)
    }

    fn start_with(&mut self, readers: &str) -> Result<()> {
        self.kill();
        let input = self.keeper.stdin.as_mut().context("stdin is a pipe")?;
        writeln!(input, "{readers}")?;
        let pid = self.heard()?;
        self.running = Some(pid.parse().ok().and_then(Pid::from_raw).context("no pcscd was started")?);
        let answers = || Client::connect(&self.socket()).is_ok();
        wait_until(START_MAX, "pcscd to answer", answers).with_context(|| self.log())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("pcscd.log")).unwrap_or_default()
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
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        // At the end of its input the keeper ends, and with it the namespaces.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}
