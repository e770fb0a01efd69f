//! Numbers an operator may set: time limits and the size of the session pool.

use std::time::Duration;

use prokura_plugin::{Error, VaultRequest};

use super::{CALL_TIMEOUT, KEEP_ALIVE, MAX_SESSIONS};
use crate::limits::{CALL_SECONDS_DEFAULT, CALL_SECONDS_MAX, KEEP_ALIVE_SECONDS_MAX, SESSIONS_MAX};

/// What the plugin config says of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long one call into the module may last before the module counts as lost.
    pub call: Duration,
    /// How often idle sessions are used for nothing, so that neither token nor firewall drops them. Zero: never.
    pub keep_alive: Option<Duration>,
    /// Most sessions with one token, if fewer than the token has are wanted.
    pub sessions: Option<usize>,
}

impl Settings {
    /// Reads them.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` for what is no number or beyond its bounds.
    pub fn from_request(request: &VaultRequest) -> Result<Self, Error> {
        let call = number(request, CALL_TIMEOUT, 1, CALL_SECONDS_MAX)?.unwrap_or(CALL_SECONDS_DEFAULT);
        let keep_alive = number(request, KEEP_ALIVE, 0, KEEP_ALIVE_SECONDS_MAX)?;
        let sessions = number(request, MAX_SESSIONS, 1, SESSIONS_MAX as u64)?;
        Ok(Self {
            call: Duration::from_secs(call),
            keep_alive: keep_alive.map(Duration::from_secs),
            sessions: sessions.and_then(|count| usize::try_from(count).ok()),
        })
    }
}

fn number(request: &VaultRequest, name: &str, min: u64, max: u64) -> Result<Option<u64>, Error> {
    let Some(text) = request.config_optional(name) else { return Ok(None) };
    let number = text.parse().ok().filter(|number| (min..=max).contains(number));
    number.map(Some).ok_or_else(|| {
        Error::validation(format!("plugin config {name} is {text:?}, expected a number from {min} to {max}"))
    })
}

#[cfg(test)]
mod tests {
    use prokura_plugin::Deadline;

    use super::*;

    fn settings(config: &[(&str, &str)]) -> Result<Settings, Error> {
        let entries = config.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Settings::from_request(&VaultRequest::new(entries, Deadline::NONE)?)
    }

    #[test]
    fn numbers_are_read_within_their_bounds() {
        let none = settings(&[]).unwrap();
        assert_eq!((none.keep_alive, none.sessions), (None, None));
        let all = settings(&[("call-timeout", "5"), ("keep-alive", "60"), ("max-sessions", "2")]).unwrap();
        let expected = Settings {
            call: Duration::from_secs(5),
            keep_alive: Some(Duration::from_secs(60)),
            sessions: Some(2),
        };
        assert_eq!(all, expected);
        assert_eq!(settings(&[("keep-alive", "0")]).unwrap().keep_alive, Some(Duration::ZERO));
        for (name, value) in
            [("call-timeout", "0"), ("call-timeout", "soon"), ("keep-alive", "-1"), ("max-sessions", "1000")]
        {
            let error = settings(&[(name, value)]).unwrap_err();
            assert!(error.message.contains(name) && error.message.contains(value), "{error}");
        }
    }
}
