//! What is wrong with policies: file, line, what was found, what may have been meant.

use std::fmt;

use cedar_policy::ffi::DetailedError;

use crate::limits::POLICY_PROBLEMS_MAX;

/// One problem at one place. The author of the policy must act.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, as it was named at load; empty if it is about no file.
    pub file: String,
    /// Line from 1; 0 if it is about the file as a whole.
    pub line: usize,
    /// Column from 1, in characters; 0 if it is about the line as a whole.
    pub column: usize,
    /// What was found and what was expected.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            f.write_str(&self.file)?;
            for number in [self.line, self.column].iter().take_while(|number| **number > 0) {
                write!(f, ":{number}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.message)
    }
}

/// Why policies were not loaded. The set in use, if any, stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    problems: Vec<Problem>,
    more: usize,
}

impl LoadError {
    /// Sorted by file and line, each once.
    pub(super) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort();
        problems.dedup();
        let more = problems.len().saturating_sub(POLICY_PROBLEMS_MAX);
        problems.truncate(POLICY_PROBLEMS_MAX);
        Self { problems, more }
    }

    /// The problems by file and line; at most [`POLICY_PROBLEMS_MAX`].
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            let newline = if at == 0 { "" } else { "\n" };
            write!(f, "{newline}{problem}")?;
        }
        if self.more > 0 {
            write!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for LoadError {}

impl Problem {
    pub(super) fn of_file(file: &str, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: 0, column: 0, message: message.into() }
    }

    pub(super) fn at(file: &str, text: &str, offset: usize, message: impl Into<String>) -> Self {
        let (line, column) = position(text, offset);
        Self { file: file.to_owned(), line, column, message: message.into() }
    }

    /// What Cedar found, and what it found beside it.
    pub(super) fn of_cedar(
        file: &str,
        text: &str,
        fallback_offset: usize,
        error: &DetailedError,
    ) -> Vec<Self> {
        let offset = error.source_locations.first().map_or(fallback_offset, |label| label.loc.start);
        let label = error.source_locations.first().and_then(|label| label.label.as_ref());
        let mut message = error.message.clone();
        for further in [label, error.help.as_ref()].into_iter().flatten() {
            message.push_str("; ");
            message.push_str(further);
        }
        let related = error.related.iter();
        let related = related.flat_map(|error| Self::of_cedar(file, text, fallback_offset, error));
        std::iter::once(Self::at(file, text, offset, message)).chain(related).collect()
    }
}

/// Line and column from 1, in characters.
pub(super) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    (line, column)
}
