//! Logging in, with respect for the retry counter: a PIN the token refused is not tried again.

use cryptoki::error::{Error as CryptokiError, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use prokura_plugin::pin::Defaults;
use prokura_plugin::{Deadline, Error, Pin};

use super::token_info::{Identity, TokenInfo};
use crate::config::pin::{DEFAULTS, PinReader};
use crate::config::{PIN_SOURCE, TOKEN};
use crate::error::{Failure, Recovery, failure};

/// What this process knows of PINs of one token.
#[derive(Default)]
pub struct Login {
    logged_in: bool,
    accepted: Option<Pin>,
    /// Whether the accepted PIN was given by a person, who need not give it again after a lost session.
    given_by_person: bool,
    refused: Option<Pin>,
}

/// Everything a login needs.
pub struct Attempt<'a> {
    /// In which session.
    pub session: &'a Session,
    /// With which token.
    pub identity: &'a Identity,
    /// What the token says of itself now.
    pub info: &'a dyn Fn() -> Result<TokenInfo, Failure>,
    /// Where the PIN comes from.
    pub pin: &'a PinReader,
    /// Until when a person is waited for.
    pub deadline: Deadline,
}

impl Login {
    /// Whether this process has logged in at some time.
    pub const fn has_logged_in(&self) -> bool {
        self.logged_in
    }

    /// Checks a key's PIN against the login there is: the token checks it only once per process, so that without
    /// this a key without the right PIN could use another key's login. A key whose PIN a person gives is let in.
    ///
    /// # Errors
    /// `ACCESS_DENIED` if it is another PIN, or none.
    pub fn admit(&self, pin: &PinReader) -> Result<(), Error> {
        let Some(accepted) = &self.accepted else { return Ok(()) };
        match pin.kept()? {
            Some(kept) if accepted.is_same(&kept) => Ok(()),
            Some(other) => Err(Error::access_denied(format!(
                "the PIN {} is not the one this process has logged in to the token with; one process holds one \
                 login per token. If the PIN was changed, the plugin must be started anew",
                other.origin()
            ))),
            None if pin.names_a_person() || self.given_by_person => Ok(()),
            None => Err(no_pin()),
        }
    }

    /// Logs in as the token's user, if the token has a login.
    ///
    /// # Errors
    /// `ACCESS_DENIED` without a PIN, with a PIN the token refuses or has refused before, or if a wrong PIN would
    /// lock the token.
    pub fn log_in(&mut self, attempt: &Attempt<'_>) -> Result<(), Failure> {
        let info = (attempt.info)()?;
        let Identity { label, .. } = attempt.identity;
        if info.identity != *attempt.identity {
            let moved = format!("another token has taken the place of {label:?}; no PIN was sent to it");
            return Err(Failure::new(Error::internal(moved), Recovery::FindToken));
        }
        if !info.asks_for_login() && attempt.pin.kept()?.is_none() && !attempt.pin.names_a_person() {
            return Ok(());
        }
        self.authenticate(UserType::User, attempt, &info)?;
        self.logged_in = true;
        Ok(())
    }

    /// Authenticates once more for the signature that was begun in the session (`CKA_ALWAYS_AUTHENTICATE`, PKCS#11
    /// v3.1 section 5.6.8). A person is asked each time: that is what the key's owner decided.
    ///
    /// # Errors
    /// As [`Login::log_in`].
    pub fn confirm(&mut self, attempt: &Attempt<'_>) -> Result<(), Failure> {
        let kept = attempt.pin.kept()?;
        if let (Some(accepted), Some(kept)) = (&self.accepted, &kept)
            && accepted.is_same(kept)
        {
            // A proven PIN costs no try, and no second look at the token.
            return send(UserType::ContextSpecific, attempt, Some(kept))
                .map_err(|e| failure(&doing(attempt), &e));
        }
        drop(kept);
        let info = (attempt.info)()?;
        self.given_by_person = false;
        self.authenticate(UserType::ContextSpecific, attempt, &info)
    }

    fn authenticate(
        &mut self,
        user: UserType,
        attempt: &Attempt<'_>,
        info: &TokenInfo,
    ) -> Result<(), Failure> {
        check_lock(attempt.identity, info)?;
        if info.is_pin_count_low() {
            let label = &attempt.identity.label;
            attempt
                .pin
                .warn(&format!("wrong PINs have been counted by token {label:?}, and it locks after a few"));
        }
        let Some((pin, by_person)) = self.pin(attempt, info)? else {
            return send(user, attempt, None).map_err(|e| {
                let mut failed =
                    failure(&format!("log in to token {:?} at its own keypad", attempt.identity.label), &e);
                failed.recovery = Recovery::GiveUp;
                failed
            });
        };
        self.check(&pin, attempt.identity, info)?;
        match send(user, attempt, Some(&pin)) {
            Ok(()) => {
                (self.accepted, self.given_by_person, self.refused) = (Some(pin), by_person, None);
                Ok(())
            }
            Err(e) => Err(self.not_logged_in(pin, attempt, &e)),
        }
    }

    /// The PIN to send and whether a person gave it; `None` for a token that asks at its own keypad.
    fn pin(&self, attempt: &Attempt<'_>, info: &TokenInfo) -> Result<Option<(Pin, bool)>, Error> {
        if let Some(kept) = attempt.pin.kept()? {
            return Ok(Some((kept, false)));
        }
        if let Some(given) = self.accepted.as_ref().filter(|_| self.given_by_person) {
            return Ok(Some((Pin::new(given.expose().as_bytes(), given.origin())?, true)));
        }
        if info.has_own_keypad() && !attempt.pin.names_a_person() {
            return Ok(None);
        }
        let Identity { label, serial, .. } = attempt.identity;
        let given = attempt.pin.ask(&format!("token {label:?} with serial {serial:?}"), attempt.deadline)?;
        Ok(Some((given.ok_or_else(no_pin)?, true)))
    }

    /// Everything that can be known to fail without spending one of the few tries.
    fn check(&self, pin: &Pin, identity: &Identity, info: &TokenInfo) -> Result<(), Error> {
        let (label, origin) = (&identity.label, pin.origin());
        if self.refused.as_ref().is_some_and(|r| r.is_same(pin)) {
            return Err(Error::access_denied(format!(
                "token {label:?} has refused the PIN {origin} already; it is not tried again, so that the token \
                 does not lock. Whoever configured it must correct it"
            )));
        }
        let (min, max) = info.pin_bytes;
        if pin.len() < min || (max >= min && max > 0 && pin.len() > max) {
            return Err(Error::access_denied(format!(
                "token {label:?} takes PINs of {min} to {max} bytes, the one {origin} has another length; it was \
                 not tried"
            )));
        }
        Ok(())
    }

    fn not_logged_in(&mut self, pin: Pin, attempt: &Attempt<'_>, error: &CryptokiError) -> Failure {
        let doing = format!("{} with the PIN {}", doing(attempt), pin.origin());
        let mut failed = failure(&doing, error);
        let is_proven = self.accepted.as_ref().is_some_and(|accepted| accepted.is_same(&pin));
        if is_refusal(error) {
            self.refused = Some(pin);
            if let Ok(info) = (attempt.info)() {
                failed.error.message.push_str(tries_left(&info));
            }
        } else if !is_proven && !never_reached_the_token(error) {
            // The token may have counted it: a second try is a person's decision.
            failed = Error::from(failed).retryable(false).into();
        }
        failed
    }
}

fn doing(attempt: &Attempt<'_>) -> String {
    format!("log in to token {:?}", attempt.identity.label)
}

fn send(user: UserType, attempt: &Attempt<'_>, pin: Option<&Pin>) -> Result<(), CryptokiError> {
    match attempt.session.login(user, pin.map(auth_pin).as_ref()) {
        Err(CryptokiError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        other => other,
    }
}

/// As the module takes it. The capacity is exact, so that no copy stays behind unwiped.
fn auth_pin(pin: &Pin) -> AuthPin {
    let mut text = String::with_capacity(pin.len());
    text.push_str(pin.expose());
    AuthPin::from(text)
}

const fn is_refusal(error: &CryptokiError) -> bool {
    use RvError::{PinIncorrect, PinInvalid, PinLenRange, PinLocked};
    matches!(error, CryptokiError::Pkcs11(PinIncorrect | PinInvalid | PinLenRange | PinLocked, _))
}

const fn never_reached_the_token(error: &CryptokiError) -> bool {
    use RvError::{
        CryptokiNotInitialized, DeviceRemoved, SessionClosed, SessionHandleInvalid, TokenNotPresent,
    };
    matches!(
        error,
        CryptokiError::Pkcs11(
            SessionHandleInvalid | SessionClosed | DeviceRemoved | TokenNotPresent | CryptokiNotInitialized,
            _
        )
    )
}

fn check_lock(identity: &Identity, info: &TokenInfo) -> Result<(), Error> {
    let label = &identity.label;
    if info.is_pin_locked() {
        return Err(Error::access_denied(format!(
            "the PIN of token {label:?} is locked; its security officer must unlock it"
        )));
    }
    if info.is_last_try() {
        return Err(Error::access_denied(format!(
            "token {label:?} allows one last try before it locks, which is left to a person: log in once with the \
             right PIN by the token's own tool, then sign again"
        )));
    }
    Ok(())
}

const fn tries_left(info: &TokenInfo) -> &'static str {
    if info.is_pin_locked() {
        "; the token is locked now"
    } else if info.is_last_try() {
        "; the token allows one last try"
    } else if info.is_pin_count_low() {
        "; wrong PINs have been counted, and the token locks after a few"
    } else {
        ""
    }
}

fn no_pin() -> Error {
    let Defaults { variable, credential } = DEFAULTS;
    Error::access_denied(format!(
        "the {TOKEN} asks for a PIN and none was found: name its place with {PIN_SOURCE} (file:/PATH, env:NAME, \
         credential:NAME, ask, pinentry or terminal), or set environment variable {variable}, or pass systemd credential \
         {credential}"
    ))
}
