//! The front: one call that waits its turn, asks a vault, and asks again or elsewhere while there is time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout_at;

use super::equivalent::{Equivalent, Target};
use super::fault::{Facts, Fault};
use super::peers::PeerLimits;
use super::queue::Place;
use super::random::Random;
use super::refusal::Refusal;
use super::retry::{Course, course, pause};
use super::room::{Room, TooMany, Turn};
use super::vault::{Leave, VaultSettings};

/// A call that was cut short by the request's own deadline counts against the vault from this time on.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where the time of a request went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Waiting for a turn, and between attempts.
    pub queue: Duration,
    /// In vaults, all attempts together.
    pub vault: Duration,
    /// How often a vault was asked.
    pub attempts: u32,
}

/// Schedules the calls to all vaults. Belongs to a tokio runtime; its timer ends with it.
#[derive(Debug)]
pub struct Scheduler {
    shared: Arc<Shared>,
    timer: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    room: Mutex<Room>,
    sooner: Notify,
}

impl Scheduler {
    /// Without vaults yet. `seed` makes jitter and choice; replicas need different ones. Within a tokio runtime only.
    pub fn new(limits: PeerLimits, seed: u64) -> Self {
        let room = Mutex::new(Room::new(limits, Random::new(seed)));
        let shared = Arc::new(Shared { room, sooner: Notify::new() });
        let timer = tokio::spawn(keep_time(Arc::clone(&shared))).abort_handle();
        Self { shared, timer }
    }

    /// These vaults from now on, by name. What was learned of those that stay is kept.
    ///
    /// # Errors
    /// [`TooMany`], with nothing changed.
    pub fn set_vaults(&self, vaults: HashMap<Arc<str>, VaultSettings>) -> Result<(), TooMany> {
        self.shared.within(|room, now| room.set(vaults, now))
    }

    /// Requests that wait and calls in flight, of all peers, at this vault. For metrics.
    pub fn load(&self, vault: &str) -> Option<(usize, usize)> {
        self.shared.within(|room, _| room.vault(vault).map(|vault| (vault.waiting(), vault.in_flight())))
    }

    /// Of how many peers anything is remembered: by limits, and by the queues of this vault. For metrics.
    pub fn remembered(&self, vault: &str) -> (usize, usize) {
        self.shared.within(|room, _| (room.peers.len(), room.vault(vault).map_or(0, |vault| vault.peers())))
    }

    /// Whether calls to this vault are made as usual. For metrics.
    pub fn is_closed(&self, vault: &str) -> Option<bool> {
        self.shared.within(|room, _| room.vault(vault).map(|vault| vault.breaker().is_closed()))
    }

    /// Has `call` make a signature with one of the keys, as often as it takes until `deadline`. Dropping the future ends
    /// everything at once and leaves nothing waiting.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn run<T, E, F, Fut>(
        &self,
        peer: &str,
        keys: &Equivalent,
        deadline: Instant,
        mut call: F,
    ) -> Result<(T, Times), Refusal<E>>
    where
        E: Fault,
        F: FnMut(Target) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let peer: Arc<str> = Arc::from(peer);
        let _seat = Seat::take(&self.shared, &peer)?;
        let mut journey = Journey::new(&self.shared, &peer, keys.targets(), deadline);
        loop {
            let Some(mut leave) = journey.turn().await? else { continue };
            let target = leave.target.clone();
            match timeout_at(leave.until.into(), call(target)).await {
                Ok(Ok(done)) => {
                    leave.end(None);
                    journey.vault += now().saturating_duration_since(leave.sent_at);
                    return Ok((done, journey.times()));
                }
                Ok(Err(error)) => journey.failed(&mut leave, Some(error)).await?,
                Err(_) => journey.failed(&mut leave, None).await?,
            }
        }
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.timer.abort();
    }
}

impl Shared {
    /// Works in the room, and has the timer look again if something is due sooner than it thinks.
    fn within<T>(&self, work: impl FnOnce(&mut Room, Instant) -> T) -> T {
        let mut room = self.lock();
        let before = room.again_at();
        let done = work(&mut room, now());
        let sooner = room.again_at().is_some_and(|at| before.is_none_or(|before| at < before));
        drop(room);
        if sooner {
            self.sooner.notify_one();
        }
        done
    }

    fn lock(&self) -> MutexGuard<'_, Room> {
        // Nothing in the room panics half way; if it ever did, a stale count is better than no signature.
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// tokio's clock, which tests can stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn keep_time(shared: Arc<Shared>) {
    loop {
        let again_at = shared.lock().again_at();
        match again_at {
            // Whether it is due or something is due sooner: look.
            Some(at) => drop(timeout_at(at.into(), shared.sooner.notified()).await),
            None => shared.sooner.notified().await,
        }
        shared.lock().look_again(now());
    }
}

/// A peer's place among its requests under way.
struct Seat {
    shared: Arc<Shared>,
    peer: Arc<str>,
}

impl Seat {
    fn take<E>(shared: &Arc<Shared>, peer: &Arc<str>) -> Result<Self, Refusal<E>> {
        shared.within(|room, now| room.peers.enter(now, peer)).map_err(Refusal::Peer)?;
        Ok(Self { shared: Arc::clone(shared), peer: Arc::clone(peer) })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shared.within(|room, now| room.peers.leave(now, &self.peer));
    }
}

/// A request that waits at a vault.
struct Ticket<'a> {
    shared: &'a Shared,
    target: &'a Target,
    place: Place,
    turn: oneshot::Receiver<Turn>,
    answered: bool,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        self.shared.within(|room, now| {
            let Some(vault) = room.vault(&self.target.vault) else { return };
            if vault.forget(&self.target.class, &self.place).is_none()
                && let Ok(Turn::Granted(leave)) = self.turn.try_recv()
            {
                vault.returned(now, &leave);
            }
            room.serve(&self.target.vault, now);
        });
    }
}

/// Leave to call one vault, until its end or until it is dropped.
struct Call<'a> {
    shared: &'a Shared,
    target: &'a Target,
    nth: usize,
    leave: Option<Leave>,
    sent_at: Instant,
    until: Instant,
}

impl Call<'_> {
    fn end(&mut self, failed: Option<Facts>) {
        let Some(leave) = self.leave.take() else { return };
        self.shared.within(|room, now| {
            let random = room.random.next();
            let Some(vault) = room.vault(&self.target.vault) else { return };
            if vault.ended(now, self.sent_at, &leave, &self.target.key, failed, random) {
                room.evacuate(&self.target.vault);
            }
            room.serve(&self.target.vault, now);
        });
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let Some(leave) = self.leave.take() else { return };
        self.shared.within(|room, now| {
            if let Some(vault) = room.vault(&self.target.vault) {
                vault.abandoned(now, &leave);
            }
            room.serve(&self.target.vault, now);
        });
    }
}

/// One request on its way through attempts.
struct Journey<'a, E> {
    shared: &'a Arc<Shared>,
    peer: &'a Arc<str>,
    targets: &'a [Target],
    tried: Vec<bool>,
    deadline: Instant,
    begun: Instant,
    vault: Duration,
    attempts: u32,
    /// Attempts that count: not those that showed whether a vault is back.
    counted: u32,
    last: Option<E>,
}

impl<'a, E: Fault> Journey<'a, E> {
    fn new(shared: &'a Arc<Shared>, peer: &'a Arc<str>, targets: &'a [Target], deadline: Instant) -> Self {
        Self {
            shared,
            peer,
            targets,
            tried: vec![false; targets.len()],
            deadline,
            begun: now(),
            vault: Duration::ZERO,
            attempts: 0,
            counted: 0,
            last: None,
        }
    }

    /// Waits for leave to call. `None`: look again for a vault.
    async fn turn(&mut self) -> Result<Option<Call<'a>>, Refusal<E>> {
        let waiting = self
            .shared
            .within(|room, now| room.wait(now, self.peer, self.targets, &mut self.tried, self.deadline));
        let (nth, place, turn) = match waiting {
            Ok(waiting) => waiting,
            Err(unfit) => return Err(Refusal::unfit(unfit, self.last.take())),
        };
        let Some(target) = self.targets.get(nth) else { return Ok(None) };
        let mut ticket = Ticket { shared: self.shared, target, place, turn, answered: false };
        let turn = timeout_at(self.deadline.into(), &mut ticket.turn).await;
        ticket.answered = turn.is_ok();
        match turn {
            Ok(Ok(Turn::Granted(leave))) => Ok(Some(self.called(nth, target, leave))),
            Ok(Ok(Turn::Elsewhere) | Err(_)) => Ok(None),
            Ok(Ok(Turn::Late)) | Err(_) => {
                Err(Refusal::TooLate { possible_at: None, last: self.last.take() })
            }
        }
    }

    fn called(&mut self, nth: usize, target: &'a Target, leave: Leave) -> Call<'a> {
        self.attempts += 1;
        self.counted += u32::from(!leave.probe);
        let sent_at = now();
        let attempt = self.shared.within(|room, _| {
            let vault = room.vault(&target.vault)?;
            if self.attempts == 1 {
                vault.called();
            }
            Some(vault.attempt())
        });
        let until = self.deadline.min(sent_at + attempt.unwrap_or_default());
        Call { shared: self.shared, target, nth, leave: Some(leave), sent_at, until }
    }

    /// After a failed attempt: pauses if that helps, or gives up. Without an error there was no answer.
    async fn failed(&mut self, call: &mut Call<'a>, error: Option<E>) -> Result<(), Refusal<E>> {
        let now = now();
        let took = now.saturating_duration_since(call.sent_at);
        self.vault += took;
        let facts = error.as_ref().map_or(Facts::NO_ANSWER, Fault::facts);
        if error.is_none() && now >= self.deadline && took < PATIENCE {
            return Err(Refusal::TooLate { possible_at: None, last: self.last.take() });
        }
        call.end(Some(facts));
        self.last = error.or(self.last.take());
        if let Some(tried) = self.tried.get_mut(call.nth) {
            *tried = true;
        }
        let random = self.random();
        match course(facts, self.counted, self.tried.contains(&false), random) {
            Course::Stop => Err(self.stop(call)),
            Course::Failover => Ok(()),
            Course::Again(pause) => {
                self.tried.fill(false);
                self.rest(call, pause).await
            }
        }
    }

    /// Pauses, and then until the vault may be asked for one more retry.
    async fn rest(&mut self, call: &Call<'a>, first: Duration) -> Result<(), Refusal<E>> {
        let mut until = now() + first;
        let mut refused = false;
        loop {
            if until >= self.deadline {
                return Err(self.stop(call));
            }
            tokio::time::sleep_until(until.into()).await;
            let allowed = self.shared.within(|room, now| {
                room.vault(&call.target.vault).is_none_or(|vault| vault.retry(now, refused))
            });
            if allowed {
                return Ok(());
            }
            refused = true;
            until = now() + pause(self.counted, self.random()).max(Duration::from_millis(10));
        }
    }

    fn random(&self) -> f64 {
        self.shared.lock().random.next()
    }

    fn stop(&mut self, call: &Call<'a>) -> Refusal<E> {
        let times = self.times();
        let vault = Arc::clone(&call.target.vault);
        match self.last.take() {
            Some(error) => Refusal::Vault { vault, error, times },
            None => Refusal::NoAnswer { vault, times },
        }
    }

    fn times(&self) -> Times {
        let all = now().saturating_duration_since(self.begun);
        Times { queue: all.saturating_sub(self.vault), vault: self.vault, attempts: self.attempts }
    }
}
