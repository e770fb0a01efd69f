//! `policy`: verbs on the trust policy.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Verbs on the trust policy for OCI artifacts.
#[derive(Subcommand)]
pub(crate) enum PolicyCommand {
    Import(ImportOptions),
    /// Show the trust policy
    Show,
}

/// Check a trust policy and put it in place
#[derive(Args, Clone)]
#[command(after_long_help = "\
Example:
  prokura policy import my_policy.json")]
pub(crate) struct ImportOptions {
    /// Overwrite an existing policy without asking
    #[arg(long)]
    pub(crate) force: bool,

    /// JSON file with the policy
    #[arg(value_name = "FILE")]
    pub(crate) paths: Vec<PathBuf>,
}
