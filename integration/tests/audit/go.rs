//! Go's own note and tlog packages on our log.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prokura_broker::audit::{Receipt, verify};
use prokura_integration::program::{Run, go_executable, output};
use serde_json::{Value, json};

use crate::{home, open, runtime, sign_all, verifier};

/// Sizes on both sides of full tiles.
pub(crate) fn verifies() -> Result<()> {
    let home = home()?;
    let mut receipts = Vec::new();
    for end in [1, 100, 128, 129, 256, 300, 700] {
        let log = open(home.path())?;
        let begin = receipts.len() as u64;
        receipts.extend(runtime()?.block_on(sign_all(&log, begin..end))?);
        log.close()?;
        let said: Value = serde_json::from_str(&check(home.path(), &receipts)?.ok()?)?;
        let expected = json!({
            "verified": true, "origin": "broker.example/audit", "size": end * 2, "receipts": receipts.len()
        });
        ensure!(said == expected, "{said}");
    }
    Ok(())
}

pub(crate) fn refuses() -> Result<()> {
    let home = home()?;
    let log = open(home.path())?;
    let mut receipts = runtime()?.block_on(sign_all(&log, 0..150))?;
    log.close()?;
    for file in ["checkpoint", "tile/0/000", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/44"] {
        let path = home.path().join("log").join(file);
        let whole = std::fs::read(&path)?;
        let mut altered = whole.clone();
        // In a text a digit becomes another digit: the form stays, the meaning does not.
        *altered.get_mut(30).context("the file is too short")? ^= 1;
        std::fs::write(&path, altered)?;
        check(home.path(), &receipts)?.refused(1).with_context(|| format!("Go accepts {file}"))?;
        let ours = verify(&home.path().join("log"), &verifier(home.path())?);
        ensure!(ours.is_err() || ours.is_ok_and(|report| !report.problems.is_empty()), "we accept {file}");
        std::fs::write(&path, whole)?;
    }
    check(home.path(), &receipts)?.ok()?;
    receipts.first_mut().context("there are receipts")?.entry.push(b' ');
    check(home.path(), &receipts)?.refused(1)?;
    Ok(())
}

fn check(home: &Path, receipts: &[Receipt]) -> Result<Run> {
    let program = go_executable("tlog-check")?;
    let mut lines = String::new();
    for Receipt { index, entry, proof, checkpoint } in receipts {
        let proof: Vec<_> = proof.iter().map(|hash| STANDARD.encode(hash)).collect();
        let entry = STANDARD.encode(entry);
        let line = json!({"index": index, "entry": entry, "proof": proof, "checkpoint": checkpoint});
        writeln!(lines, "{line}")?;
    }
    std::fs::write(home.join("receipts"), lines)?;
    let mut command = Command::new(program);
    command.arg("-dir").arg(home.join("log")).arg("-vkey").arg(verifier(home)?.to_string());
    output(command.arg("-receipts").arg(home.join("receipts")))
}
