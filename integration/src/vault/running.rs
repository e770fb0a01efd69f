//! A backend that is started when first asked for, in a directory of its own; who asks later gets the same, or the same
//! reason why there is none.

use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::{Result, anyhow};
use prokura_plugin::KeySpec;
use tempfile::TempDir;

use super::{Backend, TestVault};
use crate::kit::Subject;
use crate::program::{Missing, executable};

/// A backend and, once asked for, its process.
pub struct Running {
    /// Which.
    pub backend: &'static Backend,
    started: OnceLock<Result<Started, Reason>>,
}

struct Started {
    // Ends before the directory it lives in.
    vault: Box<dyn TestVault>,
    _directory: TempDir,
}

enum Reason {
    Missing(Missing),
    Failed(String),
}

impl Running {
    /// Not started yet.
    pub const fn new(backend: &'static Backend) -> Self {
        Self { backend, started: OnceLock::new() }
    }

    /// The backend, started now if it is not.
    ///
    /// # Errors
    /// [`Missing`] if it is not installed; why it does not start.
    pub fn vault(&self) -> Result<&dyn TestVault> {
        let started = self.started.get_or_init(|| {
            self.start().map_err(|error| match error.downcast_ref::<Missing>() {
                Some(missing) => Reason::Missing(missing.clone()),
                None => Reason::Failed(format!("{error:#}")),
            })
        });
        match started {
            Ok(started) => Ok(started.vault.as_ref()),
            Err(Reason::Missing(missing)) => Err(missing.clone().into()),
            Err(Reason::Failed(reason)) => Err(anyhow!("{} does not start: {reason}", self.backend.name)),
        }
    }

    fn start(&self) -> Result<Started> {
        // Short: UNIX sockets live below it.
        let directory = tempfile::Builder::new().prefix("prokura-").tempdir()?;
        let vault = (self.backend.start)(directory.path())?;
        Ok(Started { vault, _directory: directory })
    }

    /// The plugin and the key of a spec, for the conformance kit.
    ///
    /// # Errors
    /// As [`Self::vault`]; if the workspace does not build.
    pub fn subject(&self, spec: KeySpec) -> Result<Subject> {
        let vault = self.vault()?;
        let key = vault.key(spec);
        let environment = vault.environment().into_iter();
        Ok(Subject {
            program: executable(&format!("notation-{}", vault.plugin()))?,
            key_id: key.id,
            // Keys are listed with the config of the key, which must name the vault even where the key id does.
            config: vault.vault_config().into_iter().chain(key.config).collect(),
            environment: environment.map(|(name, value)| (name.to_owned(), PathBuf::from(value))).collect(),
        })
    }
}
