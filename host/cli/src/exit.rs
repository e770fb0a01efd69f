//! How the process ends: the exit codes and the error that carries one.

use std::fmt;

/// The exit codes, part of the command line's promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Refused: a verification failed, or a plugin, its vault or a policy said no.
    Refused = 1,
    /// The command line, a file named on it or the configuration is wrong.
    Usage = 2,
    /// The network, the registry, the disk or a plugin process failed; a retry may help.
    Infrastructure = 3,
    /// The terminal went away; as for the next ones, the number shells give to a process ended by that signal,
    /// 128 + SIGHUP.
    HungUp = 129,
    /// The user pressed Ctrl-C: 128 + SIGINT.
    Interrupted = 130,
    /// The user pressed Ctrl-\: 128 + SIGQUIT.
    Quit = 131,
    /// A supervisor asked for the end: 128 + SIGTERM.
    Terminated = 143,
}

impl Exit {
    /// The number handed to the shell.
    pub(crate) const fn code(self) -> u8 {
        self as u8
    }
}

/// The table shown by `prokura --help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    refused: the verification failed, or the plugin, its vault or a policy said no
  2    wrong usage or configuration
  3    infrastructure: network, registry, disk, a plugin that died or ran out of time
  129  ended by SIGHUP
  130  interrupted by Ctrl-C
  131  ended by SIGQUIT
  143  ended by SIGTERM";

/// An error and the exit code that goes with it.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    error: anyhow::Error,
}

impl Failure {
    /// A failure with the given exit code.
    pub(crate) fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into() }
    }

    /// Wrong usage or configuration.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, error: anyhow::Error::msg(message.into()) }
    }

    /// Something said no.
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self { exit: Exit::Refused, error: anyhow::Error::msg(message.into()) }
    }

    /// The machinery failed.
    pub(crate) fn infrastructure(message: impl Into<String>) -> Self {
        Self { exit: Exit::Infrastructure, error: anyhow::Error::msg(message.into()) }
    }

    /// A signal asked for the end; `exit` tells which.
    pub(crate) fn interrupted(exit: Exit) -> Self {
        Self { exit, error: anyhow::Error::msg("interrupted") }
    }

    /// The same failure with the step during which it happened in front.
    pub(crate) fn during(self, step: impl fmt::Display + Send + Sync + 'static) -> Self {
        Self { exit: self.exit, error: self.error.context(step) }
    }

    /// Whether the reader of standard output went away; then there is nobody to tell.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        let broken = |e: &std::io::Error| e.kind() == std::io::ErrorKind::BrokenPipe;
        self.error.downcast_ref::<OutputClosed>().is_some_and(|closed| broken(&closed.0))
    }
}

impl fmt::Display for Failure {
    /// The whole chain of causes on one line. A cause that the text before already tells is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = String::new();
        for cause in self.error.chain().map(ToString::to_string) {
            if told.is_empty() {
                told = cause;
            } else if !told.contains(&cause) {
                told.push_str(": ");
                told.push_str(&cause);
            }
        }
        f.write_str(&told)
    }
}

/// Standard output could not be written.
#[derive(Debug)]
struct OutputClosed(std::io::Error);

impl fmt::Display for OutputClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write the result: {}", self.0)
    }
}

impl std::error::Error for OutputClosed {}

impl Failure {
    /// The result could not be written to standard output.
    pub(crate) fn output(error: std::io::Error) -> Self {
        Self::new(Exit::Infrastructure, OutputClosed(error))
    }
}

impl From<prokura_registry::Error> for Failure {
    fn from(error: prokura_registry::Error) -> Self {
        use prokura_registry::Blame;
        let exit = match error.blame() {
            Blame::User | Blame::Operator => Exit::Usage,
            Blame::Registry | Blame::Network => Exit::Infrastructure,
        };
        Self::new(exit, error)
    }
}

impl From<prokura_verify::store::TrustStoreError> for Failure {
    fn from(error: prokura_verify::store::TrustStoreError) -> Self {
        use prokura_verify::store::TrustStoreError;
        let exit = match error {
            TrustStoreError::NotChanged { .. } => Exit::Infrastructure,
            _ => Exit::Usage,
        };
        Self::new(exit, error)
    }
}

impl From<prokura_verify::policy::PolicyError> for Failure {
    /// A policy that has no statement for the artifact refuses it; a policy that cannot be used is a configuration
    /// error.
    fn from(error: prokura_verify::policy::PolicyError) -> Self {
        use prokura_verify::policy::PolicyError;
        let exit = match error {
            PolicyError::NoStatement { .. } | PolicyError::NoGlobalBlobStatement => Exit::Refused,
            PolicyError::NotWritten { .. } => Exit::Infrastructure,
            _ => Exit::Usage,
        };
        Self::new(exit, error)
    }
}

impl From<prokura_signer::Error> for Failure {
    fn from(error: prokura_signer::Error) -> Self {
        use prokura_signer::Error;
        let exit = match &error {
            // The vault was too slow or too busy: nobody said no.
            Error::Refused { .. } if error.may_retry() => Exit::Infrastructure,
            Error::Refused { .. } | Error::Malformed { .. } => Exit::Refused,
            Error::Envelope { .. } | Error::Chain { .. } => Exit::Refused,
            Error::System { .. } | Error::Died { .. } | Error::GivenUp { .. } => Exit::Infrastructure,
            Error::TooSlow { .. } => Exit::Infrastructure,
            Error::Flooded { .. } | Error::KeyChanged { .. } => Exit::Infrastructure,
            _ => Exit::Usage,
        };
        Self::new(exit, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_is_one_line_without_repetition() {
        let io = std::io::Error::other("disk on fire");
        let failure = Failure::new(Exit::Infrastructure, io).during("cannot write /x: disk on fire");
        assert_eq!(failure.to_string(), "cannot write /x: disk on fire");
        let failure = Failure::usage("no such key").during("cannot sign");
        assert_eq!(failure.to_string(), "cannot sign: no such key");
        assert_eq!(failure.exit.code(), 2);
    }

    #[test]
    fn the_exit_codes_are_documented_alike() {
        let documented = include_str!("../OUTPUT.md");
        let rows: Vec<String> = EXIT_CODES
            .lines()
            .skip(1)
            .map(|line| {
                let (code, meaning) = line.trim().split_once(' ').unwrap();
                format!("| {code} | {} |", meaning.trim())
            })
            .collect();
        assert_eq!(rows.len(), 8);
        for row in rows {
            assert!(documented.contains(&row), "OUTPUT.md lacks {row}");
        }
    }

    #[test]
    fn only_a_closed_reader_is_a_broken_pipe() {
        assert!(Failure::output(std::io::ErrorKind::BrokenPipe.into()).is_broken_pipe());
        assert!(!Failure::output(std::io::ErrorKind::StorageFull.into()).is_broken_pipe());
        assert!(!Failure::usage("x").is_broken_pipe());
    }
}
