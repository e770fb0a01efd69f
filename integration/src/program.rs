//! The executables under test and the programs that test them: where they are, how they are built and run.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use anyhow::{Context as _, Result, bail};

/// What is absent, and how to get it.
#[derive(Clone, Debug)]
pub struct Missing {
    /// Name of the program or file.
    pub what: String,
    /// A command that installs it.
    pub install: String,
}

impl Missing {
    /// Names what is absent and how to get it.
    pub fn new(what: impl Into<String>, install: impl Into<String>) -> Self {
        Self { what: what.into(), install: install.into() }
    }
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is missing: {}", self.what, self.install)
    }
}

impl std::error::Error for Missing {}

/// The folder of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new("."))
}

/// An executable of this workspace, built if need be: tests must never meet a stale one.
///
/// # Errors
/// If the build fails or there is no such executable.
pub fn executable(name: &str) -> Result<PathBuf> {
    static BUILT: LazyLock<std::result::Result<PathBuf, String>> =
        LazyLock::new(|| build_workspace().map_err(|e| format!("{e:#}")));
    let directory = BUILT.as_ref().map_err(|e| anyhow::anyhow!("{e}"))?;
    let path = directory.join(name);
    if !path.is_file() {
        bail!("the workspace has no executable {name} in {}", directory.display());
    }
    Ok(path)
}

fn build_workspace() -> Result<PathBuf> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--quiet", "--workspace", "--bins", "--locked"]).current_dir(workspace());
    let directory = profile_directory()?;
    if directory.ends_with("release") {
        command.arg("--release");
    }
    run(&mut command)?;
    Ok(directory)
}

/// `target/debug` or `target/release`: wherever the running test or benchmark was put.
fn profile_directory() -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    let directory = this.parent().context("an executable is in a directory")?;
    Ok(if directory.ends_with("deps") { directory.join("..").canonicalize()? } else { directory.to_owned() })
}

/// A command of `integration/interop`, built once per process.
///
/// # Errors
/// [`Missing`] without Go; the compiler's words if the build fails.
pub fn go_executable(name: &str) -> Result<PathBuf> {
    static BUILT: LazyLock<std::result::Result<(), String>> =
        LazyLock::new(|| build_go().map_err(|e| format!("{e:#}")));
    go()?;
    BUILT.as_ref().map_err(|e| anyhow::anyhow!("{e}"))?;
    Ok(interop().join("bin").join(name))
}

/// # Errors
/// [`Missing`] if there is no Go tool chain.
pub fn go() -> std::result::Result<PathBuf, Missing> {
    system("go", "install Go 1.26 or newer")
}

fn interop() -> PathBuf {
    workspace().join("integration/interop")
}

fn build_go() -> Result<()> {
    run(Command::new("go").args(["build", "-o", "bin/", "./cmd/..."]).current_dir(interop()))?;
    Ok(())
}

/// A program of the system, found in PATH.
///
/// # Errors
/// [`Missing`] with the way to install it.
pub fn system(name: &str, install: &str) -> std::result::Result<PathBuf, Missing> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| Missing::new(name, install))
}

/// Copies an executable to `place`, for everybody to start.
///
/// Another process writes it: a file this one has open for writing would for a moment be open in whatever another test
/// starts just then, and could not be started itself (`ETXTBSY`).
///
/// # Errors
/// If it cannot be copied.
pub fn install(program: &Path, place: &Path) -> Result<()> {
    run(Command::new("install").args(["--mode=0755", "--"]).args([program, place]))?;
    Ok(())
}

/// As [`install`], a script.
///
/// # Errors
/// If it cannot be written.
pub fn install_script(text: &str, place: &Path) -> Result<()> {
    let mut draft = tempfile::NamedTempFile::new()?;
    draft.write_all(text.as_bytes())?;
    install(draft.path(), place)
}

/// What a program did.
#[derive(Debug)]
pub struct Run {
    /// Exit code, or `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output as text.
    pub stdout: String,
    /// Standard error as text.
    pub stderr: String,
}

impl Run {
    /// Standard output, if the program ended with 0.
    ///
    /// # Errors
    /// With both outputs, if it did not.
    pub fn ok(self) -> Result<String> {
        match self.code {
            Some(0) => Ok(self.stdout),
            code => bail!("ended with {code:?}\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr),
        }
    }

    /// Standard error, if the program ended with the exit code `expected`.
    ///
    /// # Errors
    /// With both outputs, if it did not.
    pub fn refused(self, expected: i32) -> Result<String> {
        match self.code {
            Some(code) if code == expected => Ok(self.stderr),
            code => bail!(
                "ended with {code:?}, expected {expected}\n--- stdout\n{}\n--- stderr\n{}",
                self.stdout,
                self.stderr
            ),
        }
    }
}

/// Runs a program to its end without input.
///
/// # Errors
/// If it cannot be started.
pub fn output(command: &mut Command) -> Result<Run> {
    let shown = shown(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {shown}"))?;
    Ok(Run {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs a program that must succeed, and returns its standard output.
///
/// # Errors
/// With both outputs, if it fails.
pub fn run(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    output(command)?.ok().with_context(|| shown)
}

fn shown(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn what_is_installed_starts_although_others_start_programs_meanwhile() {
        let directory = tempfile::tempdir().unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        Command::new("true").status().unwrap();
                    }
                });
            }
            let started = (0..100).try_for_each(|number| {
                let place = directory.path().join(format!("program-{number}"));
                install_script("#!/bin/sh\nexit 0\n", &place)?;
                run(&mut Command::new(&place)).map(drop)
            });
            done.store(true, Ordering::Relaxed);
            started.unwrap();
        });
    }
}
