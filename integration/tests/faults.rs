//! What breaks, and what the user is told.

#[path = "faults/pkcs11.rs"]
mod pkcs11;

use std::process::ExitCode;

use anyhow::Result;
use libtest_mimic::Arguments;

fn main() -> Result<ExitCode> {
    let arguments = Arguments::from_args();
    Ok(libtest_mimic::run(&arguments, pkcs11::trials()).exit_code())
}
