//! Reads a journal without opening it for writing, to verify it.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use super::super::tree::Hash;
use super::JournalError;
use super::frame::{self, Found};
use super::segments::{names, read_head, scan, system};

/// Everything in the journal without opening it for writing, for verification: each frame's entries to `each`,
/// and what does not hold to `problem`.
pub(in crate::audit) fn inspect(
    directory: &Path,
    each: &mut dyn FnMut(u64, &[u8]),
    problem: &mut dyn FnMut(String),
) -> Result<u64, JournalError> {
    let folder = directory.join("journal");
    let mut before: Option<(u64, Hash)> = None;
    for first in names(&folder)? {
        let path = folder.join(format!("{first:020}"));
        let file = File::open(&path).map_err(system("open", &path))?;
        let chain = match read_head(&file, &path, first) {
            Ok(chain) => chain,
            Err(error) => {
                problem(error.to_string());
                continue;
            }
        };
        if before.is_some_and(|before| before != (first, chain)) {
            problem(format!("{} does not continue the one before", path.display()));
        }
        let scan = scan(&file, first, chain).map_err(system("read", &path))?;
        for place in &scan.frames {
            let found =
                frame::read(&file, place.offset, place.first, &place.chain).map_err(system("read", &path))?;
            if let Found::Frame(frame) = found {
                (frame.first..).zip(&frame.entries).for_each(|(index, entry)| each(index, entry));
            }
        }
        if scan.torn {
            problem(format!("{} has something at byte {} that is no frame", path.display(), scan.offset));
        }
        before = Some((scan.next, scan.chain));
    }
    inspect_spare(&folder, problem)?;
    Ok(before.map_or(0, |(next, _)| next))
}

/// The segment that waits holds nothing but zeros.
fn inspect_spare(folder: &Path, problem: &mut dyn FnMut(String)) -> Result<(), JournalError> {
    let path = folder.join("next");
    let file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other.map_err(system("open", &path))?,
    };
    let length = file.metadata().map_err(system("read", &path))?.len();
    let (any, _) = frame::rest(&file, 0, length, u64::MAX).map_err(system("read", &path))?;
    if any {
        problem(format!("{} should hold nothing but zeros", path.display()));
    }
    Ok(())
}
