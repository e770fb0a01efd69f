//! The verbs, one room each, and the way from a parsed command line to one of them.

use crate::cli::options::ReadLimits;
use crate::cli::{Cli, Command, GlobalOptions, PluginCommand};
use crate::context::Context;
use crate::exit::Failure;
use crate::output::Output;
use crate::progress::Progress;

pub(crate) mod blob;
pub(crate) mod certificate;
pub(crate) mod cleanup_test;
pub(crate) mod completion;
pub(crate) mod generate_test;
pub(crate) mod inspect;
pub(crate) mod key;
pub(crate) mod list;
pub(crate) mod login;
pub(crate) mod plugin;
pub(crate) mod policy;
pub(crate) mod quickstart;
pub(crate) mod sign;
pub(crate) mod vault_certificate;
pub(crate) mod vault_keys;
pub(crate) mod verify;
pub(crate) mod version;

/// What every verb is given besides its options.
pub(crate) struct Scene<'a> {
    /// What was read from the outside.
    pub(crate) context: &'a Context,
    /// How running steps are shown.
    pub(crate) progress: Progress,
}

impl<'a> Scene<'a> {
    /// The scene for a command.
    pub(crate) fn new(context: &'a Context, global: &GlobalOptions) -> Self {
        Self { context, progress: Progress::new(context.terminals, global.debug || global.verbose) }
    }
}

/// Runs a command that needs no directories, for users without a home; `None` for any other command.
pub(crate) fn run_anywhere(command: &Command, output: &mut Output<'_>) -> Option<Result<(), Failure>> {
    match command {
        Command::Version => Some(version::run(output)),
        Command::Completion(options) => Some(completion::run(options, output)),
        _ => None,
    }
}

/// Runs one command.
///
/// # Errors
/// Each with its exit code.
pub(crate) async fn run(cli: Cli, context: &Context, output: &mut Output<'_>) -> Result<(), Failure> {
    let scene = Scene::new(context, &cli.global);
    match cli.command {
        Command::Key(command) => key::run(&command, &scene, output).await,
        Command::Certificate(command) => certificate::run(&command, &scene, output).await,
        Command::Policy(command) => policy::run(&command, &scene, output).await,
        Command::Plugin(PluginCommand::List) => plugin::list(&scene, output).await,
        Command::Version => version::run(output),
        Command::Completion(options) => completion::run(&options, output),
        Command::Sign(options) => sign::run(&options, &scene, output).await,
        Command::Verify(options) => within(&options.limits, verify::run(&options, &scene, output)).await,
        Command::List(options) => {
            within(&options.read.limits, list::run(&options.read, &scene, output)).await
        }
        Command::Inspect(options) => {
            within(&options.read.limits, inspect::run(&options.read, &scene, output)).await
        }
        Command::Blob(command) => blob::run(&command, &scene, output).await,
        Command::Login(options) => login::login(&options, &scene, output).await,
        Command::Logout(options) => login::logout(&options, &scene, output).await,
        Command::Quickstart(options) => quickstart::run(&options, &scene, output).await,
    }
}

/// Runs a command with an end.
async fn within(
    limits: &ReadLimits,
    command: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    tokio::time::timeout(limits.timeout.0, command).await.unwrap_or_else(|_| {
        Err(Failure::infrastructure(format!(
            "the command was not done within its limit of {:?}: the registry is too slow or there is too much to \
             fetch; try again, or allow more time with --timeout",
            limits.timeout.0
        )))
    })
}

/// The only one of `given`, or the error `notation` gives for none.
///
/// # Errors
/// If there is none, or more than one.
pub(crate) fn only<'a, T>(given: &'a [T], missing: &str, what: &str) -> Result<&'a T, Failure> {
    match given {
        [] => Err(Failure::usage(missing)),
        [one] => Ok(one),
        more => Err(Failure::usage(format!("{} {what} were given, expected one", more.len()))),
    }
}

/// The message for a missing reference.
pub(crate) fn missing_reference(verb: &str) -> String {
    format!(
        "missing reference to the artifact: use `prokura {verb} --help` to see what parameters are required"
    )
}

/// A path in JSON; what is no UTF-8 in it is replaced.
pub(crate) fn path_text<S: serde::Serializer>(
    path: &std::path::Path,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}
