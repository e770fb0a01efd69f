//! Input from outside that is broken or hostile, run through the real command line: files, envelopes, registries.
//!
//! Each is refused with an exit code and an error that names what was found and where; nothing is changed.

#![expect(clippy::indexing_slicing, reason = "a panic is a failed test")]

#[path = "bad_input/cbor.rs"]
mod cbor;
#[path = "bad_input/envelopes.rs"]
mod envelopes;
#[path = "bad_input/files.rs"]
mod files;
#[path = "bad_input/forgery.rs"]
mod forgery;
#[path = "bad_input/registries.rs"]
mod registries;
#[path = "bad_input/server.rs"]
mod server;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, ensure};
use libtest_mimic::Arguments;
use prokura_integration::world::World;

fn main() -> Result<ExitCode> {
    let arguments = Arguments::from_args();
    let world = Arc::new(World::new()?);
    let mut trials = files::trials(&world);
    trials.extend(envelopes::trials(&world));
    trials.extend(registries::trials(&world));
    Ok(libtest_mimic::run(&arguments, trials).exit_code())
}

/// The error holds every word and no control character.
pub(crate) fn says(said: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(said.contains(word), "{word:?} is not said: {said}");
    }
    let control = said.chars().find(|c| c.is_control() && *c != '\n');
    ensure!(control.is_none(), "control character {control:?} reached the terminal: {said:?}");
    Ok(())
}
