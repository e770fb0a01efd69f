//! What the shared test set needs of a vault: keys of every spec it has, and how a plugin reaches them.

mod backends;
mod running;

use std::ffi::OsString;
use std::path::Path;

use prokura_plugin::KeySpec;

pub use backends::{BACKENDS, Backend};
pub use running::Running;

/// A real vault (or its emulator), started and filled, that ends when dropped.
pub trait TestVault: Send + Sync {
    /// Plugin and backend, such as `pkcs11/softhsm`.
    fn name(&self) -> &'static str;

    /// The plugin that reaches it, such as `pkcs11`.
    fn plugin(&self) -> &'static str;

    /// The key specs it has, each with one key and a certificate chain.
    fn specs(&self) -> &'static [KeySpec];

    /// How the key of a spec is named to the plugin.
    fn key(&self, spec: KeySpec) -> TestKey;

    /// Plugin config that names the vault and no key in it: where keys are listed and made.
    fn vault_config(&self) -> Vec<(String, String)> {
        let mut config = self.specs().first().map(|spec| self.key(*spec).config).unwrap_or_default();
        config.retain(|(name, _)| !["ca_certs", "certificate"].contains(&name.as_str()));
        config
    }

    /// Environment the plugin needs to reach it.
    fn environment(&self) -> Vec<(&'static str, OsString)>;

    /// PEM file with the root of all chains.
    fn root(&self) -> &Path;

    /// What the plugin can do with this vault besides signing.
    fn abilities(&self) -> Abilities;
}

/// A key as `--id` and `--plugin-config` name it.
pub struct TestKey {
    /// The key id.
    pub id: String,
    /// Plugin config entries, `ca_certs` among them where the vault holds no whole chain.
    pub config: Vec<(String, String)>,
}

/// What the shared test set may ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// `prokura key discover` lists the keys.
    pub list: bool,
    /// `prokura key create` makes one inside the vault.
    pub create: bool,
    /// `prokura cert install` stores a certificate beside its key.
    pub install: bool,
    /// The answer names the version of the key that signed.
    pub version: bool,
}
