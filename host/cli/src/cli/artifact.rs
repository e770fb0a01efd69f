//! `sign`, `verify`, `list` and `inspect`: verbs on artifacts in a registry or an image layout.

use clap::Args;

use super::options::{LayoutOption, ReadLimits, RegistryOptions, SignerOptions, VerifierOptions};

/// Sign OCI artifacts
#[derive(Args, Clone)]
#[command(after_long_help = "\
Examples:
  Sign with the default key; the signature is stored beside the artifact:
    prokura sign <registry>/<repository>@<digest>

  Sign with a key of the key list, as COSE, valid for 30 days:
    prokura sign --key <key_name> --signature-format cose --expiry 720h <registry>/<repository>@<digest>

  Sign with a key in a vault, without adding it to the key list first:
    prokura sign --plugin <plugin_name> --id <key_id> <registry>/<repository>@<digest>

  Sign several artifacts in one run; the plugin stays open, so that the vault is logged in to once:
    prokura sign <registry>/<repository>@<digest> <registry>/<other>@<digest>

  Sign an artifact in an OCI image layout:
    prokura sign --oci-layout <path>@<digest>")]
pub(crate) struct SignOptions {
    #[command(flatten)]
    pub(crate) signer: SignerOptions,
    #[command(flatten)]
    pub(crate) registry: RegistryOptions,
    #[command(flatten)]
    pub(crate) layout: LayoutOption,

    /// Store the signature by the referrers tag schema even where the registry has the referrers API
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL",
          hide_possible_values = true, conflicts_with = "oci_layout")]
    pub(crate) force_referrers_tag: Option<bool>,

    /// Deprecated in notation: the referrers API is used wherever there is one
    #[arg(long, hide = true)]
    pub(crate) allow_referrers_api: bool,

    /// What to sign: <registry>/<repository>@<digest>, or with a tag
    #[arg(value_name = "REFERENCE")]
    pub(crate) references: Vec<String>,
}

/// Verify OCI artifacts
#[derive(Args, Clone)]
#[command(after_long_help = "\
A certificate in the trust store and a trust policy must be set up first: see `prokura cert add --help` and
`prokura policy import --help`.

Examples:
  Verify the signatures of an artifact:
    prokura verify <registry>/<repository>@<digest>

  Verify an artifact in an OCI image layout by the policy statement for a scope:
    prokura verify --oci-layout <path>@<digest> --scope <registry>/<repository>

  Every check of every signature, for a program:
    prokura verify --output json <registry>/<repository>@<digest>")]
pub(crate) struct VerifyOptions {
    #[command(flatten)]
    pub(crate) verifier: VerifierOptions,
    #[command(flatten)]
    pub(crate) registry: RegistryOptions,

    /// The reference is an OCI image layout on disk: PATH:TAG or PATH@DIGEST
    #[arg(long, requires = "scope")]
    pub(crate) oci_layout: bool,

    /// Registry scope that chooses the trust policy statement for an image layout
    #[arg(long, value_name = "SCOPE", requires = "oci_layout")]
    pub(crate) scope: Option<String>,

    #[command(flatten)]
    pub(crate) limits: ReadLimits,

    /// What to verify: <registry>/<repository>@<digest>, or with a tag
    #[arg(value_name = "REFERENCE")]
    pub(crate) references: Vec<String>,
}

/// Whose signatures are read, from where, and how many of them.
#[derive(Args, Clone)]
pub(crate) struct ReadOptions {
    #[command(flatten)]
    pub(crate) registry: RegistryOptions,
    #[command(flatten)]
    pub(crate) layout: LayoutOption,
    #[command(flatten)]
    pub(crate) limits: ReadLimits,

    /// The artifact: <registry>/<repository>@<digest>, or with a tag
    #[arg(value_name = "REFERENCE")]
    pub(crate) references: Vec<String>,
}

/// List the signatures of an artifact
#[derive(Args, Clone)]
#[command(
    visible_alias = "ls",
    after_long_help = "\
Examples:
  prokura list <registry>/<repository>@<digest>
  prokura list --oci-layout <path>@<digest>"
)]
pub(crate) struct ListOptions {
    #[command(flatten)]
    pub(crate) read: ReadOptions,
}

/// Show what is inside the signatures of an artifact, without verifying them
#[derive(Args, Clone)]
#[command(after_long_help = "\
Examples:
  prokura inspect <registry>/<repository>@<digest>
  prokura inspect --output json <registry>/<repository>@<digest>
  prokura inspect --oci-layout <path>@<digest>")]
pub(crate) struct InspectOptions {
    #[command(flatten)]
    pub(crate) read: ReadOptions,
}
