//! A user's home in a temporary directory: notation's directories, plugins installed, and the command line in it.

use std::ffi::OsStr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use tempfile::TempDir;

use crate::program::{Run, executable, output};

/// A home that is removed when dropped.
pub struct Home {
    directory: TempDir,
    environment: Vec<(String, PathBuf)>,
}

impl Home {
    /// An empty home with `softkey` and `pkcs11` installed.
    ///
    /// # Errors
    /// If the workspace's executables cannot be built.
    pub fn new() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("prokura-test-").tempdir()?;
        std::fs::DirBuilder::new().mode(0o700).create(directory.path().join("config"))?;
        let home = Self { directory, environment: Vec::new() };
        for plugin in ["softkey", "pkcs11"] {
            home.install(plugin, &executable(&format!("notation-{plugin}"))?)?;
        }
        Ok(home)
    }

    /// The directory everything is in.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// NOTATION_CONFIG.
    pub fn config(&self) -> PathBuf {
        self.path().join("config")
    }

    /// `{NOTATION_LIBEXEC}/plugins`.
    pub fn plugins(&self) -> PathBuf {
        self.config().join("plugins")
    }

    /// Adds a variable to the environment of every command.
    pub fn set(&mut self, name: &str, value: impl Into<PathBuf>) {
        self.environment.push((name.to_owned(), value.into()));
    }

    /// Copies an executable into the plugin directory as plugin `name`.
    ///
    /// # Errors
    /// If it cannot be copied.
    pub fn install(&self, name: &str, program: &Path) -> Result<PathBuf> {
        let directory = self.plugins().join(name);
        std::fs::create_dir_all(&directory)?;
        let path = directory.join(format!("notation-{name}"));
        crate::program::install(program, &path)?;
        Ok(path)
    }

    /// Trusts a root for everything: trust store `tests` and a policy of the given level for all repositories.
    ///
    /// # Errors
    /// If the files cannot be written.
    pub fn trust(&self, root_pem: &str, level: &str) -> Result<()> {
        let store = self.config().join("truststore/x509/ca/tests");
        std::fs::create_dir_all(&store)?;
        std::fs::write(store.join("root.pem"), root_pem)?;
        let policy = serde_json::json!({
            "version": "1.0",
            "trustPolicies": [{
                "name": "tests",
                "registryScopes": ["*"],
                "signatureVerification": {"level": level},
                "trustStores": ["ca:tests"],
                "trustedIdentities": ["*"],
            }],
        });
        write_private(&self.config().join("trustpolicy.json"), &policy.to_string())
    }

    /// Runs `prokura` in this home, with nothing of the caller's environment but PATH.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn prokura<I, S>(&self, arguments: I) -> Result<Run>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        output(self.command(&executable("prokura")?).args(arguments))
    }

    /// A program in this home's environment.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.path()).env("NOTATION_CONFIG", self.config());
        command.env("NOTATION_LIBEXEC", self.config()).env("NOTATION_CACHE", self.path().join("cache"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.path());
        command
    }
}

/// Writes a file that only its owner reads.
///
/// # Errors
/// If it cannot be written.
pub fn write_private(path: &Path, text: &str) -> Result<()> {
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    std::io::Write::write_all(&mut file, text.as_bytes())?;
    Ok(())
}
