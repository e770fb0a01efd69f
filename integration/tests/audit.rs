//! The broker's audit log against what is not ours: Go's tlog reads it, its writer is killed, its disk is full.

#![expect(clippy::disallowed_methods, reason = "tests start real programs")]
#![expect(clippy::print_stdout, reason = "figures for whoever runs it, and the child speaks by its stdout")]

#[path = "audit/disk.rs"]
mod disk;
#[path = "audit/go.rs"]
mod go;
#[path = "audit/killed.rs"]
mod killed;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use libtest_mimic::Arguments;
use prokura_broker::audit::{
    ContentRecord, DecisionRecord, Ending, Intent, KeyRecord, Log, LogKey, Options, Outcome, PeerRecord,
    Receipt, Verifier,
};
use prokura_integration::suite::trial;

fn main() -> Result<ExitCode> {
    if let Some(home) = std::env::var_os(killed::CHILD) {
        killed::sign_until_killed(Path::new(&home))?;
        return Ok(ExitCode::SUCCESS);
    }
    let trials = vec![
        trial("go_verifies_log_and_receipts", go::verifies),
        trial("go_and_we_refuse_an_altered_log", go::refuses),
        trial("nothing_acknowledged_is_lost_when_the_writer_is_killed", killed::loses_nothing),
        trial("a_full_disk_closes_the_log_and_loses_nothing", disk::full),
        trial("a_read_only_directory_is_refused", disk::read_only),
    ];
    Ok(libtest_mimic::run(&Arguments::from_args(), trials).exit_code())
}

/// A private directory, in memory where that is to be had.
fn home() -> Result<tempfile::TempDir> {
    Ok(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())?)
}

fn open(home: &Path) -> Result<Log> {
    let options = Options { publish_interval: Duration::from_millis(50), segment_bytes: 256 * 1024 };
    Ok(Log::open(&home.join("log"), LogKey::open(&home.join("log.key"), "broker.example/audit")?, options)?)
}

fn verifier(home: &Path) -> Result<Verifier> {
    Ok(LogKey::open(&home.join("log.key"), "broker.example/audit")?.verifier().clone())
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Intent and outcome of one signature.
async fn sign(log: &Log, n: u64) -> Result<Receipt> {
    let recorded = log.append(intent(n)?).await?;
    let outcome = Outcome {
        time: Timestamp::from_second(1_790_000_001)?,
        ending: Ending::Signed(n.to_be_bytes().to_vec()),
        key_version: String::new(),
        vault_request_id: String::new(),
        queue_us: 0,
        vault_us: 1,
        attempts: 1,
    };
    Ok(log.finish(recorded, outcome).await?)
}

async fn sign_all(log: &Log, numbers: std::ops::Range<u64>) -> Result<Vec<Receipt>> {
    try_join_all(numbers.map(|n| sign(log, n))).await
}

fn intent(n: u64) -> Result<Intent> {
    Ok(Intent {
        request_id: format!("request-{n}"),
        time: Timestamp::from_second(1_790_000_000)?,
        peer: PeerRecord {
            kind: "UNIX".to_owned(),
            id: "uid:1000".to_owned(),
            evidence: "process 7".to_owned(),
            claims: BTreeMap::new(),
        },
        key: KeyRecord { name: "release".to_owned(), fingerprint: "00".repeat(32), version: String::new() },
        algorithm: "ECDSA-SHA-256".to_owned(),
        content: ContentRecord {
            content_type: "digest".to_owned(),
            digest: format!("{n:064x}"),
            artifact: serde_json::Value::Null,
        },
        claimed_reference: String::new(),
        decision: DecisionRecord { policies: vec!["all".to_owned()], policy_set: "11".repeat(32) },
    })
}
