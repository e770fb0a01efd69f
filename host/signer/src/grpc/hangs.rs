//! Calls that a process left unanswered until their deadline, by key.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};

use crate::limits::{HANGING_CALLS_MAX, HANGING_CALLS_OF_KEY_MAX};
use crate::plugin::KeyReference;

/// How many calls hung. A vendor call that hangs cannot be ended, only its process can; until then it keeps a thread
/// there, and often the lock of its token.
#[derive(Default)]
pub(super) struct Hangs {
    hasher: RandomState,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Since the key last answered; by the hash of the key, of which there are at most [`HANGING_CALLS_MAX`].
    by_key: HashMap<u64, u32>,
    all: u32,
}

impl Hangs {
    /// Another one. Whether the process must go.
    pub(super) fn add(&self, key: &KeyReference) -> bool {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all = counts.all.saturating_add(1);
        let of_key = counts.by_key.entry(self.hasher.hash_one(key)).or_default();
        *of_key += 1;
        *of_key >= HANGING_CALLS_OF_KEY_MAX || counts.all >= HANGING_CALLS_MAX
    }

    /// The key answers.
    pub(super) fn over(&self, key: &KeyReference) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if !counts.by_key.is_empty() {
            counts.by_key.remove(&self.hasher.hash_one(key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> KeyReference {
        KeyReference::new(n.to_string(), Default::default()).unwrap()
    }

    #[test]
    fn calls_of_one_key_in_a_row_are_too_many_before_those_of_many() {
        let hangs = Hangs::default();
        assert!(!hangs.add(&key(1)));
        hangs.over(&key(1));
        assert!(!hangs.add(&key(1)), "it answered in between");
        assert!(hangs.add(&key(1)));
        let hangs = Hangs::default();
        for n in 1..HANGING_CALLS_MAX {
            assert!(!hangs.add(&key(n)), "{n}");
        }
        assert!(hangs.add(&key(HANGING_CALLS_MAX)));
    }
}
