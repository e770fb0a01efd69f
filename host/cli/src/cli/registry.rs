//! `login` and `logout`.

use clap::Args;

use super::options::RegistryOptions;

/// Check registry credentials and keep them in a credential helper
#[derive(Args, Clone)]
#[command(after_long_help = "\
Examples:
  Password from standard input:
    prokura login -u <user> --password-stdin registry.example.com < password.txt

  Credentials from NOTATION_USERNAME and NOTATION_PASSWORD:
    prokura login registry.example.com")]
pub(crate) struct LoginOptions {
    #[command(flatten)]
    pub(crate) registry: RegistryOptions,

    /// Read the password from standard input
    #[arg(long, conflicts_with = "password")]
    pub(crate) password_stdin: bool,

    /// The registry: host[:port]
    #[arg(value_name = "SERVER")]
    pub(crate) servers: Vec<String>,
}

/// Remove registry credentials from the credential helper
#[derive(Args, Clone)]
#[command(after_long_help = "\
Example:
  prokura logout registry.example.com")]
pub(crate) struct LogoutOptions {
    /// The registry: host[:port]
    #[arg(value_name = "SERVER")]
    pub(crate) servers: Vec<String>,
}
