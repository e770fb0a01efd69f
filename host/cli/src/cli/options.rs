//! Flag groups that several verbs share.

use std::path::PathBuf;

use clap::Args;
use prokura_plugin::{KeyId, PluginName};

use crate::password::Password;

use super::value::{GoDuration, KeyValue, parse_count, parse_deadline, parse_expiry, parse_key_id};

/// What a command that starts a plugin hands it, and how long it waits.
#[derive(Args, Clone)]
pub(crate) struct PluginCallOptions {
    /// Handed to the plugin; repeatable. A value that starts with ./ or ../ is a path from here. Never put a secret
    /// here: arguments are visible to other users
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) plugin_config: Vec<KeyValue>,

    /// Longest time one answer of the plugin may take
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_deadline)]
    pub(crate) deadline: GoDuration,
}

/// A key in a vault, by its name in the key list or by plugin and id.
#[derive(Args, Clone)]
pub(crate) struct VaultKeyOptions {
    /// Name of a key in the key list; without it and without --id the default key
    #[arg(short, long, value_name = "NAME", conflicts_with_all = ["id", "plugin"])]
    pub(crate) key: Option<String>,

    /// Id of a key in the vault, with --plugin
    #[arg(long, value_name = "ID", requires = "plugin", value_parser = parse_key_id)]
    pub(crate) id: Option<KeyId>,

    /// Plugin that reaches the key, with --id
    #[arg(long, value_name = "NAME", requires = "id")]
    pub(crate) plugin: Option<PluginName>,

    #[command(flatten)]
    pub(crate) call: PluginCallOptions,
}

/// Which key signs, and in which format.
#[derive(Args, Clone)]
pub(crate) struct SignerOptions {
    #[command(flatten)]
    pub(crate) key: VaultKeyOptions,

    /// Envelope format; jws unless config.json says otherwise
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) signature_format: Option<SignatureFormat>,

    /// Added to the signed payload; repeatable
    #[arg(short = 'm', long, value_name = "NAME=VALUE")]
    pub(crate) user_metadata: Vec<KeyValue>,

    /// How long the artifact is meant to be used, such as 720h or 1h30m; unlimited by default
    #[arg(short, long, value_name = "DURATION", value_parser = parse_expiry)]
    pub(crate) expiry: Option<GoDuration>,

    /// RFC 3161 time-stamping authority
    #[arg(long, value_name = "URL", requires = "timestamp_root_cert")]
    pub(crate) timestamp_url: Option<String>,

    /// Root certificate of the time-stamping authority
    #[arg(long, value_name = "FILE", requires = "timestamp_url")]
    pub(crate) timestamp_root_cert: Option<PathBuf>,

    /// Fetch missing issuer certificates from the URLs that the key's certificates name (AIA)
    #[arg(long)]
    pub(crate) fetch_issuers: bool,
}

/// Envelope formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SignatureFormat {
    Jws,
    Cose,
}

/// How to reach a registry.
#[derive(Args, Clone)]
pub(crate) struct RegistryOptions {
    /// User name for the registry [env: NOTATION_USERNAME]
    #[arg(short, long, help_heading = "Registry options", value_name = "NAME")]
    pub(crate) username: Option<String>,

    /// Password or token for the registry [env: NOTATION_PASSWORD]. Visible to other users of this machine: prefer
    /// the environment variable or `prokura login --password-stdin`
    #[arg(short, long, help_heading = "Registry options", value_name = "PASSWORD")]
    pub(crate) password: Option<Password>,

    /// Use plain HTTP; without it only localhost and the insecureRegistries of config.json are reached that way
    #[arg(long, help_heading = "Registry options", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true",
          hide_default_value = true, hide_possible_values = true, value_name = "BOOL")]
    pub(crate) insecure_registry: bool,

    /// PEM file with CA certificates to trust for this registry, besides those of the system
    #[arg(long, help_heading = "Registry options", value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
}

/// The artifact a verb works on.
#[derive(Args, Clone)]
pub(crate) struct LayoutOption {
    /// The reference is an OCI image layout on disk: PATH:TAG or PATH@DIGEST
    #[arg(long)]
    pub(crate) oci_layout: bool,
}

/// How much a verb that reads signatures looks at: the registry is not trusted to end.
#[derive(Args, Clone)]
pub(crate) struct ReadLimits {
    /// Most signatures to look at
    #[arg(long, value_name = "COUNT", default_value_t = crate::limits::SIGNATURES_DEFAULT,
          value_parser = parse_count)]
    pub(crate) max_signatures: usize,

    /// Longest time the whole command may take, such as 90s or 10m
    #[arg(long, value_name = "DURATION", default_value = crate::limits::COMMAND_DEADLINE, value_parser = parse_deadline)]
    pub(crate) timeout: GoDuration,
}

/// What a verification asks of a signature besides the trust policy.
#[derive(Args, Clone)]
pub(crate) struct VerifierOptions {
    /// Must be among the signature's user metadata; repeatable
    #[arg(short = 'm', long, value_name = "NAME=VALUE")]
    pub(crate) user_metadata: Vec<KeyValue>,

    /// Handed to a verification plugin as it is; repeatable
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) plugin_config: Vec<KeyValue>,
}
