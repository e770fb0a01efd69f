//! `completion`.

use clap::CommandFactory;

use crate::cli::{Cli, CompletionOptions, Shell};
use crate::exit::Failure;
use crate::output::{Format, Output};

/// Writes a completion script.
pub(crate) fn run(options: &CompletionOptions, output: &mut Output<'_>) -> Result<(), Failure> {
    if output.format() == Format::Json {
        return Err(Failure::usage("a completion script has no JSON form; leave out --output json"));
    }
    let shell = match options.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
        Shell::Powershell => clap_complete::Shell::PowerShell,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "prokura", &mut script);
    output.raw(&script)
}
