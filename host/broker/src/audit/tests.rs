//! The log as a whole, on real files.

mod cost;
mod damage;
mod faults;
mod recovery;
mod whole;

use std::path::Path;
use std::time::Duration;

use super::record::tests::{intent, signed};
use super::{Log, LogKey, Options, Receipt, Verifier};

const NAME: &str = "broker.example/audit";

/// Small segments, so that some are left behind.
const SMALL: Options = Options { publish_interval: Duration::from_millis(20), segment_bytes: 16 * 1024 };

/// In memory where that is to be had: a flush of a busy disk takes many milliseconds, and these tests want thousands.
fn home() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn key(home: &Path) -> LogKey {
    LogKey::open(&home.join("log.key"), NAME).unwrap()
}

fn verifier(home: &Path) -> Verifier {
    key(home).verifier().clone()
}

fn open(home: &Path) -> Log {
    Log::open(&home.join("log"), key(home), SMALL).unwrap()
}

/// One signature: an intent, and its outcome.
async fn sign(log: &Log, n: u64) -> Receipt {
    let recorded = log.append(intent(n)).await.unwrap();
    log.finish(recorded, signed(n)).await.unwrap()
}

async fn sign_all(log: &Log, numbers: std::ops::Range<u64>) -> Vec<Receipt> {
    futures_util::future::join_all(numbers.map(|n| sign(log, n))).await
}
