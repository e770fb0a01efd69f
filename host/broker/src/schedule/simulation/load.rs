//! Peers that ask whether they are answered or not (open loop), and what became of their requests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::fake::{Fake, FakeError, keys};
use crate::schedule::refusal::Refusal;
use crate::schedule::scheduler::{Scheduler, Times};

/// One peer's habit.
#[derive(Clone, Debug)]
pub(super) struct Habit {
    pub(super) peer: Arc<str>,
    /// Requests a second.
    pub(super) rate: f64,
    /// How long each may take.
    pub(super) patience: Duration,
}

pub(super) type Answer = Result<(Arc<str>, Times), Refusal<FakeError>>;

/// What became of the requests of all peers.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) asked: u32,
    pub(super) served: BTreeMap<Arc<str>, u32>,
    pub(super) refused: BTreeMap<&'static str, u32>,
    pub(super) queued: Vec<Duration>,
    pub(super) retries: u32,
}

impl Outcome {
    pub(super) fn served(&self) -> u32 {
        self.served.values().sum()
    }

    fn add(&mut self, peer: Arc<str>, answer: &Answer) {
        match answer {
            Ok((_, times)) => {
                *self.served.entry(peer).or_default() += 1;
                self.queued.push(times.queue);
                self.retries += times.attempts - 1;
            }
            Err(refusal) => *self.refused.entry(refusal.code()).or_default() += 1,
        }
    }

    /// Of the times in the queue, in milliseconds.
    pub(super) fn quantile(&mut self, share: f64) -> u128 {
        self.queued.sort_unstable();
        let at = (self.queued.len() as f64 * share) as usize;
        self.queued.get(at.min(self.queued.len().saturating_sub(1))).map_or(0, Duration::as_millis)
    }

    /// How far apart the best and the worst served peer are, as a share of the best.
    pub(super) fn unfairness(&self) -> f64 {
        let most = f64::from(self.served.values().copied().max().unwrap_or(0));
        let least = f64::from(self.served.values().copied().min().unwrap_or(0));
        if most > 0.0 { 1.0 - least / most } else { 0.0 }
    }
}

/// One request.
pub(super) async fn ask(
    scheduler: &Scheduler,
    fakes: &[Arc<Fake>],
    peer: &str,
    patience: Duration,
) -> Answer {
    let deadline = tokio::time::Instant::now().into_std() + patience;
    let by_name = |name: &str| fakes.iter().find(|fake| *fake.name == *name).cloned().unwrap();
    scheduler.run(peer, &keys(fakes), deadline, |target| by_name(&target.vault).sign()).await
}

/// Asks for so long and waits for the last answer.
pub(super) async fn load(
    scheduler: &Arc<Scheduler>,
    fakes: &[Arc<Fake>],
    habits: &[Habit],
    seconds: u64,
) -> Outcome {
    const TICK: Duration = Duration::from_millis(10);
    let mut outcome = Outcome::default();
    let mut due = vec![0.0; habits.len()];
    let mut running = JoinSet::new();
    for _ in 0..seconds * 100 {
        for (due, habit) in due.iter_mut().zip(habits) {
            *due += habit.rate * TICK.as_secs_f64();
            while *due >= 1.0 {
                *due -= 1.0;
                outcome.asked += 1;
                let (scheduler, fakes, habit) = (Arc::clone(scheduler), fakes.to_vec(), habit.clone());
                running.spawn(async move {
                    let answer = ask(&scheduler, &fakes, &habit.peer, habit.patience).await;
                    (habit.peer, answer)
                });
            }
        }
        while let Some(done) = running.try_join_next() {
            let (peer, answer) = done.unwrap();
            outcome.add(peer, &answer);
        }
        tokio::time::sleep(TICK).await;
    }
    while let Some(done) = running.join_next().await {
        let (peer, answer) = done.unwrap();
        outcome.add(peer, &answer);
    }
    outcome
}

/// Ten peers that together ask for so many a second; the last more than twice as often as the first.
pub(super) fn ten_peers(rate: f64, patience: Duration) -> Vec<Habit> {
    let parts: f64 = (5..15).map(f64::from).sum();
    (5..15)
        .map(|part| Habit {
            peer: Arc::from(format!("peer {part}")),
            rate: rate * f64::from(part) / parts,
            patience,
        })
        .collect()
}

/// One peer.
pub(super) fn one_peer(rate: f64, patience: Duration) -> Vec<Habit> {
    vec![Habit { peer: Arc::from("one"), rate, patience }]
}
