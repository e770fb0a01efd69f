//! A PIN from a pinentry program that the user configured, for where there is no terminal: a desktop, a build started
//! from an editor.

use std::ffi::OsString;
use std::path::Path;
use std::time::Instant;

use prokura_plugin::pin::{Defaults, PinSource, Surroundings};
use prokura_plugin::{Deadline, Pin};

use crate::context::Environment;
use crate::limits::{GPG_AGENT_CONF_BYTES_MAX, PINENTRY_LIMIT};

/// Names the program for plugins, and for this.
const PROGRAM: &str = "PROKURA_PLUGIN_PINENTRY";
/// Nothing but the program is asked.
const NO_DEFAULTS: Defaults = Defaults { variable: "", credential: "" };

pub(super) struct Pinentry {
    program: OsString,
    environment: Environment,
}

impl Pinentry {
    /// The program that `PROKURA_PLUGIN_PINENTRY`, `PINENTRY` or GnuPG's `gpg-agent.conf` names.
    pub(super) fn configured(environment: &Environment) -> Option<Self> {
        let named = [PROGRAM, "PINENTRY"].into_iter().find_map(|name| environment.variable(name));
        let program = named.map(OsString::from).or_else(|| gnupg_program(environment))?;
        Some(Self { program, environment: environment.clone() })
    }

    /// Asks. The program runs until it is answered, or for two minutes.
    pub(super) async fn pin(&self, question: String) -> Option<Pin> {
        let (program, environment) = (self.program.clone(), self.environment.clone());
        let variable = move |name: &str| match name {
            PROGRAM => Some(program.clone()),
            other => environment.variable(other).map(OsString::from),
        };
        let surroundings = Surroundings::new(NO_DEFAULTS, variable, |line| tracing::warn!("{line}"));
        let ask = move || {
            let deadline = Deadline::at(Instant::now() + PINENTRY_LIMIT);
            PinSource::Pinentry.read(&surroundings, &question, deadline)
        };
        match tokio::task::spawn_blocking(ask).await {
            Ok(Ok(pin)) => pin,
            Ok(Err(error)) => {
                tracing::warn!(%error, "pinentry gave no PIN");
                None
            }
            Err(_) => None,
        }
    }
}

fn gnupg_program(environment: &Environment) -> Option<OsString> {
    let home = environment.variable("GNUPGHOME").map(OsString::from);
    let home = home.or_else(|| Some(Path::new(environment.variable("HOME")?).join(".gnupg").into()))?;
    let path = Path::new(&home).join("gpg-agent.conf");
    if std::fs::metadata(&path).ok()?.len() > GPG_AGENT_CONF_BYTES_MAX {
        return None;
    }
    program_in(&std::fs::read_to_string(path).ok()?)
}

/// The value of `pinentry-program` (gpg-agent(1), "Option Summary").
fn program_in(configuration: &str) -> Option<OsString> {
    let mut words = configuration.lines().map(|line| line.trim().split_once(char::is_whitespace));
    words.find_map(|words| {
        words.filter(|(name, _)| *name == "pinentry-program").map(|(_, path)| path.trim().into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_comes_from_the_environment_or_from_gnupg() {
        let home = tempfile::tempdir().unwrap();
        let environment = |more: &[(&str, &str)]| {
            let home = [("HOME", home.path().to_str().unwrap())];
            Environment::new(home.iter().chain(more).map(|(name, value)| ((*name).into(), (*value).into())))
        };
        let found =
            |more: &[(&str, &str)]| Pinentry::configured(&environment(more)).map(|found| found.program);
        assert_eq!(found(&[]), None);
        std::fs::create_dir(home.path().join(".gnupg")).unwrap();
        let configuration =
            "# pinentry-program /no\ndefault-cache-ttl 60\n pinentry-program\t/usr/bin/pinentry-curses \n";
        std::fs::write(home.path().join(".gnupg/gpg-agent.conf"), configuration).unwrap();
        assert_eq!(found(&[]), Some("/usr/bin/pinentry-curses".into()));
        assert_eq!(found(&[("PINENTRY", "/a")]), Some("/a".into()));
        assert_eq!(found(&[("PINENTRY", "/a"), (PROGRAM, "/b")]), Some("/b".into()));
    }
}
