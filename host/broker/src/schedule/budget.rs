//! How many calls a vault takes: a token bucket that never exceeds its quota and learns where the real one lies.

use std::time::{Duration, Instant};

use crate::limits::{RETRY_AFTER_MAX, THROTTLED_PAUSE};

/// What a vault allows for one class of keys, in units; most calls cost one unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quota {
    units: f64,
    window: Duration,
}

impl Quota {
    /// Nothing but the calls in flight is limited.
    pub const UNLIMITED: Self = Self { units: f64::INFINITY, window: Duration::from_secs(1) };

    /// `units` in each `window`. At least one unit a day and at most a million a second.
    pub fn new(units: u32, window: Duration) -> Self {
        let window = window.clamp(Duration::from_millis(1), Duration::from_secs(86_400));
        Self { units: f64::from(units).clamp(1.0, window.as_secs_f64().max(1.0) * 1e6), window }
    }

    /// `units` in each second.
    pub fn per_second(units: u32) -> Self {
        Self::new(units, Duration::from_secs(1))
    }

    /// Units a second.
    pub fn rate(&self) -> f64 {
        self.units / self.window.as_secs_f64()
    }

    /// What may be taken at once after a rest. With [`SHARE`] it keeps within the quota in every window, wherever the
    /// vault's windows begin.
    fn burst(&self) -> f64 {
        if self.units.is_finite() { (self.units * BURST_SHARE).max(1.0) } else { f64::INFINITY }
    }
}

/// The share of the quota that is used. The rest is for calls that travel at different speeds and arrive in the
/// vault's next window.
const SHARE: f64 = 0.98;
/// See [`Quota::burst`].
const BURST_SHARE: f64 = 0.01;
/// For how long tokens are kept beyond the burst: a timer comes late, never early.
const LATENESS_SECONDS: f64 = 0.005;
/// To what share of what the vault accepted the rate falls when it throttles.
const DECREASE: f64 = 0.8;
/// To what share it returns after [`SETTLE`], and how it grows from there: by this much times the square of the seconds,
/// so that the limit just found is neared slowly and a limit that was lifted is found within a minute.
const RETURN: f64 = 0.95;
const GROWTH: f64 = 0.002;
/// For how long the decreased rate is kept, and how far apart decreases are: answers to calls sent before do not count.
const SETTLE: Duration = Duration::from_secs(1);
/// A quota of this share is always assumed: less would stop all work for what may be one wrong answer.
const FLOOR: f64 = 0.01;
/// After so long without throttling nothing is left of what was learned under an unlimited quota.
const FORGET: Duration = Duration::from_secs(60);

/// What was learned from throttling answers.
#[derive(Clone, Copy, Debug)]
struct Learned {
    /// When the bucket may be used again after the answer.
    since: Instant,
    /// Units a second that the vault accepted then.
    accepted: f64,
}

/// The bucket of one vault and class of keys.
#[derive(Debug)]
pub struct Budget {
    quota: Quota,
    tokens: f64,
    filled_at: Instant,
    blocked_until: Option<Instant>,
    learned: Option<Learned>,
    meter: Meter,
}

impl Budget {
    /// A full bucket.
    pub fn new(quota: Quota, now: Instant) -> Self {
        let tokens = quota.burst();
        Self { quota, tokens, filled_at: now, blocked_until: None, learned: None, meter: Meter::new(now) }
    }

    /// Another quota from now on; what was learned stays.
    pub fn set_quota(&mut self, quota: Quota) {
        self.tokens = if quota.burst().is_finite() { self.tokens.min(quota.burst()) } else { f64::INFINITY };
        self.quota = quota;
    }

    /// Units a second at this moment: what was learned, at most the quota.
    pub fn rate(&self, now: Instant) -> f64 {
        let ceiling = self.quota.rate() * SHARE;
        let Some(learned) = self.learned else { return ceiling };
        let rested = now.saturating_duration_since(learned.since);
        if ceiling.is_infinite() && rested > FORGET {
            return ceiling;
        }
        let grown = match rested.checked_sub(SETTLE) {
            None => DECREASE,
            Some(beyond) => RETURN + GROWTH * beyond.as_secs_f64().powi(2),
        };
        (learned.accepted * grown).min(ceiling)
    }

    /// When a call of this cost may be made: `now` or later.
    pub fn ready_at(&mut self, now: Instant, cost: u32) -> Instant {
        self.fill(now);
        let start = self.blocked_until.map_or(now, |until| until.max(now));
        let missing = self.needed(cost) - self.tokens;
        if missing <= 0.0 {
            return start;
        }
        later(start, missing / self.rate(start))
    }

    /// When the last of calls that cost `units` in all may be made, if nobody else asks.
    pub fn drained_at(&mut self, now: Instant, units: u64) -> Instant {
        self.fill(now);
        let start = self.blocked_until.map_or(now, |until| until.max(now));
        let missing = units as f64 - self.tokens;
        if missing <= 0.0 { start } else { later(start, missing / self.rate(start)) }
    }

    /// Until when the vault asked to be left alone, if it did.
    pub fn blocked_until(&self, now: Instant) -> Option<Instant> {
        self.blocked_until.filter(|until| *until > now)
    }

    /// Takes what a call costs. Only after [`Budget::ready_at`] said `now`.
    pub fn take(&mut self, cost: u32) {
        self.tokens -= f64::from(cost);
    }

    /// Gives back what a call that was never made had taken.
    pub fn give_back(&mut self, cost: u32) {
        self.tokens += f64::from(cost);
    }

    /// The vault did what was asked.
    pub fn accepted(&mut self, now: Instant, cost: u32) {
        self.meter.count(now, f64::from(cost));
    }

    /// The vault answered a call made at `sent_at` that it is asked too often.
    pub fn throttled(&mut self, now: Instant, sent_at: Instant, retry_after: Option<Duration>) {
        let until = now + retry_after.unwrap_or(THROTTLED_PAUSE).min(RETRY_AFTER_MAX);
        let known = self.learned.is_some_and(|learned| sent_at < learned.since + SETTLE);
        let before = self.rate(now);
        self.blocked_until = Some(self.blocked_until.map_or(until, |blocked| blocked.max(until)));
        if known {
            return;
        }
        let floor = if self.quota.units.is_finite() { self.quota.rate() * FLOOR } else { 1.0 };
        let accepted = self.meter.rate(now).min(before).max(floor);
        self.learned = Some(Learned { since: until, accepted });
        self.tokens = self.tokens.min(0.0);
        self.filled_at = now;
    }

    fn needed(&self, cost: u32) -> f64 {
        f64::from(cost).min(self.quota.burst())
    }

    fn fill(&mut self, now: Instant) {
        if self.learned.is_some_and(|learned| now > learned.since)
            && self.rate(now) >= self.quota.rate() * SHARE
        {
            self.learned = None;
        }
        let from = self.blocked_until.map_or(self.filled_at, |until| until.max(self.filled_at));
        let Some(elapsed) = now.checked_duration_since(from) else { return };
        self.filled_at = now;
        let rate = self.rate(now);
        if rate.is_infinite() {
            self.tokens = f64::INFINITY;
            return;
        }
        let room =
            if self.quota.units.is_finite() { self.quota.burst() } else { (rate * BURST_SHARE).max(1.0) };
        let tokens = if self.tokens.is_finite() { self.tokens } else { 0.0 };
        self.tokens = (tokens + elapsed.as_secs_f64() * rate).min(room + rate * LATENESS_SECONDS);
    }
}

fn later(start: Instant, seconds: f64) -> Instant {
    start + Duration::try_from_secs_f64(seconds).map_or(RETRY_AFTER_MAX, |wait| wait.min(RETRY_AFTER_MAX))
}

/// Counts what was accepted in this second and the one before.
#[derive(Debug)]
struct Meter {
    since: Instant,
    current: f64,
    before: f64,
}

impl Meter {
    const fn new(now: Instant) -> Self {
        Self { since: now, current: 0.0, before: 0.0 }
    }

    fn count(&mut self, now: Instant, units: f64) {
        self.roll(now);
        self.current += units;
    }

    /// Units a second: of the last full second, or of this one if it is more already.
    fn rate(&mut self, now: Instant) -> f64 {
        self.roll(now);
        self.before.max(self.current)
    }

    fn roll(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed < SETTLE {
            return;
        }
        self.before = if elapsed < 2 * SETTLE { self.current } else { 0.0 };
        self.current = 0.0;
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls made within `span` by somebody who always has work.
    fn spend(budget: &mut Budget, start: Instant, span: Duration, cost: u32) -> u32 {
        let mut now = start;
        let mut calls = 0;
        loop {
            now = budget.ready_at(now, cost);
            if now >= start + span {
                return calls;
            }
            budget.take(cost);
            budget.accepted(now, cost);
            calls += 1;
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn no_window_holds_more_than_the_quota_and_nearly_all_of_it_is_used() {
        let start = Instant::now();
        for quota in [100, 1000, 5000] {
            let mut budget = Budget::new(Quota::per_second(quota), start);
            let first = spend(&mut budget, start + 60 * SECOND, SECOND, 1);
            assert!(first <= quota, "{first} of {quota} after a rest");
            let then = spend(&mut budget, start + 61 * SECOND, SECOND, 1);
            assert!(f64::from(then) >= 0.97 * f64::from(quota) && then <= quota, "{then} of {quota}");
        }
    }

    #[test]
    fn a_dearer_call_takes_more_of_it() {
        let start = Instant::now();
        let mut budget = Budget::new(Quota::new(2000, 10 * SECOND), start);
        let calls = spend(&mut budget, start, 10 * SECOND, 8);
        assert!((240..=250).contains(&calls), "{calls} calls of 8 units, 250 are allowed");
    }

    #[test]
    fn retry_after_blocks_until_then() {
        let start = Instant::now();
        let mut budget = Budget::new(Quota::per_second(100), start);
        budget.throttled(start, start, Some(7 * SECOND));
        assert!(budget.ready_at(start, 1) >= start + 7 * SECOND);
        assert!(budget.ready_at(start + 6 * SECOND, 1) >= start + 7 * SECOND);
        assert_eq!(budget.blocked_until(start), Some(start + 7 * SECOND));
        assert_eq!(budget.blocked_until(start + 8 * SECOND), None);
        assert!(budget.ready_at(start + 9 * SECOND, 1) == start + 9 * SECOND);
    }

    #[test]
    fn throttling_lowers_the_rate_and_time_raises_it_never_above_the_quota() {
        let start = Instant::now();
        let mut budget = Budget::new(Quota::per_second(100), start);
        spend(&mut budget, start, SECOND, 1);
        let now = start + SECOND;
        budget.throttled(now, now, None);
        assert!(budget.rate(now) < 85.0, "{}", budget.rate(now));
        let mut last = 0.0;
        for seconds in 0..300 {
            let rate = budget.rate(now + seconds * SECOND);
            assert!(rate >= last && rate <= 98.0, "{rate} after {last}");
            last = rate;
        }
        assert!(last > 97.9, "what was learned is forgotten");
    }

    #[test]
    fn many_throttled_answers_to_calls_sent_together_count_once() {
        let start = Instant::now();
        let mut budget = Budget::new(Quota::per_second(1000), start);
        spend(&mut budget, start, SECOND, 1);
        let now = start + SECOND;
        budget.throttled(now, now, None);
        let once = budget.rate(now);
        for _ in 0..50 {
            budget.throttled(now, now, None);
        }
        assert!((budget.rate(now) - once).abs() < 1e-9, "{} after {once}", budget.rate(now));
    }

    #[test]
    fn unlimited_is_unlimited_until_the_vault_says_otherwise() {
        let start = Instant::now();
        let mut budget = Budget::new(Quota::UNLIMITED, start);
        for _ in 0..10_000 {
            assert_eq!(budget.ready_at(start, 1), start);
            budget.take(1);
            budget.accepted(start, 1);
        }
        budget.throttled(start, start, None);
        assert!(budget.rate(start) <= 8000.0);
        assert!(budget.ready_at(start, 1) > start);
        assert!(budget.rate(start + 90 * SECOND).is_infinite());
        assert_eq!(budget.ready_at(start + 90 * SECOND, 1), start + 90 * SECOND);
    }
}
