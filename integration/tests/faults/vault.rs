//! What a Vault or OpenBao does to its plugin, on a real server behind a proxy that breaks one thing at a time.
//!
//! Each trial prints one line: what was broken, and the error the user sees, or that nobody noticed.

#[path = "vault/answers.rs"]
mod answers;
#[path = "vault/certificates.rs"]
mod certificates;
#[path = "vault/ground.rs"]
mod ground;
#[path = "vault/keys.rs"]
mod keys;
#[path = "vault/login.rs"]
mod login;
#[path = "vault/network.rs"]
mod network;
#[path = "vault/permissions.rs"]
mod permissions;

use std::io::Write as _;

use libtest_mimic::Trial;
use prokura_integration::suite::trial;

use ground::Ground;

/// One way to break something, and what must come of it: the line's right half.
type Fault = (&'static str, fn(&Ground) -> anyhow::Result<String>);

/// All trials.
pub(crate) fn trials() -> Vec<Trial> {
    let all = [
        keys::FAULTS,
        certificates::FAULTS,
        permissions::FAULTS,
        login::FAULTS,
        network::FAULTS,
        answers::FAULTS,
    ];
    let named = all.concat().into_iter().map(|(broken, run)| {
        trial(format!("vault::{}", broken.replace(' ', "_")), move || {
            let seen = run(ground::shared()?)?;
            writeln!(std::io::stdout(), "vault: {broken} => {seen}")?;
            Ok(())
        })
    });
    named.collect()
}
