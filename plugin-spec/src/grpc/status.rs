//! Errors of the contract as gRPC statuses, and back.
//!
//! The status code is for tools that know gRPC only. The whole error travels as details (SPEC GRPC-12).

use prokura_proto::plugin::v1;
use tonic::{Code, Status};
use tonic_prost::prost::Message as _;

use crate::error::{Error, ErrorCode};
use crate::limits::{ERROR_MESSAGE_BYTES_MAX, GRPC_DETAILS_BYTES_MAX};

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
    let mut details = v1::Error {
        code: error.code.as_str().to_owned(),
        message: message.clone(),
        metadata: error.metadata,
    };
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
        Ok(details) if !details.code.is_empty() => {
            let code = details.code.parse().unwrap_or(ErrorCode::Error);
            Error { code, message: details.message, metadata: details.metadata }
        }
        _ => Error::new(code_from_status(status.code()), status.message()),
    }
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

    #[test]
    fn an_error_survives_the_wire() {
        for code in ErrorCode::ALL {
            let error = Error::new(code, "the slot is empty").with("rv", "CKR_TOKEN_NOT_PRESENT");
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
