//! Storage that fails, and storage that is shared: a journal of our own behind the seam, for what real disks do not
//! do on demand.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::audit::journal::{Journal, JournalError};
use crate::audit::publish::Publisher;
use crate::audit::sequence::{Placed, Progress, Request, Sequencer, publish};
use crate::audit::tree::Edge;
use crate::audit::{AuditError, Record, verify, verify_receipt};

/// Entries of several writers in memory.
#[derive(Default)]
struct Shared {
    entries: Mutex<Vec<Vec<u8>>>,
    flush_fails: AtomicBool,
}

impl Journal for Shared {
    fn append(&self, entries: &[Vec<u8>]) -> Result<u64, JournalError> {
        if self.flush_fails.load(Ordering::SeqCst) {
            return Err(JournalError::system("flush the journal")(std::io::Error::from_raw_os_error(5)));
        }
        let mut all = self.entries.lock().unwrap();
        let first = all.len() as u64;
        all.extend_from_slice(entries);
        Ok(first)
    }

    fn read(&self, from: u64) -> Result<Vec<Vec<u8>>, JournalError> {
        let all = self.entries.lock().unwrap();
        Ok(all.iter().skip(usize::try_from(from).unwrap()).take(10).cloned().collect())
    }

    fn release(&self, _before: u64) -> Result<(), JournalError> {
        Ok(())
    }
}

fn sequencer(journal: &Arc<Shared>, home: &Path) -> (mpsc::Sender<Request>, Arc<Progress>) {
    let progress = Arc::new(Progress::new(0));
    let sequencer = Sequencer {
        journal: Arc::clone(journal) as Arc<dyn Journal>,
        key: Arc::new(key(home)),
        edge: Edge::default(),
        progress: Arc::clone(&progress),
    };
    let (sender, receiver) = mpsc::channel(10);
    std::thread::spawn(move || sequencer.run(receiver));
    (sender, progress)
}

async fn place(sender: &mpsc::Sender<Request>, n: u64) -> Result<Placed, AuditError> {
    let (reply, answer) = oneshot::channel();
    let entry = intent(n).encode().unwrap();
    assert!(sender.send(Request { entry, prove: true, reply }).await.is_ok());
    answer.await.unwrap()
}

#[tokio::test]
async fn writers_that_share_a_journal_make_one_tree() {
    let home = home();
    let journal = Arc::new(Shared::default());
    let (one, _) = sequencer(&journal, home.path());
    let (two, _) = sequencer(&journal, home.path());
    for n in 0..100 {
        let sender = if n % 3 == 0 { &one } else { &two };
        let Placed { index, entry, proof, checkpoint } = place(sender, n).await.unwrap();
        assert_eq!(index, n);
        let receipt = Receipt { index, entry, proof, checkpoint };
        let record = verify_receipt(&receipt, &verifier(home.path())).unwrap();
        assert_eq!(record, Record::Intent(intent(n)));
    }
}

#[tokio::test]
async fn after_a_failed_flush_nothing_is_accepted_and_what_was_is_published() {
    let home = home();
    let journal = Arc::new(Shared::default());
    let (sender, progress) = sequencer(&journal, home.path());
    let directory = home.path().join("log");
    std::fs::create_dir(&directory).unwrap();
    let publisher = Publisher::new(
        &directory,
        Arc::clone(&journal) as Arc<dyn Journal>,
        Arc::new(key(home.path())),
        Edge::default(),
    )
    .unwrap();
    place(&sender, 0).await.unwrap();
    journal.flush_fails.store(true, Ordering::SeqCst);
    assert!(
        matches!(place(&sender, 1).await, Err(AuditError::Refused(why)) if why.contains("flush the journal"))
    );
    journal.flush_fails.store(false, Ordering::SeqCst);
    assert!(matches!(place(&sender, 2).await, Err(AuditError::Closed(_))), "it must stay closed");
    publish(publisher, &progress, Duration::from_millis(1));
    let report = verify(&directory, &verifier(home.path())).unwrap();
    assert_eq!(report.size, 1);
}

#[tokio::test]
async fn a_log_that_cannot_write_its_tiles_closes() {
    let home = home();
    let log = open(home.path());
    sign(&log, 0).await;
    // Nobody, not even root, creates a file in a directory that is one.
    std::fs::remove_dir_all(home.path().join("log/tmp")).unwrap();
    std::fs::write(home.path().join("log/tmp"), b"").unwrap();
    let mut n = 1;
    let refused = loop {
        match log.append(intent(n)).await {
            Ok(_) => n += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&refused, AuditError::Closed(why) if why.contains("cannot write tiles")), "{refused}");
    assert!(log.failure().is_some());
    assert!(log.close().is_err());
    std::fs::remove_file(home.path().join("log/tmp")).unwrap();
    let log = open(home.path());
    assert_eq!(log.sizes().0, n + 1, "what was acknowledged is there");
    sign(&log, n).await;
    log.close().unwrap();
    assert_eq!(verify(&home.path().join("log"), &verifier(home.path())).unwrap().problems, []);
}
