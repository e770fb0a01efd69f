//! Keys that are open already. A key is opened by one caller at a time, and everybody waiting gets its outcome.
//!
//! That a failure is shared matters as much as that success is: sixteen callers with a wrong PIN must not be sixteen
//! attempts, or the token locks itself.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::error::Error;
use crate::limits::OPEN_KEYS_MAX;
use crate::message::PluginConfig;
use crate::request::{KeyId, KeyRequest};
use crate::signing_key::{OpenKey, SigningKey};
use crate::stdio::panicked;

/// An opened key, shared by all calls that use it.
pub(crate) type OpenedKey = Arc<dyn SigningKey>;

type Name = (KeyId, PluginConfig);
type Outcome = Option<Result<OpenedKey, Error>>;

/// Keys by id and plugin config, at most [`OPEN_KEYS_MAX`]; the least recently used is closed first.
pub(crate) struct OpenKeys {
    open_key: Box<dyn OpenKey>,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    by_name: HashMap<Name, Entry>,
    uses: u64,
}

struct Entry {
    outcome: watch::Receiver<Outcome>,
    last_use: u64,
}

impl OpenKeys {
    pub(crate) fn new(open_key: impl OpenKey) -> Arc<Self> {
        Arc::new(Self { open_key: Box::new(open_key), entries: Mutex::default() })
    }

    /// The key of `request`, opened now if it is not open. Opening goes on if the caller gives up.
    ///
    /// # Errors
    /// What opening said, to all that waited for it; the next caller tries again.
    pub(crate) async fn open(self: &Arc<Self>, request: &KeyRequest) -> Result<OpenedKey, Error> {
        let mut outcome = self.outcome_of(request);
        let known = outcome.wait_for(Option::is_some).await;
        match known.as_deref() {
            Ok(Some(result)) => result.clone(),
            _ => Err(panicked()),
        }
    }

    /// Closes a key that failed, so that the next call logs in and looks for it again.
    pub(crate) fn close(&self, request: &KeyRequest, failed: &OpenedKey) {
        let mut entries = self.locked();
        let is_the_same = entries.by_name.get(&name(request)).is_some_and(
            |entry| matches!(&*entry.outcome.borrow(), Some(Ok(key)) if Arc::ptr_eq(key, failed)),
        );
        if is_the_same {
            entries.by_name.remove(&name(request));
        }
    }

    fn outcome_of(self: &Arc<Self>, request: &KeyRequest) -> watch::Receiver<Outcome> {
        let mut entries = self.locked();
        entries.uses += 1;
        let now = entries.uses;
        if let Some(entry) = entries.by_name.get_mut(&name(request)) {
            entry.last_use = now;
            return entry.outcome.clone();
        }
        entries.make_room();
        let (sender, outcome) = watch::channel(None);
        entries.by_name.insert(name(request), Entry { outcome: outcome.clone(), last_use: now });
        drop(entries);
        self.start_opening(request.clone(), sender);
        outcome
    }

    fn start_opening(self: &Arc<Self>, request: KeyRequest, sender: watch::Sender<Outcome>) {
        let keys = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let opened = catch_unwind(AssertUnwindSafe(|| keys.open_key.open_key(&request)));
            let result = opened.unwrap_or_else(|_| Err(panicked())).map(Arc::from);
            if result.is_err() {
                keys.locked().by_name.remove(&name(&request));
            }
            sender.send_replace(Some(result));
        });
    }

    fn locked(&self) -> MutexGuard<'_, Entries> {
        // Nothing panics while the lock is held.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn make_room(&mut self) {
        if self.by_name.len() < OPEN_KEYS_MAX {
            return;
        }
        let oldest = self.by_name.iter().min_by_key(|(_, e)| e.last_use).map(|(name, _)| name.clone());
        if let Some(oldest) = oldest {
            self.by_name.remove(&oldest);
        }
    }
}

fn name(request: &KeyRequest) -> Name {
    (request.key_id().clone(), request.plugin_config().clone())
}
