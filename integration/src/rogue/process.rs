//! How the rogue misbehaves as a process: it dies, hangs, floods, leaves children behind, and looks for secrets.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// The argument of a child that does nothing for as long as it is let.
pub(super) const LINGER: &str = "linger";

/// More than the 64 MiB of contract 1.0.
const FLOOD_MIB: usize = 65;
/// What the host must keep from a plugin.
const KEPT_FROM_PLUGINS: [&str; 4] =
    ["NOTATION_USERNAME", "NOTATION_PASSWORD", "LD_PRELOAD", "PROKURA_TEST_CANARY"];

/// A defect of the rogue or of its config, not a switch: told as the contract tells it.
pub(super) fn fail(error: &anyhow::Error) -> ExitCode {
    let text = serde_json::json!({"errorCode": "ERROR", "errorMessage": format!("{error:#}")});
    let _ = std::io::stderr().write_all(text.to_string().as_bytes());
    ExitCode::FAILURE
}

/// Adds this process to the file of ids.
pub(super) fn note_pid(pids: Option<&Path>) -> Result<()> {
    let Some(path) = pids else { return Ok(()) };
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    Ok(file.write_all(format!("{}\n", std::process::id()).as_bytes())?)
}

/// Ends this process as a crash does.
pub(super) fn die_by_signal() -> Result<()> {
    Ok(rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)?)
}

/// Ends this process as a vendor's library does that finds itself broken, but without a core file.
pub(super) fn abort(says: &str) -> Result<()> {
    std::io::stderr().write_all(says.as_bytes())?;
    Ok(rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::ABORT)?)
}

/// Stops this process, all threads of it, until somebody lets it go on.
pub(super) fn stop() -> Result<()> {
    Ok(rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP)?)
}

/// Never returns on its own.
pub(super) fn hang() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}

/// The child of [`leave_child`].
pub(super) fn linger() -> Result<ExitCode> {
    hang()
}

/// Starts a child that keeps the standard streams open and does nothing.
pub(super) fn leave_child(pids: Option<&Path>) -> Result<()> {
    let child = Command::new(std::env::current_exe()?).arg(LINGER).spawn()?;
    if let Some(path) = pids {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        file.write_all(format!("{}\n", child.id()).as_bytes())?;
    }
    Ok(())
}

/// Writes 65 MiB of an answer that never ends. A reader that goes away is what is hoped for.
pub(super) fn flood(stream: &mut dyn std::io::Write) {
    let block = vec![b'a'; 1024 * 1024];
    let mut done = stream.write_all(br#"{"name":""#);
    for _ in 0..FLOOD_MIB {
        done = done.and_then(|()| stream.write_all(&block));
    }
    let _ = done.and_then(|()| stream.flush());
}

/// Checks that the host kept its secrets and gave a private place.
pub(super) fn check_surroundings() -> Result<()> {
    for name in KEPT_FROM_PLUGINS {
        ensure!(std::env::var_os(name).is_none(), "the host leaked {name} to the plugin");
    }
    let directory = std::env::current_dir().context("the working directory")?;
    let found = std::fs::metadata(&directory)?;
    let mode = found.permissions().mode() & 0o777;
    let shown = directory.display();
    ensure!(mode == 0o700, "the working directory {shown} has mode {mode:04o}, expected 0700");
    ensure!(found.uid() == rustix::process::geteuid().as_raw(), "the working directory {shown} is not ours");
    let entries = std::fs::read_dir(&directory)?.count();
    ensure!(entries == 0, "the working directory {shown} has {entries} entries, expected none");
    for entry in std::fs::read_dir("/proc/self/fd")? {
        // The one that lists the others is closed by now.
        let Ok(open) = std::fs::read_link(entry?.path()) else { continue };
        let is_file = open.starts_with("/") && !open.starts_with("/proc") && !open.starts_with("/dev");
        ensure!(!is_file, "the host left {} open for the plugin", open.display());
    }
    Ok(())
}
