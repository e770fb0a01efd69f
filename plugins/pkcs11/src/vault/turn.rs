//! Processes that log in to SoftHSM tokens take turns.
//!
//! SoftHSM rewrites the file of a token at each login, and a process that reads it meanwhile finds half a token or
//! none, for as long as it runs. Contract 1.0 starts one process per signature, so that parallel builds meet there.
//! Modules that are not known for it keep their own order and are not held up.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use prokura_plugin::Deadline;

use super::quirks::Quirks;
use crate::limits::{TURN_POLL_MILLISECONDS, TURN_WAIT_SECONDS};

/// A turn, until it is dropped. An absent lock only brings back the race, so that failing to get one is no error:
/// nobody can keep this plugin from signing by holding the lock.
pub struct Turn {
    _locked: Option<File>,
}

impl Turn {
    /// Waits for a turn with this module, at most [`TURN_WAIT_SECONDS`] and never beyond the deadline.
    pub fn wait(module: &Path, deadline: Deadline) -> Self {
        let takes_turns = Quirks::of_file(module).takes_turns;
        Self { _locked: takes_turns.then(|| locked(module, deadline)).flatten() }
    }
}

fn locked(module: &Path, deadline: Deadline) -> Option<File> {
    // The module itself is the one file that all its users can open and need not agree upon.
    let file = File::open(module).ok()?;
    let longest = Duration::from_secs(TURN_WAIT_SECONDS);
    let give_up = Instant::now() + deadline.remaining().map_or(longest, |left| left.min(longest));
    while file.try_lock().is_err() {
        if Instant::now() >= give_up {
            return None;
        }
        std::thread::sleep(Duration::from_millis(TURN_POLL_MILLISECONDS));
    }
    Some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_waits_for_the_other_and_nobody_waits_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let module = directory.path().join("libsofthsm2.so");
        std::fs::write(&module, "").unwrap();
        let first = Turn::wait(&module, Deadline::NONE);
        assert!(first._locked.is_some());
        let soon = Deadline::at(Instant::now() + Duration::from_millis(30));
        assert!(Turn::wait(&module, soon)._locked.is_none(), "the deadline passed");
        std::thread::scope(|threads| {
            let second = threads.spawn(|| Turn::wait(&module, Deadline::NONE)._locked.is_some());
            std::thread::sleep(Duration::from_millis(20));
            assert!(!second.is_finished());
            drop(first);
            assert!(second.join().unwrap());
        });
    }

    #[test]
    fn other_modules_are_not_held_up() {
        let directory = tempfile::tempdir().unwrap();
        let module = directory.path().join("libcs_pkcs11.so");
        std::fs::write(&module, "").unwrap();
        assert!(Turn::wait(&module, Deadline::NONE)._locked.is_none());
    }
}
