//! One plugin as the host runs it for many signatures, without the command line around it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use prokura_envelope::{Descriptor, EnvelopeFormat};
use prokura_plugin::message::PluginConfig;
use prokura_signer::{KeyReference, Plugin, PluginDirectory, PluginOptions, Preference, SignRequest, sign};
use tokio::runtime::Runtime;

use crate::vault::TestKey;

/// A plugin that serves. Ends when dropped.
pub struct Served {
    /// The plugin.
    pub plugin: Plugin,
    runtime: Runtime,
}

impl Served {
    /// Starts a plugin of a plugin directory with nothing in its environment but PATH and what is given.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn start(
        plugins: PathBuf,
        name: &str,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        deadline: Duration,
    ) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let path = ("PATH".into(), std::env::var_os("PATH").unwrap_or_default());
        let environment = environment.into_iter().chain([path]).collect();
        let options =
            PluginOptions { transport: Preference::Grpc, deadline, ..PluginOptions::new(environment) };
        let executable = PluginDirectory::new(plugins, None).find(&name.parse()?)?;
        let plugin = runtime.block_on(Plugin::start(executable, &PluginConfig::default(), options))?;
        Ok(Self { plugin, runtime })
    }

    /// Signs a manifest; the signature has verified.
    ///
    /// # Errors
    /// What the host says.
    pub fn sign(&self, key: &KeyReference) -> Result<()> {
        self.runtime.block_on(signed(&self.plugin, key))
    }

    /// Runs something with the plugin.
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// The serving process, if it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.plugin.supervision().process_id
    }

    /// Ends it in order.
    pub fn close(self) {
        self.runtime.block_on(self.plugin.close());
    }
}

/// Signs a manifest; the signature has verified.
///
/// # Errors
/// What the host says.
pub async fn signed(plugin: &Plugin, key: &KeyReference) -> Result<()> {
    sign(plugin, key, request()).await?;
    Ok(())
}

/// A key as the host names it.
///
/// # Errors
/// If the id or the config is beyond the protocol's limits.
pub fn reference(key: TestKey) -> Result<KeyReference> {
    Ok(KeyReference::new(key.id, key.config.into_iter().collect())?)
}

/// A request to sign a manifest that needs no registry.
pub fn request() -> SignRequest {
    SignRequest {
        format: EnvelopeFormat::Jws,
        target: Descriptor {
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            digest: format!("sha256:{}", "ab".repeat(32)),
            size: 528,
            annotations: BTreeMap::new(),
        },
        user_metadata: BTreeMap::new(),
        expiry: None,
        signing_time: jiff::Timestamp::now(),
        agent: "prokura-test/0".to_owned(),
    }
}
