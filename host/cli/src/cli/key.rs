//! `key`: verbs on the key list.

use clap::{Args, Subcommand};
use prokura_plugin::{KeyId, KeySpec, PluginName};

use super::options::PluginCallOptions;
use super::value::{KeyValue, parse_key_id};

/// Verbs on the key list.
#[derive(Subcommand)]
pub(crate) enum KeyCommand {
    Add(KeyAddOptions),
    Update(KeyUpdateOptions),
    /// List the keys
    #[command(visible_alias = "ls")]
    List,
    Delete(KeyDeleteOptions),
    Discover(KeyDiscoverOptions),
    Create(KeyCreateOptions),
}

/// List the keys in a vault that can sign: their ids, key specs, certificates and policies
#[derive(Args, Clone)]
#[command(after_long_help = "\
Examples:
  prokura key discover --plugin pkcs11
  prokura key discover --plugin aws-kms --plugin-config region=eu-central-1 --output json")]
pub(crate) struct KeyDiscoverOptions {
    #[command(flatten)]
    pub(crate) vault: VaultOptions,
}

/// Make a key inside a vault
#[derive(Args, Clone)]
#[command(after_long_help = "\
Examples:
  prokura key create --plugin aws-kms --key-spec EC-256 alias/release
  prokura key create --plugin yubikey --key-spec EC-384 --plugin-config management-key-source=file:/etc/mgm 9c")]
pub(crate) struct KeyCreateOptions {
    #[command(flatten)]
    pub(crate) vault: VaultOptions,

    /// Key spec: RSA-2048, RSA-3072, RSA-4096, EC-256, EC-384 or EC-521
    #[arg(long, value_name = "SPEC")]
    pub(crate) key_spec: KeySpec,

    /// Also add it to the key list under this name
    #[arg(long, value_name = "KEY_NAME")]
    pub(crate) add: Option<String>,

    /// What the vault shall call it: an alias, a label, a slot
    #[arg(value_name = "NAME", value_parser = parse_key_id)]
    pub(crate) name: KeyId,
}

/// Which vault.
#[derive(Args, Clone)]
pub(crate) struct VaultOptions {
    /// Plugin that reaches the vault
    #[arg(long, value_name = "NAME")]
    pub(crate) plugin: PluginName,

    #[command(flatten)]
    pub(crate) call: PluginCallOptions,
}

/// Add a key to the key list; the vault is not contacted
#[derive(Args, Clone)]
#[command(after_long_help = "\
Example:
  prokura key add --plugin <plugin_name> --id <key_id> --default <key_name>")]
pub(crate) struct KeyAddOptions {
    /// Plugin that reaches the key
    #[arg(long, value_name = "NAME")]
    pub(crate) plugin: PluginName,

    /// Id of the key in the vault
    #[arg(long, value_name = "ID", value_parser = parse_key_id)]
    pub(crate) id: Option<KeyId>,

    /// Handed to the plugin with every request; repeatable. It is stored in plain text: never put a secret here
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) plugin_config: Vec<KeyValue>,

    /// Make it the default key
    #[arg(long)]
    pub(crate) default: bool,

    /// Name of the key
    #[arg(value_name = "KEY_NAME")]
    pub(crate) names: Vec<String>,
}

/// Change a key of the key list
#[derive(Args, Clone)]
#[command(
    visible_alias = "set",
    after_long_help = "\
Example:
  prokura key set --default <key_name>"
)]
pub(crate) struct KeyUpdateOptions {
    /// Make it the default key
    #[arg(long)]
    pub(crate) default: bool,

    /// Name of the key
    #[arg(value_name = "KEY_NAME")]
    pub(crate) names: Vec<String>,
}

/// Remove keys from the key list; the keys themselves stay in their vault
#[derive(Args, Clone)]
#[command(after_long_help = "\
Example:
  prokura key delete <key_name>...")]
pub(crate) struct KeyDeleteOptions {
    /// Names of the keys
    #[arg(value_name = "KEY_NAME")]
    pub(crate) names: Vec<String>,
}
