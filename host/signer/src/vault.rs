//! The vault behind a plugin: which keys it holds, a new key in it, a certificate beside a key.

use std::ops::ControlFlow;

use prokura_plugin::message::{PluginConfig, capability};
use prokura_plugin::{CertificateChain, KeyId, KeySpec};

use std::sync::Arc;

use crate::error::Error;
use crate::grpc::Serving;
use crate::plugin::{KeyReference, Plugin, Wire, with_limit};
use crate::sign::KeyDescription;

/// A key as a vault lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultKey {
    /// Names it in later calls.
    pub reference: KeyReference,
    /// What the plugin says of it.
    pub description: KeyDescription,
}

impl Plugin {
    /// Lists the keys in the vault that can sign. Each key, or why one could not be looked at, goes to `found` as it
    /// comes; listing ends early when that says so. Texts are cleaned.
    ///
    /// # Errors
    /// [`Error::Incapable`] if the plugin does not list, otherwise whatever it did wrong.
    pub async fn list_keys(
        &self,
        config: &PluginConfig,
        found: &mut (dyn FnMut(Result<VaultKey, Error>) -> ControlFlow<()> + Send),
    ) -> Result<(), Error> {
        let serving = self.serving(capability::KEY_LIST_1, "listing keys takes").await?;
        let listed = serving.list_keys(config, self.deadline(), found).await;
        listed.map_err(|error| with_limit(error, self.deadline()))
    }

    /// Makes a key of `spec` called `name` inside the vault. Is never repeated: if the answer does not come, a key may
    /// have been made all the same.
    ///
    /// # Errors
    /// [`Error::Incapable`] if the plugin makes no keys, otherwise whatever it did wrong.
    pub async fn create_key(
        &self,
        config: &PluginConfig,
        name: &KeyId,
        spec: KeySpec,
    ) -> Result<VaultKey, Error> {
        let serving = self.serving(capability::KEY_CREATE_1, "creating a key takes").await?;
        let made = serving.create_key(config, name, spec, self.deadline()).await;
        made.map_err(|error| with_limit(error, self.deadline()))
    }

    /// Stores certificates, leaf first, beside their key inside the vault.
    ///
    /// # Errors
    /// [`Error::Incapable`] if the plugin stores none, otherwise whatever it did wrong.
    pub async fn install_certificate(
        &self,
        key: &KeyReference,
        chain: &CertificateChain,
    ) -> Result<(), Error> {
        let serving =
            self.serving(capability::CERTIFICATE_INSTALL_1, "installing a certificate takes").await?;
        let stored = serving.install_certificate(key, chain, self.deadline()).await;
        stored.map_err(|error| with_limit(error, self.deadline()))
    }

    async fn serving(&self, needed: &'static str, purpose: &'static str) -> Result<Arc<Serving>, Error> {
        if !self.metadata().has(needed) {
            return Err(self.incapable(needed, purpose));
        }
        match self.wire().await? {
            Wire::Grpc(serving) => Ok(serving),
            Wire::Stdio => Err(self.incapable(capability::TRANSPORT_GRPC_1, purpose)),
        }
    }
}
