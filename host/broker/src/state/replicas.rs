//! The audit log's journal for replicas: the seam of `audit`, kept in the shared state.

use std::io;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::error::{StateError, Trouble};
use super::store::Store;
use crate::audit::{Journal, JournalError};

/// The journal in the state. Its calls block, so they belong on threads that are not the runtime's.
///
/// Any replica appends; places follow the order of the commits. Who publishes what was appended is decided with
/// [`Store::acquire`].
pub struct SharedJournal {
    store: Arc<Store>,
    runtime: Handle,
}

impl SharedJournal {
    /// `runtime` is the one in which the store was opened.
    pub const fn new(store: Arc<Store>, runtime: Handle) -> Self {
        Self { store, runtime }
    }
}

impl Journal for SharedJournal {
    fn append(&self, entries: &[Vec<u8>]) -> Result<u64, JournalError> {
        let appended = self.runtime.block_on(self.store.append(entries.to_vec(), None));
        appended.map_err(|error| failed("append to the shared journal", error))
    }

    fn read(&self, from: u64) -> Result<Vec<Vec<u8>>, JournalError> {
        self.runtime.block_on(self.store.read(from)).map_err(|error| failed("read the shared journal", error))
    }

    fn release(&self, before: u64) -> Result<(), JournalError> {
        let released = self.runtime.block_on(self.store.release_entries(before));
        released.map_err(|error| failed("remove entries from the shared journal", error))
    }
}

fn failed(what: &str, error: StateError) -> JournalError {
    match error.trouble() {
        Trouble::Damaged => JournalError::Damaged(error.to_string()),
        _ => JournalError::System { what: what.to_owned(), source: io::Error::other(error) },
    }
}
