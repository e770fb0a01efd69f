//! One vault: its queues by class of keys, its budgets, its breaker, and the calls in flight. Says who is next.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admission::{Latency, Outlook};
use super::breaker::{Allowance, Breaker};
use super::budget::{Budget, Quota};
use super::fault::{Facts, Kind};
use super::queue::{Bounds, FairQueue, Full, Place};
use super::retry::RetryBudget;
use crate::limits::KEY_REST;

/// The share of answered calls that is assumed of a vault that came back.
const BACK: f64 = 0.8;

/// What the operator, or the vault's maker, says of a vault.
#[derive(Clone, Debug, PartialEq)]
pub struct VaultSettings {
    /// Calls at once, from 1: the sessions of a token, or what is worth having.
    pub in_flight: usize,
    /// How long one attempt may take.
    pub attempt: Duration,
    /// The budget of each class of keys.
    pub classes: HashMap<Arc<str>, Quota>,
    /// How many requests may wait, in each class.
    pub waiting: Bounds,
}

/// Leave to make one call. Must be ended by [`Vault::ended`] or [`Vault::returned`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leave {
    /// The class of keys.
    pub class: Arc<str>,
    /// What was taken of the budget.
    pub cost: u32,
    /// Whether it is the one that shows whether the vault is back.
    pub probe: bool,
}

/// What became of those who waited.
#[derive(Debug)]
pub struct Turns<V> {
    /// These may call now.
    pub granted: Vec<(V, Leave)>,
    /// For these it is too late.
    pub late: Vec<V>,
    /// When to ask again, if nothing happens before.
    pub again_at: Option<Instant>,
}

/// How the calls of one class go.
#[derive(Debug)]
struct Lane<V> {
    budget: Budget,
    queue: FairQueue<V>,
    latency: Latency,
}

/// A vault, where `V` waits.
#[derive(Debug)]
pub struct Vault<V> {
    settings: VaultSettings,
    lanes: Vec<(Arc<str>, Lane<V>)>,
    /// The lane that is asked first, so that each is at times.
    turn: usize,
    in_flight: usize,
    breaker: Breaker,
    retries: RetryBudget,
    /// The share of calls that were answered, lately.
    success: f64,
    /// Keys that failed, and until when they are passed over.
    resting: HashMap<Arc<str>, Instant>,
}

impl<V> Vault<V> {
    /// Nothing waits, nothing is in flight.
    pub fn new(settings: VaultSettings, now: Instant) -> Self {
        let mut vault = Self {
            settings: settings.clone(),
            lanes: Vec::new(),
            turn: 0,
            in_flight: 0,
            breaker: Breaker::new(now),
            retries: RetryBudget::new(now),
            success: 1.0,
            resting: HashMap::new(),
        };
        vault.set(settings, now);
        vault
    }

    /// Other settings from now on; what was learned and what waits stays, but for classes that are no more.
    pub fn set(&mut self, settings: VaultSettings, now: Instant) {
        self.lanes.retain(|(class, _)| settings.classes.contains_key(class));
        for (class, quota) in &settings.classes {
            if let Some((_, lane)) = self.lanes.iter_mut().find(|(name, _)| name == class) {
                lane.budget.set_quota(*quota);
            } else {
                let budget = Budget::new(*quota, now);
                let queue = FairQueue::new(settings.waiting);
                self.lanes.push((Arc::clone(class), Lane { budget, queue, latency: Latency::default() }));
            }
        }
        self.settings = settings;
    }

    /// How long one attempt may take.
    pub const fn attempt(&self) -> Duration {
        self.settings.attempt
    }

    /// Calls in flight.
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.lanes.iter().map(|(_, lane)| lane.queue.len()).sum()
    }

    /// Of how many peers anything is kept in the queues.
    pub fn peers(&self) -> usize {
        self.lanes.iter().map(|(_, lane)| lane.queue.peers()).sum()
    }

    /// The breaker.
    pub const fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// The share of calls that were answered, lately.
    pub const fn success(&self) -> f64 {
        self.success
    }

    /// Whether this key failed a moment ago.
    pub fn rests(&self, key: &str, now: Instant) -> bool {
        self.resting.get(key).is_some_and(|until| *until > now)
    }

    /// What stands between a request and its signature. `None`: there is no such class.
    pub fn outlook(
        &mut self,
        now: Instant,
        class: &str,
        peer: &str,
        deadline: Instant,
        cost: u32,
    ) -> Option<Outlook> {
        let at_once = self.at_once(now).max(1);
        let in_flight = self.in_flight as u64;
        let breaker_until = self.breaker.earliest(now);
        let lane = self.lane(class)?;
        let ahead = lane.queue.ahead(peer, deadline);
        Some(Outlook {
            budget_at: lane.budget.drained_at(now, ahead.saturating_add(u64::from(cost))),
            breaker_until,
            calls_ahead: in_flight.saturating_add(ahead / u64::from(cost.max(1))),
            at_once,
            latency: lane.latency.expected(now),
        })
    }

    /// Lets a request wait. `None`: there is no such class.
    ///
    /// # Errors
    /// [`Full`].
    pub fn wait(
        &mut self,
        class: &str,
        peer: &Arc<str>,
        deadline: Instant,
        cost: u32,
        value: V,
    ) -> Option<Result<Place, Full>> {
        Some(self.lane(class)?.queue.push(peer, deadline, cost, value))
    }

    /// A request waits no more. Whether it still did.
    pub fn forget(&mut self, class: &str, place: &Place) -> Option<V> {
        self.lane(class)?.queue.remove(place)
    }

    /// All those who wait and could go elsewhere.
    pub fn leave(&mut self, which: impl Fn(&V) -> bool + Copy) -> Vec<V> {
        self.lanes.iter_mut().flat_map(|(_, lane)| lane.queue.remove_all(which)).collect()
    }

    /// Gives leave to as many as may call now.
    pub fn turns(&mut self, now: Instant) -> Turns<V> {
        let mut turns = Turns { granted: Vec::new(), late: Vec::new(), again_at: None };
        let mut idle = 0;
        while idle < self.lanes.len() {
            self.turn = (self.turn + 1) % self.lanes.len().max(1);
            idle = if self.turn_of(self.turn, now, &mut turns) { 0 } else { idle + 1 };
        }
        turns
    }

    /// One lane may make one call. Whether it did.
    fn turn_of(&mut self, nth: usize, now: Instant, turns: &mut Turns<V>) -> bool {
        let allowance = self.breaker.allows(now);
        let at_once = self.at_once(now);
        let Some((class, lane)) = self.lanes.get_mut(nth) else { return false };
        lane.drop_late(now, turns);
        let Some(first) = lane.queue.first() else { return false };
        if let Allowance::NotBefore(until) = allowance {
            turns.ask_again(until);
            return false;
        }
        if self.in_flight >= at_once {
            return false;
        }
        let ready_at = lane.budget.ready_at(now, first.cost);
        if ready_at > now {
            turns.ask_again(ready_at);
            return false;
        }
        let Some(value) = lane.queue.pop() else { return false };
        lane.budget.take(first.cost);
        self.in_flight += 1;
        let probe = allowance == Allowance::Probe;
        if probe {
            self.breaker.probe(now);
        }
        turns.granted.push((value, Leave { class: Arc::clone(class), cost: first.cost, probe }));
        true
    }

    /// Calls that the vault is given at once at this moment. With a probe under way: none beyond it.
    fn at_once(&self, now: Instant) -> usize {
        match self.breaker.allows(now) {
            Allowance::Calls(calls) => calls.min(self.settings.in_flight.max(1)),
            Allowance::Probe => self.settings.in_flight.max(1),
            Allowance::Probing | Allowance::NotBefore(_) => 0,
        }
    }

    /// A first attempt for a request.
    pub fn called(&mut self) {
        self.retries.called();
    }

    /// Whether a retry may be made now. None is counted that begins while the breaker is open: it waits for the vault,
    /// which is given one call at a time. One that was `refused` before stays bound to the budget, or each opening would
    /// free all those it holds back.
    pub fn retry(&mut self, now: Instant, refused: bool) -> bool {
        (!refused && !self.breaker.is_closed()) || self.retries.take(now)
    }

    /// The leave was not used.
    pub fn returned(&mut self, now: Instant, leave: &Leave) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(lane) = self.lane(&leave.class) {
            lane.budget.give_back(leave.cost);
        }
        if leave.probe {
            self.breaker.abandoned(now);
        }
    }

    /// The call was given up by its caller, without an outcome.
    pub fn abandoned(&mut self, now: Instant, leave: &Leave) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if leave.probe {
            self.breaker.abandoned(now);
        }
    }

    /// A call made at `sent_at` for `key` ended: with a signature, or with these facts. Whether the breaker opened.
    pub fn ended(
        &mut self,
        now: Instant,
        sent_at: Instant,
        leave: &Leave,
        key: &Arc<str>,
        failed: Option<Facts>,
        random: f64,
    ) -> bool {
        self.in_flight = self.in_flight.saturating_sub(1);
        let kind = failed.map(|facts| facts.kind);
        self.rate(kind != Some(Kind::Vault));
        if let Some(lane) = self.lane(&leave.class) {
            match failed {
                None => {
                    lane.budget.accepted(now, leave.cost);
                    lane.latency.measured(now, now.saturating_duration_since(sent_at));
                }
                Some(Facts { kind: Kind::Throttled, retry_after, .. }) => {
                    lane.budget.throttled(now, sent_at, retry_after);
                }
                Some(_) => {}
            }
        }
        if kind == Some(Kind::Key) {
            self.resting.retain(|_, until| *until > now);
            self.resting.insert(Arc::clone(key), now + KEY_REST);
        } else if failed.is_none() && !self.resting.is_empty() {
            self.resting.remove(key);
        }
        if kind == Some(Kind::Vault) {
            return self.breaker.failed(now, sent_at, random);
        }
        let was_closed = self.breaker.is_closed();
        self.breaker.answered(now, sent_at);
        if !was_closed && self.breaker.is_closed() {
            // It is back: what it was during the outage says little about what it will be.
            self.success = self.success.max(BACK);
        }
        false
    }

    fn rate(&mut self, answered: bool) {
        self.success = self.success * 0.95 + if answered { 0.05 } else { 0.0 };
    }

    fn lane(&mut self, class: &str) -> Option<&mut Lane<V>> {
        self.lanes.iter_mut().find(|(name, _)| **name == *class).map(|(_, lane)| lane)
    }
}

impl<V> Lane<V> {
    /// Those first in their lines who would not be done in time make room for those who would.
    fn drop_late(&mut self, now: Instant, turns: &mut Turns<V>) {
        let latest = now + self.latency.at_most(now);
        while self.queue.first().is_some_and(|first| first.deadline <= latest) {
            turns.late.extend(self.queue.pop_unserved());
        }
    }
}

impl<V> Turns<V> {
    fn ask_again(&mut self, at: Instant) {
        self.again_at = Some(self.again_at.map_or(at, |earlier| earlier.min(at)));
    }
}
