//! Reads a log from its directory: entries, inclusion and consistency proofs under the published checkpoint.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::vec;

use super::checkpoint::{Checkpoint, CheckpointError};
use super::key::Verifier;
use super::proof;
use super::receipt::{Receipt, verify_receipt};
use super::tiles::{TileName, parse_bundle, parse_hash_tile, width};
use super::tree::{Hash, TILE_WIDTH, tile_root};
use crate::limits::{AUDIT_CHECKPOINT_BYTES_MAX, AUDIT_ENTRY_BYTES_MAX};

/// A full bundle of the longest entries.
const TILE_BYTES_MAX: usize = 256 * (AUDIT_ENTRY_BYTES_MAX + 2);

/// A log as its published checkpoint covers it. Needs no lock: the writer replaces files whole.
#[derive(Debug)]
pub struct Reader {
    directory: PathBuf,
    checkpoint: Checkpoint,
    signed: String,
}

/// An entry at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Counted from 0.
    pub index: u64,
    /// Byte for byte.
    pub bytes: Vec<u8>,
}

/// Why something cannot be read from a log.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// The system refused.
    #[error("cannot read {}: {source}", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The checkpoint is not the log's.
    #[error("{}: {source}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What does not hold.
        source: CheckpointError,
    },
    /// A file is not as the log wrote it.
    #[error("{} is damaged: {reason}; verify the log and restore it from a backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not hold.
        reason: &'static str,
    },
    /// Not, or not yet, under the published checkpoint.
    #[error(
        "entry {index} is not among the {size} that are published; a running broker publishes about every second"
    )]
    NotPublished {
        /// What was asked for.
        index: u64,
        /// What there is.
        size: u64,
    },
}

impl Reader {
    /// Reads and verifies the checkpoint.
    ///
    /// # Errors
    /// [`ReaderError`]; a file that is not there is [`ErrorKind::NotFound`] within.
    pub fn open(directory: &Path, verifier: &Verifier) -> Result<Self, ReaderError> {
        let path = directory.join("checkpoint");
        let bytes = read(&path, AUDIT_CHECKPOINT_BYTES_MAX)?;
        let checkpoint =
            Checkpoint::open(&bytes, verifier).map_err(|source| ReaderError::Checkpoint { path, source })?;
        let signed = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Self { directory: directory.to_owned(), checkpoint, signed })
    }

    /// The published checkpoint, verified.
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The published checkpoint with its signatures.
    pub fn signed_checkpoint(&self) -> &str {
        &self.signed
    }

    /// The entries from `from` on, one bundle in memory at a time. They are not proven: see [`super::verify`].
    pub fn entries(&self, from: u64) -> Entries<'_> {
        Entries { reader: self, next: from, bundle: Vec::new().into_iter() }
    }

    /// Proves an entry under the published checkpoint. The proof was verified.
    ///
    /// # Errors
    /// [`ReaderError`], also if the log is damaged where the proof needs it.
    pub fn prove(&self, index: u64, verifier: &Verifier) -> Result<Receipt, ReaderError> {
        let size = self.checkpoint.size;
        let entry = self.entries(index).next().ok_or(ReaderError::NotPublished { index, size })??;
        let mut tiles = Tiles::new(self);
        let proof = proof::inclusion(index, size, &mut |height, place| tiles.node(height, place))?;
        let receipt = Receipt { index, entry: entry.bytes, proof, checkpoint: self.signed.clone() };
        verify_receipt(&receipt, verifier).map(|_| receipt).map_err(|_| ReaderError::Damaged {
            path: self.directory.clone(),
            reason: "its tiles do not prove the entry under its checkpoint",
        })
    }

    /// Proves that the tree of `old` entries is the beginning of the published one; to be verified with
    /// [`super::verify_consistency`].
    ///
    /// # Errors
    /// [`ReaderError`], also if `old` is more than there is.
    pub fn consistency(&self, old: u64) -> Result<Vec<Hash>, ReaderError> {
        let size = self.checkpoint.size;
        if old > size {
            return Err(ReaderError::NotPublished { index: old - 1, size });
        }
        let mut tiles = Tiles::new(self);
        proof::consistency(old, size, &mut |height, place| tiles.node(height, place))
    }

    /// Hashes of a tile, as many as the published tree has there.
    pub(super) fn hashes(&self, level: u8, index: u64) -> Result<Vec<Hash>, ReaderError> {
        let name = TileName::hashes(level, index, width(Some(level), index, self.checkpoint.size));
        let bytes = self.tile(name)?;
        let mut hashes =
            parse_hash_tile(&bytes).ok_or_else(|| self.damaged(name, "it has no whole hashes"))?;
        if hashes.len() < usize::from(name.width) {
            return Err(self.damaged(name, "it has too few hashes"));
        }
        hashes.truncate(usize::from(name.width));
        Ok(hashes)
    }

    /// Entries of a bundle, as many as the published tree has there.
    pub(super) fn bundle(&self, index: u64) -> Result<Vec<Vec<u8>>, ReaderError> {
        let name = TileName::bundle(index, width(None, index, self.checkpoint.size));
        let bytes = self.tile(name)?;
        let entries = parse_bundle(&bytes).ok_or_else(|| self.damaged(name, "it has no whole entries"))?;
        if entries.len() < usize::from(name.width) {
            return Err(self.damaged(name, "it has too few entries"));
        }
        Ok(entries.into_iter().take(usize::from(name.width)).map(<[u8]>::to_vec).collect())
    }

    /// The partial tile may be gone once it is full; it is the beginning of the full one.
    pub(super) fn tile(&self, name: TileName) -> Result<Vec<u8>, ReaderError> {
        match self.read(name) {
            Err(ReaderError::System { source, .. }) if source.kind() == ErrorKind::NotFound => {
                self.read(name.filled())
            }
            other => other,
        }
    }

    pub(super) fn read(&self, name: TileName) -> Result<Vec<u8>, ReaderError> {
        read(&self.directory.join(name.path()), TILE_BYTES_MAX)
    }

    fn damaged(&self, name: TileName, reason: &'static str) -> ReaderError {
        ReaderError::Damaged { path: self.directory.join(name.path()), reason }
    }
}

/// A whole file of at most `limit` bytes.
pub(super) fn read(path: &Path, limit: usize) -> Result<Vec<u8>, ReaderError> {
    let failed = |source| ReaderError::System { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > limit {
        return Err(ReaderError::Damaged { path: path.to_owned(), reason: "it is too long" });
    }
    Ok(bytes)
}

/// Tiles read for one proof: at most two a level.
struct Tiles<'a> {
    reader: &'a Reader,
    read: BTreeMap<(u8, u64), Vec<Hash>>,
}

impl<'a> Tiles<'a> {
    const fn new(reader: &'a Reader) -> Self {
        Self { reader, read: BTreeMap::new() }
    }

    fn node(&mut self, height: u32, index: u64) -> Result<Hash, ReaderError> {
        let (level, within) = (u8::try_from(height / 8).unwrap_or(u8::MAX), height % 8);
        let tile = index >> (8 - within);
        if !self.read.contains_key(&(level, tile)) {
            self.read.insert((level, tile), self.reader.hashes(level, tile)?);
        }
        let start = usize::try_from((index - (tile << (8 - within))) << within).unwrap_or(usize::MAX);
        let hashes =
            self.read.get(&(level, tile)).and_then(|hashes| hashes.get(start..start + (1 << within)));
        let missing = TileName::hashes(level, tile, TileName::FULL);
        hashes.and_then(tile_root).ok_or_else(|| self.reader.damaged(missing, "it has too few hashes"))
    }
}

/// Entries in order.
#[derive(Debug)]
pub struct Entries<'a> {
    reader: &'a Reader,
    next: u64,
    bundle: vec::IntoIter<Vec<u8>>,
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, ReaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        let size = self.reader.checkpoint.size;
        if self.next >= size {
            return None;
        }
        if self.bundle.len() == 0 {
            match self.reader.bundle(self.next / TILE_WIDTH) {
                Ok(entries) => self.bundle = entries.into_iter(),
                Err(error) => {
                    self.next = size;
                    return Some(Err(error));
                }
            }
            for _ in 0..self.next % TILE_WIDTH {
                self.bundle.next();
            }
        }
        let bytes = self.bundle.next()?;
        self.next += 1;
        Some(Ok(Entry { index: self.next - 1, bytes }))
    }
}

impl Entry {
    /// One line of JSON: `{"index":7,"record":{...}}`, the record byte for byte.
    pub fn json_line(&self) -> String {
        format!(r#"{{"index":{},"record":{}}}"#, self.index, String::from_utf8_lossy(&self.bytes))
    }
}
