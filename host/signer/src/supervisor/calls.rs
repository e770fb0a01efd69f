//! Calls to the serving process, whichever it is by then: repeated once if it ended meanwhile, and never signed by
//! another key than was described.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prokura_plugin::limits::OPEN_KEYS_MAX;
use prokura_plugin::{Digest, KeySpec, PluginName, PublicKey};
use tokio::time::Instant;

use super::{Patience, Supervisor};
use crate::error::Error;
use crate::grpc::{DESCRIBE_KEY, Serving};
use crate::limits::HEALTH_DEADLINE;
use crate::plugin::KeyReference;
use crate::retry::with_retries;
use crate::sign::{DigestSignature, KeyDescription};

/// A signature that is wanted.
pub(crate) struct Order<'a> {
    pub(crate) key: &'a KeyReference,
    pub(crate) spec: KeySpec,
    pub(crate) digest: &'a Digest,
    /// What was hashed, for a plugin that asks for it (SPEC TBS-3).
    pub(crate) to_be_signed: Option<&'a [u8]>,
    /// The key as it was described to the caller. `None`: the one that was described last.
    pub(crate) described: Option<&'a PublicKey>,
    /// It was lost with a process already.
    pub(crate) is_repetition: bool,
}

/// What was last described, by key, and in which generation; at most as many as a plugin keeps open.
#[derive(Default)]
pub(super) struct KnownKeys(Mutex<HashMap<KeyReference, Known>>);

#[derive(Clone)]
struct Known {
    generation: u64,
    public_key: PublicKey,
    /// SPEC ERR-7: nobody is asked twice for a PIN or a touch.
    may_repeat: bool,
}

impl KnownKeys {
    fn get(&self, key: &KeyReference) -> Option<Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn set(&self, key: &KeyReference, known: Known) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = all.get_mut(key) {
            *entry = known;
            return;
        }
        if all.len() >= OPEN_KEYS_MAX {
            // Whichever: a key that is not known is described once more.
            all.clear();
        }
        all.insert(key.clone(), known);
    }
}

impl Supervisor {
    /// Describes a key, repeated where the plugin asks for it and once if its process ended.
    pub(crate) async fn describe_key(
        &self,
        key: &KeyReference,
        deadline: Instant,
    ) -> Result<KeyDescription, Error> {
        let is_repeated = AtomicBool::new(false);
        let attempt = |left| {
            let until = Instant::now() + left;
            self.call(key, until, &is_repeated, move |serving, left| async move {
                self.describe(&serving, key, left).await
            })
        };
        with_retries(deadline, attempt).await
    }

    /// Signs, repeated as [`Supervisor::describe_key`] is unless a person would be asked twice. A process that has not
    /// described the key yet does so first: it must be the same key.
    pub(crate) async fn sign_digest(
        &self,
        order: &Order<'_>,
        deadline: Instant,
    ) -> Result<DigestSignature, Error> {
        let may_repeat = self.may_repeat(order.key, deadline).await?;
        let is_repeated = AtomicBool::new(!may_repeat || order.is_repetition);
        let attempt = |left| {
            let until = Instant::now() + left;
            self.call(order.key, until, &is_repeated, move |serving, left| async move {
                let until = Instant::now() + left;
                self.check_same_key(&serving, order.key, order.described, left).await?;
                let left = until.saturating_duration_since(Instant::now());
                let Order { key, spec, digest, to_be_signed, .. } = *order;
                let signed = serving.sign_digest(key, spec, digest, to_be_signed, left).await;
                let is_unanswered =
                    |error: &Error| matches!(error, Error::TooSlow { .. }) || serving.is_lost_with(error);
                if !signed.as_ref().is_err_and(is_unanswered) {
                    serving.answered(order.key);
                }
                signed
            })
        };
        if may_repeat {
            with_retries(deadline, attempt).await
        } else {
            attempt(deadline.saturating_duration_since(Instant::now())).await
        }
    }

    /// Whether a signature may be asked for twice (SPEC ERR-7); a key that is not known is described for it.
    pub(super) async fn may_repeat(&self, key: &KeyReference, deadline: Instant) -> Result<bool, Error> {
        match self.known.get(key) {
            Some(known) => Ok(known.may_repeat),
            None => Ok(self.describe_key(key, deadline).await?.details.may_repeat()),
        }
    }

    /// One call; another if the process ended during it and none was repeated before. If that other gets no answer in
    /// the time that is left, the error is how the process ended.
    async fn call<T, F>(
        &self,
        key: &KeyReference,
        until: Instant,
        is_repeated: &AtomicBool,
        call: impl Fn(Arc<Serving>, Duration) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut ended = None;
        loop {
            let serving = match self.serving(until, Patience::Several).await {
                Err(late @ Error::TooSlow { .. }) => return Err(ended.unwrap_or(late)),
                serving => serving?,
            };
            let left = until.saturating_duration_since(Instant::now());
            let error = match call(Arc::clone(&serving), left).await {
                Err(error) => error,
                answer => return answer,
            };
            if matches!(error, Error::TooSlow { .. }) {
                suspect(&serving, key, &error);
                return Err(ended.unwrap_or(error));
            }
            if !serving.is_lost_with(&error) || is_repeated.swap(true, Ordering::Relaxed) {
                return Err(error);
            }
            tracing::warn!(generation = serving.generation(), %error, "the call is repeated in another process");
            ended = Some(error);
        }
    }

    async fn describe(
        &self,
        serving: &Serving,
        key: &KeyReference,
        limit: Duration,
    ) -> Result<KeyDescription, Error> {
        let description = serving.describe_key(key, limit).await?;
        if let Some(public_key) = description.public_key.clone() {
            let may_repeat = description.details.may_repeat();
            self.known.set(key, Known { generation: serving.generation(), public_key, may_repeat });
        }
        Ok(description)
    }

    /// Has the process describe the key unless it did, and compares.
    pub(super) async fn check_same_key(
        &self,
        serving: &Serving,
        key: &KeyReference,
        described: Option<&PublicKey>,
        limit: Duration,
    ) -> Result<(), Error> {
        let known = self.known.get(key);
        let is_current = known.as_ref().is_some_and(|known| {
            known.generation == serving.generation()
                && described.is_none_or(|described| *described == known.public_key)
        });
        if is_current {
            return Ok(());
        }
        let now = self.describe(serving, key, limit).await?;
        let before = described.cloned().or_else(|| known.map(|known| known.public_key));
        match (before, now.public_key) {
            (Some(before), Some(now)) if before != now => Err(changed(serving.plugin(), key, &before, &now)),
            _ => Ok(()),
        }
    }
}

fn changed(plugin: &PluginName, key: &KeyReference, before: &PublicKey, now: &PublicKey) -> Error {
    Error::KeyChanged {
        plugin: plugin.clone(),
        key_id: key.key_id().to_string(),
        described_by: DESCRIBE_KEY,
        signed_by: "its repetition in another process",
        described: before.spec(),
        signed: now.spec(),
    }
}

/// A call was not answered in time. The process is replaced if it leaves too many so, or does not answer anything.
pub(super) fn suspect(serving: &Arc<Serving>, key: &KeyReference, error: &Error) {
    if serving.hung(key) {
        serving.give_up(error.clone());
        return;
    }
    let (serving, error) = (Arc::downgrade(serving), error.clone());
    tokio::spawn(async move {
        // Not kept alive by this: whoever stops the plugin does not wait for it.
        let Some(health) = serving.upgrade().and_then(|serving| serving.health_check()) else { return };
        if tokio::time::timeout(HEALTH_DEADLINE, health).await.is_err()
            && let Some(serving) = serving.upgrade()
        {
            serving.give_up(error);
        }
    });
}
