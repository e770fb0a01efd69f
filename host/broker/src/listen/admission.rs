//! Who may open another connection: so many in all, so many from one origin, and no more than so many a second.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::limits::ORIGINS_MAX;

/// Where a connection comes from. An IPv6 host has a /64 to itself, so that is one origin (RFC 6177).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// An IPv4 address, or the /64 of an IPv6 address.
    Address(IpAddr),
    /// A user on this machine.
    User(u32),
}

impl Origin {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(six) => {
                let [a, b, c, d, ..] = six.segments();
                Self::Address(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
            }
            four @ IpAddr::V4(_) => Self::Address(four),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V6(net)) => write!(f, "{net}/64"),
            Self::Address(address) => write!(f, "{address}"),
            Self::User(uid) => write!(f, "uid {uid}"),
        }
    }
}

/// How much one listener admits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdmissionLimits {
    /// Open connections in all.
    pub open_max: usize,
    /// Open connections of one origin.
    pub open_per_origin_max: usize,
    /// New connections of one origin at once.
    pub burst_per_origin: u32,
    /// New connections of one origin in a second, once the burst is used up.
    pub rate_per_origin: f64,
}

/// Why a connection was closed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// Too many are open, or too many origins are remembered.
    Full,
    /// The origin has too many open.
    OriginFull,
    /// The origin opens them too fast.
    TooFast,
}

/// Counts connections. One for each listener, so that a flood from the network leaves room on the UNIX socket.
pub(crate) struct Admission {
    limits: AdmissionLimits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: usize,
    origins: HashMap<Origin, Entry>,
}

struct Entry {
    open: usize,
    tokens: f64,
    filled: Instant,
}

/// One open connection; dropping it makes room.
pub(crate) struct Admitted {
    admission: Arc<Admission>,
    origin: Origin,
}

impl Admission {
    pub(crate) fn new(limits: AdmissionLimits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default() })
    }

    /// Admits one more connection at `now`, or says why not.
    pub(crate) fn admit(self: &Arc<Self>, origin: Origin, now: Instant) -> Result<Admitted, Turned> {
        let limits = self.limits;
        let mut state = self.lock();
        if state.open >= limits.open_max {
            return Err(Turned::Full);
        }
        if state.origins.len() >= ORIGINS_MAX && !state.origins.contains_key(&origin) {
            state.origins.retain(|_, entry| entry.open > 0 || !entry.is_full(limits, now));
            if state.origins.len() >= ORIGINS_MAX {
                return Err(Turned::Full);
            }
        }
        let burst = f64::from(limits.burst_per_origin);
        let entry = state.origins.entry(origin).or_insert(Entry { open: 0, tokens: burst, filled: now });
        entry.fill(limits, now);
        if entry.open >= limits.open_per_origin_max {
            return Err(Turned::OriginFull);
        }
        if entry.tokens < 1.0 {
            return Err(Turned::TooFast);
        }
        entry.tokens -= 1.0;
        entry.open += 1;
        state.open += 1;
        Ok(Admitted { admission: Arc::clone(self), origin })
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.lock().open
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn level(&self, limits: AdmissionLimits, now: Instant) -> f64 {
        let earned = now.saturating_duration_since(self.filled).as_secs_f64() * limits.rate_per_origin;
        (self.tokens + earned).min(f64::from(limits.burst_per_origin))
    }

    fn fill(&mut self, limits: AdmissionLimits, now: Instant) {
        self.tokens = self.level(limits, now);
        self.filled = now;
    }

    /// Nothing is lost by forgetting it.
    fn is_full(&self, limits: AdmissionLimits, now: Instant) -> bool {
        self.level(limits, now) >= f64::from(limits.burst_per_origin)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        state.open = state.open.saturating_sub(1);
        if let Some(entry) = state.origins.get_mut(&self.origin) {
            entry.open = entry.open.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMITS: AdmissionLimits =
        AdmissionLimits { open_max: 5, open_per_origin_max: 3, burst_per_origin: 4, rate_per_origin: 2.0 };

    fn origin(text: &str) -> Origin {
        Origin::of(text.parse().unwrap())
    }

    #[test]
    fn one_origin_is_an_ipv4_address_or_a_64() {
        assert_eq!(origin("2001:db8::1"), origin("2001:db8::ffff:2"));
        assert_ne!(origin("2001:db8::1"), origin("2001:db8:0:1::1"));
        assert_eq!(origin("::ffff:192.0.2.1"), origin("192.0.2.1"));
        assert_ne!(origin("192.0.2.1"), origin("192.0.2.2"));
        assert_eq!(origin("2001:db8::1").to_string(), "2001:db8::/64");
    }

    #[test]
    fn open_connections_are_bounded_and_make_room() {
        let (admission, now) = (Admission::new(LIMITS), Instant::now());
        let first: Vec<_> = (0..3).map(|_| admission.admit(origin("192.0.2.1"), now).unwrap()).collect();
        assert_eq!(admission.admit(origin("192.0.2.1"), now).err(), Some(Turned::OriginFull));
        let others: Vec<_> = (0..2).map(|_| admission.admit(origin("192.0.2.2"), now).unwrap()).collect();
        assert_eq!(admission.admit(origin("192.0.2.3"), now).err(), Some(Turned::Full));
        drop(first);
        assert_eq!(admission.open(), 2);
        assert!(admission.admit(origin("192.0.2.1"), now).is_ok());
        drop(others);
        assert_eq!(admission.open(), 0);
    }

    #[test]
    fn an_origin_has_a_burst_and_then_a_rate() {
        let (admission, now) = (Admission::new(LIMITS), Instant::now());
        let open = |now| admission.admit(origin("192.0.2.1"), now).map(drop);
        for _ in 0..4 {
            open(now).unwrap();
        }
        assert_eq!(open(now), Err(Turned::TooFast));
        assert_eq!(open(now + Duration::from_millis(400)), Err(Turned::TooFast));
        assert_eq!(open(now + Duration::from_millis(500)), Ok(()));
        assert_eq!(open(now + Duration::from_millis(600)), Err(Turned::TooFast));
        assert!(admission.admit(origin("192.0.2.2"), now).is_ok(), "others are not touched");
    }

    #[test]
    fn origins_are_forgotten_once_nothing_is_lost_by_it() {
        let limits = AdmissionLimits { open_max: usize::MAX, ..LIMITS };
        let (admission, now) = (Admission::new(limits), Instant::now());
        for n in 0..u32::try_from(ORIGINS_MAX).unwrap() {
            admission.admit(Origin::User(n), now).unwrap();
        }
        assert_eq!(admission.admit(Origin::User(u32::MAX), now).err(), Some(Turned::Full));
        assert!(admission.admit(Origin::User(0), now).is_ok(), "one that is known");
        let later = now + Duration::from_secs(10);
        assert!(admission.admit(Origin::User(u32::MAX), later).is_ok());
        assert_eq!(admission.lock().origins.len(), 1);
    }
}
