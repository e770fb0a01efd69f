//! What a plugin is asked to open: a key id, the key's plugin config and the time that is left.

use std::fmt;
use std::time::{Duration, Instant};

use crate::config_names::ConfigNames;
use crate::error::Error;
use crate::key::KeySpec;
use crate::limits::{
    KEY_ID_BYTES_MAX, PLUGIN_CONFIG_ENTRIES_MAX, PLUGIN_CONFIG_VALUE_BYTES_MAX, PLUGIN_NAME_BYTES_MAX,
};
use crate::message::PluginConfig;
use crate::person::Person;

/// A key id: not empty, bounded, without control characters. Its meaning is the plugin's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(String);

impl KeyId {
    /// Checks and takes a key id.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` if it is empty, too long or holds control characters.
    pub fn new(text: impl Into<String>) -> Result<Self, Error> {
        let text = text.into();
        if text.is_empty() {
            return Err(Error::validation("keyId is empty, expected the id of a key"));
        }
        if text.len() > KEY_ID_BYTES_MAX {
            let found = text.len();
            return Err(Error::validation(format!(
                "keyId has {found} bytes, at most {KEY_ID_BYTES_MAX} are allowed"
            )));
        }
        if text.chars().any(char::is_control) {
            return Err(Error::validation("keyId holds control characters"));
        }
        Ok(Self(text))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as a name of a file in a directory of the plugin's: one path component and nothing that leads out.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` for separators, `.`, `..` and names that start with a dot.
    pub fn as_file_name(&self) -> Result<&str, Error> {
        if self.0.starts_with('.') || self.0.contains(['/', '\\']) {
            let shown = &self.0;
            return Err(Error::validation(format!(
                "keyId {shown:?} is no plain file name: separators and leading dots are refused"
            )));
        }
        Ok(&self.0)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A plugin's name: `x` of `notation-x`. Letters, digits, `.`, `-` and `_`, not starting with a dot or dash.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PluginName(String);

/// A text that is no plugin name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPluginName(String);

impl fmt::Display for InvalidPluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no plugin name, expected 1 to {PLUGIN_NAME_BYTES_MAX} letters, digits, '.', '-' or '_', starting with a letter or digit",
            self.0
        )
    }
}

impl std::error::Error for InvalidPluginName {}

impl std::str::FromStr for PluginName {
    type Err = InvalidPluginName;

    fn from_str(text: &str) -> Result<Self, InvalidPluginName> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if starts_well
            && text.len() <= PLUGIN_NAME_BYTES_MAX
            && text.chars().all(allowed)
            && !text.contains("..")
        {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidPluginName(text.chars().take(64).collect()))
    }
}

impl PluginName {
    /// The name without `notation-`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the executable.
    pub fn executable(&self) -> String {
        format!("notation-{}", self.0)
    }
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The moment after which nobody waits for the answer any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// No limit: contract 1.0 over stdio has none, the host ends the process.
    pub const NONE: Deadline = Deadline(None);

    /// A deadline at `instant`.
    pub const fn at(instant: Instant) -> Self {
        Self(Some(instant))
    }

    /// What is left: `None` without a limit, zero once it has passed.
    pub fn remaining(&self) -> Option<Duration> {
        self.0.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// # Errors
    /// `TIMEOUT` once the deadline has passed.
    pub fn check(&self) -> Result<(), Error> {
        match self.remaining() {
            Some(Duration::ZERO) => Err(Error::timeout("the deadline passed before the vault was asked")),
            _ => Ok(()),
        }
    }
}

/// A vault to be asked: plugin config, the time that is left, the person in front of the host.
#[derive(Clone, Debug)]
pub struct VaultRequest {
    plugin_config: PluginConfig,
    deadline: Deadline,
    person: Person,
    names: Option<ConfigNames>,
}

impl VaultRequest {
    /// Checks the parts of a request.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` if the config is larger than allowed.
    pub fn new(plugin_config: PluginConfig, deadline: Deadline) -> Result<Self, Error> {
        if plugin_config.0.len() > PLUGIN_CONFIG_ENTRIES_MAX {
            let found = plugin_config.0.len();
            return Err(Error::validation(format!(
                "pluginConfig has {found} entries, at most {PLUGIN_CONFIG_ENTRIES_MAX} are allowed"
            )));
        }
        let too_long = |text: &String| text.len() > PLUGIN_CONFIG_VALUE_BYTES_MAX;
        if plugin_config.0.iter().any(|(name, value)| too_long(name) || too_long(value)) {
            return Err(Error::validation(format!(
                "pluginConfig has a name or value above {PLUGIN_CONFIG_VALUE_BYTES_MAX} bytes"
            )));
        }
        Ok(Self { plugin_config, deadline, person: Person::NOBODY, names: None })
    }

    /// Says who can be asked.
    #[must_use]
    pub fn with_person(mut self, person: Person) -> Self {
        self.person = person;
        self
    }

    /// Says what the plugin declared to read.
    #[must_use]
    pub(crate) const fn declared(mut self, names: ConfigNames) -> Self {
        self.names = Some(names);
        self
    }

    /// The value of a plugin config entry the plugin cannot do without.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` naming the entry and how to set it.
    pub fn config(&self, name: &str) -> Result<&str, Error> {
        self.config_optional(name).ok_or_else(|| {
            Error::validation(format!(
                "plugin config {name:?} is missing; set it with --plugin-config {name}=VALUE"
            ))
        })
    }

    /// The value of a plugin config entry; an empty value counts as none.
    pub fn config_optional(&self, name: &str) -> Option<&str> {
        debug_assert!(
            self.names.is_none_or(|names| names.declare(name)),
            "{name} is not declared by config_names"
        );
        self.plugin_config.0.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    /// The whole plugin config.
    pub const fn plugin_config(&self) -> &PluginConfig {
        &self.plugin_config
    }

    /// Until when an answer is awaited.
    pub const fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// The person in front of the host.
    pub const fn person(&self) -> &Person {
        &self.person
    }
}

/// One key to open.
#[derive(Clone, Debug)]
pub struct KeyRequest {
    key_id: KeyId,
    vault: VaultRequest,
}

impl KeyRequest {
    /// Checks the parts of a request.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` if the key id is none or the config is larger than allowed.
    pub fn new(
        key_id: impl Into<String>,
        plugin_config: PluginConfig,
        deadline: Deadline,
    ) -> Result<Self, Error> {
        let key_id = KeyId::new(key_id)?;
        Ok(Self { key_id, vault: VaultRequest::new(plugin_config, deadline)? })
    }

    /// A key of a vault that is being asked already.
    pub const fn of_vault(key_id: KeyId, vault: VaultRequest) -> Self {
        Self { key_id, vault }
    }

    /// Says who can be asked.
    #[must_use]
    pub fn with_person(mut self, person: Person) -> Self {
        self.vault = self.vault.with_person(person);
        self
    }

    /// Which key.
    pub const fn key_id(&self) -> &KeyId {
        &self.key_id
    }

    /// Its vault.
    pub const fn vault(&self) -> &VaultRequest {
        &self.vault
    }

    /// As [`VaultRequest::config`].
    ///
    /// # Errors
    /// `VALIDATION_ERROR` naming the entry and how to set it.
    pub fn config(&self, name: &str) -> Result<&str, Error> {
        self.vault.config(name)
    }

    /// As [`VaultRequest::config_optional`].
    pub fn config_optional(&self, name: &str) -> Option<&str> {
        self.vault.config_optional(name)
    }

    /// The whole plugin config.
    pub const fn plugin_config(&self) -> &PluginConfig {
        self.vault.plugin_config()
    }

    /// Until when an answer is awaited.
    pub const fn deadline(&self) -> Deadline {
        self.vault.deadline()
    }

    /// The person in front of the host.
    pub const fn person(&self) -> &Person {
        self.vault.person()
    }
}

/// A key to be made inside the vault.
#[derive(Clone, Debug)]
pub struct CreateRequest {
    name: KeyId,
    spec: KeySpec,
    vault: VaultRequest,
}

impl CreateRequest {
    /// A key of `spec` called `name` in `vault`.
    pub const fn new(name: KeyId, spec: KeySpec, vault: VaultRequest) -> Self {
        Self { name, spec, vault }
    }

    /// What the key shall be called: an alias, a label, a slot. Bounded as key ids are.
    pub const fn name(&self) -> &KeyId {
        &self.name
    }

    /// What kind of key.
    pub const fn spec(&self) -> KeySpec {
        self.spec
    }

    /// Where.
    pub const fn vault(&self) -> &VaultRequest {
        &self.vault
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_ids_that_lead_out_of_a_directory_are_refused() {
        for bad in ["../demo", "a/b", "..", ".hidden", "a\\b"] {
            assert!(KeyId::new(bad).unwrap().as_file_name().is_err(), "{bad}");
        }
        assert_eq!(KeyId::new("release-2026").unwrap().as_file_name().unwrap(), "release-2026");
        assert!(KeyId::new("").is_err());
        assert!(KeyId::new("a\nb").is_err());
        assert!(KeyId::new("k".repeat(KEY_ID_BYTES_MAX)).is_ok());
        assert!(KeyId::new("k".repeat(KEY_ID_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn plugin_names_cannot_be_paths() {
        for bad in ["", "../x", "a/b", ".x", "-x", "a..b", "a b", "x\u{1b}", &"x".repeat(129)] {
            assert!(bad.parse::<PluginName>().is_err(), "{bad:?}");
        }
        assert_eq!(
            "com.amazonaws.signer".parse::<PluginName>().unwrap().executable(),
            "notation-com.amazonaws.signer"
        );
    }

    #[test]
    fn a_missing_config_entry_says_how_to_set_it() {
        let request = KeyRequest::new("k", PluginConfig::default(), Deadline::NONE).unwrap();
        let error = request.config("module-path").unwrap_err();
        assert!(error.message.contains("--plugin-config module-path=VALUE"), "{error}");
    }

    #[test]
    fn a_passed_deadline_is_a_timeout() {
        assert!(Deadline::at(Instant::now()).check().is_err());
        assert!(Deadline::NONE.check().is_ok());
    }
}
