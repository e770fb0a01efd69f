//! What a crash leaves: everything acknowledged is there, and nothing else matters.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::audit::{Checkpoint, Reader, verify, verify_consistency, verify_receipt};

/// The directory as a dead process leaves it: copied while the log is open.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            // Files come and go while the log is open; the journal's do not within one segment.
            let _ = fs::copy(entry.path(), target);
        }
    }
}

/// A log whose publisher never comes to it, and a copy of it.
async fn crashed(home: &Path, published: u64, lost: u64) -> Vec<Receipt> {
    let log = open(home);
    let mut receipts = sign_all(&log, 0..published).await;
    log.close().unwrap();
    let lazy = Options { publish_interval: Duration::from_secs(3600), ..SMALL };
    let log = Log::open(&home.join("log"), key(home), lazy).unwrap();
    receipts.push(sign(&log, published).await);
    while log.sizes().1 < (published + 1) * 2 - 1 {
        tokio::task::yield_now().await;
    }
    // From here on nothing is published.
    receipts.extend(sign_all(&log, published + 1..published + 1 + lost).await);
    copy(&home.join("log"), &home.join("copy"));
    fs::rename(home.join("copy"), home.join("crashed")).unwrap();
    log.close().unwrap();
    receipts
}

fn reopen(home: &Path) -> Log {
    Log::open(&home.join("crashed"), key(home), SMALL).unwrap()
}

fn last_segment(home: &Path) -> PathBuf {
    let names = fs::read_dir(home.join("crashed/journal")).unwrap().flatten().map(|entry| entry.path());
    names.filter(|path| !path.ends_with("next")).max().unwrap()
}

/// Every receipt's entry is where the receipt says, and its checkpoint is a beginning of the log.
fn holds_all(home: &Path, receipts: &[Receipt]) {
    let verifier = verifier(home);
    let report = verify(&home.join("crashed"), &verifier).unwrap();
    assert_eq!(report.problems, []);
    assert_eq!(report.open, []);
    let reader = Reader::open(&home.join("crashed"), &verifier).unwrap();
    let last = (reader.checkpoint().size, &reader.checkpoint().root);
    for receipt in receipts {
        verify_receipt(receipt, &verifier).unwrap();
        assert_eq!(reader.prove(receipt.index, &verifier).unwrap().entry, receipt.entry);
        let old = Checkpoint::open(receipt.checkpoint.as_bytes(), &verifier).unwrap();
        let proof = reader.consistency(old.size).unwrap();
        assert!(verify_consistency((old.size, &old.root), last, &proof));
    }
}

#[tokio::test]
async fn what_was_acknowledged_and_not_published_is_there_after_a_crash() {
    for (published, lost) in [(0, 1), (3, 20), (130, 3), (100, 200)] {
        let home = home();
        let receipts = crashed(home.path(), published, lost).await;
        let before = verify(&home.path().join("crashed"), &verifier(home.path())).unwrap();
        assert!(before.unpublished > 0 && before.problems.is_empty(), "{before:?}");
        let log = reopen(home.path());
        assert_eq!(log.sizes(), (receipts.len() as u64 * 2, receipts.len() as u64 * 2));
        let mut receipts = receipts;
        receipts.push(sign(&log, 9999).await);
        log.close().unwrap();
        holds_all(home.path(), &receipts);
    }
}

#[tokio::test]
async fn a_torn_frame_is_cut_wherever_it_is_torn() {
    let home = home();
    let mut receipts = crashed(home.path(), 3, 2).await;
    let segment = last_segment(home.path());
    let whole = fs::read(&segment).unwrap();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let end = end.next_multiple_of(512);
    // A frame that was never acknowledged, of the next entries, torn after each sector, or without its first.
    let (torn, _) = crate::audit::journal::tests::frame(receipts.len() as u64 * 2, 3);
    assert!(torn.len() > 1024);
    for kept in (0..torn.len()).step_by(512) {
        for range in [0..kept, kept + 512..torn.len()] {
            let mut bytes = whole.clone();
            let place = end + range.start;
            bytes[place..place + range.len()].copy_from_slice(&torn[range]);
            fs::write(&segment, bytes).unwrap();
            let log = reopen(home.path());
            assert_eq!(log.sizes().0, receipts.len() as u64 * 2);
            log.close().unwrap();
            assert_eq!(fs::read(&segment).unwrap(), whole, "the torn frame was not wiped");
        }
    }
    let log = reopen(home.path());
    receipts.push(sign(&log, 77).await);
    log.close().unwrap();
    holds_all(home.path(), &receipts);
}

#[tokio::test]
async fn a_log_whose_acknowledged_frames_are_damaged_does_not_open() {
    let home = home();
    crashed(home.path(), 3, 2).await;
    let segment = last_segment(home.path());
    let whole = fs::read(&segment).unwrap();
    // The first sector, and the first frame.
    for place in [3, 100, 512, 516, 531, 700, 1300] {
        let mut bytes = whole.clone();
        bytes[place] ^= 1;
        fs::write(&segment, bytes).unwrap();
        let refused = Log::open(&home.path().join("crashed"), key(home.path()), SMALL);
        assert!(refused.unwrap_err().to_string().contains("damaged"), "byte {place}");
    }
    fs::remove_file(&segment).unwrap();
    assert!(Log::open(&home.path().join("crashed"), key(home.path()), SMALL).is_err());
}

#[tokio::test]
async fn tiles_that_a_crash_swallowed_are_made_again() {
    let home = home();
    let receipts = crashed(home.path(), 140, 30).await;
    // The partial tiles of the last checkpoint, and a file that was being written.
    fs::remove_dir_all(home.path().join("crashed/tile/0/001.p")).unwrap();
    fs::write(home.path().join("crashed/tmp/0"), b"half").unwrap();
    reopen(home.path()).close().unwrap();
    holds_all(home.path(), &receipts);
}

#[tokio::test]
async fn segments_are_left_behind_once_their_entries_are_in_full_tiles() {
    let home = home();
    let log = open(home.path());
    for round in 0..40 {
        sign_all(&log, round * 20..round * 20 + 20).await;
    }
    log.close().unwrap();
    let names = fs::read_dir(home.path().join("log/journal")).unwrap().flatten();
    let bytes: u64 = names.map(|entry| entry.metadata().unwrap().len()).sum();
    // 1600 entries of about 600 bytes were written; at most the last 256, a segment and the spare are kept.
    assert!(bytes <= 256 * 1024 + 2 * SMALL.segment_bytes, "{bytes} bytes");
    let report = verify(&home.path().join("log"), &verifier(home.path())).unwrap();
    assert_eq!((report.size, report.problems), (1600, vec![]));
}
