//! Every switch of the rogue plugin, and every unfit plugin file, against the real command line.
//!
//! Each is refused with an error that names what was found and who must act; nothing is stored, no process of the
//! rogue survives and no control character of its reaches the terminal. At the end stands one line per switch.

#[path = "rogue/killed.rs"]
mod killed;
#[path = "rogue/scene.rs"]
mod scene;
#[path = "rogue/switches.rs"]
mod switches;
#[path = "rogue/unfit.rs"]
mod unfit;
#[path = "rogue/vault.rs"]
mod vault;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use libtest_mimic::Arguments;
use prokura_integration::world::World;

/// What the user was told, by switch.
pub(crate) type Told = Arc<Mutex<BTreeMap<String, String>>>;

fn main() -> Result<ExitCode> {
    let arguments = Arguments::from_args();
    let world = Arc::new(World::new()?);
    let told = Told::default();
    let mut trials = switches::trials(&world, &told);
    trials.extend(unfit::trials(&world, &told));
    trials.extend(killed::trials(&world));
    trials.extend(vault::trials(&world, &told));
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !arguments.list {
        for (switch, line) in told.lock().map(|told| told.clone()).unwrap_or_default() {
            writeln!(std::io::stdout(), "{switch} -> {line}")?;
        }
    }
    Ok(conclusion.exit_code())
}
