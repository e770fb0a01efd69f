//! What became of connections, counted for metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::admission::Turned;

/// Counters of one listener since its start. They only grow.
#[derive(Debug, Default)]
pub struct Counts {
    served: AtomicU64,
    full: AtomicU64,
    origin_full: AtomicU64,
    too_fast: AtomicU64,
    failed: AtomicU64,
    late: AtomicU64,
    displaced: AtomicU64,
}

/// One reading of [`Counts`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Handed to the service.
    pub served: u64,
    /// Closed because the listener had no room.
    pub full: u64,
    /// Closed because their origin had too many open.
    pub origin_full: u64,
    /// Closed because their origin opened them too fast.
    pub too_fast: u64,
    /// The handshake failed.
    pub failed: u64,
    /// The handshake took too long.
    pub late: u64,
    /// Closed within the handshake because newer ones needed the room.
    pub displaced: u64,
}

impl Counts {
    /// Reads all counters.
    pub fn read(&self) -> Reading {
        Reading {
            served: self.served.load(Relaxed),
            full: self.full.load(Relaxed),
            origin_full: self.origin_full.load(Relaxed),
            too_fast: self.too_fast.load(Relaxed),
            failed: self.failed.load(Relaxed),
            late: self.late.load(Relaxed),
            displaced: self.displaced.load(Relaxed),
        }
    }

    pub(crate) fn serve(&self) {
        self.served.fetch_add(1, Relaxed);
    }

    pub(crate) fn turn(&self, why: Turned) {
        let counter = match why {
            Turned::Full => &self.full,
            Turned::OriginFull => &self.origin_full,
            Turned::TooFast => &self.too_fast,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(crate) fn fail(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    pub(crate) fn expire(&self) {
        self.late.fetch_add(1, Relaxed);
    }

    pub(crate) fn displace(&self) {
        self.displaced.fetch_add(1, Relaxed);
    }
}
