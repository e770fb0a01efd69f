//! Keeps one serving process per plugin: started when it is needed, once for all who wait for it, and replaced when it
//! has ended or hangs.
//!
//! Processes are counted: the first is generation 1. Whoever finds the process gone asks for the next generation; the
//! start goes on if the one who asked for it first goes away. A process that ends again and again before it was of use
//! is started with growing pauses and then given up for a while ([`crashes`]).

mod batches;
mod calls;
mod crashes;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::child::Program;
use crate::error::Error;
use crate::grpc::{SERVE, Serving};
use crate::interaction::Interaction;
use calls::KnownKeys;
use crashes::Crashes;

pub(crate) use calls::Order;

/// How a plugin's serving process has fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Supervision {
    /// How many processes have become ready, the running one included: its generation. 0 if none was started.
    pub generation: u64,
    /// How many of them replaced one that had ended or hung.
    pub restarts: u64,
    /// The running process, as far as is known.
    pub process_id: Option<u32>,
}

/// How much is tried to have a process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// One start; there is another way to the plugin.
    One,
    /// As many as are reasonable.
    Several,
}

/// See the module. Dropping it stops the process in the background, and a start that is under way at once.
pub(crate) struct Supervisor {
    shared: Arc<Shared>,
    known: KnownKeys,
}

struct Shared {
    program: Arc<Program>,
    /// How long a process may take to become ready.
    ready: Duration,
    /// Whom the plugin may ask.
    person: Option<Arc<dyn Interaction>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    serving: Option<Arc<Serving>>,
    starting: Option<Starting>,
    crashes: Crashes,
    generation: u64,
}

type Outcome = Option<Result<Arc<Serving>, Error>>;

struct Starting {
    outcome: watch::Receiver<Outcome>,
    task: AbortHandle,
}

impl Supervisor {
    pub(crate) fn new(program: Arc<Program>, ready: Duration, person: Option<Arc<dyn Interaction>>) -> Self {
        let shared = Arc::new(Shared { program, ready, person, state: Mutex::default() });
        Self { shared, known: KnownKeys::default() }
    }

    pub(crate) fn report(&self) -> Supervision {
        let state = self.shared.locked();
        let serving = state.serving.as_ref().filter(|serving| serving.is_alive());
        Supervision {
            generation: state.generation,
            restarts: state.generation.saturating_sub(1),
            process_id: serving.and_then(|serving| serving.process_id()),
        }
    }

    /// The process, started now if there is none or it is of no more use.
    ///
    /// # Errors
    /// Why it did not start, the same for all who waited; [`Error::GivenUp`] if it ended too often; `TooSlow` at the
    /// deadline.
    pub(crate) async fn serving(&self, deadline: Instant, patience: Patience) -> Result<Arc<Serving>, Error> {
        let mut outcome = {
            let mut state = self.shared.locked();
            if let Some(serving) = state.usable() {
                return Ok(serving);
            }
            match &state.starting {
                Some(starting) => starting.outcome.clone(),
                None => self.shared.begin_start(&mut state, patience),
            }
        };
        let too_slow = || {
            let plugin = self.shared.program.executable.name().clone();
            Error::TooSlow { plugin, call: SERVE, limit: self.shared.ready }
        };
        let waited = tokio::time::timeout_at(deadline, outcome.wait_for(Option::is_some)).await;
        match waited.map_err(|_| too_slow())?.as_deref() {
            Ok(Some(started)) => started.clone(),
            // The start was given up with the runtime.
            _ => Err(too_slow()),
        }
    }

    /// Stops the process and waits for its end.
    pub(crate) async fn stop(&self) {
        let (serving, starting) = {
            let mut state = self.shared.locked();
            (state.serving.take(), state.starting.take())
        };
        if let Some(starting) = starting {
            starting.task.abort();
        }
        // Whoever else still uses it has it stopped by letting go of it.
        if let Some(serving) = serving.and_then(Arc::into_inner) {
            serving.stop().await;
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if let Some(starting) = self.shared.locked().starting.take() {
            starting.task.abort();
        }
    }
}

impl Shared {
    fn locked(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_start(self: &Arc<Self>, state: &mut State, patience: Patience) -> watch::Receiver<Outcome> {
        let (sender, outcome) = watch::channel(None);
        let shared = Arc::clone(self);
        let task = tokio::spawn(async move {
            let started = shared.start(patience).await;
            let mut state = shared.locked();
            state.starting = None;
            state.serving = started.as_ref().ok().cloned();
            drop(state);
            sender.send_replace(Some(started));
        });
        state.starting = Some(Starting { outcome: outcome.clone(), task: task.abort_handle() });
        outcome
    }

    /// Starts until a process is ready, or no further start helps.
    async fn start(&self, patience: Patience) -> Result<Arc<Serving>, Error> {
        let name = self.program.executable.name();
        loop {
            let pause = self.locked().crashes.pause_before_start(name, Instant::now())?;
            tokio::time::sleep(pause).await;
            let error = match Serving::start(&self.program, self.ready).await {
                Ok(mut serving) => {
                    if let Some(person) = &self.person {
                        serving.introduce(Arc::clone(person)).await;
                    }
                    let mut state = self.locked();
                    state.generation += 1;
                    serving.set_generation(state.generation);
                    tracing::debug!(plugin = %name, generation = state.generation, "the plugin serves");
                    return Ok(Arc::new(serving));
                }
                Err(error) => error,
            };
            // Only a process that died may fare better another time: the others said or showed what is wrong.
            if !matches!(error, Error::Died { .. }) {
                return Err(error);
            }
            tracing::warn!(plugin = %name, %error, "the plugin ended while it started");
            self.locked().crashes.add(error.clone(), Instant::now());
            if patience == Patience::One {
                return Err(error);
            }
        }
    }
}

impl State {
    /// The process, if it can be used. One that has ended or is to be replaced is let go and judged.
    fn usable(&mut self) -> Option<Arc<Serving>> {
        let serving = self.serving.take()?;
        if serving.is_alive() {
            return Some(Arc::clone(self.serving.insert(serving)));
        }
        let end = serving.end();
        tracing::warn!(generation = serving.generation(), %end, "the plugin's process is replaced");
        if serving.was_of_use() {
            self.crashes.clear();
        } else {
            self.crashes.add(end, Instant::now());
        }
        None
    }
}
