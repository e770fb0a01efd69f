//! Every switch of the rogue plugin, and every unfit plugin file, against the real command line.
//!
//! Each is refused with an error that names what was found and who must act; nothing is stored, no process of the
//! rogue survives and no control character of its reaches the terminal. At the end stands one line per switch.

#![expect(clippy::disallowed_methods, reason = "the test starts programs")]

mod scene;
mod switches;
mod unfit;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use libtest_mimic::Arguments;
use prokura_integration::world::World;

/// What the user was told, by switch.
pub(crate) type Told = Arc<Mutex<BTreeMap<String, String>>>;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let world = match World::new() {
        Ok(world) => Arc::new(world),
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    };
    let told = Told::default();
    let mut trials = switches::trials(&world, &told);
    trials.extend(unfit::trials(&world, &told));
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !arguments.list {
        for (switch, line) in told.lock().iter().flat_map(|told| told.iter()) {
            println!("{switch} -> {line}");
        }
    }
    conclusion.exit_code()
}
