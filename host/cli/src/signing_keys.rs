//! `signingkeys.json`: the key list shared with `notation`. It names keys; it never holds one.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::directories::Directories;
use crate::exit::Failure;
use crate::limits::STATE_FILE_BYTES_MAX;
use crate::output::printable_line;
use crate::state_file::{self, Lock};

/// The key list. Members it does not know survive a change.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct SigningKeys {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    default: Option<String>,
    #[serde(default, deserialize_with = "null_as_empty")]
    keys: Vec<KeyEntry>,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

/// One entry: a local key pair, or a key behind a plugin.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KeyEntry {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cert_path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plugin_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plugin_config: Option<BTreeMap<String, String>>,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

/// Where the key of an entry is.
#[derive(Clone, Copy)]
pub(crate) enum KeySource<'a> {
    /// Key and certificate in PEM files.
    Local {
        /// The private key's file.
        key_path: &'a str,
        /// The certificate chain's file.
        cert_path: &'a str,
    },
    /// A key behind a plugin.
    Plugin {
        /// The key id.
        id: &'a str,
        /// The plugin's name, not yet checked.
        plugin: &'a str,
        /// The plugin config.
        config: Option<&'a BTreeMap<String, String>>,
    },
}

impl KeyEntry {
    /// An entry for a key in files.
    pub(crate) fn local(name: &str, key_path: String, cert_path: String) -> Self {
        Self { key_path: Some(key_path), cert_path: Some(cert_path), ..Self::named(name) }
    }

    /// An entry for a key behind a plugin.
    pub(crate) fn plugin(name: &str, id: &str, plugin: &str, config: BTreeMap<String, String>) -> Self {
        Self {
            id: Some(id.to_owned()),
            plugin_name: Some(plugin.to_owned()),
            plugin_config: Some(config).filter(|config| !config.is_empty()),
            ..Self::named(name)
        }
    }

    fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            key_path: None,
            cert_path: None,
            id: None,
            plugin_name: None,
            plugin_config: None,
            unknown: Map::new(),
        }
    }

    /// The name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where the key is. With both kinds of members the files win, as in `notation`.
    ///
    /// # Errors
    /// If the entry has neither pair of members.
    pub(crate) fn source(&self) -> Result<KeySource<'_>, Failure> {
        match (&self.key_path, &self.cert_path, &self.id, &self.plugin_name) {
            (Some(key_path), Some(cert_path), _, _) => Ok(KeySource::Local { key_path, cert_path }),
            (_, _, Some(id), Some(plugin)) => {
                Ok(KeySource::Plugin { id, plugin, config: self.plugin_config.as_ref() })
            }
            _ => Err(Failure::usage(format!(
                "key {:?} in signingkeys.json is unsupported: expected keyPath and certPath, or id and pluginName; \
                 correct the entry",
                self.name
            ))),
        }
    }

    /// The plugin config, as stored.
    pub(crate) fn plugin_config(&self) -> impl Iterator<Item = (&str, &str)> {
        self.plugin_config.iter().flatten().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl SigningKeys {
    /// Reads the key list; without a file it is empty.
    ///
    /// # Errors
    /// If the file is damaged, a symlink, or breaks a rule of the key list.
    pub(crate) fn load(directories: &Directories) -> Result<Self, Failure> {
        let path = directories.signing_keys();
        let Some(bytes) = state_file::read(&path, STATE_FILE_BYTES_MAX)? else { return Ok(Self::default()) };
        let advice = "restore it from a backup, or remove it and add the keys again with `prokura key add`";
        let keys: Self = state_file::parse_json(&path, &bytes, advice)?;
        keys.check()?;
        Ok(keys)
    }

    /// Whether a key of this name could be added now, to be asked before a key is made for it.
    ///
    /// # Errors
    /// As [`SigningKeys::load`], if there is one of that name, or if the file cannot be written.
    pub(crate) fn check_addable(directories: &Directories, name: &str) -> Result<(), Failure> {
        let _lock = Lock::acquire(&directories.signing_keys())?;
        if Self::load(directories)?.find(Some(name)).is_ok() {
            return Err(Failure::usage(format!("signing key with name {name:?} already exists")));
        }
        Ok(())
    }

    /// Changes the key list under its lock. Nothing is written if `change` fails.
    ///
    /// # Errors
    /// As [`SigningKeys::load`], as `change`, or if the file cannot be written.
    pub(crate) fn update<T>(
        directories: &Directories,
        change: impl FnOnce(&mut Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let path = directories.signing_keys();
        let _lock = Lock::acquire(&path)?;
        let mut keys = Self::load(directories)?;
        let result = change(&mut keys)?;
        keys.check()?;
        state_file::replace(&path, &keys.to_json()?, 0o600)?;
        Ok(result)
    }

    /// The entries in their order.
    pub(crate) fn entries(&self) -> &[KeyEntry] {
        &self.keys
    }

    /// Name of the default key.
    pub(crate) fn default_name(&self) -> Option<&str> {
        self.default.as_deref()
    }

    /// The entry called `name`, or the default one.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn find(&self, name: Option<&str>) -> Result<&KeyEntry, Failure> {
        let name = match (name, &self.default) {
            (Some(name), _) => name,
            (None, Some(default)) => default,
            (None, None) => {
                return Err(Failure::usage(
                    "default signing key not set. Please set default signing key or specify a key name",
                ));
            }
        };
        self.keys.iter().find(|key| key.name == name).ok_or_else(|| not_found(name))
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// If the name is empty or taken.
    pub(crate) fn add(&mut self, entry: KeyEntry, mark_default: bool) -> Result<(), Failure> {
        if entry.name.is_empty() {
            return Err(Failure::usage("key name cannot be empty"));
        }
        if entry.name.chars().any(char::is_control) {
            return Err(Failure::usage(format!("key name {:?} holds control characters", entry.name)));
        }
        if self.keys.iter().any(|key| key.name == entry.name) {
            return Err(Failure::usage(format!("signing key with name {:?} already exists", entry.name)));
        }
        if mark_default {
            self.default = Some(entry.name.clone());
        }
        self.keys.push(entry);
        Ok(())
    }

    /// Makes an entry the default.
    ///
    /// # Errors
    /// If there is none of that name.
    pub(crate) fn set_default(&mut self, name: &str) -> Result<(), Failure> {
        self.find(Some(name))?;
        self.default = Some(name.to_owned());
        Ok(())
    }

    /// Removes an entry. Says whether it was the default one.
    ///
    /// # Errors
    /// If there is none of that name.
    pub(crate) fn remove(&mut self, name: &str) -> Result<bool, Failure> {
        let before = self.keys.len();
        self.keys.retain(|key| key.name != name);
        if self.keys.len() == before {
            return Err(not_found(name));
        }
        let was_default = self.default.as_deref() == Some(name);
        if was_default {
            self.default = None;
        }
        Ok(was_default)
    }

    fn check(&self) -> Result<(), Failure> {
        let malformed = |what: String| Err(Failure::usage(format!("malformed signingkeys.json: {what}")));
        let mut names = BTreeSet::new();
        for key in &self.keys {
            if key.name.is_empty() {
                return malformed("key name cannot be empty".to_owned());
            }
            if !names.insert(key.name.as_str()) {
                return malformed(format!("multiple keys with name '{}' found", printable_line(&key.name)));
            }
        }
        match self.default.as_deref() {
            Some("") => malformed("default key name cannot be empty".to_owned()),
            Some(name) if !names.contains(name) => {
                malformed(format!("default key '{}' not found", printable_line(name)))
            }
            _ => Ok(()),
        }
    }

    /// Four spaces of indentation, as `notation` writes the file.
    fn to_json(&self) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
        self.serialize(&mut serializer).map_err(|error| Failure::infrastructure(error.to_string()))?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

fn not_found(name: &str) -> Failure {
    Failure::usage(format!("signing key {} not found; see `prokura key list`", printable_line(name)))
}

/// Go writes `null` for an empty list.
fn null_as_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<KeyEntry>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Environment;

    fn home() -> (tempfile::TempDir, Directories) {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config").into_os_string();
        let directories = Directories::find(&Environment::new([("NOTATION_CONFIG".into(), config)])).unwrap();
        (dir, directories)
    }

    fn write(directories: &Directories, text: &str) {
        state_file::replace(&directories.signing_keys(), text.as_bytes(), 0o600).unwrap();
    }

    fn add(directories: &Directories, name: &str) -> Result<(), Failure> {
        let entry = KeyEntry::plugin(name, "id", "plug", BTreeMap::from([("a".into(), "b".into())]));
        SigningKeys::update(directories, |keys| keys.add(entry, name == "one"))
    }

    #[test]
    fn the_file_is_written_as_notation_writes_it() {
        let (_dir, directories) = home();
        add(&directories, "one").unwrap();
        let text = std::fs::read_to_string(directories.signing_keys()).unwrap();
        let expected = r#"{
    "default": "one",
    "keys": [
        {
            "name": "one",
            "id": "id",
            "pluginName": "plug",
            "pluginConfig": {
                "a": "b"
            }
        }
    ]
}
"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn a_failed_change_leaves_the_file_alone() {
        let (_dir, directories) = home();
        add(&directories, "one").unwrap();
        let before = std::fs::read(directories.signing_keys()).unwrap();
        let error = add(&directories, "one").unwrap_err();
        assert_eq!(error.to_string(), "signing key with name \"one\" already exists");
        assert_eq!(std::fs::read(directories.signing_keys()).unwrap(), before);
    }

    #[test]
    fn unknown_members_survive_a_change() {
        let (_dir, directories) = home();
        write(
            &directories,
            r#"{"keys":[{"name":"x","id":"i","pluginName":"p","note":7}],"later":{"a":[1]}}"#,
        );
        add(&directories, "one").unwrap();
        let value: Value =
            serde_json::from_slice(&std::fs::read(directories.signing_keys()).unwrap()).unwrap();
        assert_eq!(value["later"]["a"][0], 1);
        assert_eq!(value["keys"][0]["note"], 7);
        assert_eq!(value["keys"][1]["name"], "one");
    }

    #[test]
    fn broken_rules_are_named() {
        let (_dir, directories) = home();
        for (text, expected) in [
            (r#"{"keys":[{"name":""}]}"#, "malformed signingkeys.json: key name cannot be empty"),
            (
                r#"{"keys":[{"name":"a"},{"name":"a"}]}"#,
                "malformed signingkeys.json: multiple keys with name 'a' found",
            ),
            (r#"{"default":"","keys":[]}"#, "malformed signingkeys.json: default key name cannot be empty"),
            (r#"{"default":"b","keys":null}"#, "malformed signingkeys.json: default key 'b' not found"),
        ] {
            write(&directories, text);
            assert_eq!(SigningKeys::load(&directories).err().unwrap().to_string(), expected);
        }
        write(&directories, r#"{"keys":[{"name":"a","name":"b"}]}"#);
        assert!(SigningKeys::load(&directories).err().unwrap().to_string().contains("given twice"));
    }

    #[test]
    fn files_win_over_a_plugin_and_neither_is_an_error() {
        let (_dir, directories) = home();
        write(
            &directories,
            r#"{"keys":[{"name":"both","keyPath":"k","certPath":"c","id":"i","pluginName":"p"},
                        {"name":"none","keyPath":"k"}]}"#,
        );
        let keys = SigningKeys::load(&directories).unwrap();
        assert!(matches!(keys.find(Some("both")).unwrap().source().unwrap(), KeySource::Local { .. }));
        let error = keys.find(Some("none")).unwrap().source().err().unwrap().to_string();
        assert!(error.contains("expected keyPath and certPath, or id and pluginName"), "{error}");
        assert!(keys.find(None).err().unwrap().to_string().starts_with("default signing key not set"));
    }

    #[test]
    fn writers_at_the_same_time_lose_nothing() {
        let (_dir, directories) = home();
        std::thread::scope(|scope| {
            for n in 0..8 {
                let directories = &directories;
                scope.spawn(move || add(directories, &format!("key-{n}")).unwrap());
            }
        });
        assert_eq!(SigningKeys::load(&directories).unwrap().entries().len(), 8);
    }
}
