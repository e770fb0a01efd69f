//! What is done after a failed attempt: nothing, another vault, or the same again after a pause of full jitter; retries
//! of one vault are kept to a share of its calls.

use std::time::{Duration, Instant};

use super::fault::{Facts, Kind};
use crate::limits::{ATTEMPTS_MAX, RETRY_BASE, RETRY_PAUSE_MAX};

/// Retries for each call: the share that may be added to a vault's load.
const SHARE: f64 = 0.1;
/// Retries that are kept for a rainy day, and at the start.
const RESERVE: f64 = 10.0;
/// Retries a second that a vault with few calls has.
const TRICKLE: f64 = 1.0;

/// How many retries a vault may still be asked for.
#[derive(Debug)]
pub struct RetryBudget {
    tokens: f64,
    at: Instant,
}

impl RetryBudget {
    /// A full one.
    pub const fn new(now: Instant) -> Self {
        Self { tokens: RESERVE, at: now }
    }

    /// A first attempt was made.
    pub fn called(&mut self) {
        self.tokens = (self.tokens + SHARE).min(RESERVE);
    }

    /// Takes one retry, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.tokens = elapsed.mul_add(TRICKLE, self.tokens).min(RESERVE);
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// Nothing helps; the error is the answer.
    Stop,
    /// An equivalent key that was not asked yet.
    Failover,
    /// The same again, after this pause. It takes a retry from the budget of the vault that is asked.
    Again(Duration),
}

/// Decides. `attempts` were made, `untried` says whether an equivalent key is left; `random` is from 0 to below 1.
pub fn course(facts: Facts, attempts: u32, untried: bool, random: f64) -> Course {
    if facts.kind == Kind::Request {
        return Course::Stop;
    }
    if untried {
        return Course::Failover;
    }
    if !facts.retryable || attempts >= ATTEMPTS_MAX {
        return Course::Stop;
    }
    Course::Again(pause(attempts, random).max(facts.retry_after.unwrap_or_default()))
}

/// From nothing to a bound that doubles with each attempt: spread evenly, so that those who failed together do not come
/// back together.
pub fn pause(attempts: u32, random: f64) -> Duration {
    let bound = RETRY_BASE.saturating_mul(1 << attempts.min(16)).min(RETRY_PAUSE_MAX);
    bound.mul_f64(random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(kind: Kind, retryable: bool) -> Facts {
        Facts { kind, retryable, retry_after: None }
    }

    #[test]
    fn only_what_is_marked_is_repeated_and_what_is_the_requests_fault_goes_nowhere_else() {
        for kind in [Kind::Request, Kind::Key, Kind::Throttled, Kind::Vault] {
            let stops = course(facts(kind, false), 1, false, 0.5);
            assert_eq!(stops, Course::Stop, "{kind:?}");
            let elsewhere = course(facts(kind, false), 1, true, 0.5);
            assert_eq!(elsewhere == Course::Failover, kind != Kind::Request, "{kind:?}");
        }
        assert!(matches!(course(facts(Kind::Vault, true), 1, false, 0.5), Course::Again(_)));
        assert_eq!(course(facts(Kind::Request, true), 1, false, 0.5), Course::Stop);
        assert_eq!(course(facts(Kind::Vault, true), ATTEMPTS_MAX, false, 0.5), Course::Stop);
    }

    #[test]
    fn pauses_are_anywhere_up_to_a_growing_bound_and_never_shorter_than_the_vault_asks() {
        assert_eq!(pause(1, 0.0), Duration::ZERO);
        assert!(pause(1, 0.999) <= 2 * RETRY_BASE && pause(3, 0.999) > pause(1, 0.999));
        assert!(pause(1000, 1.0) <= RETRY_PAUSE_MAX);
        let asked = Facts { retry_after: Some(Duration::from_secs(9)), ..facts(Kind::Vault, true) };
        assert_eq!(course(asked, 1, false, 0.0), Course::Again(Duration::from_secs(9)));
    }

    #[test]
    fn retries_are_a_tenth_of_the_calls_and_a_trickle() {
        let start = Instant::now();
        let mut budget = RetryBudget::new(start);
        let mut retries = 0_u32;
        for n in 0..10_000_u64 {
            budget.called();
            retries += u32::from(budget.take(start + Duration::from_millis(n)));
        }
        // A tenth of 10,000, one for each of ten seconds, and the reserve.
        assert!((1000..=1020).contains(&retries), "{retries}");
        let quiet = start + Duration::from_secs(3600);
        let burst = (0..100).filter(|_| budget.take(quiet)).count();
        assert_eq!(burst, 10, "an hour of rest gives no more than the reserve");
    }
}
