//! PKCS#11 tokens: SoftHSM, and kryoptic as a second, independent implementation.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use prokura_plugin::KeySpec;

use crate::program::{Missing, executable, run, workspace};
use crate::vault::{Abilities, TestKey, TestVault};

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
        Self::softhsm_with(directory, &[])
    }

    /// A SoftHSM token that also has keys no signature should be made with: see `fill-token --odd`.
    ///
    /// # Errors
    /// [`Missing`] if SoftHSM is not installed.
    pub fn odd(directory: &Path) -> Result<Self> {
        Self::softhsm_with(directory, &["--odd"])
    }

    fn softhsm_with(directory: &Path, flags: &[&str]) -> Result<Self> {
        let module = PathBuf::from("/usr/lib/softhsm/libsofthsm2.so");
        if !module.is_file() {
            return Err(Missing::new("SoftHSM", "apt-get install softhsm2").into());
        }
        let tokens = directory.join("softhsm");
        std::fs::create_dir_all(&tokens)?;
        let config = directory.join("softhsm2.conf");
        std::fs::write(&config, softhsm_config(&tokens))?;
        Self::fill("softhsm", module, ("SOFTHSM2_CONF", config), directory, flags)
    }

    /// A copy of a SoftHSM token below `directory`: what is done to it is not done to the first one.
    ///
    /// # Errors
    /// If it cannot be copied.
    pub fn copy(&self, directory: &Path) -> Result<Self> {
        let original = self.environment.1.with_file_name("softhsm");
        let tokens = directory.join("softhsm");
        for token in std::fs::read_dir(original)? {
            let token = token?;
            let copied = tokens.join(token.file_name());
            std::fs::create_dir_all(&copied)?;
            for file in std::fs::read_dir(token.path())? {
                let file = file?;
                std::fs::copy(file.path(), copied.join(file.file_name()))?;
            }
        }
        let config = directory.join("softhsm2.conf");
        std::fs::write(&config, softhsm_config(&tokens))?;
        let (pin_file, root) = (self.pin_file.clone(), self.root.clone());
        Ok(Self {
            name: self.name,
            module: self.module.clone(),
            environment: ("SOFTHSM2_CONF", config),
            pin_file,
            root,
        })
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
        Self::fill("kryoptic", module, ("KRYOPTIC_CONF", config), directory, &[])
    }

    fn fill(
        name: &'static str,
        module: PathBuf,
        environment: (&'static str, PathBuf),
        directory: &Path,
        flags: &[&str],
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
            .args(flags)
            .env(environment.0, &environment.1))?;
        Ok(Self { name, module, environment, pin_file, root })
    }

    /// The RFC 7512 URI of the key of a spec, complete but for the chain's root.
    pub fn key_uri(&self, spec: KeySpec) -> String {
        uri(LABEL, &crate::key::id(spec), &self.module, &self.pin_file)
    }
}

/// The RFC 7512 URI of a key.
pub fn uri(token: &str, key: &str, module: &Path, pin_file: &Path) -> String {
    let token = token.replace(' ', "%20");
    format!(
        "pkcs11:token={token};object={key}?module-path={}&pin-source=file:{}",
        module.display(),
        pin_file.display()
    )
}

fn softhsm_config(tokens: &Path) -> String {
    format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display())
}

impl TestVault for Token {
    fn name(&self) -> &'static str {
        if self.name == "softhsm" { "pkcs11/softhsm" } else { "pkcs11/kryoptic" }
    }

    fn plugin(&self) -> &'static str {
        "pkcs11"
    }

    fn specs(&self) -> &'static [KeySpec] {
        &KeySpec::ALL
    }

    fn key(&self, spec: KeySpec) -> TestKey {
        TestKey { id: self.key_uri(spec), config: chain_config(&self.root) }
    }

    fn vault_config(&self) -> Vec<(String, String)> {
        token_config(LABEL, &self.module, &self.pin_file)
    }

    fn environment(&self) -> Vec<(&'static str, OsString)> {
        vec![(self.environment.0, self.environment.1.clone().into())]
    }

    fn root(&self) -> &Path {
        &self.root
    }

    fn abilities(&self) -> Abilities {
        ABILITIES
    }
}

/// What the plugin can do with every PKCS#11 token.
pub const ABILITIES: Abilities = Abilities { list: true, create: true, install: true, version: false };

/// Plugin config that names the token instead of a URI.
pub fn token_config(token: &str, module: &Path, pin_file: &Path) -> Vec<(String, String)> {
    let entry = |name: &str, value: String| (name.to_owned(), value);
    vec![
        entry("module-path", module.display().to_string()),
        entry("token", token.to_owned()),
        entry("pin-source", format!("file:{}", pin_file.display())),
    ]
}

/// The token holds the leaf, the bundle the rest.
pub fn chain_config(root: &Path) -> Vec<(String, String)> {
    vec![("ca_certs".to_owned(), root.display().to_string())]
}
