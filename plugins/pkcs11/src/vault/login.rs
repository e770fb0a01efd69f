//! Logging in, with respect for the retry counter: a PIN the token refused is not tried again.

use cryptoki::error::{Error as CryptokiError, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::TokenInfo;
use cryptoki::types::AuthPin;
use prokura_plugin::pin::Defaults;
use prokura_plugin::{Error, Pin};

use crate::config::locator::{PIN_SOURCE, TOKEN};
use crate::config::pin::DEFAULTS;
use crate::error::refused;
use crate::vault::module::Identity;

/// What this process knows of PINs of one token.
#[derive(Default)]
pub struct Login {
    logged_in: bool,
    accepted: Option<Pin>,
    refused: Option<Pin>,
}

impl Login {
    /// Whether this process has logged in at some time.
    pub const fn has_logged_in(&self) -> bool {
        self.logged_in
    }

    /// Checks a key's PIN against the login there is: the token checks it only once per process, so that without
    /// this a key without the right PIN could use another key's login.
    ///
    /// # Errors
    /// `ACCESS_DENIED` if it is another PIN, or none.
    pub fn admit(&self, pin: Option<&Pin>) -> Result<(), Error> {
        match (&self.accepted, pin) {
            (Some(accepted), Some(pin)) if !accepted.is_same(pin) => Err(Error::access_denied(format!(
                "the PIN {} is not the one this process has logged in to the token with; one process holds one \
                 login per token. If the PIN was changed, the plugin must be started anew",
                pin.origin()
            ))),
            (Some(_), None) => Err(no_pin()),
            _ => Ok(()),
        }
    }

    /// Logs in as the token's user, if the token has a login.
    ///
    /// # Errors
    /// `ACCESS_DENIED` without a PIN, with a PIN the token refuses or has refused before, or if a wrong PIN would
    /// lock the token.
    pub fn log_in(
        &mut self,
        session: &Session,
        identity: &Identity,
        pin: Option<Pin>,
        read_info: &dyn Fn() -> Result<TokenInfo, Error>,
    ) -> Result<(), Error> {
        let info = read_info()?;
        if Identity::of(&info) != *identity {
            let label = &identity.label;
            return Err(Error::internal(format!(
                "another token has taken the place of {label:?}; no PIN was sent to it"
            )));
        }
        let Some(pin) = pin else {
            self.logged_in |= log_in_without_pin(session, identity, &info)?;
            return Ok(());
        };
        self.check(&pin, identity, &info)?;
        match session.login(UserType::User, Some(&auth_pin(&pin))) {
            Ok(()) | Err(CryptokiError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
                self.logged_in = true;
                self.accepted = Some(pin);
                self.refused = None;
                Ok(())
            }
            Err(e) => Err(self.not_logged_in(pin, identity, &e, read_info)),
        }
    }

    /// Everything that can be known to fail without spending one of the few tries.
    fn check(&self, pin: &Pin, identity: &Identity, info: &TokenInfo) -> Result<(), Error> {
        let (label, origin) = (&identity.label, pin.origin());
        check_lock(identity, info)?;
        if self.refused.as_ref().is_some_and(|r| r.is_same(pin)) {
            return Err(Error::access_denied(format!(
                "token {label:?} has refused the PIN {origin} already; it is not tried again, so that the token \
                 does not lock. Whoever configured it must correct it"
            )));
        }
        let (min, max) = (info.min_pin_length(), info.max_pin_length());
        if pin.len() < min || (max >= min && max > 0 && pin.len() > max) {
            return Err(Error::access_denied(format!(
                "token {label:?} takes PINs of {min} to {max} bytes, the one {origin} has another length; it was \
                 not tried"
            )));
        }
        Ok(())
    }

    fn not_logged_in(
        &mut self,
        pin: Pin,
        identity: &Identity,
        error: &CryptokiError,
        read_info: &dyn Fn() -> Result<TokenInfo, Error>,
    ) -> Error {
        let doing = format!("log in to token {:?} with the PIN {}", identity.label, pin.origin());
        let mut refusal = refused(&doing, error);
        if matches!(
            error,
            CryptokiError::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)
        ) {
            self.refused = Some(pin);
            if let Ok(info) = read_info() {
                refusal.message.push_str(tries_left(&info));
            }
        }
        refusal
    }
}

/// Logs in at the token's own keypad if it has one; returns whether there was a login.
fn log_in_without_pin(session: &Session, identity: &Identity, info: &TokenInfo) -> Result<bool, Error> {
    if !info.login_required() {
        return Ok(false);
    }
    if !info.protected_authentication_path() {
        return Err(no_pin());
    }
    check_lock(identity, info)?;
    match session.login(UserType::User, None) {
        Ok(()) | Err(CryptokiError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(true),
        Err(e) => Err(refused(&format!("log in to token {:?} at its own keypad", identity.label), &e)),
    }
}

fn check_lock(identity: &Identity, info: &TokenInfo) -> Result<(), Error> {
    let label = &identity.label;
    if info.user_pin_locked() {
        return Err(Error::access_denied(format!(
            "the PIN of token {label:?} is locked; its security officer must unlock it"
        )));
    }
    if info.user_pin_final_try() {
        return Err(Error::access_denied(format!(
            "token {label:?} allows one last try before it locks, which is left to a person: log in once with the \
             right PIN by the token's own tool, then sign again"
        )));
    }
    Ok(())
}

fn tries_left(info: &TokenInfo) -> &'static str {
    if info.user_pin_locked() {
        "; the token is locked now"
    } else if info.user_pin_final_try() {
        "; the token allows one last try"
    } else if info.user_pin_count_low() {
        "; wrong PINs have been counted, and the token locks after a few"
    } else {
        ""
    }
}

/// As the module takes it. The capacity is exact, so that no copy stays behind unwiped.
fn auth_pin(pin: &Pin) -> AuthPin {
    let mut text = String::with_capacity(pin.len());
    text.push_str(pin.expose());
    AuthPin::from(text)
}

fn no_pin() -> Error {
    let Defaults { variable, credential } = DEFAULTS;
    Error::access_denied(format!(
        "the {TOKEN} asks for a PIN and none was found: name its place with {PIN_SOURCE} (file:/PATH, env:NAME or \
         credential:NAME), or set environment variable {variable}, or pass systemd credential \
         {credential}"
    ))
}
