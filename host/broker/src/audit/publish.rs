//! Derives tiles, entry bundles and the checkpoint from the journal, behind the callers' backs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint::Checkpoint;
use super::journal::{Journal, JournalError};
use super::key::LogKey;
use super::store::Store;
use super::tiles::{TileName, add_to_bundle, hash_tile};
use super::tree::{Edge, TILE_WIDTH, leaf_hash};

/// Files that wait before they are let appear.
const WAITING_MAX: usize = 128;

/// The one who writes below `tile/` and the checkpoint.
pub(super) struct Publisher {
    journal: Arc<dyn Journal>,
    key: Arc<LogKey>,
    directory: PathBuf,
    store: Store,
    edge: Edge,
    /// The entry bundle that grows.
    bundle: Vec<u8>,
    /// Tiles that became full, whose partial ones nobody needs.
    full: Vec<TileName>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum PublishError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("cannot write tiles in {}: {source}", directory.display())]
    System { directory: PathBuf, source: io::Error },
}

impl Publisher {
    /// Goes on from `edge`, which is at a full bundle.
    pub(super) fn new(
        directory: &Path,
        journal: Arc<dyn Journal>,
        key: Arc<LogKey>,
        edge: Edge,
    ) -> Result<Self, PublishError> {
        let failed = |source| PublishError::System { directory: directory.to_owned(), source };
        let store = Store::new(directory).map_err(failed)?;
        let directory = directory.to_owned();
        Ok(Self { journal, key, directory, store, edge, bundle: Vec::new(), full: Vec::new() })
    }

    /// Publishes the first `size` entries, or a few more. Tiles come before the checkpoint that needs them.
    /// Returns how many entries are published.
    pub(super) fn advance(&mut self, size: u64) -> Result<u64, PublishError> {
        while self.edge.size() < size {
            let entries = self.journal.read(self.edge.size())?;
            if entries.is_empty() {
                break;
            }
            self.write(|publisher| entries.iter().try_for_each(|entry| publisher.add(entry)))?;
        }
        self.write(Self::finish)?;
        self.journal.release(self.edge.size() / TILE_WIDTH * TILE_WIDTH)?;
        Ok(self.edge.size())
    }

    fn write(&mut self, write: impl FnOnce(&mut Self) -> io::Result<()>) -> Result<(), PublishError> {
        write(self).map_err(|source| PublishError::System { directory: self.directory.clone(), source })
    }

    fn add(&mut self, entry: &[u8]) -> io::Result<()> {
        add_to_bundle(&mut self.bundle, entry);
        for tile in self.edge.push(leaf_hash(entry)) {
            let name = TileName::hashes(tile.level, tile.index, TileName::FULL);
            self.store.stage(&name.path(), &hash_tile(&tile.hashes))?;
            self.full.push(name);
            if tile.level == 0 {
                let name = TileName::bundle(tile.index, TileName::FULL);
                self.store.stage(&name.path(), &std::mem::take(&mut self.bundle))?;
                self.full.push(name);
            }
        }
        if self.store.waiting() < WAITING_MAX { Ok(()) } else { self.store.commit() }
    }

    fn finish(&mut self) -> io::Result<()> {
        for (level, index, hashes) in self.edge.partial() {
            let width = u16::try_from(hashes.len()).unwrap_or(TileName::FULL);
            self.store.stage(&TileName::hashes(level, index, width).path(), &hash_tile(hashes))?;
            if level == 0 {
                self.store.stage(&TileName::bundle(index, width).path(), &self.bundle)?;
            }
        }
        self.store.commit()?;
        let checkpoint = Checkpoint::sign(self.edge.size(), &self.edge.root(), &self.key);
        self.store.stage(Path::new("checkpoint"), checkpoint.as_bytes())?;
        self.store.commit()?;
        for name in std::mem::take(&mut self.full) {
            self.store.remove_folder(&name.partials())?;
        }
        Ok(())
    }
}
