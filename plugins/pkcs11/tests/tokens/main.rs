//! The plugin against real tokens: every trial runs on each PKCS#11 implementation that is at hand.
//!
//! Modules read their configuration from the environment of the process, so the test runs itself once per backend
//! with that environment. What is absent shows as an ignored trial with its reason; with `CI=true` it fails.
#![expect(clippy::disallowed_methods, reason = "a test program starts itself and reads its environment")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod backend;
mod discovery;
mod executable;
mod faults;
mod keys;
mod login;
mod modules;
mod nss;
mod renewal;
mod served;
mod sessions;
mod world;

use std::path::Path;
use std::process::{Command, ExitCode};

use backend::Backend;
use libtest_mimic::{Arguments, Completion, Trial};
use world::World;

const BACKEND: &str = "PROKURA_TEST_BACKEND";
const DIRECTORY: &str = "PROKURA_TEST_DIRECTORY";

fn main() -> ExitCode {
    match std::env::var(BACKEND) {
        Ok(name) => run(Backend::named(&name), Path::new(&std::env::var(DIRECTORY).unwrap())),
        Err(_) => {
            let failed = Backend::ALL.iter().filter(|b| !passes(b)).count();
            let nss = libtest_mimic::run(&Arguments::from_args(), nss::trials());
            if failed == 0 && !nss.has_failed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
    }
}

fn passes(backend: &Backend) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let environment = backend.configure(directory.path());
    let status = Command::new(std::env::current_exe().unwrap())
        .args(std::env::args_os().skip(1))
        .env(BACKEND, backend.name())
        .env(DIRECTORY, directory.path())
        .envs(environment)
        .status();
    status.unwrap().success()
}

fn run(backend: Backend, directory: &Path) -> ExitCode {
    let arguments = Arguments::from_args();
    if let Err(absent) = backend.module() {
        let in_ci = std::env::var("CI").is_ok_and(|v| v == "true");
        let name = format!("{}: skipped, {absent}", backend.name());
        let trial = Trial::ignorable_test(name, move || {
            if in_ci { Err(absent.into()) } else { Ok(Completion::ignored_with(absent)) }
        });
        return libtest_mimic::run(&arguments, vec![trial]).exit_code();
    }
    if arguments.list {
        return libtest_mimic::run(&arguments, Vec::new()).exit_code();
    }
    let world: &'static World = Box::leak(Box::new(World::create(backend, directory)));
    if backend == Backend::Faulty {
        // One after the other: they share the file that says what breaks.
        let arguments = Arguments { test_threads: Some(1), ..arguments };
        return libtest_mimic::run(&arguments, faults::trials(world)).exit_code();
    }
    let trials = [
        keys::trials,
        login::trials,
        executable::trials,
        served::trials,
        discovery::trials,
        modules::trials,
        sessions::trials,
    ];
    let trials = trials.into_iter().flat_map(|of| of(world)).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Last and alone: these trials take the module away from everybody.
    let alone = libtest_mimic::run(&arguments, renewal::trials(world));
    if conclusion.has_failed() { conclusion.exit_code() } else { alone.exit_code() }
}
