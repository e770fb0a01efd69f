//! Azure Key Vault: that the fake is faithful, and what the plugin does with the vault when all goes well.

#![expect(clippy::disallowed_methods, reason = "tests start real programs")]

#[path = "azure/credentials.rs"]
mod credentials;
#[path = "azure/keys.rs"]
mod keys;
#[path = "azure/sdk.rs"]
mod sdk;

use libtest_mimic::Arguments;

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = sdk::trials();
    trials.extend(keys::trials());
    trials.extend(credentials::trials());
    libtest_mimic::run(&arguments, trials).exit()
}
