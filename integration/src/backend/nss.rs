//! NSS's softokn3 as a PKCS#11 token: it must be given a string when it is initialised, and signs slowly with RSA.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use prokura_plugin::KeySpec;

use crate::backend::p11fault::{Faults, VARIABLE};
use crate::backend::token::{ABILITIES, PIN, chain_config, token_config, uri};
use crate::program::{Missing, executable, run, system};
use crate::vault::{Abilities, TestKey, TestVault};

/// The label NSS gives the token of a database.
const LABEL: &str = "NSS Certificate DB";
const INSTALL: &str = "apt-get install libnss3 libnss3-tools";
/// Where distributions put it.
const MODULES: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/libsoftokn3.so",
    "/usr/lib/aarch64-linux-gnu/libsoftokn3.so",
    "/usr/lib64/libsoftokn3.so",
    "/usr/lib/libsoftokn3.so",
];
/// What NSS derives the key of its database with. The default makes a signature with RSA take 60 ms.
const ITERATIONS: (&str, &str) = ("NSS_MAX_MP_PBE_ITERATION_COUNT", "100");

/// A database with a key of every spec and their leaf certificates.
pub struct Nss {
    module: PathBuf,
    init_args: String,
    pin_file: PathBuf,
    root: PathBuf,
}

impl Nss {
    /// A database below `directory`.
    ///
    /// # Errors
    /// [`Missing`] without NSS, or without the fault module: the keys are made through it, for only it hands over
    /// a string.
    pub fn new(directory: &Path) -> Result<Self> {
        let module = MODULES.map(PathBuf::from).into_iter().find(|module| module.is_file());
        let module = module.ok_or_else(|| Missing::new("NSS softokn", INSTALL))?;
        let certutil = system("certutil", INSTALL)?;
        let database = directory.join("nss");
        std::fs::create_dir_all(&database)?;
        let pin_file = directory.join("pin");
        crate::home::write_private(&pin_file, PIN)?;
        let database = format!("sql:{}", database.display());
        run(Command::new(certutil)
            .args(["-N", "-d", &database, "-f"])
            .arg(&pin_file)
            .env(ITERATIONS.0, ITERATIONS.1))?;
        let init_args = format!(
            "configdir='{database}' certPrefix='' keyPrefix='' secmod='secmod.db' flags= updatedir='' \
             updateCertPrefix='' updateKeyPrefix='' updateid='' updateTokenDescription=''"
        );
        let root = directory.join("root.pem");
        let nss = Self { module, init_args, pin_file, root };
        nss.fill(directory)?;
        Ok(nss)
    }

    fn fill(&self, directory: &Path) -> Result<()> {
        let passage = Faults::new(directory.join("passage"), &self.module, Some(&self.init_args))?;
        run(Command::new(executable("fill-token")?)
            .arg("--module")
            .arg(Faults::module()?)
            .arg("--pin-file")
            .arg(&self.pin_file)
            .arg("--root")
            .arg(&self.root)
            .args(["--label", LABEL, "--initialised"])
            .env(VARIABLE, &passage.directory)
            .env(ITERATIONS.0, ITERATIONS.1))?;
        Ok(())
    }

    /// The string NSS is initialised with (`pReserved`).
    pub fn init_args(&self) -> &str {
        &self.init_args
    }
}

impl TestVault for Nss {
    fn name(&self) -> &'static str {
        "pkcs11/nss"
    }

    fn plugin(&self) -> &'static str {
        "pkcs11"
    }

    fn specs(&self) -> &'static [KeySpec] {
        &KeySpec::ALL
    }

    fn key(&self, spec: KeySpec) -> TestKey {
        let mut config = chain_config(&self.root);
        config.push(("init-args".to_owned(), self.init_args.clone()));
        TestKey { id: uri(LABEL, &crate::key::id(spec), &self.module, &self.pin_file), config }
    }

    fn vault_config(&self) -> Vec<(String, String)> {
        let mut config = token_config(LABEL, &self.module, &self.pin_file);
        config.push(("init-args".to_owned(), self.init_args.clone()));
        config
    }

    fn environment(&self) -> Vec<(&'static str, OsString)> {
        Vec::new()
    }

    fn root(&self) -> &Path {
        &self.root
    }

    fn abilities(&self) -> Abilities {
        ABILITIES
    }
}
