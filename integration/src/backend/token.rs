//! PKCS#11 tokens: SoftHSM, and kryoptic as a second, independent implementation.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use prokura_plugin::KeySpec;

use crate::program::{Missing, executable, run, workspace};

/// The PIN of every test token.
pub const PIN: &str = "correct-horse-1234";
/// The label of every test token.
pub const LABEL: &str = "prokura test";

/// A token with a key of every spec, each labelled [`crate::key::id`], and their leaf certificates.
pub struct Token {
    /// `softhsm` or `kryoptic`.
    pub name: &'static str,
    /// The PKCS#11 module.
    pub module: PathBuf,
    /// Environment that makes the module find its token.
    pub environment: (&'static str, PathBuf),
    /// File with the PIN.
    pub pin_file: PathBuf,
    /// Bundle with the root of all chains, PEM.
    pub root: PathBuf,
}

impl Token {
    /// A SoftHSM token below `directory`.
    ///
    /// # Errors
    /// [`Missing`] if SoftHSM is not installed.
    pub fn softhsm(directory: &Path) -> Result<Self> {
        let module = PathBuf::from("/usr/lib/softhsm/libsofthsm2.so");
        if !module.is_file() {
            return Err(Missing::new("SoftHSM", "apt-get install softhsm2").into());
        }
        let tokens = directory.join("softhsm");
        std::fs::create_dir_all(&tokens)?;
        let config = directory.join("softhsm2.conf");
        std::fs::write(&config, format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display()))?;
        Self::fill("softhsm", module, ("SOFTHSM2_CONF", config), directory)
    }

    /// A kryoptic token below `directory`.
    ///
    /// # Errors
    /// [`Missing`] if `integration/kryoptic` is not built.
    pub fn kryoptic(directory: &Path) -> Result<Self> {
        let built = workspace().join("integration/kryoptic/target");
        let module = ["release", "debug"].map(|p| built.join(p).join("libprokura_test_token.so"));
        let Some(module) = module.into_iter().find(|m| m.is_file()) else {
            return Err(Missing::new("kryoptic", "integration/kryoptic/build").into());
        };
        let config = directory.join("kryoptic.toml");
        let database = directory.join("kryoptic.sql");
        std::fs::write(
            &config,
            format!("[[slots]]\nslot = 42\ndbtype = \"sqlite\"\ndbargs = \"{}\"\n", database.display()),
        )?;
        Self::fill("kryoptic", module, ("KRYOPTIC_CONF", config), directory)
    }

    fn fill(
        name: &'static str,
        module: PathBuf,
        environment: (&'static str, PathBuf),
        directory: &Path,
    ) -> Result<Self> {
        let pin_file = directory.join("pin");
        crate::home::write_private(&pin_file, PIN)?;
        let root = directory.join("root.pem");
        run(Command::new(executable("fill-token")?)
            .arg("--module")
            .arg(&module)
            .arg("--pin-file")
            .arg(&pin_file)
            .arg("--root")
            .arg(&root)
            .args(["--label", LABEL])
            .env(environment.0, &environment.1))?;
        Ok(Self { name, module, environment, pin_file, root })
    }

    /// The RFC 7512 URI of the key of a spec, complete but for the chain's root.
    pub fn key_uri(&self, spec: KeySpec) -> String {
        format!(
            "pkcs11:token={};object={}?module-path={}&pin-source=file:{}",
            LABEL.replace(' ', "%20"),
            crate::key::id(spec),
            self.module.display(),
            self.pin_file.display()
        )
    }
}
