//! The key broker: build machines call it to sign; it knows who asks, sees what is signed, decides, and records.
//!
//! The way of a request, each step the only maker of what the next one needs:
//!
//! ```text
//! connection ─► Peer ─► Content ─► Permit ─► Recorded ─► vault ─► outcome ─► receipt
//!   identity   content   policy    audit     scheduling   audit
//! ```
//!
//! No signature is made without a permit and a durable record: the call that signs takes both by
//! value, and each has one maker.

pub mod audit;
pub mod config;
pub mod content;
pub mod daemon;
pub mod identity;
pub mod limits;
pub mod listen;
pub mod peer;
pub mod policy;
pub mod schedule;
pub mod service;
pub mod state;
pub mod vaults;
