//! The audit log: every signature's intent before the vault is called, its outcome after, in a Merkle tree.
//!
//! ```text
//! Intent ─append─► Recorded ─(vault)─ finish + Outcome ─► Receipt
//!            │                          │
//!            ▼                          ▼
//!      sequence: one thread, many entries to one flush ─► journal      durable
//!                                                           │
//!                       publish: another thread ◄───────────┘
//!                           └─► tile/<L>/<N>, tile/entries/<N>, checkpoint
//! ```
//!
//! The log's directory is a tiled transparency log (C2SP tlog-tiles) with signed checkpoints (C2SP
//! tlog-checkpoint, signed-note, Ed25519) and may be served as it is; beside it stand `journal/`, `tmp/` and
//! `lock`, which are the writer's own. Tiles are derived from the journal and made again from it after a crash.
//!
//! What holds: an entry is on the disk before [`Log::append`] or [`Log::finish`] returns; a checkpoint, published
//! or in a receipt, covers only such entries; after the first failure the log accepts nothing until it is opened
//! again. Memory is that of the tree's right edge, O(log n), and a constant for the journal's open segments.
//!
//! One thing cannot be known: if the machine dies before the last entries are published, and the disk then damages
//! the very last frame of the journal, that frame looks like one that was never acknowledged, and is cut. Damage
//! anywhere before it is found, and the log does not open.

mod checkpoint;
mod journal;
mod key;
mod log;
mod proof;
mod publish;
mod reader;
mod receipt;
mod record;
mod recovery;
mod sequence;
mod store;
mod tiles;
mod tree;
mod unlogged;
mod verify;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use journal::{Journal, JournalError, Segments};
pub use key::{KeyError, LogKey, Verifier};
pub use log::{AuditError, Log, Options, Recorded};
pub use proof::{verify_consistency, verify_inclusion};
pub use reader::{Entries, Entry, Reader, ReaderError};
pub use receipt::{Receipt, ReceiptError, verify_receipt};
pub use record::{
    ContentRecord, DecisionRecord, Ending, Intent, KeyRecord, Outcome, OutcomeRecord, PeerRecord, Record,
    TooLarge,
};
pub use tree::{Hash, leaf_hash};
pub use unlogged::{SignatureSeen, unlogged};
pub use verify::{OpenIntent, Problem, Report, verify};

#[cfg(test)]
mod tests;
