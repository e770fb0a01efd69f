//! Runs a step of the quickstart by the command line it shows: the same parser, the same verbs.

use std::io::Write;

use clap::Parser;
use serde::Serialize;
use serde_json::Value;

use super::is_shown;
use super::place::Place;
use crate::cli::Cli;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{Format, Output};
use crate::verb;

/// A step that was run.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Step {
    title: &'static str,
    command: String,
    exit_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Runs steps one after the other.
pub(super) struct Runner<'a, 'o> {
    context: &'a Context,
    output: &'a mut Output<'o>,
    steps: Vec<Step>,
}

impl<'a, 'o> Runner<'a, 'o> {
    /// A runner whose steps see `context`.
    pub(super) const fn new(context: &'a Context, output: &'a mut Output<'o>) -> Self {
        Self { context, output, steps: Vec::new() }
    }

    /// Tells how the commands can be repeated.
    ///
    /// # Errors
    /// If standard output is closed.
    pub(super) fn introduce(&mut self, place: &Place) -> Result<(), Failure> {
        if !is_shown(self.output) {
            return Ok(());
        }
        let made = [place.config(), place.layout(), place.tampered()];
        let made: Vec<String> = made.iter().map(|path| quoted(&path.to_string_lossy())).collect();
        let mut text =
            String::from("# To repeat the commands below one by one, first clear what they make:\n");
        text += &format!("rm -r {}\n", made.join(" "));
        if let Some(directory) = self.context.bundled_plugins().filter(|_| !is_on_path(self.context)) {
            text += &format!("export PATH={}:\"$PATH\"\n", quoted(&directory.to_string_lossy()));
        }
        text += &format!("export NOTATION_CONFIG={}\n", quoted(&place.config().to_string_lossy()));
        self.output.raw(text.as_bytes())
    }

    /// Runs a step that must succeed.
    ///
    /// # Errors
    /// The step's own.
    pub(super) async fn must(&mut self, title: &'static str, arguments: Vec<String>) -> Result<(), Failure> {
        self.run(title, arguments).await
    }

    /// Runs a step that must be refused.
    ///
    /// # Errors
    /// If it succeeds, or fails for another reason than a refusal.
    pub(super) async fn must_be_refused(
        &mut self,
        title: &'static str,
        arguments: Vec<String>,
    ) -> Result<(), Failure> {
        match self.run(title, arguments).await {
            Err(failure) if failure.exit == Exit::Refused => {
                if is_shown(self.output) {
                    self.output.error(&failure);
                    self.output
                        .raw(format!("# Exit code {}, as it must be.\n", failure.exit.code()).as_bytes())?;
                }
                Ok(())
            }
            Err(failure) => Err(failure),
            Ok(()) => Err(Failure::refused(
                "a tampered copy was accepted: do not use this program, and report this as a security problem",
            )),
        }
    }

    /// What was run.
    pub(super) fn finish(self) -> Vec<Step> {
        self.steps
    }

    async fn run(&mut self, title: &'static str, arguments: Vec<String>) -> Result<(), Failure> {
        let shown: Vec<String> = arguments.iter().map(|word| quoted(word)).collect();
        let command = format!("prokura {}", shown.join(" "));
        let format = self.output.format();
        if is_shown(self.output) {
            self.output.raw(format!("\n# {title}:\n{command}\n").as_bytes())?;
        }
        let words = ["prokura".to_owned()].into_iter().chain(arguments);
        let mut cli = Cli::try_parse_from(words).map_err(|error| Failure::usage(error.to_string()))?;
        cli.global.output = format;
        let mut document = Vec::new();
        let result = {
            let (out, err) = self.output.writers();
            let out: &mut dyn Write = if format == Format::Json { &mut document } else { out };
            let mut inner = Output::new(format, out, err, false);
            // Boxed: a verb that runs verbs is a future that holds itself.
            Box::pin(verb::run(cli, self.context, &mut inner)).await
        };
        self.steps.push(Step {
            title,
            command,
            exit_code: result.as_ref().err().map_or(0, |failure| failure.exit.code()),
            result: serde_json::from_slice(&document).ok(),
            error: result.as_ref().err().map(ToString::to_string),
        });
        result
    }
}

/// A word as a POSIX shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Whether the shell finds this very program by its name.
fn is_on_path(context: &Context) -> bool {
    let (Some(path), Some(own)) = (context.environment.variable("PATH"), &context.executable) else {
        return false;
    };
    let first =
        std::env::split_paths(path).map(|directory| directory.join("prokura")).find(|file| file.is_file());
    first
        .and_then(|file| file.canonicalize().ok())
        .is_some_and(|file| own.canonicalize().is_ok_and(|own| own == file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("a/b:v1@sha256:0"), "a/b:v1@sha256:0");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted(""), "''");
    }
}
