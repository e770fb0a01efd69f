//! One key: described when it is needed, asked to sign, never believed.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use prokura_plugin::{Digest, RawSignature};
use prokura_signer::{Error, Plugin, complete_chain, describe_key};
use tokio::sync::Mutex;

use super::described::{Described, Unusable};
use crate::config::KeyConfig;

/// A key that the broker offers.
#[derive(Debug)]
pub struct Key {
    config: KeyConfig,
    plugin: Plugin,
    described: RwLock<Option<Arc<Described>>>,
    /// One description at a time: many requests that wait for a vault are one question to it.
    asking: Mutex<()>,
}

/// A signature that verifies under the key.
#[derive(Debug)]
pub struct Made {
    /// The signature.
    pub signature: RawSignature,
    /// The version that signed, as the vault calls it; may be empty.
    pub version: String,
    /// The vault's id of its call; may be empty.
    pub vault_request_id: String,
}

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
pub enum NotMade {
    /// The plugin or its vault.
    #[error(transparent)]
    Plugin(#[from] Error),
    /// Another key answered. The description is dropped, the next request is for the new key.
    #[error(
        "key {name} is another key by now, it was {before}; sign again, after DescribeKey if you name the expected key"
    )]
    Changed {
        /// The key's name.
        name: String,
        /// Fingerprint of the key that was described.
        before: String,
    },
    /// What came is no signature over the digest by the key.
    #[error(
        "the signature that plugin {plugin} returned for key {name} does not verify under the key and was thrown away; the plugin's author or the vault's keeper must act"
    )]
    Wrong {
        /// Which plugin.
        plugin: String,
        /// The key's name.
        name: String,
    },
}

impl Key {
    pub(super) fn new(config: KeyConfig, plugin: Plugin) -> Self {
        Self { config, plugin, described: RwLock::new(None), asking: Mutex::new(()) }
    }

    /// As configured.
    pub const fn config(&self) -> &KeyConfig {
        &self.config
    }

    /// The description if there is one; asks nobody.
    pub fn known(&self) -> Option<Arc<Described>> {
        self.described.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The description; asks the vault only if there is none.
    ///
    /// # Errors
    /// [`Unusable`].
    pub async fn described(&self, now: Timestamp) -> Result<Arc<Described>, Arc<Unusable>> {
        self.refreshed(now, Duration::MAX).await
    }

    /// The description, not older than `age` where the vault answers: what it said before is kept where not.
    pub(super) async fn refreshed(
        &self,
        now: Timestamp,
        age: Duration,
    ) -> Result<Arc<Described>, Arc<Unusable>> {
        let fresh = |known: &Arc<Described>| now.duration_since(known.at()).unsigned_abs() <= age;
        if let Some(known) = self.known().filter(fresh) {
            return Ok(known);
        }
        let _asking = self.asking.lock().await;
        let known = self.known();
        if let Some(known) = known.clone().filter(fresh) {
            return Ok(known);
        }
        match (self.ask(now).await, known) {
            (Ok(described), _) => Ok(self.keep(described)),
            (Err(error), Some(known)) if is_away(&error) => {
                tracing::warn!(key = %self.config.name, %error, "not described again, what is known stays");
                Ok(known)
            }
            (Err(error), _) => Err(Arc::new(error)),
        }
    }

    /// Asks the vault for a signature over `digest` and verifies it. For the one function that holds permit and record.
    pub(crate) async fn sign(&self, described: &Described, digest: &Digest) -> Result<Made, NotMade> {
        let made = self.plugin.sign_digest(&self.config.reference, described.spec(), digest).await?;
        if made.public_key != *described.public_key() {
            self.forget();
            let (name, before) = (self.config.name.to_string(), described.fingerprint().to_owned());
            return Err(NotMade::Changed { name, before });
        }
        if !described.verifying().verifies(digest, &made.signature) {
            let (plugin, name) = (self.plugin.name().to_string(), self.config.name.to_string());
            return Err(NotMade::Wrong { plugin, name });
        }
        Ok(Made {
            signature: made.signature,
            version: made.key_version.unwrap_or_else(|| described.version().to_owned()),
            vault_request_id: made.vault_request_id.unwrap_or_default(),
        })
    }

    async fn ask(&self, now: Timestamp) -> Result<Described, Unusable> {
        let reference = &self.config.reference;
        let description = describe_key(&self.plugin, reference).await?;
        let chain = complete_chain(&self.plugin, reference, &description, now).await?;
        Described::new(&self.config, description, chain, now)
    }

    fn keep(&self, described: Described) -> Arc<Described> {
        let described = Arc::new(described);
        *self.described.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&described));
        described
    }

    fn forget(&self) {
        *self.described.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Whether it is the vault that does not answer, and not the key that is no longer good.
fn is_away(error: &Unusable) -> bool {
    match error {
        Unusable::Plugin(error) => !matches!(**error, Error::Chain { .. } | Error::InvalidRequest(_)),
        Unusable::NoPublicKey(_) | Unusable::Chain { .. } => false,
    }
}
