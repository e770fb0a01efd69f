//! Verifies a whole log: every entry, tile, bundle and signature, the journal, and what the records say.

mod files;
mod ledger;

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::journal::{JournalError, inspect};
use super::key::Verifier;
use super::reader::{Reader, ReaderError};
use super::tiles::TileName;
use super::tree::{Edge, FullTile, Hash, TILE_WIDTH, leaf_hash};
use crate::limits::AUDIT_PROBLEMS_MAX;

use ledger::Ledger;
pub use ledger::OpenIntent;

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Entries under the checkpoint.
    pub size: u64,
    /// Their root hash.
    pub root: Hash,
    /// Intents among them.
    pub intents: u64,
    /// Outcomes among them.
    pub outcomes: u64,
    /// Intents without an outcome, in order: in the vault at this moment, or cut off by a crash.
    pub open: Vec<OpenIntent>,
    /// Whether a broker has the log open; then its newest entries were not looked at.
    pub live: bool,
    /// Entries in the journal beyond the checkpoint. A broker publishes them when it opens the log.
    pub unpublished: u64,
    /// Everything that does not hold, in order of discovery, up to a limit. Empty: the log is as it was written.
    pub problems: Vec<Problem>,
}

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which file, below the log's directory; empty if it is not about one file.
    pub path: PathBuf,
    /// What about it.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.as_os_str().is_empty() {
            return f.write_str(&self.what);
        }
        write!(f, "{}: {}", self.path.display(), self.what)
    }
}

/// Verifies everything in the log's directory. Reads all of it once; memory does not grow with the log, but for the
/// intents without an outcome. Blocks.
///
/// # Errors
/// [`ReaderError`] if there is no genuine checkpoint or the system refuses to read; all else is in the report.
pub fn verify(directory: &Path, verifier: &Verifier) -> Result<Report, ReaderError> {
    let live = is_open(directory);
    let reader = Reader::open(directory, verifier)?;
    let mut found = Findings { problems: Vec::new() };
    let mut ledger = Ledger::default();
    walk_tree(&reader, &mut ledger, &mut found);
    files::check(directory, &reader, live, &mut found)?;
    let unpublished = check_journal(directory, &reader, live, &mut found)?;
    let (intents, outcomes, open) = ledger.close();
    let (size, root) = (reader.checkpoint().size, reader.checkpoint().root);
    Ok(Report { size, root, intents, outcomes, open, live, unpublished, problems: found.problems })
}

/// Problems, bounded.
struct Findings {
    problems: Vec<Problem>,
}

impl Findings {
    fn add(&mut self, path: PathBuf, what: impl Into<String>) {
        if self.problems.len() < AUDIT_PROBLEMS_MAX {
            self.problems.push(Problem { path, what: what.into() });
        }
    }
}

/// Whether a writer holds the lock.
fn is_open(directory: &Path) -> bool {
    let locked = |file: File| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
    File::open(directory.join("lock")).is_ok_and(locked)
}

/// Builds the tree from its entries, and compares each tile and at last the root.
fn walk_tree(reader: &Reader, ledger: &mut Ledger, found: &mut Findings) {
    let size = reader.checkpoint().size;
    let mut edge = Edge::default();
    while edge.size() < size {
        let index = edge.size() / TILE_WIDTH;
        let Some(hashes) = leaves(reader, index, ledger, found) else { return };
        for hash in hashes {
            for FullTile { level, index, hashes } in edge.push(hash) {
                compare_tile(reader, level, index, &hashes, found);
            }
        }
    }
    for (level, index, hashes) in edge.partial() {
        compare_tile(reader, level, index, hashes, found);
    }
    if edge.root() != reader.checkpoint().root {
        let what = "its root is not that of the entries: an entry or a tile was altered";
        found.add(PathBuf::from("checkpoint"), what);
    }
}

/// The leaf hashes of a bundle; where it cannot be read those of the tile, to go on.
fn leaves(reader: &Reader, index: u64, ledger: &mut Ledger, found: &mut Findings) -> Option<Vec<Hash>> {
    let first = index * TILE_WIDTH;
    match reader.bundle(index) {
        Ok(entries) => {
            for (index, entry) in (first..).zip(&entries) {
                if let Err(what) = ledger.enter(index, entry) {
                    found.add(PathBuf::new(), what);
                }
            }
            Some(entries.iter().map(|entry| leaf_hash(entry)).collect())
        }
        Err(error) => {
            found.add(TileName::bundle(index, TileName::FULL).path(), error.to_string());
            reader.hashes(0, index).ok().filter(|hashes| !hashes.is_empty())
        }
    }
}

fn compare_tile(reader: &Reader, level: u8, index: u64, expected: &[Hash], found: &mut Findings) {
    let path = TileName::hashes(level, index, u16::try_from(expected.len()).unwrap_or(TileName::FULL)).path();
    match reader.hashes(level, index) {
        Ok(hashes) if hashes == expected => {}
        Ok(_) => found.add(path, "it does not hold the hashes of what is below it"),
        Err(error) => found.add(path, error.to_string()),
    }
}

/// The journal holds what the tiles hold, as far back as it goes. Returns how much it has beyond the checkpoint.
fn check_journal(
    directory: &Path,
    reader: &Reader,
    live: bool,
    found: &mut Findings,
) -> Result<u64, ReaderError> {
    let size = reader.checkpoint().size;
    let (mut tile, mut unpublished, mut differ) = ((u64::MAX, Vec::new()), 0, Vec::new());
    let mut each = |index: u64, entry: &[u8]| {
        if index >= size {
            unpublished += 1;
            return;
        }
        if tile.0 != index / TILE_WIDTH {
            tile = (index / TILE_WIDTH, reader.hashes(0, index / TILE_WIDTH).unwrap_or_default());
        }
        let place = usize::try_from(index % TILE_WIDTH).unwrap_or_default();
        if tile.1.get(place) != Some(&leaf_hash(entry)) {
            differ.push(index);
        }
    };
    let mut broken = Vec::new();
    let end = match inspect(directory, &mut each, &mut |what| broken.push(what)) {
        // The writer removes segments while they are read.
        Err(JournalError::System { source, .. }) if live && source.kind() == ErrorKind::NotFound => {
            return Ok(0);
        }
        Err(error) => {
            found.add(PathBuf::from("journal"), error.to_string());
            return Ok(unpublished);
        }
        Ok(end) => end,
    };
    let journal = || PathBuf::from("journal");
    differ
        .iter()
        .for_each(|index| found.add(journal(), format!("entry {index} is another than in the tiles")));
    if end < size {
        found.add(journal(), format!("it ends after {end} entries, the checkpoint has {size}"));
    }
    // A live writer's last frame may be half-way.
    broken.into_iter().filter(|_| !live).for_each(|what| found.add(journal(), what));
    Ok(unpublished)
}
