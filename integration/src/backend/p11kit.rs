//! SoftHSM behind p11-kit's server and client: a network HSM that can be stalled, dropped and restarted.
//!
//! The server starts one process for each connection, which holds the real module; the client is a module that speaks
//! to it through a UNIX socket. Between the two stands a [`Relay`], which can delay, stall and cut.

use std::ffi::OsString;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use prokura_plugin::KeySpec;
use rustix::process::{Pid, Signal, kill_process};

use crate::backend::p11fault::{Faults, VARIABLE};
use crate::backend::relay::Relay;
use crate::backend::token::{ABILITIES, LABEL, Token, chain_config, token_config, uri};
use crate::program::{Missing, system};
use crate::vault::{Abilities, TestKey, TestVault};

const INSTALL: &str = "apt-get install p11-kit p11-kit-modules";
/// Where distributions put the client.
const CLIENTS: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so",
    "/usr/lib/aarch64-linux-gnu/pkcs11/p11-kit-client.so",
    "/usr/lib64/pkcs11/p11-kit-client.so",
    "/usr/lib/pkcs11/p11-kit-client.so",
];
const STARTING: Duration = Duration::from_secs(20);

/// A token reached through p11-kit. Server and relay end with it.
pub struct P11Kit {
    /// The token behind it, for comparison.
    pub token: Token,
    /// What stands between client and server.
    pub relay: Relay,
    /// In front of the real module, on the server's side.
    faults: Option<Faults>,
    client: PathBuf,
    directory: PathBuf,
    server: Mutex<Option<Child>>,
}

impl P11Kit {
    /// A SoftHSM token below `directory`, served.
    ///
    /// # Errors
    /// [`Missing`] without p11-kit or SoftHSM.
    pub fn start(directory: &Path) -> Result<Self> {
        Self::start_with(directory, |_| Ok(None))
    }

    /// The same with the fault module on the server's side, which counts sessions.
    ///
    /// # Errors
    /// [`Missing`] without p11-kit, SoftHSM or the fault module.
    pub fn counted(directory: &Path) -> Result<Self> {
        Faults::module()?;
        Self::start_with(directory, |token| {
            Faults::new(directory.join("faults"), &token.module, None).map(Some)
        })
    }

    fn start_with(directory: &Path, faults: impl FnOnce(&Token) -> Result<Option<Faults>>) -> Result<Self> {
        let client = CLIENTS.map(PathBuf::from).into_iter().find(|client| client.is_file());
        let client = client.ok_or_else(|| Missing::new("p11-kit-client.so", INSTALL))?;
        system("p11-kit", INSTALL)?;
        let token = Token::softhsm(directory)?;
        let relay = Relay::start(directory.join("relay"), directory.join("server"))?;
        let faults = faults(&token)?;
        let directory = directory.to_owned();
        let vault = Self { token, relay, faults, client, directory, server: Mutex::default() };
        vault.start_server()?;
        Ok(vault)
    }

    /// The module a client loads.
    pub fn client(&self) -> &Path {
        &self.client
    }

    /// Ends the server and every process that holds the real module, at once: all sessions are gone.
    pub fn stop_server(&self) {
        let mut server = self.server();
        let Some(child) = server.as_mut() else { return };
        self.signal_remotes_of(child.id(), Signal::KILL);
        let _ = child.kill();
        let _ = child.wait();
        *server = None;
        // Connections to a dead server are closed by the kernel; those that wait in the relay are not.
        self.relay.cut();
    }

    /// Starts a server where there is none.
    ///
    /// # Errors
    /// If it does not listen within 20 s.
    pub fn start_server(&self) -> Result<()> {
        let mut server = self.server();
        if server.is_some() {
            return Ok(());
        }
        let socket = self.directory.join("server");
        let _ = std::fs::remove_file(&socket);
        let module = if self.faults.is_some() { Faults::module()? } else { self.token.module.clone() };
        // setpriv: the server must not outlive a test process that is killed.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "p11-kit", "server", "-f", "-n"])
            .arg(&socket)
            .arg("--provider")
            .arg(module)
            .arg(format!("pkcs11:token={}", LABEL.replace(' ', "%20")))
            .env(self.token.environment.0, &self.token.environment.1)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.envs(self.faults.iter().map(|faults| (VARIABLE, &faults.directory)));
        *server = Some(spawned(command).context("cannot start p11-kit server")?);
        drop(server);
        let until = Instant::now() + STARTING;
        while UnixStream::connect(&socket).is_err() {
            if Instant::now() > until {
                bail!("p11-kit server does not listen on {} after 20 s", socket.display());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Stops the processes that hold the real module in their tracks: connections stay, nobody answers.
    pub fn stall(&self) {
        self.signal_remotes(Signal::STOP);
    }

    /// Lets them go on.
    pub fn resume(&self) {
        self.signal_remotes(Signal::CONT);
    }

    /// Kills the processes that hold the real module; the server takes new connections.
    pub fn drop_connections(&self) {
        self.signal_remotes(Signal::KILL);
    }

    /// The processes that hold the real module: one for each client.
    pub fn remotes(&self) -> Vec<u32> {
        let server = self.server_id();
        let remotes = server.map(children).unwrap_or_default();
        remotes.into_iter().map(|pid| pid.as_raw_pid().unsigned_abs()).collect()
    }

    /// The server itself, if it runs.
    pub fn server_id(&self) -> Option<u32> {
        self.server().as_ref().map(Child::id)
    }

    /// Waits, for 20 s at most, until the processes whose clients have gone have ended too.
    pub fn await_idle(&self) {
        let until = Instant::now() + STARTING;
        while !self.remotes().is_empty() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// How many sessions are open with the real module, if it is [`P11Kit::counted`].
    ///
    /// # Errors
    /// If the counts cannot be read.
    pub fn open_sessions(&self) -> Result<u64> {
        let server = self.server_id();
        let (Some(server), Some(faults)) = (server, &self.faults) else { return Ok(0) };
        let mut open = 0;
        for pid in children(server) {
            let counts = faults.counts_of(pid.as_raw_nonzero().get().unsigned_abs()).unwrap_or_default();
            open += counts.get("sessions").copied().unwrap_or(0);
        }
        Ok(open)
    }

    fn signal_remotes(&self, signal: Signal) {
        let server = self.server_id();
        if let Some(pid) = server {
            self.signal_remotes_of(pid, signal);
        }
    }

    fn signal_remotes_of(&self, server: u32, signal: Signal) {
        for pid in children(server) {
            let _ = kill_process(pid, signal);
        }
    }

    fn server(&self) -> MutexGuard<'_, Option<Child>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts a process from a thread that lasts: what `setpriv --pdeathsig` watches is the thread, not the process.
fn spawned(command: Command) -> Result<Child> {
    type Order = (Command, Sender<std::io::Result<Child>>);
    static STARTER: LazyLock<Sender<Order>> = LazyLock::new(|| {
        let (sender, orders) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in orders {
                // Whoever asked has gone away if this fails.
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (answer, spawned) = channel();
    STARTER.send((command, answer)).ok().context("the thread that starts processes has ended")?;
    Ok(spawned.recv()??)
}

/// The living children of a process.
fn children(pid: u32) -> Vec<Pid> {
    // p11-kit server has one thread.
    let path = format!("/proc/{pid}/task/{pid}/children");
    let listed = std::fs::read_to_string(path).unwrap_or_default();
    listed.split_whitespace().filter_map(|child| child.parse().ok()).filter_map(Pid::from_raw).collect()
}

impl Drop for P11Kit {
    fn drop(&mut self) {
        self.stop_server();
    }
}

impl TestVault for P11Kit {
    fn name(&self) -> &'static str {
        "pkcs11/p11-kit"
    }

    fn plugin(&self) -> &'static str {
        "pkcs11"
    }

    fn specs(&self) -> &'static [KeySpec] {
        &KeySpec::ALL
    }

    fn key(&self, spec: KeySpec) -> TestKey {
        let id = uri(LABEL, &crate::key::id(spec), &self.client, &self.token.pin_file);
        TestKey { id, config: chain_config(&self.token.root) }
    }

    fn vault_config(&self) -> Vec<(String, String)> {
        token_config(LABEL, &self.client, &self.token.pin_file)
    }

    fn environment(&self) -> Vec<(&'static str, OsString)> {
        let mut address = OsString::from("unix:path=");
        address.push(self.relay.path());
        vec![("P11_KIT_SERVER_ADDRESS", address)]
    }

    fn root(&self) -> &Path {
        &self.token.root
    }

    fn abilities(&self) -> Abilities {
        ABILITIES
    }
}
