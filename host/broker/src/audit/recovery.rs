//! Finds where a log stands: the published checkpoint, and what the journal has beyond it.

use std::io::ErrorKind;
use std::path::Path;

use super::journal::{Journal, JournalError};
use super::key::Verifier;
use super::reader::{Reader, ReaderError};
use super::tree::{Edge, TILE_WIDTH, leaf_hash};

/// Where a log stands.
#[derive(Debug)]
pub(super) struct Recovered {
    /// The tree up to the last full bundle: what is published goes on from here.
    pub(super) published: Edge,
    /// The whole tree.
    pub(super) whole: Edge,
}

/// Why it cannot be said.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecoveryError {
    #[error(transparent)]
    Reader(#[from] ReaderError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(
        "the journal gives {found} at {size} entries where the checkpoint has {expected}: one of them was altered or \
         is from elsewhere; verify the log and restore it from a backup"
    )]
    Root { size: u64, found: String, expected: String },
    #[error(
        "the checkpoint has {published} entries, the journal ends after {found}: records were lost; restore the log's \
         directory from a backup"
    )]
    Lost { published: u64, found: u64 },
}

/// The log as it was published, or none if nothing ever was.
pub(super) fn published(directory: &Path, verifier: &Verifier) -> Result<Option<Reader>, ReaderError> {
    match Reader::open(directory, verifier) {
        Err(ReaderError::System { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// Reads what the journal has since the last full bundle; what is before is in full tiles.
pub(super) fn recover(published: Option<&Reader>, journal: &dyn Journal) -> Result<Recovered, RecoveryError> {
    let edge = published.map_or_else(|| Ok(Edge::default()), edge_of)?;
    let mut whole = edge.clone();
    check_root(published, &whole)?;
    loop {
        let entries = journal.read(whole.size())?;
        if entries.is_empty() {
            break;
        }
        for entry in entries {
            whole.push(leaf_hash(&entry));
            check_root(published, &whole)?;
        }
    }
    let size = published.map_or(0, |reader| reader.checkpoint().size);
    if whole.size() < size {
        return Err(RecoveryError::Lost { published: size, found: whole.size() });
    }
    Ok(Recovered { published: edge, whole })
}

/// The edge at the last full bundle. Above level 0 it is that of the checkpoint itself.
fn edge_of(reader: &Reader) -> Result<Edge, ReaderError> {
    let size = reader.checkpoint().size / TILE_WIDTH * TILE_WIDTH;
    let mut levels = Vec::new();
    let mut count = size;
    while count > 0 {
        let level = u8::try_from(levels.len()).unwrap_or(u8::MAX);
        let partial = !count.is_multiple_of(TILE_WIDTH);
        levels.push(if partial { reader.hashes(level, count / TILE_WIDTH)? } else { Vec::new() });
        count /= TILE_WIDTH;
    }
    Ok(Edge::new(size, levels))
}

fn check_root(published: Option<&Reader>, edge: &Edge) -> Result<(), RecoveryError> {
    let Some(checkpoint) = published.map(Reader::checkpoint) else { return Ok(()) };
    if edge.size() != checkpoint.size || edge.root() == checkpoint.root {
        return Ok(());
    }
    let (found, expected) = (super::key::hex(&edge.root()), super::key::hex(&checkpoint.root));
    Err(RecoveryError::Root { size: edge.size(), found, expected })
}
