//! A writer that is killed with SIGKILL while 16 callers sign: what it acknowledged is there.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use prokura_broker::audit::{Reader, verify};

use crate::{home, open, runtime, sign, verifier};

/// Makes this executable the writer, in the directory that it names.
pub(crate) const CHILD: &str = "PROKURA_AUDIT_CHILD";

/// Prints index and request of each acknowledged outcome.
pub(crate) fn sign_until_killed(home: &Path) -> Result<()> {
    let log = open(home)?;
    let first = log.sizes().0 * 1_000_000;
    let one = async |worker: u64| -> Result<()> {
        for n in 0.. {
            let n = first + worker * 100_000 + n;
            let receipt = sign(&log, n).await?;
            let mut stdout = std::io::stdout().lock();
            writeln!(stdout, "{} {n}", receipt.index)?;
            stdout.flush()?;
        }
        Ok(())
    };
    runtime()?.block_on(try_join_all((0..16).map(one)))?;
    Ok(())
}

pub(crate) fn loses_nothing() -> Result<()> {
    let home = home()?;
    let mut acknowledged = Vec::new();
    for round in 0..10 {
        acknowledged.extend(kill_after(home.path(), 40 + 37 * round)?);
    }
    open(home.path())?.close()?;
    let verifier = verifier(home.path())?;
    let report = verify(&home.path().join("log"), &verifier)?;
    ensure!(report.problems.is_empty(), "{:?}", report.problems);
    // At each kill at most 16 callers were between intent and outcome.
    ensure!(report.open.len() <= 160, "{} intents without outcome", report.open.len());
    let reader = Reader::open(&home.path().join("log"), &verifier)?;
    let entries: Vec<_> = reader.entries(0).collect::<Result<_, _>>()?;
    for (index, n) in &acknowledged {
        let entry = entries.get(*index).with_context(|| format!("entry {index} of request {n} is lost"))?;
        let text = String::from_utf8_lossy(&entry.bytes);
        ensure!(text.contains(&format!("\"request-{n}\"")), "entry {index} is not of request {n}: {text}");
    }
    println!("10 kills, {} outcomes acknowledged, {} entries, none lost", acknowledged.len(), report.size);
    Ok(())
}

/// Lines of the child until so many were seen; those that were in the pipe when it died count too.
fn kill_after(home: &Path, outcomes: usize) -> Result<Vec<(usize, u64)>> {
    let mut child = Command::new(std::env::current_exe()?)
        .env(CHILD, home)
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()?;
    let mut seen = Vec::new();
    let lines = BufReader::new(child.stdout.take().context("a pipe was asked for")?).lines();
    for line in lines {
        let line = line?;
        // The last line may be cut.
        if let Some((index, n)) = line.split_once(' ') {
            seen.push((index.parse()?, n.parse()?));
        }
        if seen.len() == outcomes {
            child.kill()?;
        }
    }
    child.wait()?;
    ensure!(seen.len() >= outcomes, "the child ended by itself after {} outcomes", seen.len());
    Ok(seen)
}
