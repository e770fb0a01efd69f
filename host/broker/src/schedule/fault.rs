//! What a failed call says about the vault: the few facts that decide about retry, failover and breaker.

use std::time::Duration;

use prokura_plugin::{ErrorCode, Scope};
use prokura_signer::Error;

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request: no vault would do it. The vault is well.
    Request,
    /// The key or the right to use it. The vault is well, an equivalent key may do it.
    Key,
    /// Too many requests. The vault is well and asks for fewer.
    Throttled,
    /// The vault, the plugin or the way to it.
    Vault,
}

/// The facts of one failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What is broken.
    pub kind: Kind,
    /// Whether the same request may succeed at the same key without anybody acting.
    pub retryable: bool,
    /// How long the vault asks to be left alone.
    pub retry_after: Option<Duration>,
}

impl Facts {
    /// A vault that gave no answer in the time of one attempt.
    pub const NO_ANSWER: Self = Self { kind: Kind::Vault, retryable: true, retry_after: None };
}

/// An error that says what it means for the schedule.
pub trait Fault {
    /// The facts.
    fn facts(&self) -> Facts;
}

impl Fault for Error {
    fn facts(&self) -> Facts {
        let retryable = self.may_retry();
        match self {
            Self::Refused { code, hints, .. } => {
                Facts { kind: kind(*code, hints.scope, retryable), retryable, retry_after: hints.retry_after }
            }
            Self::InvalidName(_) | Self::InvalidRequest(_) => {
                Facts { kind: Kind::Request, retryable, retry_after: None }
            }
            Self::Incapable { .. } | Self::KeyChanged { .. } | Self::Chain { .. } | Self::Envelope { .. } => {
                Facts { kind: Kind::Key, retryable, retry_after: None }
            }
            // The plugin is started anew for the next call; nobody has to act for that.
            Self::Died { .. } => Facts { kind: Kind::Vault, retryable: true, retry_after: None },
            Self::NotInstalled { .. }
            | Self::UnreadableDirectory { .. }
            | Self::NotRunnable { .. }
            | Self::System { .. }
            | Self::Malformed { .. }
            | Self::GivenUp { .. }
            | Self::TooSlow { .. }
            | Self::Flooded { .. } => Facts { kind: Kind::Vault, retryable, retry_after: None },
        }
    }
}

/// The plugin's own word about the scope counts; without it the code must do. An unexplained `ERROR` that no retry helps
/// is held against the key alone, so that one bad key does not close a vault.
const fn kind(code: ErrorCode, scope: Option<Scope>, retryable: bool) -> Kind {
    match (code, scope) {
        (ErrorCode::Throttled, _) => Kind::Throttled,
        (_, Some(Scope::Request)) => Kind::Request,
        (_, Some(Scope::Key)) => Kind::Key,
        (_, Some(Scope::Session | Scope::Vault)) | (ErrorCode::Timeout, None) => Kind::Vault,
        (ErrorCode::ValidationError, None) => Kind::Request,
        (ErrorCode::AccessDenied | ErrorCode::UnsupportedContractVersion, None) => Kind::Key,
        (ErrorCode::Error, None) => {
            if retryable {
                Kind::Vault
            } else {
                Kind::Key
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prokura_signer::Hints;

    use super::*;

    fn refused(code: ErrorCode, scope: Option<Scope>, retryable: Option<bool>) -> Facts {
        let hints = Hints { scope, retryable, retry_after: Some(Duration::from_secs(2)), ..Hints::default() };
        Error::Refused {
            plugin: "x".parse().unwrap(),
            call: "sign",
            code,
            vendor_code: None,
            message: String::new(),
            metadata: BTreeMap::new(),
            hints: Box::new(hints),
        }
        .facts()
    }

    #[test]
    fn the_scope_counts_more_than_the_code_and_throttling_most() {
        let kinds = [
            (refused(ErrorCode::Throttled, Some(Scope::Vault), None), Kind::Throttled, true),
            (refused(ErrorCode::Timeout, None, None), Kind::Vault, true),
            (refused(ErrorCode::Timeout, Some(Scope::Session), Some(false)), Kind::Vault, false),
            (refused(ErrorCode::Error, Some(Scope::Vault), Some(true)), Kind::Vault, true),
            (refused(ErrorCode::Error, Some(Scope::Key), None), Kind::Key, false),
            (refused(ErrorCode::Error, Some(Scope::Request), None), Kind::Request, false),
            (refused(ErrorCode::Error, None, None), Kind::Key, false),
            (refused(ErrorCode::Error, None, Some(true)), Kind::Vault, true),
            (refused(ErrorCode::ValidationError, None, None), Kind::Request, false),
            (refused(ErrorCode::ValidationError, Some(Scope::Key), None), Kind::Key, false),
            (refused(ErrorCode::AccessDenied, None, None), Kind::Key, false),
        ];
        for (n, (facts, kind, retryable)) in kinds.into_iter().enumerate() {
            assert_eq!((facts.kind, facts.retryable), (kind, retryable), "case {n}");
            assert_eq!(facts.retry_after, Some(Duration::from_secs(2)));
        }
    }
}
