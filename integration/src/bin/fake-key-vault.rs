//! A fake Azure Key Vault with its token endpoint, for whoever has no Azure at hand.
//!
//! `fake-key-vault -- COMMAND` runs a command that reaches it, and ends with it. Without a command it prints the
//! environment that leads to it and stays until its standard input ends.

#![expect(clippy::disallowed_methods, reason = "runs the command it is given")]
#![expect(clippy::print_stdout, reason = "says where the vault is")]

use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::Parser;
use prokura_integration::backend::azure::{AzureVault, Kind};
use prokura_integration::vault::TestVault as _;

/// A fake Azure Key Vault with its token endpoint, reached through a proxy under the names of the real ones.
///
/// It has the keys rsa-2048, rsa-3072, rsa-4096, ec-256, ec-384 and ec-521, each with a certificate. All of it is gone
/// when it ends.
#[derive(Parser)]
struct Arguments {
    /// A Managed HSM, at `https://prokura.managedhsm.azure.net`, instead of a vault, at `https://prokura.vault.azure.net`.
    #[arg(long)]
    managed_hsm: bool,
    /// What to run.
    #[arg(last = true)]
    command: Vec<String>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let vault = AzureVault::start(if arguments.managed_hsm { Kind::ManagedHsm } else { Kind::Vault })?;
    let files = [
        ("ABOVE_PEM", vault.bundle()),
        ("ALL_PEM", vault.all_certificates()),
        ("ROOT_PEM", vault.root().to_owned()),
    ];
    let mut variables = vault.variables();
    variables.extend(files.map(|(name, path)| (name, path.into_os_string())));
    let Some((program, rest)) = arguments.command.split_first() else {
        for (name, value) in variables {
            println!("export {name}='{}'", value.to_string_lossy());
        }
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
        return Ok(ExitCode::SUCCESS);
    };
    let status = Command::new(program).args(rest).envs(variables).status()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
