//! PKCS#11: what a token, a module or the way to it does wrong, and what becomes of the signature.
//!
//! SoftHSM stands behind the fault module wherever real software cannot be made to fail so; keys that are wrong are
//! real ones, and the network HSM is p11-kit's.

#[path = "pkcs11/calls.rs"]
mod calls;
#[path = "pkcs11/keys.rs"]
mod keys;
#[path = "pkcs11/network.rs"]
mod network;
#[path = "pkcs11/scene.rs"]
mod scene;
#[path = "pkcs11/serving.rs"]
mod serving;

use std::io::Write as _;

use anyhow::Result;
use libtest_mimic::Trial;
use prokura_integration::suite::trial;

use scene::Stages;

/// Every fault of PKCS#11.
pub(crate) fn trials() -> Vec<Trial> {
    let stages = Stages::default();
    let mut trials = keys::trials(&stages);
    trials.extend(calls::trials(&stages));
    trials.extend(serving::trials(&stages));
    trials.extend(network::trials(&stages));
    trials
}

/// A test that tells in one line what the user saw.
fn told(stages: &Stages, name: &str, test: impl FnOnce(&Stages) -> Result<String> + Send + 'static) -> Trial {
    let name = format!("pkcs11::{name}");
    let stages = stages.clone();
    trial(name.clone(), move || {
        let line = test(&stages)?;
        writeln!(std::io::stdout(), "{name} => {line}")?;
        Ok(())
    })
}
