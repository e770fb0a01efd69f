//! Microsoft's SDK for Python in an environment of its own, to check the fake with.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};

use crate::program::{Missing, run, system};

/// Exact versions, so that the check means the same everywhere.
const PACKAGES: &[&str] = &[
    "azure-identity==1.27.0",
    "azure-keyvault-keys==4.11.3",
    "azure-keyvault-certificates==4.12.0",
    "azure-keyvault-secrets==4.12.0",
];

/// A Python that has the SDK, installed once into the user's cache directory.
///
/// # Errors
/// [`Missing`] without Python 3 and its `venv`; the installer's words if it fails.
pub fn sdk_python() -> Result<PathBuf> {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _turn = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let install = "apt-get install python3 python3-venv";
    let python = system("python3", install)?;
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let directory = cache.context("HOME or XDG_CACHE_HOME is set")?.join("prokura-tests");
    let ready = directory.join("azure-sdk-1.27.0");
    if ready.join("complete").is_file() {
        return Ok(ready.join("bin/python"));
    }
    std::fs::create_dir_all(&directory)?;
    run(Command::new(python).args(["-m", "venv", "--clear"]).arg(&ready))
        .map_err(|error| error.context(Missing::new("Python's venv", install)))?;
    run(Command::new(ready.join("bin/python"))
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(PACKAGES))?;
    std::fs::write(ready.join("complete"), PACKAGES.join("\n"))?;
    Ok(ready.join("bin/python"))
}
