//! `quickstart`: the guided first signature.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Sign, verify and refuse a tampered copy, in a directory of its own, showing each command
#[derive(Args, Clone)]
#[command(
    args_conflicts_with_subcommands = true,
    after_long_help = "\
Makes a test key and a trust policy, packs files into an OCI image layout, signs it, verifies it, and shows that
a tampered copy is refused. Each step is a command that is printed and can be repeated. Exit code 0 means that the
verification succeeded and the tampered copy was refused.

Examples:
  prokura quickstart
  prokura quickstart --dir /tmp/try my-program LICENSE"
)]
pub(crate) struct QuickstartOptions {
    /// Directory to work in: a new one, an empty one, or that of an earlier quickstart, which is then replaced
    #[arg(long, value_name = "DIR", default_value = "prokura-quickstart")]
    pub(crate) dir: PathBuf,

    /// Files to pack; this program and its licence by default
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    #[command(subcommand)]
    pub(crate) step: Option<QuickstartStep>,
}

/// Steps of the quickstart that are no verbs of their own.
#[derive(Subcommand, Clone)]
pub(crate) enum QuickstartStep {
    /// Pack files into an OCI image layout, as one layer each
    Pack {
        /// The layout and the tag: PATH:TAG
        #[arg(long, value_name = "PATH:TAG")]
        layout: String,
        /// The files
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
    },
    /// Copy an artifact with one byte changed and the signatures of the original
    Tamper {
        /// The signed artifact: PATH:TAG or PATH@DIGEST
        #[arg(long, value_name = "PATH:TAG")]
        layout: String,
        /// The copy: PATH:TAG of a layout that does not exist yet
        #[arg(long, value_name = "PATH:TAG")]
        copy: String,
    },
}
