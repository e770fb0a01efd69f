//! The threads of an open log: one gives entries their places and makes them durable, one publishes.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::checkpoint::Checkpoint;
use super::journal::{Journal, JournalError};
use super::key::LogKey;
use super::log::AuditError;
use super::proof;
use super::publish::Publisher;
use super::tree::{Edge, Hash, leaf_hash};
use crate::limits::{
    AUDIT_COMMIT_BYTES_MAX, AUDIT_COMMIT_ENTRIES_MAX, AUDIT_ENTRY_BYTES_MAX, AUDIT_UNPUBLISHED_MAX,
};

/// An entry that wants its place.
pub(super) struct Request {
    pub(super) entry: Vec<u8>,
    /// Whether it is to be proven.
    pub(super) prove: bool,
    pub(super) reply: oneshot::Sender<Result<Placed, AuditError>>,
}

/// A durable entry.
pub(super) struct Placed {
    pub(super) index: u64,
    pub(super) entry: Vec<u8>,
    /// From the leaf's sibling upwards; empty if none was wanted.
    pub(super) proof: Vec<Hash>,
    pub(super) checkpoint: String,
}

/// How far the two threads are.
#[derive(Debug, Default)]
pub(super) struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    committed: u64,
    published: u64,
    closing: bool,
    failed: Option<String>,
}

impl Progress {
    pub(super) fn new(size: u64) -> Self {
        let state = State { committed: size, published: size, ..State::default() };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Entries that are durable, and those that are published.
    pub(super) fn sizes(&self) -> (u64, u64) {
        let state = self.lock();
        (state.committed, state.published)
    }

    /// Why nothing more is accepted, if so.
    pub(super) fn failure(&self) -> Option<String> {
        self.lock().failed.clone()
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// The first failure stays.
    fn fail(&self, why: &str) {
        self.update(|state| {
            state.failed.get_or_insert_with(|| why.to_owned());
        });
    }

    /// Waits while the tiles are too far behind.
    fn wait_for_tiles(&self) -> Option<String> {
        let far = |state: &mut State| {
            state.failed.is_none() && state.committed.saturating_sub(state.published) > AUDIT_UNPUBLISHED_MAX
        };
        let state = self.changed.wait_while(self.lock(), far);
        state.unwrap_or_else(PoisonError::into_inner).failed.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the other thread that this one ends, however it does.
struct Ending(Arc<Progress>);

impl Drop for Ending {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("one of its threads panicked");
        }
        self.0.update(|state| state.closing = true);
    }
}

/// Gives entries their places.
pub(super) struct Sequencer {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) key: Arc<LogKey>,
    pub(super) edge: Edge,
    pub(super) progress: Arc<Progress>,
}

impl Sequencer {
    /// Until nobody can ask any more. What gathered while one commit was flushed is the next.
    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let ending = Ending(Arc::clone(&self.progress));
        while let Some(first) = requests.blocking_recv() {
            let mut bytes = first.entry.len();
            let mut batch = vec![first];
            while batch.len() < AUDIT_COMMIT_ENTRIES_MAX
                && bytes + AUDIT_ENTRY_BYTES_MAX < AUDIT_COMMIT_BYTES_MAX
            {
                let Ok(next) = requests.try_recv() else { break };
                bytes += next.entry.len();
                batch.push(next);
            }
            self.commit(batch);
        }
        drop(ending);
    }

    fn commit(&mut self, batch: Vec<Request>) {
        if let Some(why) = self.progress.wait_for_tiles() {
            refuse(batch, &why);
            return;
        }
        let mut entries = Vec::with_capacity(batch.len());
        let mut waiting = Vec::with_capacity(batch.len());
        for Request { entry, prove, reply } in batch {
            entries.push(entry);
            waiting.push((prove, reply));
        }
        match self.place(&entries) {
            Ok(first) => self.answer(first, entries, waiting),
            Err(error) => {
                let why = error.to_string();
                self.progress.fail(&why);
                waiting.into_iter().for_each(|(_, reply)| {
                    let _ = reply.send(Err(AuditError::Refused(why.clone())));
                });
            }
        }
    }

    /// Makes entries durable, and the edge that of the tree with them.
    fn place(&mut self, entries: &[Vec<u8>]) -> Result<u64, JournalError> {
        let first = self.journal.append(entries)?;
        // Entries of other replicas that share the journal come in between.
        while self.edge.size() < first {
            let missing = usize::try_from(first - self.edge.size()).unwrap_or(usize::MAX);
            let others = self.journal.read(self.edge.size())?;
            if others.is_empty() {
                let what = format!("entry {} cannot be read back", self.edge.size());
                return Err(JournalError::Damaged(what));
            }
            others.iter().take(missing).for_each(|entry| {
                self.edge.push(leaf_hash(entry));
            });
        }
        entries.iter().for_each(|entry| {
            self.edge.push(leaf_hash(entry));
        });
        Ok(first)
    }

    fn answer(
        &self,
        first: u64,
        entries: Vec<Vec<u8>>,
        waiting: Vec<(bool, oneshot::Sender<Result<Placed, AuditError>>)>,
    ) {
        let size = self.edge.size();
        let wanted = waiting.iter().any(|(prove, _)| *prove);
        let checkpoint =
            if wanted { Checkpoint::sign(size, &self.edge.root(), &self.key) } else { String::new() };
        for ((index, entry), (prove, reply)) in (first..).zip(entries).zip(waiting) {
            let node = &mut |height, place| self.edge.node(height, place).ok_or(());
            let proof = if prove { proof::inclusion(index, size, node) } else { Ok(Vec::new()) };
            let checkpoint = if prove { checkpoint.clone() } else { String::new() };
            // The last 256 are always in the edge.
            let missing = |()| AuditError::Refused(format!("no proof of entry {index} from memory"));
            // Whoever asked may be gone; the entry stays.
            let _ =
                reply.send(proof.map_err(missing).map(|proof| Placed { index, entry, proof, checkpoint }));
        }
        self.progress.update(|state| state.committed = size);
    }
}

fn refuse(batch: Vec<Request>, why: &str) {
    for request in batch {
        let _ = request.reply.send(Err(AuditError::Closed(why.to_owned())));
    }
}

/// Publishes what is durable, at most once per `interval`, until the sequencer ends and all is published. A failure
/// ends the log.
pub(super) fn publish(mut publisher: Publisher, progress: &Arc<Progress>, interval: Duration) {
    let _ending = Ending(Arc::clone(progress));
    loop {
        let idle = |state: &mut State| {
            state.committed == state.published && !state.closing && state.failed.is_none()
        };
        let state =
            progress.changed.wait_while(progress.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        let (committed, published, done) =
            (state.committed, state.published, state.closing || state.failed.is_some());
        drop(state);
        if committed > published {
            match publisher.advance(committed) {
                Ok(size) => progress.update(|state| state.published = size.min(state.committed)),
                Err(error) => return progress.fail(&error.to_string()),
            }
        } else if done {
            return;
        }
        let rest = |state: &mut State| {
            let far = state.committed.saturating_sub(state.published) > AUDIT_UNPUBLISHED_MAX / 2;
            !far && !state.closing && state.failed.is_none()
        };
        drop(progress.changed.wait_timeout_while(progress.lock(), interval, rest));
    }
}
