//! Proof that an entry is in the log, to be checked without the log.

use super::checkpoint::{Checkpoint, CheckpointError};
use super::key::{Verifier, hex};
use super::proof::verify_inclusion;
use super::record::{OutcomeRecord, Record};
use super::tree::{Hash, leaf_hash, sha256};

/// An inclusion proof (RFC 6962, section 2.1.1) of one entry under a signed checkpoint.
///
/// The checkpoint of a receipt is not among those the log's directory serves; it is consistent with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The entry's place, counted from 0.
    pub index: u64,
    /// The entry, byte for byte.
    pub entry: Vec<u8>,
    /// From the leaf's sibling upwards.
    pub proof: Vec<Hash>,
    /// The signed checkpoint that the proof leads to.
    pub checkpoint: String,
}

/// Why a receipt proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// The checkpoint is not the log's.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The proof does not lead from the entry to the checkpoint.
    #[error(
        "the proof does not show that this is entry {index} of the {size} under the checkpoint of {origin}"
    )]
    Proof {
        /// As the receipt says.
        index: u64,
        /// As the checkpoint says.
        size: u64,
        /// The log.
        origin: String,
    },
    /// The log has it, but it says nothing.
    #[error("entry {0} is in the log, but is no record: {1}; is this broker older than the log?")]
    Record(u64, serde_json::Error),
}

/// What the log recorded, if the receipt is genuine.
///
/// # Errors
/// [`ReceiptError`], saying what does not hold.
pub fn verify_receipt(receipt: &Receipt, verifier: &Verifier) -> Result<Record, ReceiptError> {
    let Checkpoint { size, root, origin } = Checkpoint::open(receipt.checkpoint.as_bytes(), verifier)?;
    if !verify_inclusion(&leaf_hash(&receipt.entry), receipt.index, size, &receipt.proof, &root) {
        return Err(ReceiptError::Proof { index: receipt.index, size, origin });
    }
    Record::parse(&receipt.entry).map_err(|error| ReceiptError::Record(receipt.index, error))
}

impl OutcomeRecord {
    /// Whether it records this raw signature over this digest (hex) by the key with this fingerprint (hex).
    pub fn is_of(&self, fingerprint: &str, digest: &str, signature: &[u8]) -> bool {
        self.key.fingerprint == fingerprint
            && self.digest == digest
            && self.signature == hex(&sha256(&[signature]))
    }
}
