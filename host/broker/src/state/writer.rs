//! The only writer of the SQLite file: operations that wait at the same time share one transaction and one flush.

use std::fs::File;
use std::pin::Pin;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::error::{StateError, Trouble};
use super::session::{Connection, Durability, Operation, Session};
use crate::limits::{STATE_BATCH_MAX, STATE_WAITING_MAX};

type Done<'a> = Pin<Box<dyn Future<Output = Result<(), StateError>> + Send + 'a>>;

pub(super) struct Writer {
    queue: mpsc::Sender<Box<dyn Job>>,
    task: JoinHandle<()>,
}

impl Writer {
    /// The lock ends with the last write, or with the process.
    pub(super) fn start(session: Session, lock: File) -> Self {
        let (queue, waiting) = mpsc::channel(STATE_WAITING_MAX);
        Self { queue, task: tokio::spawn(write(session, lock, waiting)) }
    }

    pub(super) async fn run<O: Operation>(&self, operation: O) -> Result<O::Output, StateError> {
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting { operation, output: None, reply };
        let ended =
            || StateError::new(Trouble::Internal, "the broker's state", "its writer has ended".to_owned());
        self.queue.send(Box::new(waiting)).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }

    /// Waits until everything that was queued is done.
    pub(super) async fn close(self) {
        drop(self.queue);
        // It ends by itself; it never panics.
        let _ = self.task.await;
    }
}

/// An operation and who waits for it.
trait Job: Send {
    fn durability(&self) -> Durability;
    /// Nobody waits any more: it need not be begun.
    fn is_abandoned(&self) -> bool;
    fn perform<'a>(&'a mut self, session: &'a mut Session) -> Done<'a>;
    fn conclude(self: Box<Self>, done: Result<(), StateError>);
}

struct Waiting<O: Operation> {
    operation: O,
    output: Option<O::Output>,
    reply: oneshot::Sender<Result<O::Output, StateError>>,
}

impl<O: Operation> Job for Waiting<O> {
    fn durability(&self) -> Durability {
        O::DURABILITY
    }

    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn perform<'a>(&'a mut self, session: &'a mut Session) -> Done<'a> {
        Box::pin(async move {
            self.output = Some(self.operation.perform(session).await?);
            Ok(())
        })
    }

    fn conclude(self: Box<Self>, done: Result<(), StateError>) {
        let not_done =
            || StateError::new(Trouble::Internal, "the broker's state", "nothing was done".to_owned());
        let Self { output, reply, .. } = *self;
        // Who no longer waits needs no answer.
        let _ = reply.send(done.and_then(|()| output.ok_or_else(not_done)));
    }
}

async fn write(mut session: Session, lock: File, mut waiting: mpsc::Receiver<Box<dyn Job>>) {
    let mut synced = Durability::Answer;
    let mut jobs = Vec::with_capacity(STATE_BATCH_MAX);
    while waiting.recv_many(&mut jobs, STATE_BATCH_MAX).await > 0 {
        jobs.retain(|job| !job.is_abandoned());
        let mut batch = std::mem::take(&mut jobs);
        match together(&mut session, &mut synced, &mut batch).await {
            Ok(()) => batch.into_iter().for_each(|job| job.conclude(Ok(()))),
            Err(error) if batch.len() == 1 => {
                batch.into_iter().for_each(|job| job.conclude(Err(error.clone())))
            }
            // One of them spoils it for all: each for itself, then.
            Err(_) => {
                for job in batch {
                    let mut alone = [job];
                    let done = together(&mut session, &mut synced, &mut alone).await;
                    let [job] = alone;
                    job.conclude(done);
                }
            }
        }
    }
    if let Connection::Sqlite(connection) = session.connection {
        // The file is whole without it; closing only tidies up.
        let _ = sqlx::Connection::close(connection).await;
    }
    drop(lock);
}

async fn together(
    session: &mut Session,
    synced: &mut Durability,
    batch: &mut [Box<dyn Job>],
) -> Result<(), StateError> {
    let Some(durability) = batch.iter().map(|job| job.durability()).max() else { return Ok(()) };
    let done = transaction(session, synced, durability, batch).await;
    if done.is_err() {
        // Some errors have rolled back already; then this one says so, and nothing is lost.
        let _ = session.execute("ROLLBACK", &[]).await;
    }
    done
}

async fn transaction(
    session: &mut Session,
    synced: &mut Durability,
    durability: Durability,
    batch: &mut [Box<dyn Job>],
) -> Result<(), StateError> {
    if (durability == Durability::Answer) != (*synced == Durability::Answer) {
        let full = durability == Durability::Answer;
        // In WAL mode NORMAL leaves the flush out; the next FULL one makes durable what came before, too.
        let pragma = if full { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" };
        session.execute(pragma, &[]).await?;
        *synced = durability;
    }
    session.execute("BEGIN IMMEDIATE", &[]).await?;
    for job in batch {
        job.perform(session).await?;
    }
    session.execute("COMMIT", &[]).await.map(|_| ())
}
