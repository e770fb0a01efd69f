//! `soak`: signs for minutes while vaults fail. Ends with 0 if nothing failed and nothing was left behind.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::Parser;
use prokura_integration::program::Missing;
use prokura_integration::soak::{Report, card, kms, pkcs11};
use prokura_integration::suite::in_ci;

/// Sign for minutes while a network HSM is dropped, pcscd is killed and KMS throttles, all at the same time.
#[derive(Parser)]
struct Arguments {
    /// How long, in minutes
    #[arg(long, value_name = "MINUTES", default_value_t = 1.0)]
    minutes: f64,
}

fn main() -> Result<ExitCode> {
    let Arguments { minutes } = Arguments::parse();
    let mut stdout = std::io::stdout().lock();
    let soaks: [fn(f64) -> Result<Report>; 3] = [pkcs11::run, card::run, kms::run];
    let threads = soaks.map(|soak| std::thread::spawn(move || soak(minutes)));
    let mut is_clean = true;
    for thread in threads {
        match thread.join().map_err(|_| anyhow!("a soak panicked"))? {
            Ok(report) => {
                is_clean &= report.is_clean();
                writeln!(stdout, "{} {report}", if report.is_clean() { "ok  " } else { "FAIL" })?;
            }
            Err(error) if error.downcast_ref::<Missing>().is_some() && !in_ci() => {
                writeln!(stdout, "skip {error:#}")?;
            }
            Err(error) => {
                is_clean = false;
                writeln!(stdout, "FAIL {error:#}")?;
            }
        }
    }
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
