//! Why a request was not signed: one code, one text, one status.

use prokura_proto::broker::v1;
use tonic::{Code, Status};

use super::signing::SignFault;
use crate::audit::AuditError;
use crate::content::ContentError;
use crate::identity;
use crate::policy::{Denial, InvalidClaim};
use crate::vaults::{NotMade, Unusable};

/// The codes of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalCode {
    /// The caller is not known.
    Unauthenticated,
    /// No policy permits it, or one forbids it.
    Denied,
    /// The request is not well formed, or its bytes are not what they are said to be.
    Invalid,
    /// There is no key of this name.
    NoSuchKey,
    /// The key is another than the one expected.
    KeyChanged,
    /// Too much at once.
    OutOfQuota,
    /// The deadline passed.
    TooLate,
    /// The vault or its plugin failed or said no.
    Vault,
    /// The audit log cannot be written.
    Log,
    /// A defect of the broker.
    Internal,
}

impl RefusalCode {
    /// As the protocol writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Denied => "DENIED",
            Self::Invalid => "INVALID",
            Self::NoSuchKey => "NO_SUCH_KEY",
            Self::KeyChanged => "KEY_CHANGED",
            Self::OutOfQuota => "OUT_OF_QUOTA",
            Self::TooLate => "TOO_LATE",
            Self::Vault => "VAULT",
            Self::Log => "LOG",
            Self::Internal => "INTERNAL",
        }
    }

    /// The gRPC status that goes with it.
    pub const fn status(self) -> Code {
        match self {
            Self::Unauthenticated => Code::Unauthenticated,
            Self::Denied => Code::PermissionDenied,
            Self::Invalid => Code::InvalidArgument,
            Self::NoSuchKey => Code::NotFound,
            Self::KeyChanged => Code::FailedPrecondition,
            Self::OutOfQuota => Code::ResourceExhausted,
            Self::TooLate => Code::DeadlineExceeded,
            Self::Vault | Self::Log => Code::Unavailable,
            Self::Internal => Code::Internal,
        }
    }
}

/// A request that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub(super) code: RefusalCode,
    pub(super) message: String,
    pub(super) retryable: bool,
    pub(super) retry_after_ms: u64,
    pub(super) policies: Vec<String>,
}

impl Refusal {
    pub(super) fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retryable: false, retry_after_ms: 0, policies: Vec::new() }
    }

    pub(super) fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    /// Its code.
    pub const fn code(&self) -> RefusalCode {
        self.code
    }

    /// Its text.
    pub fn message(&self) -> &str {
        &self.message
    }

    pub(super) fn too_late() -> Self {
        Self::new(
            RefusalCode::TooLate,
            "the deadline passed before there was a signature; ask again with more time, and with an idempotency key so that \
             a signature made meanwhile is handed out",
        )
        .retryable()
    }

    pub(super) fn wire(self, request_id: &str) -> v1::Refusal {
        v1::Refusal {
            code: self.code.as_str().to_owned(),
            message: self.message,
            retryable: self.retryable,
            retry_after_ms: self.retry_after_ms,
            policies: self.policies,
            request_id: request_id.to_owned(),
        }
    }

    /// As the status of a failed call, with [`v1::Refusal`] in its details.
    pub fn status(self, request_id: &str) -> Status {
        let (code, message) = (self.code.status(), self.message.clone());
        let details = RpcStatus {
            code: code as i32,
            message: message.clone(),
            details: vec![Any {
                type_url: "type.googleapis.com/prokura.broker.v1.Refusal".to_owned(),
                value: prost::Message::encode_to_vec(&self.wire(request_id)),
            }],
        };
        Status::with_details(code, message, prost::Message::encode_to_vec(&details).into())
    }
}

/// `google.rpc.Status`, which gRPC carries in `grpc-status-details-bin`.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

impl From<identity::Refusal> for Refusal {
    fn from(refusal: identity::Refusal) -> Self {
        let mapped = Self::new(RefusalCode::Unauthenticated, refusal.to_string());
        if refusal.is_transient() { mapped.retryable() } else { mapped }
    }
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        let policies = denial.forbidden_by().to_vec();
        Self { policies, ..Self::new(RefusalCode::Denied, denial.to_string()) }
    }
}

impl From<ContentError> for Refusal {
    fn from(error: ContentError) -> Self {
        Self::new(RefusalCode::Invalid, error.to_string())
    }
}

impl From<InvalidClaim> for Refusal {
    fn from(error: InvalidClaim) -> Self {
        Self::new(RefusalCode::Invalid, error.to_string())
    }
}

impl From<AuditError> for Refusal {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::TooLarge(_) => Self::new(RefusalCode::Invalid, error.to_string()),
            _ => Self::new(RefusalCode::Log, error.to_string()),
        }
    }
}

impl From<&Unusable> for Refusal {
    fn from(error: &Unusable) -> Self {
        match error {
            Unusable::Plugin(error) => vault(error),
            Unusable::NoPublicKey(_) | Unusable::Chain { .. } => {
                Self::new(RefusalCode::Vault, error.to_string())
            }
        }
    }
}

impl From<&NotMade> for Refusal {
    fn from(error: &NotMade) -> Self {
        match error {
            NotMade::Plugin(error) => vault(error),
            NotMade::Changed { .. } => Self::new(RefusalCode::KeyChanged, error.to_string()).retryable(),
            NotMade::Wrong { .. } => Self::new(RefusalCode::Vault, error.to_string()),
        }
    }
}

impl From<SignFault> for Refusal {
    fn from(fault: SignFault) -> Self {
        match fault {
            SignFault::Vault(error) => Self::from(&error),
            SignFault::Log(error) => Self::from(error),
            SignFault::NotCovered => Self::new(
                RefusalCode::Internal,
                "the permit is not for this request, a defect of the broker: nothing was signed",
            ),
        }
    }
}

fn vault(error: &prokura_signer::Error) -> Refusal {
    let mut refusal = Refusal::new(RefusalCode::Vault, error.to_string());
    // A process that died or was slow is replaced: the same request may well succeed.
    refusal.retryable = error.may_retry()
        || matches!(error, prokura_signer::Error::Died { .. } | prokura_signer::Error::GivenUp { .. });
    if let prokura_signer::Error::Refused { code, hints, .. } = error {
        if *code == prokura_plugin::ErrorCode::Throttled {
            refusal.code = RefusalCode::OutOfQuota;
        }
        let pause = hints.retry_after.map_or(0, |pause| pause.as_millis());
        refusal.retry_after_ms = u64::try_from(pause).unwrap_or(u64::MAX);
    }
    refusal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_carries_the_refusal() {
        let mut refusal = Refusal::new(RefusalCode::Denied, "no").retryable();
        refusal.policies = vec!["p".to_owned()];
        let status = refusal.status("id");
        assert_eq!((status.code(), status.message()), (Code::PermissionDenied, "no"));
        let details: RpcStatus = prost::Message::decode(status.details()).unwrap();
        let told: v1::Refusal = prost::Message::decode(details.details[0].value.as_slice()).unwrap();
        assert_eq!((told.code.as_str(), told.request_id.as_str()), ("DENIED", "id"));
        assert!(told.retryable && told.policies == ["p"]);
    }
}
