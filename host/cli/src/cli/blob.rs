//! `blob`: verbs on files and their detached signatures.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::options::{SignerOptions, VerifierOptions};
use super::policy::ImportOptions;

/// Verbs on files.
#[derive(Subcommand)]
pub(crate) enum BlobCommand {
    Sign(BlobSignOptions),
    Verify(BlobVerifyOptions),
    Inspect(BlobInspectOptions),
    /// Manage the trust policy for files
    #[command(subcommand)]
    Policy(BlobPolicyCommand),
}

/// Sign a file; the signature is written to <file>.<format>.sig
#[derive(Args, Clone)]
#[command(after_long_help = "\
Examples:
  Sign with the default key:
    prokura blob sign <file>

  Sign as COSE with a key of the key list, writing the signature elsewhere:
    prokura blob sign --key <key_name> --signature-format cose --signature-directory <directory> <file>")]
pub(crate) struct BlobSignOptions {
    #[command(flatten)]
    pub(crate) signer: SignerOptions,

    /// Media type of the file
    #[arg(long, value_name = "TYPE", default_value = "application/octet-stream")]
    pub(crate) media_type: String,

    /// Directory for the signature instead of the file's own
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) signature_directory: Option<PathBuf>,

    /// Overwrite an existing signature without asking
    #[arg(long)]
    pub(crate) force: bool,

    /// The file to sign
    #[arg(value_name = "FILE")]
    pub(crate) paths: Vec<PathBuf>,
}

/// Verify a file by its detached signature
#[derive(Args, Clone)]
#[command(after_long_help = "\
Examples:
  prokura blob verify --signature <file>.jws.sig <file>
  prokura blob verify --policy-name <statement_name> --signature <file>.cose.sig <file>")]
pub(crate) struct BlobVerifyOptions {
    /// The signature
    #[arg(short, long, value_name = "FILE")]
    pub(crate) signature: PathBuf,

    #[command(flatten)]
    pub(crate) verifier: VerifierOptions,

    /// Media type the file must have been signed with
    #[arg(long, value_name = "TYPE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) media_type: Option<String>,

    /// Trust policy statement; the global one by default
    #[arg(long, value_name = "NAME")]
    pub(crate) policy_name: Option<String>,

    /// The file to verify
    #[arg(value_name = "FILE")]
    pub(crate) paths: Vec<PathBuf>,
}

/// Show what is inside a detached signature, without verifying it
#[derive(Args, Clone)]
#[command(after_long_help = "\
Examples:
  prokura blob inspect <file>.jws.sig
  prokura blob inspect --output json <file>.cose.sig")]
pub(crate) struct BlobInspectOptions {
    /// The signature
    #[arg(value_name = "SIGNATURE")]
    pub(crate) paths: Vec<PathBuf>,
}

/// Verbs on the trust policy for files.
#[derive(Subcommand)]
pub(crate) enum BlobPolicyCommand {
    Init(InitOptions),
    Import(ImportOptions),
    /// Show the trust policy for files
    Show,
}

/// Write a strict trust policy for files
#[derive(Args, Clone)]
#[command(after_long_help = "\
Example:
  prokura blob policy init --name releases --trust-store ca:acme \\
    --trusted-identity \"x509.subject: C=US, ST=WA, O=acme-rockets.io\" --global")]
pub(crate) struct InitOptions {
    /// Name of the statement
    #[arg(short, long, value_name = "NAME")]
    pub(crate) name: String,

    /// <type>:<name> of a trust store; repeatable
    #[arg(long, value_name = "STORE", required = true)]
    pub(crate) trust_store: Vec<String>,

    /// x509.subject:<distinguished name>, or * for any; repeatable
    #[arg(long, value_name = "IDENTITY", required = true)]
    pub(crate) trusted_identity: Vec<String>,

    /// Overwrite an existing policy without asking
    #[arg(long)]
    pub(crate) force: bool,

    /// Apply the statement to files verified without --policy-name
    #[arg(long)]
    pub(crate) global: bool,
}
