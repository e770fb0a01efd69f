//! One test set against every plugin and every backend: all key specs × JWS and COSE × gRPC and stdio × layout and
//! registry, and what else a vault can do. Ends with a table.

#![expect(clippy::disallowed_methods, reason = "tests start real programs")]

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use libtest_mimic::Arguments;
use prokura_integration::vault::BACKENDS;

#[path = "vaults/keys.rs"]
mod keys;
#[path = "vaults/scene.rs"]
mod scene;
#[path = "vaults/signing.rs"]
mod signing;
#[path = "vaults/tally.rs"]
mod tally;

use scene::Scene;
use tally::Tally;

fn main() -> Result<ExitCode> {
    let arguments = Arguments::from_args();
    let tally = Arc::new(Tally::default());
    let mut trials = Vec::new();
    for backend in BACKENDS {
        let scene = Arc::new(Scene::new(backend));
        trials.extend(signing::trials(&scene, &tally));
        trials.extend(keys::trials(&scene, &tally));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !arguments.list {
        write!(std::io::stdout(), "{tally}")?;
    }
    Ok(conclusion.exit_code())
}
