//! A vault with programmable latency, quota and faults, and the key in it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::schedule::budget::Quota;
use crate::schedule::equivalent::{Equivalent, Target};
use crate::schedule::fault::{Facts, Fault, Kind};
use crate::schedule::peers::PeerLimits;
use crate::schedule::queue::Bounds;
use crate::schedule::random::Random;
use crate::schedule::scheduler::Scheduler;
use crate::schedule::vault::VaultSettings;

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// What the fake says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FakeError(pub(super) Facts);

impl Fault for FakeError {
    fn facts(&self) -> Facts {
        self.0
    }
}

/// How the fake behaves between two moments.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    /// It says this.
    Says(Facts),
    /// It says nothing.
    Silent,
}

/// Programmable before it is shared.
#[derive(Debug)]
pub(super) struct Fake {
    pub(super) name: Arc<str>,
    /// Calls in each window; the windows begin when they like.
    pub(super) quota: Option<(u32, Duration)>,
    pub(super) retry_after: Option<Duration>,
    pub(super) latency: (Duration, Duration),
    /// A share of the calls fails like this.
    pub(super) flaky: Option<(f64, Facts)>,
    /// Seconds since the start, and what happens then.
    pub(super) outage: Option<(u64, u64, Trouble)>,
    pub(super) started: Instant,
    pub(super) seen: Mutex<Seen>,
    pub(super) random: Mutex<Random>,
}

/// What the fake saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) calls: u32,
    pub(super) calls_in_outage: u32,
    pub(super) throttled: u32,
    pub(super) done: u32,
    pub(super) in_flight: u32,
    pub(super) in_flight_most: u32,
    pub(super) window: u128,
    pub(super) in_window: u32,
}

pub(super) fn facts(kind: Kind, retryable: bool) -> Facts {
    Facts { kind, retryable, retry_after: None }
}

impl Fake {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: Arc::from(name),
            quota: None,
            retry_after: None,
            latency: (Duration::from_millis(10), Duration::from_millis(30)),
            flaky: None,
            outage: None,
            started: tokio::time::Instant::now().into_std(),
            seen: Mutex::default(),
            random: Mutex::new(Random::new(7)),
        }
    }

    fn random(&self) -> f64 {
        self.random.lock().unwrap().next()
    }

    pub(super) fn elapsed(&self) -> Duration {
        tokio::time::Instant::now().into_std() - self.started
    }

    pub(super) async fn sign(self: Arc<Self>) -> Result<Arc<str>, FakeError> {
        let way = (self.latency.0 + (self.latency.1 - self.latency.0).mul_f64(self.random())) / 2;
        let under_way = UnderWay::new(&self);
        tokio::time::sleep(way).await;
        let answer = self.judge();
        match answer {
            Err(None) => std::future::pending().await,
            Err(Some(facts)) => {
                tokio::time::sleep(way).await;
                drop(under_way);
                Err(FakeError(facts))
            }
            Ok(()) => {
                tokio::time::sleep(way).await;
                self.seen.lock().unwrap().done += 1;
                Ok(Arc::clone(&self.name))
            }
        }
    }

    fn judge(&self) -> Result<(), Option<Facts>> {
        let elapsed = self.elapsed();
        let mut seen = self.seen.lock().unwrap();
        seen.calls += 1;
        if let Some((from, to, fault)) = self.outage
            && (from..to).contains(&elapsed.as_secs())
        {
            seen.calls_in_outage += 1;
            return Err(match fault {
                Trouble::Says(facts) => Some(facts),
                Trouble::Silent => None,
            });
        }
        if let Some((share, facts)) = self.flaky
            && self.random() < share
        {
            return Err(Some(facts));
        }
        let Some((calls, window)) = self.quota else { return Ok(()) };
        // Windows that begin a third of one later than the schedule's clock.
        let number = (elapsed + window / 3).as_nanos() / window.as_nanos();
        if seen.window != number {
            (seen.window, seen.in_window) = (number, 0);
        }
        if seen.in_window >= calls {
            seen.throttled += 1;
            return Err(Some(Facts { retry_after: self.retry_after, ..facts(Kind::Throttled, true) }));
        }
        seen.in_window += 1;
        Ok(())
    }

    pub(super) fn target(&self) -> Target {
        Target {
            vault: Arc::clone(&self.name),
            class: Arc::from("RSA"),
            key: Arc::from(format!("key of {}", self.name)),
            cost: 1,
            fingerprint: Arc::from("00"),
        }
    }
}

/// A call that the fake works on.
struct UnderWay<'a>(&'a Fake);

impl<'a> UnderWay<'a> {
    fn new(fake: &'a Fake) -> Self {
        let mut seen = fake.seen.lock().unwrap();
        seen.in_flight += 1;
        seen.in_flight_most = seen.in_flight_most.max(seen.in_flight);
        Self(fake)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.seen.lock().unwrap().in_flight -= 1;
    }
}

pub(super) const NO_PEER_LIMITS: PeerLimits =
    PeerLimits { rate: 10_000.0, burst: 1_000_000, at_once: 1_000_000 };

/// A schedule for fakes with this quota in its settings.
pub(super) fn scheduler(fakes: &[Arc<Fake>], quota: Quota) -> Arc<Scheduler> {
    let settings = VaultSettings {
        in_flight: 64,
        attempt: 10 * SECOND,
        classes: HashMap::from([(Arc::from("RSA"), quota)]),
        waiting: Bounds { per_peer: 5000, overall: 20_000 },
    };
    let scheduler = Scheduler::new(NO_PEER_LIMITS, 3);
    let vaults = fakes.iter().map(|fake| (Arc::clone(&fake.name), settings.clone())).collect();
    scheduler.set_vaults(vaults).unwrap();
    Arc::new(scheduler)
}

pub(super) fn keys(fakes: &[Arc<Fake>]) -> Equivalent {
    Equivalent::new(fakes.iter().map(|fake| fake.target()).collect(), false).unwrap()
}
