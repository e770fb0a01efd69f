//! What a token's refusal means: CKR codes (PKCS#11 v3.1 section 5.1) in terms of the contract's six.

use cryptoki::error::{Error as CryptokiError, RvError};
use prokura_plugin::{Error, ErrorCode};

/// Name of the metadata entry that holds the CKR name.
pub const CKR: &str = "ckr";

/// What to do after a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// The session, the login or the handle is gone and nothing was signed: open a new one and try once more.
    Renew,
    /// The token has no session left: wait for one of ours.
    Wait,
    /// Nothing a second call would change.
    GiveUp,
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
        match refusal {
            Refusal::Token { doing, error } => refused(&doing, &error),
            Refusal::Final(error) => error,
        }
    }
}

/// Turns a failed call into an error; `doing` says what was attempted, in the form "sign with key x".
pub fn refused(doing: &str, error: &CryptokiError) -> Error {
    match error {
        CryptokiError::Pkcs11(rv, function) => {
            let name = ckr_name(*rv);
            let advice = advice(*rv);
            Error::new(code(*rv), format!("cannot {doing}: C_{function:?} returned {name}: {advice}"))
                .with(CKR, name)
        }
        CryptokiError::NullFunctionPointer => {
            Error::internal(format!("cannot {doing}: the module lacks a function this plugin needs"))
        }
        other => {
            Error::internal(format!("cannot {doing}: the module answered with a malformed value: {other}"))
        }
    }
}

/// What to do after this error.
pub const fn recovery(error: &CryptokiError) -> Recovery {
    use RvError as R;
    match error {
        CryptokiError::Pkcs11(
            R::SessionHandleInvalid
            | R::SessionClosed
            | R::UserNotLoggedIn
            | R::KeyHandleInvalid
            | R::ObjectHandleInvalid
            | R::DeviceRemoved
            | R::TokenNotPresent
            | R::OperationNotInitialized,
            _,
        ) => Recovery::Renew,
        CryptokiError::Pkcs11(R::SessionCount, _) => Recovery::Wait,
        _ => Recovery::GiveUp,
    }
}

/// The contract's code for a return value. Retried by hosts: only what passes without anybody acting.
pub const fn code(rv: RvError) -> ErrorCode {
    use RvError as R;
    match rv {
        R::PinIncorrect
        | R::PinInvalid
        | R::PinLenRange
        | R::PinExpired
        | R::PinLocked
        | R::PinTooWeak
        | R::UserNotLoggedIn
        | R::UserPinNotInitialized
        | R::UserTypeInvalid
        | R::UserAnotherAlreadyLoggedIn
        | R::UserTooManyTypes
        | R::KeyFunctionNotPermitted
        | R::ActionProhibited
        | R::FunctionRejected => ErrorCode::AccessDenied,
        R::SessionCount | R::DeviceMemory => ErrorCode::Throttled,
        R::MechanismInvalid
        | R::MechanismParamInvalid
        | R::KeySizeRange
        | R::KeyTypeInconsistent
        | R::KeyHandleInvalid
        | R::ObjectHandleInvalid
        | R::CurveNotSupported
        | R::DomainParamsInvalid
        | R::DataLenRange => ErrorCode::ValidationError,
        _ => ErrorCode::Error,
    }
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

/// Who must act, in one sentence.
const fn advice(rv: RvError) -> &'static str {
    use RvError as R;
    match rv {
        R::PinIncorrect | R::PinInvalid | R::PinLenRange => {
            "the token refused the PIN; whoever configured it must correct it"
        }
        R::PinLocked => "the PIN is locked; the token's security officer must unlock it",
        R::PinExpired => "the PIN has expired; the token's user must change it",
        R::UserPinNotInitialized => "the token has no user PIN yet; its security officer must set one",
        R::UserNotLoggedIn => "the token asks for a login",
        R::UserAnotherAlreadyLoggedIn | R::UserTooManyTypes => {
            "another user is logged in to the token in this process"
        }
        R::KeyFunctionNotPermitted | R::ActionProhibited => "the token does not let this key sign",
        R::FunctionRejected | R::FunctionCanceled => "the request was refused at the token",
        R::SessionCount => "the token has no session left; other programs hold them",
        R::DeviceMemory => "the token is out of memory for now",
        R::TokenNotPresent | R::DeviceRemoved | R::SlotIdInvalid => {
            "the token is not there; the operator must connect it"
        }
        R::TokenNotRecognized => "the module does not know this kind of token",
        R::MechanismInvalid | R::MechanismParamInvalid => "the token cannot sign the way Notary requires",
        R::KeySizeRange | R::CurveNotSupported | R::DomainParamsInvalid => {
            "the token cannot use a key of this size or curve"
        }
        R::KeyHandleInvalid | R::ObjectHandleInvalid => "the key is no longer in the token",
        R::CantLock | R::NeedToCreateThreads => "the module cannot be used by several threads",
        R::DeviceError | R::GeneralError | R::FunctionFailed => {
            "the token or its module failed; its own log may say why"
        }
        R::HostMemory => "the module found no memory or no running service of its own",
        _ => "the operator of the token must look into it",
    }
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;

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
        for (rv, expected) in [
            (RvError::PinIncorrect, AccessDenied),
            (RvError::PinLocked, AccessDenied),
            (RvError::UserNotLoggedIn, AccessDenied),
            (RvError::KeyFunctionNotPermitted, AccessDenied),
            (RvError::SessionCount, Throttled),
            (RvError::DeviceMemory, Throttled),
            (RvError::MechanismInvalid, ValidationError),
            (RvError::KeyHandleInvalid, ValidationError),
            (RvError::DeviceError, Other),
            (RvError::DeviceRemoved, Other),
            (RvError::TokenNotPresent, Other),
            (RvError::HostMemory, Other),
            (RvError::VendorDefined(0x8000_0001), Other),
        ] {
            assert_eq!(code(rv), expected, "{rv:?}");
        }
    }

    #[test]
    fn errors_carry_the_function_and_the_name_for_machines() {
        let error = refused("log in", &CryptokiError::Pkcs11(RvError::PinLocked, Function::Login));
        assert_eq!(error.code, ErrorCode::AccessDenied);
        assert!(error.message.starts_with("cannot log in: C_Login returned CKR_PIN_LOCKED"), "{error}");
        assert!(error.message.contains("security officer"), "{error}");
        assert_eq!(error.metadata.get(CKR).map(String::as_str), Some("CKR_PIN_LOCKED"));
    }

    #[test]
    fn a_wrong_pin_is_never_tried_again() {
        for rv in [RvError::PinIncorrect, RvError::PinLocked, RvError::PinExpired, RvError::DeviceError] {
            assert_eq!(recovery(&CryptokiError::Pkcs11(rv, Function::Login)), Recovery::GiveUp, "{rv:?}");
        }
        for rv in [RvError::SessionHandleInvalid, RvError::UserNotLoggedIn, RvError::DeviceRemoved] {
            assert_eq!(recovery(&CryptokiError::Pkcs11(rv, Function::Sign)), Recovery::Renew, "{rv:?}");
        }
    }
}
