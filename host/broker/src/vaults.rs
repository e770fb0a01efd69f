//! Key names to keys in vaults: plugins kept warm, keys described before the first request, signatures verified.
//!
//! Keys that share a plugin share its process, which `prokura-signer` supervises and replaces. A key that cannot be
//! described at the start, because its vault is away, is asked for again with the next request that needs it and by
//! [`Vaults::warm`]; the others are not held up.

mod described;
mod key;
mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use jiff::Timestamp;
use prokura_plugin::PluginName;
use prokura_plugin::message::PluginConfig;
use prokura_signer::{Error, Plugin, PluginDirectory, PluginOptions, Preference};

use crate::config::KeyConfig;
use crate::limits::{DESCRIPTIONS_AT_ONCE, KEY_REFRESH_S, PLUGIN_CALL_DEADLINE};

pub use described::{Described, Unusable};
pub use key::{Key, Made, NotMade};

/// The keys that the broker offers.
#[derive(Debug)]
pub struct Vaults {
    keys: BTreeMap<String, Arc<Key>>,
    plugins: BTreeMap<PluginId, Plugin>,
}

/// One process for each.
type PluginId = (String, Option<String>);

/// What a reload changes in the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyDifference {
    /// Only in the new config.
    pub added: Vec<String>,
    /// Only in the old one.
    pub removed: Vec<String>,
    /// In both, configured differently.
    pub changed: Vec<String>,
}

impl Vaults {
    /// Starts a plugin for all keys that name it; asks no vault. Plugins and keys that `before` has alike are taken
    /// over, warm as they are.
    ///
    /// # Errors
    /// The first plugin that is not installed, not safe, does not start or does not serve gRPC.
    pub async fn open(
        keys: Vec<KeyConfig>,
        directory: &PluginDirectory,
        environment: &[(OsString, OsString)],
        before: Option<&Self>,
    ) -> Result<Self, Error> {
        let mut plugins: BTreeMap<PluginId, Plugin> = BTreeMap::new();
        let mut open = BTreeMap::new();
        for config in keys {
            let id = plugin_id(&config);
            let plugin = match plugins.get(&id).or_else(|| before.and_then(|old| old.plugins.get(&id))) {
                Some(plugin) => plugin.clone(),
                None => start(&config, directory, environment).await?,
            };
            plugins.insert(id, plugin.clone());
            let name = config.name.to_string();
            let warm = before.and_then(|old| old.keys.get(&name)).filter(|key| *key.config() == config);
            let key = warm.map_or_else(|| Arc::new(Key::new(config, plugin)), Arc::clone);
            open.insert(name, key);
        }
        Ok(Self { keys: open, plugins })
    }

    /// Describes the keys that are not described yet or not lately, some at once. Returns those that cannot be used,
    /// and why.
    pub async fn warm(&self, now: Timestamp) -> Vec<(String, Arc<Unusable>)> {
        let describe = |key: &Arc<Key>| {
            let key = Arc::clone(key);
            async move {
                let outcome = key.refreshed(now, Duration::from_secs(KEY_REFRESH_S)).await;
                outcome.err().map(|error| (key.config().name.to_string(), error))
            }
        };
        let all = stream::iter(self.keys.values().map(describe)).buffer_unordered(DESCRIPTIONS_AT_ONCE);
        let mut unusable: Vec<_> = all.filter_map(std::future::ready).collect().await;
        unusable.sort_by(|a, b| a.0.cmp(&b.0));
        unusable
    }

    /// The key of this name.
    pub fn key(&self, name: &str) -> Option<&Arc<Key>> {
        self.keys.get(name)
    }

    /// All keys in order of their names.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.keys.values()
    }

    /// What of `self` another config would change.
    pub fn difference(&self, new: &Self) -> KeyDifference {
        let names: BTreeSet<&String> = self.keys.keys().chain(new.keys.keys()).collect();
        let mut difference = KeyDifference::default();
        for name in names {
            match (self.keys.get(name), new.keys.get(name)) {
                (None, _) => difference.added.push(name.clone()),
                (_, None) => difference.removed.push(name.clone()),
                (Some(old), Some(new)) if old.config() != new.config() => {
                    difference.changed.push(name.clone())
                }
                _ => {}
            }
        }
        difference
    }

    /// Ends the plugins, each with time to finish its calls.
    pub async fn close(&self) {
        let closing = self.plugins.values().cloned().map(Plugin::close);
        futures_util::future::join_all(closing).await;
    }
}

fn plugin_id(config: &KeyConfig) -> PluginId {
    (config.plugin.to_string(), config.plugin_sha256.map(|sha256| sha256.to_string()))
}

async fn start(
    config: &KeyConfig,
    directory: &PluginDirectory,
    environment: &[(OsString, OsString)],
) -> Result<Plugin, Error> {
    let name: PluginName = config.plugin.clone();
    let executable = directory.find(&name)?;
    let options = PluginOptions {
        deadline: PLUGIN_CALL_DEADLINE,
        transport: Preference::Grpc,
        pinned_sha256: config.plugin_sha256,
        ..PluginOptions::new(environment.to_vec())
    };
    Plugin::start(executable, &PluginConfig::default(), options).await
}
