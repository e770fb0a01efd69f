//! The emulators as processes: installed once from PyPI at pinned versions, listening on 127.0.0.1, ended with the test.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::api::Api;
use crate::program::{Missing, output, system};

/// Which emulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emulator {
    /// moto with `kms_server.py` around it.
    Moto,
    /// LocalStack with `localstack_server.py` around it.
    LocalStack,
}

impl Emulator {
    const fn name(self) -> &'static str {
        match self {
            Self::Moto => "moto",
            Self::LocalStack => "localstack",
        }
    }

    /// What pip installs. LocalStack 4.14.0 does not start with later versions of the last three.
    const fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Moto => {
                &["moto[server,kms,acm,acmpca,secretsmanager,s3,iam,sts]==5.2.5", "cryptography<46"]
            }
            Self::LocalStack => &[
                "localstack-core[base-runtime]==4.14.0",
                "moto-ext==5.1.22.dev0",
                "service_identity==24.2.0",
                "cbor2<6",
                "cryptography<46",
                "pyopenssl<25.2",
            ],
        }
    }

    const fn script(self) -> &'static str {
        match self {
            Self::Moto => include_str!("kms_server.py"),
            Self::LocalStack => include_str!("localstack_server.py"),
        }
    }

    /// Minor version of Python 3 that it needs.
    const fn python(self) -> u32 {
        match self {
            Self::Moto => 10,
            Self::LocalStack => 12,
        }
    }
}

/// A running emulator; it ends when this is dropped, and when the test process dies.
pub struct Server {
    /// The way to ask it.
    pub api: Api,
    child: Child,
    _directory: TempDir,
}

impl Server {
    /// Installs the emulator if need be and starts it.
    ///
    /// # Errors
    /// [`Missing`] without Python or if pip cannot install it.
    pub fn start(emulator: Emulator) -> Result<Self> {
        let python = installed(emulator)?;
        let directory = tempfile::Builder::new().prefix("prokura-aws-").tempdir()?;
        let script = directory.path().join("server.py");
        std::fs::write(&script, emulator.script())?;
        let mut child = Command::new(python)
            .arg(&script)
            .env_clear()
            .envs(surroundings(directory.path()))
            .current_dir(directory.path())
            // It ends when its stdin does: with this process, however that ends.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(directory.path().join("log"))?)
            .spawn()?;
        let stdout = child.stdout.take().context("stdout is a pipe")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let port = line.trim().strip_prefix("listening ").and_then(|port| port.parse().ok());
        let log = || std::fs::read_to_string(directory.path().join("log")).unwrap_or_default();
        let port = port.with_context(|| format!("{} said {line:?}\n{}", emulator.name(), log()))?;
        Ok(Self { api: Api::new(port), child, _directory: directory })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// LocalStack keeps files where these say, and must not look for anything on the network.
fn surroundings(directory: &Path) -> Vec<(&'static str, String)> {
    let below = |name: &str| directory.join(name).display().to_string();
    vec![
        ("PATH", std::env::var("PATH").unwrap_or_default()),
        ("HOME", directory.display().to_string()),
        ("LOCALSTACK_VOLUME_DIR", below("volume")),
        ("FILESYSTEM_ROOT", below("files")),
        ("SERVICES", "kms,sts".to_owned()),
        ("SKIP_SSL_CERT_DOWNLOAD", "1".to_owned()),
        ("DISABLE_EVENTS", "1".to_owned()),
        ("DNS_ADDRESS", "0".to_owned()),
    ]
}

/// The Python of the emulator's own environment in the user's cache, made by the first who asks.
fn installed(emulator: Emulator) -> Result<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let home = std::env::var_os("HOME").map(PathBuf::from).context("HOME is not set")?;
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
    let cache = cache.join("prokura-tests");
    // The name tells what is in it: another version is another directory.
    let mark = emulator.packages().join(" ");
    let directory = cache.join(emulator.name());
    let python = directory.join("bin/python");
    if std::fs::read_to_string(directory.join("installed")).is_ok_and(|text| text == mark) && python.is_file()
    {
        return Ok(python);
    }
    install(emulator, &cache, &directory)?;
    std::fs::write(directory.join("installed"), mark)?;
    Ok(python)
}

fn install(emulator: Emulator, cache: &Path, directory: &Path) -> Result<()> {
    std::fs::create_dir_all(cache)?;
    // Two test programs at once would spoil each other's work; the second finds it done.
    let lock = std::fs::File::create(cache.join(format!("{}.lock", emulator.name())))?;
    lock.lock()?;
    let missing = |why: String| Missing::new(emulator.name(), format!("{why}; see integration/README.md"));
    let python = python(emulator).ok_or_else(|| {
        missing(format!("install Python 3.{} or newer with its venv module", emulator.python()))
    })?;
    let made = output(Command::new(python).args(["-m", "venv", "--clear"]).arg(directory))?;
    if made.code != Some(0) {
        return Err(missing(format!("apt-get install python3-venv ({})", made.stderr.trim())).into());
    }
    let mut pip = Command::new(directory.join("bin/pip"));
    let done =
        output(pip.args(["install", "--quiet", "--disable-pip-version-check"]).args(emulator.packages()))?;
    if done.code != Some(0) {
        return Err(missing(format!("pip could not install it: {}", done.stderr.trim())).into());
    }
    Ok(())
}

/// A Python that is new enough, by its own word: names in PATH may be shims of versions that are not there.
fn python(emulator: Emulator) -> Option<PathBuf> {
    let names = ["python3.13", "python3.12", "python3.14", "python3.11", "python3"];
    let in_path = names.iter().filter_map(|name| system(name, "").ok());
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let versions = std::fs::read_dir(home.join(".pyenv/versions")).into_iter().flatten().flatten();
    let own = versions.map(|entry| entry.path().join("bin/python3"));
    in_path.chain(own).find(|python| {
        let check =
            format!("import sys, venv, ensurepip; sys.exit(sys.version_info < (3, {}))", emulator.python());
        output(Command::new(python).args(["-c", &check])).is_ok_and(|run| run.code == Some(0))
    })
}
