//! The table: what each CKR code (PKCS#11 v3.1 section 5.1) means in terms of the contract's six, with what is broken,
//! what mends it and who must act.

use cryptoki::error::RvError;
use prokura_plugin::{ErrorCode, Scope};

use super::Recovery;

/// What one code means.
pub(super) struct Meaning {
    pub(super) code: ErrorCode,
    pub(super) recovery: Recovery,
    /// What is broken.
    pub(super) scope: Scope,
    /// Whether the same request may succeed later without anybody acting.
    pub(super) retryable: bool,
    /// Who must act, in one sentence.
    pub(super) advice: &'static str,
}

impl Meaning {
    /// Somebody must act; nothing else helps.
    const fn act(code: ErrorCode, scope: Scope, advice: &'static str) -> Self {
        Self { code, recovery: Recovery::GiveUp, scope, retryable: false, advice }
    }

    /// It passes, or is mended here.
    const fn mend(code: ErrorCode, recovery: Recovery, scope: Scope, advice: &'static str) -> Self {
        Self { code, recovery, scope, retryable: true, advice }
    }

    /// The table.
    pub(super) const fn of(rv: RvError) -> Self {
        use ErrorCode::{AccessDenied, Error as Other, Throttled, ValidationError};
        use Recovery::{FindToken, NewSession, Reinitialise, Restart, Wait};
        use RvError as R;
        use Scope::{Key, Request, Session, Vault};
        match rv {
            // The PIN. Never tried again: each wrong one counts.
            R::PinIncorrect | R::PinInvalid | R::PinLenRange => Self::act(
                AccessDenied,
                Vault,
                "the token refused the PIN; whoever configured it must correct it",
            ),
            R::PinLocked => Self::act(
                AccessDenied,
                Vault,
                "the PIN is locked; the token's security officer must unlock it",
            ),
            R::PinExpired | R::PinTooWeak => {
                Self::act(AccessDenied, Vault, "the PIN has expired; the token's user must change it")
            }
            R::UserPinNotInitialized => Self::act(
                AccessDenied,
                Vault,
                "the token has no user PIN yet; its security officer must set one",
            ),
            R::UserAnotherAlreadyLoggedIn | R::UserTooManyTypes | R::UserTypeInvalid => {
                Self::act(AccessDenied, Vault, "another user is logged in to the token in this process")
            }
            // Rights.
            R::KeyFunctionNotPermitted | R::ActionProhibited => {
                Self::act(AccessDenied, Key, "the token does not let this key sign")
            }
            R::FunctionRejected | R::FunctionCanceled | R::Cancel => {
                Self::act(AccessDenied, Request, "the request was refused at the token")
            }
            R::TokenWriteProtected | R::SessionReadOnly => Self::act(
                AccessDenied,
                Vault,
                "the token cannot be written to; its security officer decides that",
            ),
            // What is mended by a new session, a login, a handle found anew.
            R::UserNotLoggedIn => Self {
                // Mended here or not at all: another login each time would not end.
                retryable: false,
                ..Self::mend(AccessDenied, NewSession, Session, "the token asks for a login")
            },
            R::SessionHandleInvalid | R::SessionClosed => {
                Self::mend(Other, NewSession, Session, "the token has dropped the session")
            }
            R::OperationNotInitialized | R::OperationActive => {
                Self::mend(Other, NewSession, Session, "the token lost track of what the session was doing")
            }
            R::KeyHandleInvalid | R::ObjectHandleInvalid => {
                Self::mend(ValidationError, NewSession, Key, "the key is no longer in the token")
            }
            R::GeneralError | R::FunctionFailed => Self::mend(
                Other,
                NewSession,
                Vault,
                "the token or its module failed; its own log may say why",
            ),
            // What is mended by looking for the token, and by initialising the module anew.
            R::DeviceRemoved | R::TokenNotPresent | R::SlotIdInvalid => Self::mend(
                Other,
                FindToken,
                Vault,
                "the token is not there, or its HSM is not reachable; whoever operates it must connect it, or see to the \
                 HSM and the network between",
            ),
            R::DeviceError => Self::mend(
                Other,
                FindToken,
                Vault,
                "the token or HSM is not reachable, or it failed; ask whoever operates it, its own log and the network \
                 between may say why",
            ),
            R::CryptokiNotInitialized => Self::mend(
                Other,
                Reinitialise,
                Vault,
                "the module has lost its state, or was ended by somebody else in this process",
            ),
            R::HostMemory => Self::mend(
                Other,
                FindToken,
                Vault,
                "the module found no memory, or no running service of its own on the way to the token; ask whoever operates \
                 it",
            ),
            R::MutexBad | R::MutexNotLocked => Self::mend(
                Other,
                Restart,
                Vault,
                "the module's locks are damaged; this process is of no use any more",
            ),
            // What passes.
            R::SessionCount => {
                Self::mend(Throttled, Wait, Vault, "the token has no session left; other programs hold them")
            }
            R::DeviceMemory => {
                Self::mend(Throttled, Recovery::GiveUp, Vault, "the token is out of memory for now")
            }
            // What this key, token or module cannot do.
            R::MechanismInvalid | R::MechanismParamInvalid => {
                Self::act(ValidationError, Key, "the token cannot do it the way Notary requires")
            }
            R::KeySizeRange | R::CurveNotSupported | R::DomainParamsInvalid | R::KeyTypeInconsistent => {
                Self::act(ValidationError, Key, "the token cannot use a key of this kind, size or curve")
            }
            R::DataLenRange => {
                Self::act(ValidationError, Key, "the token does not take a digest of this length")
            }
            R::TokenNotRecognized => Self::act(Other, Vault, "the module does not know this kind of token"),
            R::CantLock | R::NeedToCreateThreads => {
                Self::act(Other, Vault, "the module cannot be used by several threads")
            }
            _ => Self::act(Other, Vault, "the operator of the token must look into it"),
        }
    }
}
