//! What Azure does to its plugin, on the fake that Microsoft's own SDK takes for real, and what the user sees.
//!
//! Each trial prints one line: what was broken, and the error the user sees, or that nobody noticed.

#[path = "azure/answers.rs"]
mod answers;
#[path = "azure/keys.rs"]
mod keys;
#[path = "azure/login.rs"]
mod login;
#[path = "azure/permissions.rs"]
mod permissions;

use std::io::Write as _;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use prokura_integration::backend::azure::{AzureVault, Desk, Kind};
use prokura_integration::suite::trial;
use prokura_plugin::KeySpec;

/// Every fault of Azure Key Vault.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = keys::trials();
    trials.extend(permissions::trials());
    trials.extend(login::trials());
    trials.extend(answers::trials());
    trials
}

/// A test that tells in one line what the user saw.
fn told(name: &str, test: impl FnOnce() -> Result<String> + Send + 'static) -> Trial {
    let name = format!("azure::{name}");
    trial(name.clone(), move || {
        let line = test()?.split_whitespace().collect::<Vec<_>>().join(" ");
        writeln!(std::io::stdout(), "{name} => {line}")?;
        Ok(())
    })
}

/// A desk before a vault with two keys, `ec-256` and `rsa-2048`.
fn desk(kind: Kind) -> Result<Desk> {
    Desk::before(AzureVault::start_with(kind, &[KeySpec::Ec256, KeySpec::Rsa2048])?)
}

/// Signs with `ec-256`; must be refused in words that hold every one of `parts`.
fn refused(desk: &Desk, config: &[&str], parts: &[&str]) -> Result<String> {
    let said = desk.sign(&desk.id(KeySpec::Ec256), config, &desk.vault.variables())?.refused(1)?;
    holds(said, parts)
}

fn holds(said: String, parts: &[&str]) -> Result<String> {
    for part in parts {
        ensure!(said.contains(part), "{part:?} is missing in: {said}");
    }
    Ok(said)
}
