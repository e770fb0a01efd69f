//! What a plugin says when it cannot do what was asked: one of the six codes of contract 1.0 and a sentence.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The error codes of contract 1.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorCode {
    /// A field is empty or malformed, the key does not exist, an encoding is not supported. Retry: no.
    ValidationError,
    /// The plugin does not speak the contract version of the request. Retry: no.
    UnsupportedContractVersion,
    /// The vault refused: not authenticated or not permitted. Retry: no.
    AccessDenied,
    /// The vault did not answer in time. Retry: yes.
    Timeout,
    /// The vault asks for fewer requests. Retry: yes, after back-off.
    Throttled,
    /// Anything else. Retry: no.
    Error,
}

impl ErrorCode {
    /// All six, in the order of the contract.
    pub const ALL: [ErrorCode; 6] = [
        Self::ValidationError,
        Self::UnsupportedContractVersion,
        Self::AccessDenied,
        Self::Timeout,
        Self::Throttled,
        Self::Error,
    ];

    /// The wire form, such as `VALIDATION_ERROR`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ValidationError => "VALIDATION_ERROR",
            Self::UnsupportedContractVersion => "UNSUPPORTED_CONTRACT_VERSION",
            Self::AccessDenied => "ACCESS_DENIED",
            Self::Timeout => "TIMEOUT",
            Self::Throttled => "THROTTLED",
            Self::Error => "ERROR",
        }
    }

    /// Whether the same request may succeed later without anybody acting.
    pub const fn may_retry(self) -> bool {
        matches!(self, Self::Timeout | Self::Throttled)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ErrorCode {
    type Err = UnknownErrorCode;

    fn from_str(text: &str) -> Result<Self, UnknownErrorCode> {
        Self::ALL.into_iter().find(|c| c.as_str() == text).ok_or(UnknownErrorCode)
    }
}

/// A code outside contract 1.0. Vendors send their own; a host treats it as [`ErrorCode::Error`] and keeps the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownErrorCode;

impl fmt::Display for UnknownErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("error code is none of contract 1.0")
    }
}

impl std::error::Error for UnknownErrorCode {}

/// What is broken, and so what a retry must renew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// This request alone.
    Request,
    /// The key: disabled, deleted, without permission. Other keys may work.
    Key,
    /// The session, login or connection: opening the key again may help.
    Session,
    /// The whole vault, its driver or the way to it.
    Vault,
}

impl Scope {
    /// All four, from the narrowest.
    pub const ALL: [Scope; 4] = [Self::Request, Self::Key, Self::Session, Self::Vault];

    /// The wire form, such as `SESSION`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "REQUEST",
            Self::Key => "KEY",
            Self::Session => "SESSION",
            Self::Vault => "VAULT",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = UnknownErrorCode;

    fn from_str(text: &str) -> Result<Self, UnknownErrorCode> {
        Self::ALL.into_iter().find(|s| s.as_str() == text).ok_or(UnknownErrorCode)
    }
}

/// A failure as a plugin reports it. It must hold no secret: hosts show and log it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Which of the six.
    pub code: ErrorCode,
    /// What was found, what was expected, who must act.
    pub message: String,
    /// Further facts for machines.
    pub metadata: BTreeMap<String, String>,
    /// Whether the same request may succeed without anybody acting; `None`: as the code says.
    pub retryable: Option<bool>,
    /// How long the vault asks to wait before that.
    pub retry_after: Option<Duration>,
    /// What is broken, if that is known.
    pub scope: Option<Scope>,
    /// The vault's own name for the error, such as `CKR_PIN_INCORRECT` or `ThrottlingException`.
    pub vault_code: Option<String>,
    /// The id under which the vault logged the request.
    pub request_id: Option<String>,
}

impl Error {
    /// An error with the given code.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            metadata: BTreeMap::new(),
            retryable: None,
            retry_after: None,
            scope: None,
            vault_code: None,
            request_id: None,
        }
    }

    /// The caller sent something that cannot work.
    pub fn validation(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::ValidationError, message)
    }

    /// The vault refused.
    pub fn access_denied(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::AccessDenied, message)
    }

    /// The vault or the deadline ran out of time.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Timeout, message)
    }

    /// The vault asks for fewer requests.
    pub fn throttled(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Throttled, message)
    }

    /// Anything else.
    pub fn internal(message: impl fmt::Display) -> Self {
        Self::new(ErrorCode::Error, message.to_string())
    }

    /// Adds a fact for machines.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(name.into(), value.into());
        self
    }

    /// Says what is broken.
    #[must_use]
    pub const fn with_scope(mut self, scope: Scope) -> Self {
        self.scope = Some(scope);
        self
    }

    /// Says whether the same request may succeed without anybody acting, where the code does not say it rightly.
    #[must_use]
    pub const fn retryable(mut self, retryable: bool) -> Self {
        self.retryable = Some(retryable);
        self
    }

    /// Says how long the vault asks to wait.
    #[must_use]
    pub const fn retry_after(mut self, pause: Duration) -> Self {
        self.retry_after = Some(pause);
        self
    }

    /// Names the vault's own code.
    #[must_use]
    pub fn vault_code(mut self, code: impl Into<String>) -> Self {
        self.vault_code = Some(code.into());
        self
    }

    /// Names the id under which the vault logged the request.
    #[must_use]
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }

    /// Whether the same request may succeed later without anybody acting.
    pub fn may_retry(&self) -> bool {
        self.retryable.unwrap_or_else(|| self.code.may_retry())
    }

    /// Whether opening the key anew and asking once more may help: a lost session, a handle that is no longer valid.
    pub fn may_reopen(&self) -> bool {
        self.may_retry() && matches!(self.scope, Some(Scope::Session | Scope::Key))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Error {}

impl From<crate::signature::SignatureError> for Error {
    /// A vault that returns such bytes is broken; nobody else can act.
    fn from(error: crate::signature::SignatureError) -> Self {
        Self::internal(format!("the vault returned no usable signature: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_timeout_and_throttled_may_be_retried() {
        let retry: Vec<_> = ErrorCode::ALL.into_iter().filter(|c| c.may_retry()).collect();
        assert_eq!(retry, [ErrorCode::Timeout, ErrorCode::Throttled]);
    }

    #[test]
    fn codes_are_read_as_written_and_nothing_else() {
        for code in ErrorCode::ALL {
            assert_eq!(code.as_str().parse(), Ok(code));
        }
        assert_eq!("Forbidden".parse::<ErrorCode>(), Err(UnknownErrorCode));
    }
}
