//! OCI registries: olareg with and without the referrers API, and Debian's docker-registry, which has none.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::program::{go_executable, system};

/// A running registry; it ends when this is dropped, and when the test process dies.
pub struct Registry {
    /// `localhost:PORT`, at which notation speaks plain HTTP.
    pub address: String,
    /// User and password, if it wants them.
    pub login: Option<(String, String)>,
    child: Child,
}

impl Registry {
    /// olareg in memory.
    ///
    /// # Errors
    /// [`crate::program::Missing`] without Go.
    pub fn olareg(referrers: bool) -> Result<Self> {
        Self::olareg_with(&[&format!("-referrers={referrers}")], None)
    }

    /// olareg with further flags of `integration/interop/cmd/registry`.
    ///
    /// # Errors
    /// [`crate::program::Missing`] without Go.
    pub fn olareg_with(flags: &[&str], login: Option<(&str, &str)>) -> Result<Self> {
        let mut child = Command::new(go_executable("registry")?)
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdout = child.stdout.take().context("stdout is a pipe")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let port = line.trim().rsplit_once(':').filter(|(said, _)| said.starts_with("listening "));
        let (_, port) = port.with_context(|| format!("the registry said {line:?}"))?;
        let address = format!("localhost:{port}");
        let login = login.map(|(user, password)| (user.to_owned(), password.to_owned()));
        Ok(Self { address, login, child })
    }

    /// The same registry, called by another name of this machine.
    #[must_use]
    pub fn at(mut self, host: &str) -> Self {
        self.address = self.address.replace("localhost", host);
        self
    }

    /// Debian's docker-registry 2.8, with its files below `directory`.
    ///
    /// # Errors
    /// [`crate::program::Missing`] if it is not installed.
    pub fn docker(directory: &Path) -> Result<Self> {
        let program = system("docker-registry", "apt-get install docker-registry")?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("localhost:{port}");
        let config = directory.join("registry.yml");
        let storage = directory.join("registry");
        std::fs::write(
            &config,
            format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n",
                storage.display()
            ),
        )?;
        // setpriv: the registry must not outlive a test process that is killed.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .arg("serve")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let registry = Self { address, login: None, child };
        registry.wait_until_ready()?;
        Ok(registry)
    }

    fn wait_until_ready(&self) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(&self.address).is_err() {
            if Instant::now() > until {
                bail!("the registry at {} did not start within 20 s", self.address);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
