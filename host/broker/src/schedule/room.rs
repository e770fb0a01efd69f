//! All vaults and peers: who waits where, and when a vault is to be looked at again. Told the time, never waits itself.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::admission::{Forecast, Limit};
use super::breaker::Allowance;
use super::equivalent::{Health, Target, choose};
use super::peers::{PeerLimits, Peers};
use super::queue::Place;
use super::random::Random;
use super::vault::{Leave, Vault, VaultSettings};
use crate::limits::{CLASSES_MAX, VAULTS_MAX};

/// What one who waits is told.
#[derive(Debug)]
pub(super) enum Turn {
    /// Call now.
    Granted(Leave),
    /// It would not be done in time.
    Late,
    /// The vault fails; look for another.
    Elsewhere,
}

/// One who waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) answer: oneshot::Sender<Turn>,
    /// Whether there is another key it could use.
    pub(super) movable: bool,
}

/// Why a request does not wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// No key's vault is known.
    NoVault,
    /// No key would serve in time; the first that would serve does so then.
    NotInTime { vault: Arc<str>, forecast: Forecast },
    /// Too many wait at each of them.
    Full { vault: Arc<str>, forecast: Forecast },
}

/// More vaults or classes than are allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} has {found}, at most {limit} are allowed; name fewer in the config")]
pub struct TooMany {
    what: String,
    found: usize,
    limit: usize,
}

#[derive(Debug)]
struct Entry {
    vault: Vault<Waiter>,
    again_at: Option<Instant>,
}

/// Everything that is scheduled.
#[derive(Debug)]
pub(super) struct Room {
    vaults: HashMap<Arc<str>, Entry>,
    again: BTreeSet<(Instant, Arc<str>)>,
    pub(super) peers: Peers,
    pub(super) random: Random,
}

/// A key that could serve.
struct Candidate {
    nth: usize,
    forecast: Forecast,
    health: Health,
    well: bool,
    probe: bool,
}

impl Room {
    pub(super) fn new(limits: PeerLimits, random: Random) -> Self {
        Self { vaults: HashMap::new(), again: BTreeSet::new(), peers: Peers::new(limits), random }
    }

    /// These vaults from now on. Who waits for one that is no more is told to look elsewhere, by its sender's end.
    pub(super) fn set(
        &mut self,
        vaults: HashMap<Arc<str>, VaultSettings>,
        now: Instant,
    ) -> Result<(), TooMany> {
        within("the list of vaults", vaults.len(), VAULTS_MAX)?;
        for (name, settings) in &vaults {
            within(&format!("vault {name}"), settings.classes.len(), CLASSES_MAX)?;
        }
        self.vaults.retain(|name, _| vaults.contains_key(name));
        self.again.retain(|(_, name)| vaults.contains_key(name));
        for (name, settings) in vaults {
            if let Some(entry) = self.vaults.get_mut(&name) {
                entry.vault.set(settings, now);
                self.serve(&name, now);
            } else {
                self.vaults.insert(name, Entry { vault: Vault::new(settings, now), again_at: None });
            }
        }
        Ok(())
    }

    pub(super) fn vault(&mut self, name: &str) -> Option<&mut Vault<Waiter>> {
        self.vaults.get_mut(name).map(|entry| &mut entry.vault)
    }

    /// Lets a request wait at the best of the keys that were not `tried`.
    pub(super) fn wait(
        &mut self,
        now: Instant,
        peer: &Arc<str>,
        targets: &[Target],
        tried: &mut [bool],
        deadline: Instant,
    ) -> Result<(usize, Place, oneshot::Receiver<Turn>), Unfit> {
        let mut full = None;
        loop {
            let (nth, forecast) = match self.choose(now, peer, targets, tried, deadline) {
                Ok(chosen) => chosen,
                Err(unfit) => return Err(full.unwrap_or(unfit)),
            };
            let target = targets.get(nth).ok_or(Unfit::NoVault)?;
            let (answer, turn) = oneshot::channel();
            let waiter = Waiter { answer, movable: targets.len() > 1 };
            let vault = self.vault(&target.vault).ok_or(Unfit::NoVault)?;
            match vault.wait(&target.class, peer, deadline, target.cost, waiter).ok_or(Unfit::NoVault)? {
                Ok(place) => {
                    self.serve(&target.vault, now);
                    return Ok((nth, place, turn));
                }
                Err(_) => {
                    full = Some(Unfit::Full { vault: Arc::clone(&target.vault), forecast });
                    if let Some(tried) = tried.get_mut(nth) {
                        *tried = true;
                    }
                }
            }
        }
    }

    fn choose(
        &mut self,
        now: Instant,
        peer: &str,
        targets: &[Target],
        tried: &[bool],
        deadline: Instant,
    ) -> Result<(usize, Forecast), Unfit> {
        let mut candidates: Vec<Candidate> = targets
            .iter()
            .enumerate()
            .filter(|(nth, _)| tried.get(*nth) == Some(&false))
            .filter_map(|(nth, target)| self.candidate(now, peer, nth, target, deadline))
            .collect();
        let first =
            candidates.iter().min_by_key(|candidate| candidate.forecast.done_at).ok_or(Unfit::NoVault)?;
        let first = (first.nth, first.forecast);
        candidates.retain(|candidate| candidate.forecast.done_at <= deadline);
        if candidates.is_empty() {
            let vault =
                targets.get(first.0).map_or_else(|| Arc::from(""), |target| Arc::clone(&target.vault));
            return Err(Unfit::NotInTime { vault, forecast: first.1 });
        }
        // A vault that may be back is found by those who can afford to be wrong.
        if let Some(probe) = candidates.iter().find(|candidate| candidate.probe) {
            return Ok((probe.nth, probe.forecast));
        }
        let well: Vec<&Candidate> = candidates.iter().filter(|candidate| candidate.well).collect();
        let healths: Vec<Health> = well.iter().map(|candidate| candidate.health).collect();
        let random = if healths.len() > 1 { self.random.next() } else { 0.0 };
        let chosen = choose(&healths, random).and_then(|n| well.get(n));
        Ok(chosen.map_or(first, |candidate| (candidate.nth, candidate.forecast)))
    }

    fn candidate(
        &mut self,
        now: Instant,
        peer: &str,
        nth: usize,
        target: &Target,
        deadline: Instant,
    ) -> Option<Candidate> {
        let vault = self.vault(&target.vault)?;
        let forecast = vault.outlook(now, &target.class, peer, deadline, target.cost)?.forecast(now);
        let resting = vault.rests(&target.key, now);
        let due = vault.breaker().allows(now) == Allowance::Probe;
        let time_to_fail = deadline.saturating_duration_since(now) > vault.attempt() * 2;
        let takes = forecast.done_at.saturating_duration_since(now);
        Some(Candidate {
            nth,
            forecast,
            health: Health { success: vault.success(), takes },
            well: vault.breaker().is_closed() && !resting,
            probe: due && time_to_fail && !resting,
        })
    }

    /// Gives those their turn who may call now, and notes when to look again.
    pub(super) fn serve(&mut self, name: &Arc<str>, now: Instant) {
        let Some(entry) = self.vaults.get_mut(name) else { return };
        let again_at = loop {
            let turns = entry.vault.turns(now);
            for waiter in turns.late {
                // Whoever is gone needs no answer.
                let _ = waiter.answer.send(Turn::Late);
            }
            let mut unused = false;
            for (waiter, leave) in turns.granted {
                if let Err(Turn::Granted(leave)) = waiter.answer.send(Turn::Granted(leave)) {
                    entry.vault.returned(now, &leave);
                    unused = true;
                }
            }
            if !unused {
                break turns.again_at;
            }
        };
        if let Some(before) = entry.again_at.take() {
            self.again.remove(&(before, Arc::clone(name)));
        }
        if let Some(at) = again_at {
            entry.again_at = Some(at);
            self.again.insert((at, Arc::clone(name)));
        }
    }

    /// The breaker of this vault opened: those who have another key go there.
    pub(super) fn evacuate(&mut self, name: &str) {
        let Some(vault) = self.vault(name) else { return };
        for waiter in vault.leave(|waiter: &Waiter| waiter.movable) {
            let _ = waiter.answer.send(Turn::Elsewhere);
        }
    }

    /// When the next vault is to be looked at.
    pub(super) fn again_at(&self) -> Option<Instant> {
        self.again.first().map(|(at, _)| *at)
    }

    /// Looks at all vaults that are due.
    pub(super) fn look_again(&mut self, now: Instant) {
        while self.again_at().is_some_and(|at| at <= now) {
            let Some((_, name)) = self.again.pop_first() else { return };
            if let Some(entry) = self.vaults.get_mut(&name) {
                entry.again_at = None;
            }
            self.serve(&name, now);
        }
    }
}

impl Unfit {
    /// Whether the vault's quota is the reason.
    pub(super) fn is_quota(&self) -> bool {
        match self {
            Self::NoVault => false,
            Self::NotInTime { forecast, .. } => forecast.limit == Limit::Budget,
            Self::Full { .. } => true,
        }
    }
}

fn within(what: &str, found: usize, limit: usize) -> Result<(), TooMany> {
    if found <= limit { Ok(()) } else { Err(TooMany { what: what.to_owned(), found, limit }) }
}
