//! The keys of one issuer, kept and refreshed.
//!
//! - Fresh keys are used without asking. Once stale, the next request has them refreshed and waits for it a moment; if
//!   that fails, the old ones are used for up to [`KEYS_OLD_MAX`].
//! - An unknown `kid` refreshes at most once in [`KEYS_PAUSE`], however many such tokens come.
//! - One fetch runs at a time; all who need it wait for the same. It goes on if they leave.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::algorithm::{Algorithm, IssuerKey};
use super::fetch::{Fetched, Source};
use super::issuer::{IssuerConfig, IssuerError};
use crate::limits::{KEYS_OLD_MAX, KEYS_PAUSE, KEYS_RETRY_PAUSE, KEYS_STALE_WAIT};

/// The cache. Shared, so that a fetch outlives the request that began it.
pub(crate) struct Keys(Arc<Cache>);

struct Cache {
    source: Source,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    attempt: Option<Instant>,
    /// Why the last attempt failed.
    failure: Option<String>,
    running: Option<watch::Receiver<()>>,
}

struct Held {
    keys: Vec<Arc<IssuerKey>>,
    fetched: Instant,
    fresh_for: Duration,
}

/// Why there is no key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoKey {
    /// The issuer was asked, and has no such key.
    Unknown {
        /// How many keys it has.
        keys: usize,
    },
    /// It may have one, but was asked a moment ago; it will be asked again after this time.
    Later(Duration),
    /// Its keys cannot be fetched, and there are none from before.
    Unavailable(String),
}

impl Keys {
    pub(crate) fn new(config: IssuerConfig) -> Result<Self, IssuerError> {
        let cache = Cache { source: Source::new(config)?, state: Mutex::default() };
        Ok(Self(Arc::new(cache)))
    }

    /// The same cache for a configuration that fetches alike.
    pub(crate) fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// The key with this id, or, without one, the only key that fits the algorithm. Its type fits the algorithm.
    pub(crate) async fn find(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Arc<IssuerKey>, NoKey> {
        let wanted = (kid, algorithm);
        let first = self.0.look(wanted);
        let wait = match &first {
            Look::Fresh(key) => return Ok(Arc::clone(key)),
            Look::Stale(_) => KEYS_STALE_WAIT,
            Look::Missing => Duration::MAX,
        };
        let asked = self.refresh();
        if let Some(mut running) = asked.clone() {
            // The sender says nothing: it is dropped when the fetch is over.
            let _ = timeout(wait, running.changed()).await;
        }
        match (self.0.look(wanted), first) {
            (Look::Fresh(key) | Look::Stale(key), _) => Ok(key),
            (Look::Missing, _) => Err(self.0.lock().no_key(asked.is_some())),
        }
    }

    /// Joins the fetch that runs, or begins one unless the last was a moment ago.
    fn refresh(&self) -> Option<watch::Receiver<()>> {
        let mut state = self.0.lock();
        if let Some(running) = state.running.clone().filter(|running| running.has_changed().is_ok()) {
            return Some(running);
        }
        if !state.pause().is_zero() {
            return None;
        }
        let (done, running) = watch::channel(());
        state.attempt = Some(Instant::now());
        state.running = Some(running.clone());
        drop(state);
        let cache = Arc::clone(&self.0);
        tokio::spawn(async move {
            let outcome = cache.source.fetch().await;
            cache.lock().finish(outcome);
            drop(done);
        });
        Some(running)
    }
}

enum Look {
    Fresh(Arc<IssuerKey>),
    Stale(Arc<IssuerKey>),
    Missing,
}

impl Cache {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, (kid, algorithm): (Option<&str>, Algorithm)) -> Look {
        let state = self.lock();
        let Some(held) = state.held.as_ref().filter(|held| held.fetched.elapsed() < KEYS_OLD_MAX) else {
            return Look::Missing;
        };
        let mut fitting = held.keys.iter().filter(|key| key.fits(algorithm));
        let key = match kid {
            Some(kid) => fitting.find(|key| key.kid() == Some(kid)),
            None => fitting.next().filter(|_| fitting.next().is_none()),
        };
        match key {
            Some(key) if held.fetched.elapsed() < held.fresh_for => Look::Fresh(Arc::clone(key)),
            Some(key) => Look::Stale(Arc::clone(key)),
            None => Look::Missing,
        }
    }
}

impl State {
    fn finish(&mut self, outcome: Result<Fetched, String>) {
        self.running = None;
        match outcome {
            Ok(Fetched { keys, fresh_for }) => {
                let keys = keys.into_iter().map(Arc::new).collect();
                self.held = Some(Held { keys, fetched: Instant::now(), fresh_for });
                self.failure = None;
            }
            Err(reason) => {
                tracing::warn!(%reason, "the keys of an issuer could not be fetched");
                self.failure = Some(reason);
            }
        }
    }

    /// Until the issuer may be asked again.
    fn pause(&self) -> Duration {
        let pause = if self.failure.is_some() { KEYS_RETRY_PAUSE } else { KEYS_PAUSE };
        self.attempt.map_or(Duration::ZERO, |attempt| pause.saturating_sub(attempt.elapsed()))
    }

    fn no_key(&self, asked: bool) -> NoKey {
        match (&self.failure, &self.held) {
            (Some(reason), _) => NoKey::Unavailable(reason.clone()),
            (None, Some(held)) if asked => NoKey::Unknown { keys: held.keys.len() },
            _ => NoKey::Later(self.pause()),
        }
    }
}
