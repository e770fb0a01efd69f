//! What breaks in a vault, and what the user is told: one line per fault.

#[path = "faults/aws.rs"]
mod aws;
#[path = "faults/azure.rs"]
mod azure;
#[path = "faults/pkcs11.rs"]
mod pkcs11;
#[path = "faults/vault.rs"]
mod vault;
#[path = "faults/yubikey.rs"]
mod yubikey;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Most of them wait: for a stall to end, for a token to run out.
    arguments.test_threads.get_or_insert(8);
    let trials = [pkcs11::trials(), aws::trials(), azure::trials(), vault::trials(), yubikey::trials()];
    let trials = trials.into_iter().flatten().collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
