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
    pub(crate) fn new(open_key: Box<dyn OpenKey>) -> Arc<Self> {
        Arc::new(Self { open_key, entries: Mutex::default() })
    }

    /// Closes a key whatever its state: what the vault holds of it has changed.
    pub(crate) fn forget(&self, request: &KeyRequest) {
        self.locked().by_name.remove(&name(request));
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::certificate::CertificateChain;
    use crate::key::{Digest, KeySpec};
    use crate::public_key::PublicKey;
    use crate::request::Deadline;
    use crate::signature::RawSignature;

    struct Inert(PublicKey);

    impl SigningKey for Inert {
        fn public_key(&self) -> &PublicKey {
            &self.0
        }

        fn certificate_chain(&self) -> Result<CertificateChain, Error> {
            Ok(CertificateChain::default())
        }

        fn sign_digest(&self, _: &Digest, _: Deadline) -> Result<RawSignature, Error> {
            Err(Error::internal("inert"))
        }
    }

    /// Keys named `bad*` do not exist, one named `panic` panics; `opened` counts attempts.
    fn keys(opened: &Arc<AtomicUsize>) -> Arc<OpenKeys> {
        let opened = Arc::clone(opened);
        OpenKeys::new(Box::new(move |request: &KeyRequest| -> Result<Box<dyn SigningKey>, Error> {
            opened.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(30));
            assert_ne!(request.key_id().as_str(), "panic");
            if request.key_id().as_str().starts_with("bad") {
                return Err(Error::access_denied("wrong PIN"));
            }
            let mut point = [7; 65];
            point[0] = 4;
            Ok(Box::new(Inert(PublicKey::from_ec_point(KeySpec::Ec256, &point).unwrap())))
        }))
    }

    fn request(id: &str, pin: &str) -> KeyRequest {
        let config = [("pin".to_owned(), pin.to_owned())].into_iter().collect();
        KeyRequest::new(id, config, Deadline::NONE).unwrap()
    }

    async fn open_many(keys: &Arc<OpenKeys>, id: &str) -> Vec<Result<OpenedKey, Error>> {
        let calls: Vec<_> = (0..16)
            .map(|_| {
                let (keys, request) = (Arc::clone(keys), request(id, "1"));
                tokio::spawn(async move { keys.open(&request).await })
            })
            .collect();
        let mut outcomes = Vec::new();
        for call in calls {
            outcomes.push(call.await.unwrap());
        }
        outcomes
    }

    #[tokio::test]
    async fn a_key_is_opened_once_for_all_that_wait() {
        let opened = Arc::new(AtomicUsize::new(0));
        let keys = keys(&opened);
        assert!(open_many(&keys, "good").await.iter().all(Result::is_ok));
        assert_eq!(opened.load(Ordering::SeqCst), 1);
        keys.open(&request("good", "2")).await.unwrap();
        assert_eq!(opened.load(Ordering::SeqCst), 2, "another plugin config is another key");
    }

    #[tokio::test]
    async fn a_failure_is_one_attempt_for_all_that_wait_and_is_not_kept() {
        let opened = Arc::new(AtomicUsize::new(0));
        let keys = keys(&opened);
        for outcome in open_many(&keys, "bad").await {
            assert_eq!(outcome.err().map(|e| e.message).as_deref(), Some("wrong PIN"));
        }
        assert_eq!(opened.load(Ordering::SeqCst), 1);
        assert!(keys.open(&request("bad", "1")).await.is_err());
        assert_eq!(opened.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_panic_while_opening_reaches_the_caller_as_an_error() {
        let keys = keys(&Arc::default());
        let error = keys.open(&request("panic", "1")).await.err().unwrap();
        assert!(error.message.contains("panicked"), "{error}");
    }

    #[tokio::test]
    async fn a_closed_key_is_opened_again() {
        let opened = Arc::new(AtomicUsize::new(0));
        let keys = keys(&opened);
        let first = keys.open(&request("good", "1")).await.unwrap();
        keys.close(&request("good", "1"), &first);
        let second = keys.open(&request("good", "1")).await.unwrap();
        keys.close(&request("good", "1"), &first); // a late report about the first must not close the second
        let third = keys.open(&request("good", "1")).await.unwrap();
        assert!(Arc::ptr_eq(&second, &third) && !Arc::ptr_eq(&first, &second));
        assert_eq!(opened.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn the_least_recently_used_key_makes_room() {
        let opened = Arc::new(AtomicUsize::new(0));
        let keys = keys(&opened);
        let all: Vec<_> = (0..OPEN_KEYS_MAX).map(|n| request(&format!("k{n}"), "1")).collect();
        let calls: Vec<_> = all
            .iter()
            .cloned()
            .map(|r| {
                let keys = Arc::clone(&keys);
                tokio::spawn(async move { keys.open(&r).await.is_ok() })
            })
            .collect();
        for call in calls {
            assert!(call.await.unwrap());
        }
        keys.open(&all[0]).await.unwrap();
        keys.open(&request("one more", "1")).await.unwrap();
        assert_eq!(keys.locked().by_name.len(), OPEN_KEYS_MAX);
        let before = opened.load(Ordering::SeqCst);
        keys.open(&all[0]).await.unwrap();
        assert_eq!(opened.load(Ordering::SeqCst), before, "it was used lately");
        keys.open(&all[1]).await.unwrap();
        assert_eq!(opened.load(Ordering::SeqCst), before + 1, "it made room");
    }
}
