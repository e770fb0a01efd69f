//! Refused at once rather than late: whether a deadline can be met given what waits ahead, the budget and the vault.

use std::time::{Duration, Instant};

/// For how long a measured time is believed. After it the vault is asked again, however slow it was.
const BELIEVED: Duration = Duration::from_secs(5);

/// How long a vault takes, lately: mean and deviation, weighted as TCP's round trip times are (RFC 6298, section 2).
#[derive(Clone, Copy, Debug, Default)]
pub struct Latency {
    mean: Duration,
    deviation: Duration,
    measured_at: Option<Instant>,
}

impl Latency {
    /// One call took so long.
    pub fn measured(&mut self, now: Instant, took: Duration) {
        if self.measured_at.is_none() {
            self.mean = took;
        }
        self.deviation = (self.deviation * 3 + self.mean.abs_diff(took)) / 4;
        self.mean = (self.mean * 7 + took) / 8;
        self.measured_at = Some(now);
    }

    /// What a call takes on average: nothing if nothing was measured lately, so that a guess refuses nobody.
    pub fn expected(&self, now: Instant) -> Duration {
        if self.is_fresh(now) { self.mean } else { Duration::ZERO }
    }

    /// What nearly all calls take at most; as [`Latency::expected`].
    pub fn at_most(&self, now: Instant) -> Duration {
        if self.is_fresh(now) { self.mean + 2 * self.deviation } else { Duration::ZERO }
    }

    fn is_fresh(&self, now: Instant) -> bool {
        self.measured_at.is_some_and(|at| now.saturating_duration_since(at) <= BELIEVED)
    }
}

/// What stands between a request and its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// When the budget allows what waits ahead and this request.
    pub budget_at: Instant,
    /// Until when the breaker keeps all calls back.
    pub breaker_until: Instant,
    /// Calls that wait ahead of it or are under way.
    pub calls_ahead: u64,
    /// Calls the vault is given at once.
    pub at_once: usize,
    /// How long one takes.
    pub latency: Duration,
}

/// What limits most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The vault's quota, or its wish to be left alone.
    Budget,
    /// The vault's speed or its health.
    Vault,
}

/// When the signature would be there, and what it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// At the earliest.
    pub done_at: Instant,
    /// What it waits for.
    pub limit: Limit,
}

impl Outlook {
    /// When the signature would be there.
    pub fn forecast(&self, now: Instant) -> Forecast {
        let rounds = self.calls_ahead / (self.at_once.max(1) as u64);
        let busy = self.latency.saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX));
        let vault_at = now.max(self.breaker_until).checked_add(busy).unwrap_or(self.breaker_until);
        let limit = if self.budget_at > vault_at { Limit::Budget } else { Limit::Vault };
        Forecast { done_at: self.budget_at.max(vault_at) + self.latency, limit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_slowest_of_budget_and_vault_decides() {
        let now = Instant::now();
        let free =
            Outlook { budget_at: now, breaker_until: now, calls_ahead: 0, at_once: 4, latency: SECOND };
        assert_eq!(free.forecast(now), Forecast { done_at: now + SECOND, limit: Limit::Vault });
        let blocked = Outlook { budget_at: now + 9 * SECOND, ..free };
        assert_eq!(blocked.forecast(now), Forecast { done_at: now + 10 * SECOND, limit: Limit::Budget });
        let busy = Outlook { calls_ahead: 8, ..free };
        assert_eq!(busy.forecast(now), Forecast { done_at: now + 3 * SECOND, limit: Limit::Vault });
        let open = Outlook { breaker_until: now + 5 * SECOND, ..free };
        assert_eq!(open.forecast(now), Forecast { done_at: now + 6 * SECOND, limit: Limit::Vault });
    }

    #[test]
    fn an_old_measure_refuses_nobody() {
        let now = Instant::now();
        let mut latency = Latency::default();
        assert_eq!(latency.expected(now), Duration::ZERO);
        latency.measured(now, 8 * SECOND);
        assert_eq!(latency.expected(now), 8 * SECOND);
        latency.measured(now, Duration::ZERO);
        assert_eq!((latency.expected(now), latency.at_most(now)), (7 * SECOND, 11 * SECOND));
        assert_eq!(latency.expected(now + 6 * SECOND), Duration::ZERO);
        assert_eq!(latency.at_most(now + 6 * SECOND), Duration::ZERO);
    }
}
