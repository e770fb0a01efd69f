//! What the binary read from the outside once: environment, terminals, clock, its own path.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use jiff::Timestamp;

use crate::directories::Directories;
use crate::exit::Failure;
use crate::password::Password;

/// The environment as it was at the start. The registry credentials are kept apart, so that no child process gets them.
#[derive(Clone, Default)]
pub(crate) struct Environment {
    variables: Vec<(OsString, OsString)>,
    username: Option<String>,
    password: Option<Password>,
}

impl Environment {
    /// Takes the variables the binary read.
    pub(crate) fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut environment = Self::default();
        for (name, value) in variables {
            if name == "NOTATION_USERNAME" {
                environment.username = value.into_string().ok();
            } else if name == "NOTATION_PASSWORD" {
                environment.password = value.into_string().ok().map(Password::new);
            } else {
                environment.variables.push((name, value));
            }
        }
        environment
    }

    /// The value of a variable; an empty one counts as none, as everywhere in `notation`.
    pub(crate) fn variable(&self, name: &str) -> Option<&OsStr> {
        let found = self.variables.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_os_str()).filter(|value| !value.is_empty())
    }

    /// The value of a variable as text; a value that is no UTF-8 counts as none.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.variable(name).and_then(OsStr::to_str)
    }

    /// `NOTATION_USERNAME`.
    pub(crate) fn username(&self) -> Option<&str> {
        self.username.as_deref().filter(|name| !name.is_empty())
    }

    /// `NOTATION_PASSWORD`.
    pub(crate) fn password(&self) -> Option<&Password> {
        self.password.as_ref().filter(|password| !password.is_empty())
    }

    /// All variables but the registry credentials, for plugins.
    pub(crate) fn for_plugins(&self) -> Vec<(OsString, OsString)> {
        self.variables.clone()
    }

    /// The same environment with a variable set.
    pub(crate) fn with(&self, name: &str, value: &OsStr) -> Self {
        let mut environment = self.clone();
        environment.variables.retain(|(key, _)| key != name);
        environment.variables.push((name.into(), value.to_owned()));
        environment
    }
}

/// Which standard streams are terminals, and whether colour is wanted there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terminals {
    /// Standard input is a terminal.
    pub(crate) stdin: bool,
    /// Standard output is a terminal.
    pub(crate) stdout: bool,
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
    pub(crate) fn with_environment(&self, environment: Environment) -> Result<Self, Failure> {
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
        assert_eq!(all.for_plugins(), [("PATH".into(), "/bin".into())]);
        assert_eq!(all.text("NOTATION_PASSWORD"), None);
        assert_eq!((all.username(), all.password().is_some()), (Some("u"), true));
    }

    #[test]
    fn colour_needs_a_terminal_and_nobody_against_it() {
        let terminal = Terminals { stdin: true, stdout: true, stderr: true };
        assert!(terminal.colour(&environment(&[("NO_COLOR", "")])));
        assert!(!terminal.colour(&environment(&[("NO_COLOR", "1")])));
        assert!(!terminal.colour(&environment(&[("TERM", "dumb")])));
        assert!(!Terminals::default().colour(&environment(&[])));
    }

    #[test]
    fn setting_a_variable_replaces_it() {
        let changed = environment(&[("A", "1"), ("B", "2")]).with("A", OsStr::new("3"));
        assert_eq!((changed.text("A"), changed.text("B")), (Some("3"), Some("2")));
    }
}
