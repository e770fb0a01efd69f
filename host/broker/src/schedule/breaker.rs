//! When a vault is left alone: a circuit breaker, opened by failures of the vault or the way to it, never by refusals.

use std::time::{Duration, Instant};

use crate::limits::{BREAKER_REST, BREAKER_REST_MAX};

/// So many failures in a row open it.
const CONSECUTIVE: u32 = 5;
/// Or this share of the calls ...
const RATIO: f64 = 0.5;
/// ... of the last [`WINDOW`] to two of them, if there were so many.
const CALLS_MIN: u32 = 20;
/// See [`CALLS_MIN`].
const WINDOW: Duration = Duration::from_secs(5);
/// Calls in flight right after it closed; each success allows one more, so that a vault that came back is not overrun.
const FIRST_CALLS: usize = 2;

/// Whether a call may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// So many in flight at most.
    Calls(usize),
    /// One, to see whether the vault is back. The next has to wait for its outcome.
    Probe,
    /// None before this moment.
    NotBefore(Instant),
    /// None before the outcome of the probe is known.
    Probing,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { calls: usize, since: Instant },
    Open { until: Instant },
    HalfOpen { since: Instant },
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    calls: u32,
    failures: u32,
}

/// The breaker of one vault.
#[derive(Debug)]
pub struct Breaker {
    state: State,
    consecutive: u32,
    current: Tally,
    before: Tally,
    turned_at: Instant,
    rests: u32,
}

impl Breaker {
    /// Closed.
    pub fn new(now: Instant) -> Self {
        Self {
            state: State::Closed { calls: usize::MAX, since: now },
            consecutive: 0,
            current: Tally::default(),
            before: Tally::default(),
            turned_at: now,
            rests: 0,
        }
    }

    /// Whether a call may be made now.
    pub fn allows(&self, now: Instant) -> Allowance {
        match self.state {
            State::Closed { calls, .. } => Allowance::Calls(calls),
            State::Open { until } if until <= now => Allowance::Probe,
            State::Open { until } => Allowance::NotBefore(until),
            State::HalfOpen { .. } => Allowance::Probing,
        }
    }

    /// When a call may be made at the earliest.
    pub fn earliest(&self, now: Instant) -> Instant {
        match self.state {
            State::Open { until } => until.max(now),
            State::Closed { .. } | State::HalfOpen { .. } => now,
        }
    }

    /// Whether calls are made as usual.
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// The one call that [`Allowance::Probe`] stands for is made.
    pub const fn probe(&mut self, now: Instant) {
        self.state = State::HalfOpen { since: now };
    }

    /// The probe was given up without an outcome: the next caller may make one.
    pub const fn abandoned(&mut self, now: Instant) {
        if matches!(self.state, State::HalfOpen { .. }) {
            self.state = State::Open { until: now };
        }
    }

    /// The vault answered a call made at `sent_at`, be it with a refusal.
    pub fn answered(&mut self, now: Instant, sent_at: Instant) {
        match &mut self.state {
            State::Closed { calls, .. } => {
                *calls = calls.saturating_add(1);
                self.consecutive = 0;
                self.count(now, 0);
            }
            State::HalfOpen { since } if sent_at >= *since => self.close(now),
            State::HalfOpen { .. } | State::Open { .. } => {}
        }
    }

    /// A call made at `sent_at` failed because of the vault or the way to it. `random` is from 0 to below 1. Says
    /// whether the breaker opened now.
    pub fn failed(&mut self, now: Instant, sent_at: Instant, random: f64) -> bool {
        match self.state {
            State::HalfOpen { since } if sent_at >= since => self.open(now, random),
            State::HalfOpen { .. } | State::Open { .. } => return false,
            // What was sent before it opened and closed says nothing about now.
            State::Closed { since, .. } if self.rests > 0 && sent_at < since => return false,
            State::Closed { .. } => {
                self.consecutive += 1;
                self.count(now, 1);
                let Tally { calls, failures } = self.tally();
                let often = calls >= CALLS_MIN && f64::from(failures) >= RATIO * f64::from(calls);
                if self.consecutive < CONSECUTIVE && !often {
                    return false;
                }
                self.open(now, random);
            }
        }
        true
    }

    fn close(&mut self, now: Instant) {
        *self = Self {
            rests: self.rests,
            state: State::Closed { calls: FIRST_CALLS, since: now },
            ..Self::new(now)
        };
    }

    fn open(&mut self, now: Instant, random: f64) {
        // A vault that stayed well for a while is looked after as often as one that fails for the first time.
        if matches!(self.state, State::Closed { since, .. } if now.saturating_duration_since(since) > 2 * WINDOW)
        {
            self.rests = 0;
        }
        let rest = BREAKER_REST.saturating_mul(1 << self.rests.min(8)).min(BREAKER_REST_MAX);
        self.rests += 1;
        // From three quarters of it, so that replicas do not come back at the same moment.
        self.state = State::Open { until: now + rest.mul_f64(0.75 + random.clamp(0.0, 1.0) / 4.0) };
        self.turned_at = now;
        self.consecutive = 0;
        self.current = Tally::default();
        self.before = Tally::default();
    }

    fn count(&mut self, now: Instant, failures: u32) {
        let elapsed = now.saturating_duration_since(self.turned_at);
        if elapsed >= WINDOW {
            self.before = if elapsed < 2 * WINDOW { self.current } else { Tally::default() };
            self.current = Tally::default();
            self.turned_at = now;
        }
        self.current.calls = self.current.calls.saturating_add(1);
        self.current.failures = self.current.failures.saturating_add(failures);
    }

    const fn tally(&self) -> Tally {
        Tally {
            calls: self.current.calls.saturating_add(self.before.calls),
            failures: self.current.failures.saturating_add(self.before.failures),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn opened(start: Instant) -> Breaker {
        let mut breaker = Breaker::new(start);
        for n in 1..=CONSECUTIVE {
            assert_eq!(breaker.failed(start, start, 0.99), n == CONSECUTIVE);
        }
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_answers_between_them_do_not() {
        let start = Instant::now();
        let mut breaker = Breaker::new(start);
        for _ in 0..4 {
            for _ in 1..CONSECUTIVE {
                assert!(!breaker.failed(start, start, 0.0));
            }
            for _ in 0..2 * CONSECUTIVE {
                breaker.answered(start, start);
            }
        }
        assert!(breaker.is_closed());
        assert!(!opened(start).is_closed());
    }

    #[test]
    fn half_of_the_calls_open_it() {
        let start = Instant::now();
        let mut breaker = Breaker::new(start);
        let opened = (0..CALLS_MIN).any(|_| {
            breaker.answered(start, start);
            breaker.failed(start, start, 0.0)
        });
        assert!(opened);
    }

    #[test]
    fn one_probe_at_a_time_and_its_success_closes_it() {
        let start = Instant::now();
        let mut breaker = opened(start);
        assert!(matches!(breaker.allows(start), Allowance::NotBefore(_)));
        let later = start + SECOND;
        assert_eq!(breaker.allows(later), Allowance::Probe);
        breaker.probe(later);
        assert_eq!(breaker.allows(later), Allowance::Probing);
        breaker.answered(later, later);
        assert_eq!(breaker.allows(later), Allowance::Calls(FIRST_CALLS), "slowly at first");
        breaker.answered(later, later);
        assert_eq!(breaker.allows(later), Allowance::Calls(FIRST_CALLS + 1));
    }

    #[test]
    fn rests_grow_up_to_the_longest() {
        let start = Instant::now();
        let mut breaker = opened(start);
        let mut now = start;
        let mut rests = Vec::new();
        for _ in 0..6 {
            let Allowance::NotBefore(until) = breaker.allows(now) else { panic!("it is closed") };
            rests.push(until - now);
            now = until;
            breaker.probe(now);
            assert!(breaker.failed(now, now, 0.99));
        }
        assert!(rests.is_sorted() && rests[0] < rests[2], "{rests:?}");
        assert!(rests.iter().all(|rest| *rest <= BREAKER_REST_MAX));
    }

    #[test]
    fn what_was_sent_before_says_nothing_about_the_probe() {
        let start = Instant::now();
        let mut breaker = opened(start);
        let later = start + SECOND;
        breaker.probe(later);
        breaker.answered(later, start);
        assert!(!breaker.is_closed());
        assert!(!breaker.failed(later, start, 0.0));
        assert_eq!(breaker.allows(later), Allowance::Probing);
        breaker.abandoned(later);
        assert_eq!(breaker.allows(later), Allowance::Probe, "the next caller makes another");
    }
}
