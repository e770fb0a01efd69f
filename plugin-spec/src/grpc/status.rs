//! Errors of the contract as gRPC statuses, and back.
//!
//! The status code is for tools that know gRPC only. The whole error travels as details (SPEC GRPC-12).

use std::time::Duration;

use prokura_proto::plugin::v1;
use tonic::{Code, Status};
use tonic_prost::prost::Message as _;

use crate::error::{Error, ErrorCode};
use crate::limits::{ERROR_MESSAGE_BYTES_MAX, GRPC_DETAILS_BYTES_MAX};

/// Longest vault code or request id on the wire, in bytes. Real ones are below 128.
const VAULT_TEXT_BYTES: usize = 256;

/// The gRPC code that stands for a code of the contract.
pub const fn status_code(code: ErrorCode) -> Code {
    match code {
        ErrorCode::ValidationError => Code::InvalidArgument,
        ErrorCode::UnsupportedContractVersion => Code::Unimplemented,
        ErrorCode::AccessDenied => Code::PermissionDenied,
        ErrorCode::Timeout => Code::DeadlineExceeded,
        ErrorCode::Throttled => Code::ResourceExhausted,
        ErrorCode::Error => Code::Unknown,
    }
}

/// Packs an error for the wire. Messages above [`ERROR_MESSAGE_BYTES_MAX`] are cut, metadata that is too large is
/// left out.
pub fn status_from_error(error: Error) -> Status {
    let code = status_code(error.code);
    let message = cut(&error.message, ERROR_MESSAGE_BYTES_MAX).to_owned();
    let mut details = error_to_wire(error);
    let mut encoded = details.encode_to_vec();
    if encoded.len() > GRPC_DETAILS_BYTES_MAX {
        details.metadata.clear();
        encoded = details.encode_to_vec();
    }
    Status::with_details(code, message, encoded.into())
}

/// Unpacks an error from the wire. A status without readable details (from the gRPC library itself, or from a plugin
/// that sends none) is judged by its code alone; a code outside the contract is `ERROR`.
pub fn error_from_status(status: &Status) -> Error {
    match v1::Error::decode(status.details()) {
        Ok(details) if !details.code.is_empty() => error_from_wire(details),
        _ => Error::new(code_from_status(status.code()), status.message()),
    }
}

/// An error as the message that travels, its message and vault code cut to their limits.
pub fn error_to_wire(error: Error) -> v1::Error {
    let text = |text: Option<String>| cut(&text.unwrap_or_default(), VAULT_TEXT_BYTES).to_owned();
    v1::Error {
        code: error.code.as_str().to_owned(),
        message: cut(&error.message, ERROR_MESSAGE_BYTES_MAX).to_owned(),
        metadata: error.metadata,
        retryable: error.retryable,
        retry_after_ms: error.retry_after.map_or(0, |d| u32::try_from(d.as_millis()).unwrap_or(u32::MAX)),
        scope: error.scope.map(|s| s.as_str().to_owned()).unwrap_or_default(),
        vault_code: text(error.vault_code),
        vault_request_id: text(error.request_id),
    }
}

/// The message that travels as an error. A code outside the contract is `ERROR`, an unknown scope is none.
pub fn error_from_wire(wire: v1::Error) -> Error {
    let text = |text: String| Some(text).filter(|t| !t.is_empty());
    let mut error = Error::new(wire.code.parse().unwrap_or(ErrorCode::Error), wire.message);
    error.metadata = wire.metadata;
    error.retryable = wire.retryable;
    error.retry_after =
        (wire.retry_after_ms > 0).then(|| Duration::from_millis(u64::from(wire.retry_after_ms)));
    error.scope = wire.scope.parse().ok();
    error.vault_code = text(wire.vault_code);
    error.request_id = text(wire.vault_request_id);
    error
}

fn code_from_status(code: Code) -> ErrorCode {
    ErrorCode::ALL.into_iter().find(|c| status_code(*c) == code).unwrap_or(match code {
        Code::Unauthenticated => ErrorCode::AccessDenied,
        Code::OutOfRange | Code::NotFound => ErrorCode::ValidationError,
        Code::Cancelled => ErrorCode::Timeout,
        _ => ErrorCode::Error,
    })
}

fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Scope;

    #[test]
    fn an_error_survives_the_wire() {
        for code in ErrorCode::ALL {
            let error = Error::new(code, "the slot is empty")
                .with("slot", "3")
                .with_scope(Scope::Session)
                .retryable(true)
                .retry_after(Duration::from_millis(250))
                .vault_code("CKR_TOKEN_NOT_PRESENT")
                .request_id("6b0c");
            let status = status_from_error(error.clone());
            assert_eq!(status.code(), status_code(code));
            assert_eq!(error_from_status(&status), error);
        }
    }

    #[test]
    fn what_is_too_large_for_a_header_is_left_out() {
        let error = Error::internal("é".repeat(5000)).with("dump", "x".repeat(10_000));
        let status = status_from_error(error);
        assert!(status.details().len() <= GRPC_DETAILS_BYTES_MAX);
        let back = error_from_status(&status);
        assert_eq!((back.message.len(), back.metadata.len()), (ERROR_MESSAGE_BYTES_MAX, 0));
    }

    #[test]
    fn a_status_without_details_is_judged_by_its_code() {
        let code = |status: Status| error_from_status(&status).code;
        assert_eq!(code(Status::cancelled("timeout expired")), ErrorCode::Timeout);
        assert_eq!(code(Status::out_of_range("message too large")), ErrorCode::ValidationError);
        assert_eq!(code(Status::unavailable("gone")), ErrorCode::Error);
        assert_eq!(code(Status::with_details(Code::Unknown, "x", vec![0xff; 9].into())), ErrorCode::Error);
    }
}
