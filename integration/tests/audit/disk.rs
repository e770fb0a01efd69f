//! Disks that are full or read-only: a small file system of our own, which only root can mount.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail, ensure};
use prokura_broker::audit::{AuditError, Log, verify};
use prokura_integration::program::{Missing, run, system};

use crate::{home, open, runtime, sign, verifier};

/// A mounted file system, unmounted at the end.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(path: &'a Path, options: &str) -> Result<Self> {
        system("mount", "apt-get install mount")?;
        let mut command = Command::new("mount");
        run(command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(path)).map_err(|error| {
            Missing::new("the right to mount a small file system", format!("run as root ({error})"))
        })?;
        Ok(Self(path))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // Lazily: a test that failed may still hold files open.
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

pub(crate) fn full() -> Result<()> {
    let home = home()?;
    let _mounted = Mounted::new(home.path(), "size=4m")?;
    // Taken away again later, as an operator would.
    let ballast = home.path().join("ballast");
    std::fs::write(&ballast, vec![1; 1536 * 1024])?;
    let log = open(home.path())?;
    let runtime = runtime()?;
    let (acknowledged, refused) = runtime.block_on(fill(&log))?;
    ensure!(refused.contains("No space left") && refused.contains("the operator must"), "{refused}");
    let again = runtime.block_on(sign(&log, 0)).err().and_then(|error| error.downcast::<AuditError>().ok());
    ensure!(matches!(again, Some(AuditError::Closed(_))), "the log went on: {again:?}");
    ensure!(log.close().is_err(), "the failure is not told at the end");
    std::fs::remove_file(ballast)?;
    let log = open(home.path())?;
    let (size, published) = log.sizes();
    ensure!(size == published && size >= acknowledged * 2, "{size} entries, {acknowledged} signatures");
    runtime.block_on(sign(&log, size))?;
    log.close()?;
    let report = verify(&home.path().join("log"), &verifier(home.path())?)?;
    ensure!(report.problems.is_empty(), "{:?}", report.problems);
    ensure!(report.outcomes > acknowledged, "{} outcomes, {acknowledged} acknowledged", report.outcomes);
    println!("full after {acknowledged} signatures: {refused}");
    Ok(())
}

async fn fill(log: &Log) -> Result<(u64, String)> {
    for n in 0..100_000 {
        if let Err(error) = sign(log, n).await {
            return Ok((n, error.to_string()));
        }
    }
    bail!("the disk is not full after 100000 signatures")
}

pub(crate) fn read_only() -> Result<()> {
    let home = home()?;
    let _mounted = Mounted::new(home.path(), "size=4m")?;
    let log = open(home.path())?;
    runtime()?.block_on(sign(&log, 0))?;
    log.close()?;
    run(Command::new("mount").args(["-o", "remount,ro"]).arg(home.path()))?;
    let Err(refused) = open(home.path()) else { bail!("a log that cannot be written was opened") };
    ensure!(refused.to_string().contains("Read-only file system"), "{refused}");
    let report = verify(&home.path().join("log"), &verifier(home.path())?)?;
    ensure!(report.size == 2 && report.problems.is_empty(), "{report:?}");
    Ok(())
}
