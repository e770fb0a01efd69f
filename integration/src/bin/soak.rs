//! `soak`: signs for minutes while vaults fail. Ends with 0 if nothing failed and nothing was left behind.

#![expect(
    clippy::disallowed_methods,
    reason = "each vault has a process of its own, so that descriptors can be counted"
)]

use std::io::Write as _;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use prokura_integration::program::Missing;
use prokura_integration::soak::{Report, card, kms, pkcs11};
use prokura_integration::suite::in_ci;

/// Sign for minutes while a network HSM is dropped, pcscd is killed and KMS throttles, all at the same time.
#[derive(Parser)]
struct Arguments {
    /// How long, in minutes
    #[arg(long, value_name = "MINUTES", default_value_t = 1.0)]
    minutes: f64,
    /// Only this vault
    #[arg(long, value_enum)]
    only: Option<Vault>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Vault {
    /// A network HSM: SoftHSM through p11-kit
    Pkcs11,
    /// A YubiKey: a virtual card behind pcscd
    Yubikey,
    /// AWS KMS: moto, corrected
    AwsKms,
}

fn main() -> Result<ExitCode> {
    let Arguments { minutes, only } = Arguments::parse();
    let is_clean = match only {
        Some(Vault::Pkcs11) => told(pkcs11::run(minutes))?,
        Some(Vault::Yubikey) => told(card::run(minutes))?,
        Some(Vault::AwsKms) => told(kms::run(minutes))?,
        None => all(minutes)?,
    };
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn all(minutes: f64) -> Result<bool> {
    let this = std::env::current_exe()?;
    let start = |vault: &Vault| {
        let name = vault.to_possible_value().context("every vault has a name")?;
        let mut command = Command::new(&this);
        command.args(["--minutes", &minutes.to_string(), "--only", name.get_name()]);
        Ok(command.spawn()?)
    };
    let children: Vec<_> = Vault::value_variants().iter().map(start).collect::<Result<_>>()?;
    let mut is_clean = true;
    for mut child in children {
        is_clean &= child.wait()?.success();
    }
    Ok(is_clean)
}

fn told(outcome: Result<Report>) -> Result<bool> {
    let mut stdout = std::io::stdout();
    match outcome {
        Ok(report) => {
            writeln!(stdout, "{} {report}", if report.is_clean() { "ok  " } else { "FAIL" })?;
            Ok(report.is_clean())
        }
        Err(error) if error.downcast_ref::<Missing>().is_some() && !in_ci() => {
            writeln!(stdout, "skip {error:#}")?;
            Ok(true)
        }
        Err(error) => {
            writeln!(stdout, "FAIL {error:#}")?;
            Ok(false)
        }
    }
}
