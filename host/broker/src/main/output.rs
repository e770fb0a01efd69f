//! What `prokurad` prints, and the exit code that goes with it.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use prokura_broker::config::Problem;
use prokura_broker::daemon::Checked;
use serde_json::{Value, json};

use crate::command::Output;

/// The exit codes, the same as those of `prokura`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Exit {
    Refused = 1,
    Usage = 2,
    Infrastructure = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

pub(crate) fn failed(exit: Exit, error: &dyn std::error::Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "prokurad: {error}");
    exit.into()
}

/// A line on standard output; false if nobody reads any more.
pub(crate) fn line(text: &str) -> bool {
    writeln!(std::io::stdout(), "{text}").is_ok()
}

pub(crate) fn checked(checked: &Checked, path: &Path, output: Output) -> ExitCode {
    match output {
        Output::Json => {
            line(&to_json(checked, path).to_string());
        }
        Output::Text => to_text(checked, path),
    }
    if checked.problems.is_empty() { ExitCode::SUCCESS } else { Exit::Usage.into() }
}

fn to_text(checked: &Checked, path: &Path) {
    for problem in &checked.problems {
        line(&format!("error: {problem}"));
    }
    for warning in &checked.warnings {
        line(&format!("warning: {warning}"));
    }
    let path = path.display();
    match (checked.problems.len(), checked.counts) {
        (0, Some((keys, policies))) => {
            line(&format!("{path}: good; keys: {keys}, policies: {policies}"));
        }
        (found, _) => {
            line(&format!("{path}: problems: {found}"));
        }
    }
}

fn to_json(checked: &Checked, path: &Path) -> Value {
    let list = |problems: &[Problem]| -> Vec<Value> {
        let one = |problem: &Problem| json!({ "place": problem.place, "message": problem.message });
        problems.iter().map(one).collect()
    };
    json!({
        "config": path.display().to_string(),
        "valid": checked.problems.is_empty(),
        "problems": list(&checked.problems),
        "warnings": list(&checked.warnings),
        "keys": checked.counts.map(|counts| counts.0),
        "policies": checked.counts.map(|counts| counts.1),
    })
}
