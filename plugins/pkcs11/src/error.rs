//! What becomes of a token's refusal: an error that says who must act, and what may mend it before anybody must.

mod meaning;

use std::time::Duration;

use cryptoki::error::{Error as CryptokiError, RvError};
use prokura_plugin::{Error, Scope};

use crate::limits::RETRY_SECONDS;

use meaning::Meaning;

/// Name of the metadata entry that holds the CKR name.
pub const CKR: &str = "ckr";

/// What mends a failed call, from the mildest remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Recovery {
    /// Nothing a second call would change.
    GiveUp,
    /// The token has no session left: wait for one of ours.
    Wait,
    /// The session, the login or the handle is gone and nothing was signed: a new session, a login if needed, the
    /// key's handle found again.
    NewSession,
    /// The token itself is gone: look in all slots for where it is now. Then as [`Recovery::NewSession`].
    FindToken,
    /// The module has lost its way: finalise and initialise it.
    Reinitialise,
    /// The process is of no use any more; its host starts another one.
    Restart,
}

impl Recovery {
    /// The remedy to take after `tried` has not helped: each at most once, and a stronger one where there is one.
    #[must_use]
    pub fn after(self, tried: Self) -> Self {
        match (self, tried) {
            (Self::FindToken, Self::FindToken) => Self::Reinitialise,
            (wanted, tried) if wanted > tried => wanted,
            _ => Self::GiveUp,
        }
    }
}

/// Why calls in a session ended: the token's doing, after which a second try may help, or a finding of ours.
#[derive(Debug)]
pub enum Refusal {
    /// A call failed.
    Token {
        /// What was attempted, in the form "sign with key x".
        doing: String,
        /// What the call returned.
        error: CryptokiError,
    },
    /// The calls went well; what they found is no good.
    Final(Error),
}

/// An error, and what may mend it.
#[derive(Debug)]
pub struct Failure {
    /// What is reported if nothing mends it.
    pub error: Box<Error>,
    /// What may.
    pub recovery: Recovery,
}

impl Refusal {
    /// For `map_err`: what was attempted when the call failed.
    pub fn of(doing: impl Into<String>) -> impl FnOnce(CryptokiError) -> Self {
        let doing = doing.into();
        |error| Self::Token { doing, error }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Failure::from(refusal).into()
    }
}

impl Failure {
    /// An error with its remedy.
    pub fn new(error: Error, recovery: Recovery) -> Self {
        Self { error: Box::new(error), recovery }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        *failure.error
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error, Recovery::GiveUp)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Token { doing, error } => failure(&doing, &error),
            Refusal::Final(error) => error.into(),
        }
    }
}

/// Turns a failed call into an error with its remedy; `doing` says what was attempted, in the form "sign with key x".
pub fn failure(doing: &str, error: &CryptokiError) -> Failure {
    Failure::new(refused(doing, error), recovery(error))
}

/// Turns a failed call into an error; `doing` says what was attempted, in the form "sign with key x".
pub fn refused(doing: &str, error: &CryptokiError) -> Error {
    match error {
        CryptokiError::Pkcs11(rv, function) => {
            let (name, meaning) = (ckr_name(*rv), Meaning::of(*rv));
            let message = format!("cannot {doing}: C_{function:?} returned {name}: {}", meaning.advice);
            let error = Error::new(meaning.code, message).with(CKR, name.clone()).vault_code(name);
            let error = error.with_scope(meaning.scope).retryable(meaning.retryable);
            if meaning.retryable { error.retry_after(Duration::from_secs(RETRY_SECONDS)) } else { error }
        }
        CryptokiError::NullFunctionPointer => {
            Error::internal(format!("cannot {doing}: the module lacks a function this plugin needs"))
        }
        other => {
            Error::internal(format!("cannot {doing}: the module answered with a malformed value: {other}"))
        }
    }
}

/// The token or the way to it is gone for now: an HSM that starts anew is back after some seconds.
pub fn away(error: Error) -> Error {
    error.with_scope(Scope::Vault).retryable(true).retry_after(Duration::from_secs(RETRY_SECONDS))
}

/// What may mend this error.
pub const fn recovery(error: &CryptokiError) -> Recovery {
    match error {
        CryptokiError::Pkcs11(rv, _) => Meaning::of(*rv).recovery,
        _ => Recovery::GiveUp,
    }
}

/// Whether the token refused a mechanism or its parameters, before it signed anything.
pub fn is_refused_padding(error: &Error) -> bool {
    let ckr = error.metadata.get(CKR).map(String::as_str);
    matches!(ckr, Some("CKR_MECHANISM_INVALID" | "CKR_MECHANISM_PARAM_INVALID"))
}

/// The name of the standard, such as `CKR_PIN_INCORRECT`; numbers for codes outside it.
pub fn ckr_name(rv: RvError) -> String {
    match rv {
        RvError::VendorDefined(number) => format!("CKR_VENDOR_DEFINED+{:#x}", number & !0x8000_0000),
        RvError::UnknownErrorCode(number) => format!("CKR {number:#x}"),
        known => {
            let mut name = String::from("CKR");
            for letter in format!("{known:?}").chars() {
                if letter.is_ascii_uppercase() {
                    name.push('_');
                }
                name.push(letter.to_ascii_uppercase());
            }
            name
        }
    }
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;
    use prokura_plugin::ErrorCode;

    use super::*;

    #[test]
    fn names_are_those_of_the_standard() {
        for (rv, name) in [
            (RvError::PinIncorrect, "CKR_PIN_INCORRECT"),
            (RvError::SlotIdInvalid, "CKR_SLOT_ID_INVALID"),
            (RvError::RandomNoRng, "CKR_RANDOM_NO_RNG"),
            (RvError::FipsSelfTestFailed, "CKR_FIPS_SELF_TEST_FAILED"),
            (RvError::VendorDefined(0x8000_0042), "CKR_VENDOR_DEFINED+0x42"),
            (RvError::UnknownErrorCode(0x7777), "CKR 0x7777"),
        ] {
            assert_eq!(ckr_name(rv), name);
        }
    }

    #[test]
    fn codes_say_whether_a_retry_may_help() {
        use ErrorCode::{AccessDenied, Error as Other, Throttled, ValidationError};
        for (rv, expected, retry) in [
            (RvError::PinIncorrect, AccessDenied, false),
            (RvError::PinLocked, AccessDenied, false),
            (RvError::UserNotLoggedIn, AccessDenied, false),
            (RvError::KeyFunctionNotPermitted, AccessDenied, false),
            (RvError::SessionCount, Throttled, true),
            (RvError::DeviceMemory, Throttled, true),
            (RvError::MechanismInvalid, ValidationError, false),
            (RvError::KeyHandleInvalid, ValidationError, true),
            (RvError::DeviceError, Other, true),
            (RvError::DeviceRemoved, Other, true),
            (RvError::TokenNotPresent, Other, true),
            (RvError::SessionHandleInvalid, Other, true),
            (RvError::HostMemory, Other, true),
            (RvError::FipsSelfTestFailed, Other, false),
            (RvError::VendorDefined(0x8000_0001), Other, false),
        ] {
            let error = refused("sign", &CryptokiError::Pkcs11(rv, Function::Sign));
            assert_eq!((error.code, error.may_retry()), (expected, retry), "{rv:?}");
        }
    }

    #[test]
    fn errors_carry_the_function_and_the_name_for_machines() {
        let error = refused("log in", &CryptokiError::Pkcs11(RvError::PinLocked, Function::Login));
        assert_eq!(error.code, ErrorCode::AccessDenied);
        assert!(error.message.starts_with("cannot log in: C_Login returned CKR_PIN_LOCKED"), "{error}");
        assert!(error.message.contains("security officer"), "{error}");
        assert_eq!(error.vault_code.as_deref(), Some("CKR_PIN_LOCKED"));
        assert_eq!(error.metadata.get(CKR).map(String::as_str), Some("CKR_PIN_LOCKED"));
    }

    #[test]
    fn a_wrong_pin_is_never_tried_again() {
        for rv in [
            RvError::PinIncorrect,
            RvError::PinInvalid,
            RvError::PinLenRange,
            RvError::PinLocked,
            RvError::PinExpired,
            RvError::UserPinNotInitialized,
        ] {
            let error = CryptokiError::Pkcs11(rv, Function::Login);
            assert_eq!(recovery(&error), Recovery::GiveUp, "{rv:?}");
            assert!(!refused("log in", &error).may_retry(), "{rv:?}");
        }
    }

    #[test]
    fn each_kind_of_loss_has_its_remedy() {
        for (rv, expected) in [
            (RvError::SessionHandleInvalid, Recovery::NewSession),
            (RvError::UserNotLoggedIn, Recovery::NewSession),
            (RvError::ObjectHandleInvalid, Recovery::NewSession),
            (RvError::GeneralError, Recovery::NewSession),
            (RvError::DeviceRemoved, Recovery::FindToken),
            (RvError::TokenNotPresent, Recovery::FindToken),
            (RvError::DeviceError, Recovery::FindToken),
            (RvError::CryptokiNotInitialized, Recovery::Reinitialise),
            (RvError::MutexBad, Recovery::Restart),
            (RvError::SessionCount, Recovery::Wait),
            (RvError::MechanismInvalid, Recovery::GiveUp),
        ] {
            assert_eq!(recovery(&CryptokiError::Pkcs11(rv, Function::Sign)), expected, "{rv:?}");
        }
    }

    #[test]
    fn remedies_grow_stronger_and_come_to_an_end() {
        use Recovery::{FindToken, GiveUp, NewSession, Reinitialise, Restart};
        for (wanted, tried, next) in [
            (NewSession, GiveUp, NewSession),
            (NewSession, NewSession, GiveUp),
            (FindToken, GiveUp, FindToken),
            (FindToken, NewSession, FindToken),
            (FindToken, FindToken, Reinitialise),
            (FindToken, Reinitialise, GiveUp),
            (Reinitialise, FindToken, Reinitialise),
            (Reinitialise, Reinitialise, GiveUp),
            (Restart, GiveUp, Restart),
            (GiveUp, NewSession, GiveUp),
        ] {
            assert_eq!(wanted.after(tried), next, "{wanted:?} after {tried:?}");
        }
    }
}
