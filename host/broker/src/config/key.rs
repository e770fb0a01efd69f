//! `[keys.NAME]`: a key that the broker offers, and the plugin and vault behind it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use prokura_plugin::PluginName;
use prokura_plugin::message::PluginConfig;
use prokura_signer::{KeyReference, PinnedSha256};

use super::table::{Problem, Table};
use crate::limits::KEY_NAME_BYTES_MAX;

/// The name under which a key is offered: 1 to 128 of a-z, A-Z, 0-9, '.', '_', '-', '/'.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

/// A text that is no name of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "is no name of a key, expected 1 to {KEY_NAME_BYTES_MAX} of a-z, A-Z, 0-9, '.', '_', '-', '/'; correct it"
)]
pub struct InvalidKeyName;

impl FromStr for KeyName {
    type Err = InvalidKeyName;

    fn from_str(text: &str) -> Result<Self, InvalidKeyName> {
        let fits = (1..=KEY_NAME_BYTES_MAX).contains(&text.len());
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-/".contains(&b);
        if fits && text.bytes().all(allowed) { Ok(Self(text.to_owned())) } else { Err(InvalidKeyName) }
    }
}

impl KeyName {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key as the operator configured it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyConfig {
    /// What callers call it.
    pub name: KeyName,
    /// The plugin that reaches its vault, over gRPC.
    pub plugin: PluginName,
    /// The SHA-256 that the plugin's executable must have.
    pub plugin_sha256: Option<PinnedSha256>,
    /// What the plugin calls it, and the plugin config.
    pub reference: KeyReference,
    /// Groups it belongs to, for policies.
    pub groups: Vec<String>,
    /// Labels, for policies.
    pub labels: BTreeMap<String, String>,
}

pub(super) fn read(
    name: &str,
    value: toml::Value,
    base: &Path,
    problems: &mut Vec<Problem>,
) -> Option<KeyConfig> {
    let place = format!("keys.{name}");
    let mut refuse = |message: String| problems.push(Problem { place: place.clone(), message });
    let name: KeyName = name.parse().map_err(|error: InvalidKeyName| refuse(error.to_string())).ok()?;
    let toml::Value::Table(entries) = value else {
        refuse(format!("is no table, expected [{place}] with plugin and id; correct it"));
        return None;
    };
    let mut table = Table::new(&place, entries, base, problems);
    let plugin = table.parsed("plugin");
    let plugin: Option<PluginName> = table.required("plugin", plugin, "the name of a plugin");
    let plugin_sha256 = table.parsed("plugin_sha256");
    let id = table.text("id");
    let id = table.required("id", id, "the key id, as the plugin takes it");
    let groups = table.texts("groups");
    let (labels, config) = (table.inner("labels"), table.inner("config"));
    table.end();
    let labels =
        Table::new(&format!("{place}.labels"), labels.unwrap_or_default(), base, problems).free_texts();
    let config = plugin_config(&place, config.unwrap_or_default(), base, problems);
    let reference = KeyReference::new(id?, config)
        .map_err(|error| problems.push(Problem { place, message: error.to_string() }))
        .ok()?;
    Some(KeyConfig { name, plugin: plugin?, plugin_sha256, reference, groups, labels })
}

fn plugin_config(key: &str, entries: toml::Table, base: &Path, problems: &mut Vec<Problem>) -> PluginConfig {
    let place = format!("{key}.config");
    let texts = Table::new(&place, entries, base, problems).free_texts();
    for secret in texts.keys().filter(|name| sounds_secret(name)) {
        let message = "sounds like a secret, which has no place in this file; use the plugin's way to take it from a \
                       file (such as pin-file under systemd's LoadCredential=) and remove it here";
        problems.push(Problem { place: format!("{place}.{secret}"), message: message.to_owned() });
    }
    PluginConfig(texts)
}

/// Names under which plugins take secrets, and not the places of secrets.
fn sounds_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let told_elsewhere =
        ["file", "source", "env", "id", "name", "path"].iter().any(|end| name.ends_with(end));
    let secret = ["password", "passphrase", "secret", "token_value"].iter().any(|word| name.contains(word));
    name == "pin" || secret && !told_elsewhere
}
