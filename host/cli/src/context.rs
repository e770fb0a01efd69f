//! What the binary read from the outside once: environment, terminals, clock, its own path.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use jiff::Timestamp;

use crate::directories::Directories;

/// The environment as it was at the start.
#[derive(Clone, Default)]
pub(crate) struct Environment(Vec<(OsString, OsString)>);

impl Environment {
    /// Takes the variables the binary read.
    pub(crate) fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Self(variables.into_iter().collect())
    }

    /// The value of a variable; an empty one counts as none, as everywhere in `notation`.
    pub(crate) fn variable(&self, name: &str) -> Option<&OsStr> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_os_str()).filter(|value| !value.is_empty())
    }

    /// The value of a variable as text; a value that is no UTF-8 counts as none.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.variable(name).and_then(OsStr::to_str)
    }

    /// All variables but the registry credentials, which no child process needs.
    pub(crate) fn without_credentials(&self) -> Vec<(OsString, OsString)> {
        let secret = |key: &OsString| key == "NOTATION_USERNAME" || key == "NOTATION_PASSWORD";
        self.0.iter().filter(|(key, _)| !secret(key)).cloned().collect()
    }

    /// The same environment with some variables set.
    pub(crate) fn with(&self, variables: &[(&str, &OsStr)]) -> Self {
        let kept = self.0.iter().filter(|(key, _)| !variables.iter().any(|(name, _)| key == name)).cloned();
        let set = variables.iter().map(|(name, value)| (OsString::from(name), (*value).to_owned()));
        Self(kept.chain(set).collect())
    }
}

/// Which standard streams are terminals, and whether colour is wanted there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terminals {
    /// Standard input is a terminal.
    pub(crate) stdin: bool,
    /// Standard error is a terminal.
    pub(crate) stderr: bool,
}

impl Terminals {
    /// Colour on standard error: a terminal that understands it and nobody objects (`NO_COLOR`, no-color.org).
    pub(crate) fn colour(self, environment: &Environment) -> bool {
        self.stderr && environment.variable("NO_COLOR").is_none() && environment.text("TERM") != Some("dumb")
    }
}

/// Everything a verb may know about the outside.
pub(crate) struct Context {
    /// The environment.
    pub(crate) environment: Environment,
    /// Where configuration, plugins and caches are.
    pub(crate) directories: Directories,
    /// The terminals.
    pub(crate) terminals: Terminals,
    /// The running executable, if the system tells.
    pub(crate) executable: Option<PathBuf>,
    /// The clock.
    pub(crate) now: fn() -> Timestamp,
}

impl Context {
    /// The same outside with another environment, whose directories are found anew.
    ///
    /// # Errors
    /// As [`Directories::find`].
    pub(crate) fn with_environment(&self, environment: Environment) -> std::io::Result<Self> {
        let directories = Directories::find(&environment)?;
        let (terminals, executable, now) = (self.terminals, self.executable.clone(), self.now);
        Ok(Self { environment, directories, terminals, executable, now })
    }

    /// The directory that holds this executable, where bundled plugins are looked for.
    pub(crate) fn bundled_plugins(&self) -> Option<PathBuf> {
        self.executable.as_deref().and_then(std::path::Path::parent).map(PathBuf::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment::new(pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())))
    }

    #[test]
    fn credentials_never_reach_children() {
        let all = environment(&[("NOTATION_USERNAME", "u"), ("NOTATION_PASSWORD", "p"), ("PATH", "/bin")]);
        let kept = all.without_credentials();
        assert_eq!(kept, [("PATH".into(), "/bin".into())]);
        assert_eq!(all.text("NOTATION_PASSWORD"), Some("p"));
    }

    #[test]
    fn colour_needs_a_terminal_and_nobody_against_it() {
        let terminal = Terminals { stdin: true, stderr: true };
        assert!(terminal.colour(&environment(&[("NO_COLOR", "")])));
        assert!(!terminal.colour(&environment(&[("NO_COLOR", "1")])));
        assert!(!terminal.colour(&environment(&[("TERM", "dumb")])));
        assert!(!Terminals::default().colour(&environment(&[])));
    }

    #[test]
    fn setting_a_variable_replaces_it() {
        let changed = environment(&[("A", "1"), ("B", "2")]).with(&[("A", OsStr::new("3"))]);
        assert_eq!((changed.text("A"), changed.text("B")), (Some("3"), Some("2")));
    }
}
