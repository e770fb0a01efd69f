//! `key`: verbs on the key list.

use clap::{Args, Subcommand};
use prokura_plugin::{KeyId, PluginName};

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
