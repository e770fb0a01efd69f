//! What breaks in a file: no space, no right to write, and bytes that are not what was written.

use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use prokura_broker::state::{Begun, Config, Finished, Store, Trouble};
use prokura_integration::program::{Missing, output, run};
use prokura_integration::suite::trial;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::ground::{SIGNED, at, begin, claim, refused, runtime};

pub(crate) fn trials() -> Vec<Trial> {
    let tests: [(&str, fn() -> Result<()>); 9] = [
        ("the disk is full", disk_full),
        ("the file system is read-only", read_only),
        ("the directory is not a directory", no_directory),
        ("the file is empty", || damaged("empty", |file| Ok(file.set_len(0)?))),
        ("the file is cut in the middle", || damaged("database", |file| Ok(file.set_len(20_000)?))),
        ("the file is something else", || {
            damaged("not a database", |file| Ok(file.write_all_at(&[b'x'; 4096], 0)?))
        }),
        ("bytes in the middle are others", || {
            damaged("integrity", |file| Ok(file.write_all_at(&[0xff; 4096], 8192)?))
        }),
        ("the file is gone and its log is there", log_alone),
        ("the file was readable by others", made_private),
    ];
    tests.into_iter().map(|(name, test)| trial(format!("sqlite/{name}"), test)).collect()
}

fn open(runtime: &Runtime, directory: &Path) -> Result<Store, prokura_broker::state::StateError> {
    runtime.block_on(Store::open(&Config::Sqlite { directory: directory.to_owned() }))
}

/// A small file system in memory, unmounted when dropped.
struct Small(TempDir);

impl Small {
    fn new() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("prokura-small-").tempdir()?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(directory.path());
        if output(&mut mount).map_or(true, |run| run.code != Some(0)) {
            return Err(Missing::new("the right to mount a file system", "run the tests as root").into());
        }
        Ok(Self(directory))
    }

    fn remount(&self, how: &str) -> Result<()> {
        run(Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(self.0.path())).map(|_| ())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = output(Command::new("umount").arg(self.0.path()));
    }
}

fn disk_full() -> Result<()> {
    let (runtime, small) = (runtime()?, Small::new()?);
    let directory = small.0.path().join("state");
    let store = open(&runtime, &directory)?;
    runtime.block_on(async {
        let mut done = 0;
        let error = loop {
            // Each needs more than the disk has left sooner or later.
            let claim = match begin(&store, &done.to_string(), 0).await {
                Ok(Begun::New(claim)) => claim,
                Ok(other) => anyhow::bail!("{other:?}"),
                Err(error) => break error,
            };
            match store.finish(&claim, vec![7; 20_000], Some(SIGNED), at(0)).await {
                Ok(found) => ensure!(found == Finished::Recorded),
                Err(error) => break error,
            }
            done += 1;
            ensure!(done < 1000, "the disk never gets full");
        };
        refused::<()>(Err(error.clone()), &["full", "free or add space", "retry: no"])?;
        ensure!(error.trouble() == Trouble::Full, "{error:?}");
        small.remount("size=8m")?;
        // With space it goes on, without a restart, and everything told is there.
        let counted = store.usage(SIGNED, at(0)).await?.peer.hour;
        ensure!(counted >= done, "{counted} counted, {done} told");
        for n in 0..done {
            let found = begin(&store, &n.to_string(), 1).await?;
            ensure!(matches!(&found, Begun::Done(answer) if answer == &[7; 20_000]), "{n}: {found:?}");
        }
        let claim = claim(&store, "more", 1).await?;
        ensure!(store.finish(&claim, vec![7; 20_000], None, at(1)).await? == Finished::Recorded);
        store.close().await;
        anyhow::Ok(())
    })?;
    runtime.block_on(open(&runtime, &directory)?.close());
    Ok(())
}

fn read_only() -> Result<()> {
    let (runtime, small) = (runtime()?, Small::new()?);
    let directory = small.0.path().join("state");
    runtime.block_on(open(&runtime, &directory)?.close());
    small.remount("ro")?;
    for place in [directory, small.0.path().join("other")] {
        let error = refused(open(&runtime, &place), &["Read-only file system", "writable", "retry: no"])?;
        ensure!(error.trouble() == Trouble::ReadOnly);
    }
    Ok(())
}

fn no_directory() -> Result<()> {
    let (runtime, directory) = (runtime()?, tempfile::tempdir()?);
    std::fs::write(directory.path().join("state"), "a file")?;
    refused(
        open(&runtime, &directory.path().join("state")),
        &["cannot make the directory", "whoever keeps this machine"],
    )?;
    Ok(())
}

/// A state with some content, closed, then changed.
fn damaged(word: &str, change: impl Fn(&std::fs::File) -> Result<()>) -> Result<()> {
    let (runtime, directory) = (runtime()?, tempfile::tempdir()?);
    let store = open(&runtime, directory.path())?;
    runtime.block_on(async {
        for n in 0..50 {
            let claim = claim(&store, &n.to_string(), 0).await?;
            store.finish(&claim, vec![7; 3000], Some(SIGNED), at(0)).await?;
        }
        store.close().await;
        anyhow::Ok(())
    })?;
    let path = directory.path().join("state.db");
    let file = std::fs::File::options().write(true).open(&path)?;
    change(&file)?;
    drop(file);
    let before = std::fs::read(&path)?;
    let error = refused(open(&runtime, directory.path()), &[word, "move state.db", "retry: no"])?;
    ensure!(error.trouble() == Trouble::Damaged, "{error:?}");
    ensure!(std::fs::read(&path)? == before, "what is damaged is left as it was");
    Ok(())
}

fn log_alone() -> Result<()> {
    let (runtime, directory) = (runtime()?, tempfile::tempdir()?);
    std::fs::write(directory.path().join("state.db-wal"), "")?;
    let error = refused(open(&runtime, directory.path()), &["state.db is gone", "retry: no"])?;
    ensure!(error.trouble() == Trouble::Damaged);
    Ok(())
}

fn made_private() -> Result<()> {
    let (runtime, directory) = (runtime()?, tempfile::tempdir()?);
    runtime.block_on(open(&runtime, directory.path())?.close());
    let file = directory.path().join("state.db");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666))?;
    let store = open(&runtime, directory.path())?;
    runtime.block_on(store.count(SIGNED, at(0)))?;
    for entry in std::fs::read_dir(directory.path())? {
        let mode = entry?.metadata()?.permissions().mode() & 0o777;
        ensure!(mode == 0o600, "{mode:o}");
    }
    Ok(())
}
