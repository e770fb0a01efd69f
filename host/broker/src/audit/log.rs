//! An open log: the one writer of its directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::journal::{Journal, JournalError, Segments};
use super::key::{LogKey, Verifier};
use super::publish::Publisher;
use super::reader::{Reader, ReaderError};
use super::receipt::Receipt;
use super::record::{Intent, KeyRecord, Outcome, OutcomeRecord, TooLarge, cut, ending};
use super::recovery::{Recovered, published, recover};
use super::sequence::{Placed, Progress, Request, Sequencer, publish};
use super::store::create_folder;
use crate::limits::{AUDIT_QUEUE_MAX, AUDIT_SEGMENT_BYTES, AUDIT_TEXT_BYTES_MAX};

/// How a log is kept.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Tiles and checkpoint are written at most once in this time.
    pub publish_interval: Duration,
    /// Size of a segment of the journal.
    pub segment_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { publish_interval: Duration::from_secs(1), segment_bytes: AUDIT_SEGMENT_BYTES }
    }
}

/// The audit log of this broker. Ends, with everything published, when it is dropped or closed.
#[derive(Debug)]
pub struct Log {
    requests: mpsc::Sender<Request>,
    progress: Arc<Progress>,
    directory: PathBuf,
    verifier: Verifier,
    threads: Vec<JoinHandle<()>>,
}

/// An intent that is durable. Whoever holds it may sign, once; there is no other way to get one.
#[derive(Debug)]
#[must_use = "the outcome must be recorded too"]
pub struct Recorded {
    index: u64,
    request_id: String,
    key: KeyRecord,
    algorithm: String,
    digest: String,
}

/// Why the log took nothing. Nothing may be signed then, and no signature may be given out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AuditError {
    /// The request holds more than a record may.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// The log could not be written.
    #[error(
        "the audit log cannot be written, so nothing is signed: {0}; the operator must repair that and restart the broker"
    )]
    Refused(String),
    /// The log could not be written before.
    #[error(
        "the audit log is closed since it could not be written: {0}; the operator must repair that and restart the broker"
    )]
    Closed(String),
    /// The log cannot be opened.
    #[error("cannot open the audit log in {}: {reason}", directory.display())]
    Open {
        /// Where it is.
        directory: PathBuf,
        /// Why, and who must act.
        reason: String,
    },
}

impl Recorded {
    /// Where the intent is in the log.
    pub const fn index(&self) -> u64 {
        self.index
    }

    fn outcome(self, outcome: &Outcome) -> OutcomeRecord {
        let (signature, error) = ending(&outcome.ending);
        let mut key = self.key;
        if !outcome.key_version.is_empty() {
            key.version = cut(&outcome.key_version, AUDIT_TEXT_BYTES_MAX);
        }
        OutcomeRecord {
            intent: self.index,
            request_id: self.request_id,
            time: outcome.time,
            key,
            algorithm: self.algorithm,
            digest: self.digest,
            signature,
            vault_request_id: cut(&outcome.vault_request_id, AUDIT_TEXT_BYTES_MAX),
            queue_us: outcome.queue_us,
            vault_us: outcome.vault_us,
            attempts: outcome.attempts,
            error,
        }
    }
}

impl Log {
    /// Opens the log in `directory`, or begins it: recovers what a crash left, publishes it, and starts two threads.
    /// Blocks. Only one process can have it open.
    ///
    /// # Errors
    /// [`AuditError::Open`] if another writer has it, or if anything acknowledged is missing or altered.
    pub fn open(directory: &Path, key: LogKey, options: Options) -> Result<Self, AuditError> {
        Self::over(directory, key, options, |published| {
            Ok(Arc::new(Segments::open(directory, options.segment_bytes, published)?))
        })
    }

    /// As [`Log::open`], with the journal elsewhere: `journal` is given the number of entries that `directory`
    /// publishes, and must still have those of the last bundle that is not full.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn over(
        directory: &Path,
        key: LogKey,
        options: Options,
        journal: impl FnOnce(u64) -> Result<Arc<dyn Journal>, JournalError>,
    ) -> Result<Self, AuditError> {
        let failed = |reason: String| AuditError::Open { directory: directory.to_owned(), reason };
        let lock = lock(directory).map_err(|error| failed(error.to_string()))?;
        let before = published(directory, key.verifier()).map_err(|error| failed(error.to_string()))?;
        let size = before.as_ref().map_or(0, |reader| reader.checkpoint().size);
        let journal = journal(size).map_err(|error| failed(error.to_string()))?;
        let shared = Shared { directory, key: Arc::new(key), journal, lock };
        shared.start(before.as_ref(), options).map_err(failed)
    }

    /// Makes an intent durable. Dropping the future does not take it back.
    ///
    /// # Errors
    /// [`AuditError`]: nothing may be signed.
    pub async fn append(&self, intent: Intent) -> Result<Recorded, AuditError> {
        let (request_id, key, algorithm) =
            (intent.request_id.clone(), intent.key.clone(), intent.algorithm.clone());
        let digest = intent.content.digest.clone();
        let placed = self.place(intent.encode()?, false).await?;
        Ok(Recorded { index: placed.index, request_id, key, algorithm, digest })
    }

    /// Makes the outcome durable, and proves it.
    ///
    /// # Errors
    /// [`AuditError`]: the signature may not be given out.
    pub async fn finish(&self, recorded: Recorded, outcome: Outcome) -> Result<Receipt, AuditError> {
        let entry = recorded.outcome(&outcome).encode()?;
        let Placed { index, entry, proof, checkpoint } = self.place(entry, true).await?;
        Ok(Receipt { index, entry, proof, checkpoint })
    }

    async fn place(&self, entry: Vec<u8>, prove: bool) -> Result<Placed, AuditError> {
        let (reply, answer) = oneshot::channel();
        let gone = || {
            let why = self.progress.failure();
            AuditError::Closed(why.unwrap_or_else(|| "its thread ended".to_owned()))
        };
        self.requests.send(Request { entry, prove, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Entries that are durable, and those of them that are published. The difference is the log's lag.
    pub fn sizes(&self) -> (u64, u64) {
        self.progress.sizes()
    }

    /// Why the log accepts nothing more, if so.
    pub fn failure(&self) -> Option<String> {
        self.progress.failure()
    }

    /// What others need to verify it.
    pub const fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Proves a published entry. Blocks: reads a few files.
    ///
    /// # Errors
    /// [`ReaderError`], also if it is not yet published.
    pub fn prove(&self, index: u64) -> Result<Receipt, ReaderError> {
        Reader::open(&self.directory, &self.verifier)?.prove(index, &self.verifier)
    }

    /// Publishes what is left and gives up the directory. Blocks.
    ///
    /// # Errors
    /// [`AuditError::Closed`] if the log failed before or now.
    pub fn close(self) -> Result<(), AuditError> {
        let Self { requests, progress, threads, .. } = self;
        drop(requests);
        for thread in threads {
            thread.join().map_err(|_| AuditError::Closed("a thread of the log panicked".to_owned()))?;
        }
        progress.failure().map_or(Ok(()), |why| Err(AuditError::Closed(why)))
    }
}

/// What the threads of a log share.
struct Shared<'a> {
    directory: &'a Path,
    key: Arc<LogKey>,
    journal: Arc<dyn Journal>,
    lock: File,
}

impl Shared<'_> {
    fn start(self, before: Option<&Reader>, options: Options) -> Result<Log, String> {
        let Self { directory, key, journal, lock } = self;
        let Recovered { published, whole } =
            recover(before, journal.as_ref()).map_err(|error| error.to_string())?;
        let mut publisher = Publisher::new(directory, Arc::clone(&journal), Arc::clone(&key), published)
            .map_err(|error| error.to_string())?;
        publisher.advance(whole.size()).map_err(|error| error.to_string())?;
        let progress = Arc::new(Progress::new(whole.size()));
        let verifier = key.verifier().clone();
        let sequencer = Sequencer { journal, key, edge: whole, progress: Arc::clone(&progress) };
        let (requests, receiver) = mpsc::channel(AUDIT_QUEUE_MAX);
        let shown = Arc::clone(&progress);
        let threads = [
            spawn("audit-sequence", move || sequencer.run(receiver)),
            spawn("audit-publish", move || {
                publish(publisher, &shown, options.publish_interval);
                drop(lock);
            }),
        ];
        let threads: Result<Vec<_>, _> = threads.into_iter().collect();
        let threads = threads.map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Log { requests, progress, directory: directory.to_owned(), verifier, threads })
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(run)
}

/// Held as long as the file is open.
fn lock(directory: &Path) -> Result<File, JournalError> {
    let path = directory.join("lock");
    let failed = |source| JournalError::System { what: format!("lock {}", path.display()), source };
    create_folder(directory).map_err(failed)?;
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::Error(error)) => Err(failed(error)),
        Err(TryLockError::WouldBlock) => Err(failed(io::Error::other(
            "another broker has it open; stop that one, or give each its own directory",
        ))),
    }
}
