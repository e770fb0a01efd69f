//! What the broker must remember between requests: answers by idempotency key, counts, budgets, leases, the shared journal.
//!
//! One [`Store`], two back ends, the same statements on both:
//!
//! | | SQLite, one file | PostgreSQL |
//! |---|---|---|
//! | who may use it | one process; a second is refused by a lock on the directory | any number of replicas |
//! | an answer ([`Store::finish`]) | on the disk when the call returns | committed with the server's `synchronous_commit` |
//! | a claim ([`Store::begin`]) | survives the death of the process; after a power cut it may be gone, and so is the process that held it | committed like an answer, for the other replicas outlive a crash of the server |
//! | counts with an answer | in the same transaction as the answer | the same |
//! | counts without one, budgets, leases of quota | survive the death of the process; a power cut may take the last moments | survive the death of any replica; a crash of the server may take the last moments |
//! | the sequencer's lease | ends with the process, because the lock on the directory does | ends at its time, or at once when given back |
//! | the journal ([`Store::append`]) | on the disk when the call returns | committed like an answer |
//!
//! What holds on both: of any number of equal requests exactly one is told [`Begun::New`]; whoever was overtaken after
//! its lease learns so from [`Finished::Overtaken`], and never replaces an answer; entries of the journal are numbered
//! without gaps in the order of their commits; a holder of a lease that was handed over can no longer append.
//!
//! What does not: a dead replica that had its signature but had not recorded the answer leaves a claim that is taken
//! over after its lease, and the signature is made again. Both are in the audit log.
//!
//! Time is an argument everywhere. A clock that jumps back loses nothing: what now lies too far in the future is
//! shortened to the longest time it can have been given, and counts stay counted. Replicas' clocks should agree within
//! the seconds that NTP guarantees; leases are then longer or shorter by the difference, and the fencing token decides.
//!
//! PostgreSQL with `synchronous_commit = off`, or a standby that is promoted without having everything, gives weaker
//! promises than the table's; the broker cannot see that.

mod budgets;
mod config;
mod counts;
mod error;
mod idempotency;
mod journal;
mod leases;
mod migrate;
mod names;
mod postgres;
mod prune;
mod replicas;
mod session;
mod sqlite;
mod store;
#[cfg(test)]
mod tests;
mod writer;

pub use budgets::{Budget, Taken};
pub use config::{Config, PostgresConfig};
pub use counts::{Signed, Usage, Windows};
pub use error::{StateError, Trouble};
pub use idempotency::{Begun, Claim, Finished};
pub use leases::Lease;
pub use names::Caller;
pub use prune::Pruned;
pub use replicas::SharedJournal;
pub use store::Store;
