//! `prokura`: sign and verify OCI artifacts and files with keys that stay in their vault.
//!
//! This file reads arguments, environment and clock, and nothing else does; the verbs are in `verb`.

#![allow(
    rustdoc::invalid_html_tags,
    rustdoc::broken_intra_doc_links,
    reason = "doc comments of arguments are their help text"
)]

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

mod artifact;
mod blob_file;
mod cli;
mod config;
mod context;
mod directories;
mod exit;
mod inspection;
mod interruption;
mod issuer;
mod limits;
mod log;
mod output;
mod password;
mod person;
mod plugin_start;
mod progress;
mod prompt;
mod signature;
mod signing;
mod signing_keys;
mod state_file;
mod verb;

use cli::Cli;
use context::{Context, Environment, Terminals};
use exit::{Exit, Failure};
use output::Output;

#[expect(clippy::disallowed_methods, reason = "the binary reads arguments, environment and clock once, here")]
fn main() -> ExitCode {
    hide_memory();
    let arguments = std::env::args_os();
    let environment = Environment::new(std::env::vars_os());
    let executable = std::env::current_exe().ok();
    start(arguments, environment, executable, jiff::Timestamp::now)
}

/// Makes the process not dumpable: a plugin of the same user cannot read `NOTATION_PASSWORD` from
/// `/proc/PID/environ`, nor anything else from memory, and a core dump holds no secret (prctl(2),
/// `PR_SET_DUMPABLE`). What a system without it leaves readable is no reason to stop.
fn hide_memory() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

fn start(
    arguments: impl IntoIterator<Item = std::ffi::OsString>,
    environment: Environment,
    executable: Option<std::path::PathBuf>,
    now: fn() -> jiff::Timestamp,
) -> ExitCode {
    let terminals = Terminals {
        stdin: std::io::stdin().is_terminal(),
        stdout: std::io::stdout().is_terminal(),
        stderr: std::io::stderr().is_terminal(),
    };
    let colour = terminals.colour(&environment);
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return answer_parser(&error, colour),
    };
    log::start(&cli.global, colour);
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let mut output = Output::new(cli.global.output, &mut out, &mut err, colour);
    let result = verb::run_anywhere(&cli.command, &mut output).unwrap_or_else(|| {
        let directories = directories::Directories::find(&environment)?;
        let context = Context { environment, directories, terminals, executable, now };
        run(cli, &context, &mut output)
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure, &mut output),
    }
}

/// Runs the command until it is done or a signal asks for its end. Plugin processes and private directories end with
/// the future that owns them.
fn run(cli: Cli, context: &Context, output: &mut Output<'_>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::Infrastructure, error))?;
    let result = runtime.block_on(async {
        tokio::select! {
            biased;
            // First, so that the signals are watched before anything is started.
            exit = interruption::wait() => Err(Failure::interrupted(exit)),
            result = verb::run(cli, context, output) => result,
        }
    });
    // After a signal a thread may still wait for an answer on standard input; it must not keep the process.
    runtime.shutdown_background();
    result
}

fn fail(failure: &Failure, output: &mut Output<'_>) -> ExitCode {
    if !failure.is_broken_pipe() {
        output.error(failure);
    }
    ExitCode::from(failure.exit.code())
}

/// Help and version go to standard output; a wrong command line is one `Error:` with a hint, exit code 2.
fn answer_parser(error: &clap::Error, colour: bool) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return ExitCode::from(Exit::Usage.code());
    }
    let text = error.render().to_string();
    let message = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
    let mut err = std::io::stderr();
    Output::new(output::Format::Text, &mut std::io::sink(), &mut err, colour).error(message);
    let _ = err.flush();
    ExitCode::from(Exit::Usage.code())
}
