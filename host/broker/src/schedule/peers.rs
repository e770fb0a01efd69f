//! How much one peer may ask: requests a second, and requests at once.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::limits::RETRY_AFTER_MAX;

/// What each peer may do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PeerLimits {
    /// Requests a second, from 0.001.
    pub rate: f64,
    /// Requests that may come together after a rest, from 1.
    pub burst: u32,
    /// Requests under way.
    pub at_once: usize,
}

/// Why a peer has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It asked too often; again from this moment.
    TooOften(Instant),
    /// It has so many requests under way.
    TooMany(usize),
}

/// Who asked how much. Forgets each peer as soon as there is nothing to remember of it.
#[derive(Debug)]
pub struct Peers {
    limits: PeerLimits,
    known: HashMap<Arc<str>, Known>,
    /// Peers without requests under way, by the moment from which nothing needs to be remembered.
    leaving: BTreeSet<(Instant, Arc<str>)>,
}

#[derive(Debug)]
struct Known {
    /// When everything it may ask at once is available again.
    full_at: Instant,
    under_way: usize,
}

impl Peers {
    /// Nobody yet.
    pub fn new(limits: PeerLimits) -> Self {
        let limits = PeerLimits { rate: limits.rate.clamp(0.001, 1e6), burst: limits.burst.max(1), ..limits };
        Self { limits, known: HashMap::new(), leaving: BTreeSet::new() }
    }

    /// How many peers are remembered.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// A request begins. [`Peers::leave`] ends it.
    ///
    /// # Errors
    /// [`Denied`], with nothing changed.
    pub fn enter(&mut self, now: Instant, peer: &Arc<str>) -> Result<(), Denied> {
        self.forget(now);
        let step = Duration::from_secs_f64(1.0 / self.limits.rate);
        let (full_at, under_way) =
            self.known.get(peer).map_or((now, 0), |known| (known.full_at, known.under_way));
        if under_way >= self.limits.at_once {
            return Err(Denied::TooMany(under_way));
        }
        let next = full_at.max(now) + step;
        let room = step.saturating_mul(self.limits.burst);
        if let Some(early) = next.checked_duration_since(now + room).filter(|early| !early.is_zero()) {
            return Err(Denied::TooOften(now + early.min(RETRY_AFTER_MAX)));
        }
        self.leaving.remove(&(full_at, Arc::clone(peer)));
        self.known.insert(Arc::clone(peer), Known { full_at: next, under_way: under_way + 1 });
        Ok(())
    }

    /// A request ends.
    pub fn leave(&mut self, now: Instant, peer: &Arc<str>) {
        if let Some(known) = self.known.get_mut(peer) {
            known.under_way = known.under_way.saturating_sub(1);
            if known.under_way == 0 {
                self.leaving.insert((known.full_at, Arc::clone(peer)));
            }
        }
        self.forget(now);
    }

    fn forget(&mut self, now: Instant) {
        while self.leaving.first().is_some_and(|(full_at, _)| *full_at <= now) {
            if let Some((_, peer)) = self.leaving.pop_first() {
                self.known.remove(&peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn peers(at_once: usize) -> (Peers, Arc<str>, Instant) {
        (Peers::new(PeerLimits { rate: 10.0, burst: 5, at_once }), Arc::from("one"), Instant::now())
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let (mut peers, one, start) = peers(1000);
        let at_once = (0..100).filter(|_| peers.enter(start, &one).is_ok()).count();
        assert_eq!(at_once, 5);
        let Err(Denied::TooOften(until)) = peers.enter(start, &one) else { panic!("it may") };
        assert!(peers.enter(until, &one).is_ok(), "the moment it was told is right");
        let later = (1..=100).filter(|n| peers.enter(until + *n * SECOND / 100, &one).is_ok()).count();
        assert_eq!(later, 10);
        assert!(peers.enter(start, &Arc::from("two")).is_ok(), "others are not touched");
    }

    #[test]
    fn only_so_many_at_once() {
        let (mut peers, one, start) = peers(2);
        assert!(peers.enter(start, &one).is_ok() && peers.enter(start, &one).is_ok());
        assert_eq!(peers.enter(start, &one), Err(Denied::TooMany(2)));
        peers.leave(start, &one);
        assert!(peers.enter(start, &one).is_ok());
    }

    #[test]
    fn nobody_is_remembered_longer_than_needed_nor_shorter() {
        let (mut peers, one, start) = peers(1000);
        for _ in 0..5 {
            peers.enter(start, &one).unwrap();
            peers.leave(start, &one);
        }
        assert!(peers.enter(start, &one).is_err(), "coming back does not help");
        assert_eq!(peers.len(), 1);
        peers.forget(start + SECOND);
        assert!(peers.is_empty());
    }
}
