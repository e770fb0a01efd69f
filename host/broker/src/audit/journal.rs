//! Where entries become durable and get their place: the seam between the log and its storage.

mod frame;
mod inspect;
mod segments;

pub(super) use inspect::inspect;
pub use segments::Segments;

/// The order of all entries, durable. One machine keeps it in files ([`Segments`]); replicas may share another.
///
/// All methods block. After an error nothing is known about what was written; the log asks no more.
pub trait Journal: Send + Sync {
    /// Makes entries durable behind all others, in this order and without gaps. All or none of them are there
    /// after a crash, unless they were acknowledged; then all are. Returns the index of the first.
    ///
    /// # Errors
    /// [`JournalError`]. The entries may be there or not.
    fn append(&self, entries: &[Vec<u8>]) -> Result<u64, JournalError>;

    /// Entries from `from` on, as many as is convenient; empty if there is none yet. Only durable ones.
    ///
    /// # Errors
    /// [`JournalError`], also if `from` was released.
    fn read(&self, from: u64) -> Result<Vec<Vec<u8>>, JournalError>;

    /// Entries below `before` are durable elsewhere and need not be kept.
    ///
    /// # Errors
    /// [`JournalError`] if what is no longer needed cannot be removed, or what comes next cannot be prepared.
    fn release(&self, before: u64) -> Result<(), JournalError>;
}

/// Why the journal is not to be relied on.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The system refused.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried, with the file.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Something in it was altered or is missing.
    #[error("the journal is damaged: {0}; restore the log's directory from a backup")]
    Damaged(String),
}

impl JournalError {
    pub(super) fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A frame of the next entries that no chain leads to.
    pub(in crate::audit) fn frame(first: u64, entries: usize) -> (Vec<u8>, super::super::Hash) {
        frame::encode(first, &vec![vec![b'x'; 500]; entries], &[7; 32])
    }
}
