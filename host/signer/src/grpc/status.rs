//! What a failed gRPC call means: the plugin refused, or the connection broke.

use prokura_plugin::grpc::error_from_wire;
use prokura_plugin::limits::GRPC_MESSAGE_BYTES_MAX;
use prokura_plugin::{ErrorCode, PluginName};
use prokura_proto::plugin::v1 as wire;
use prost::Message as _;
use tonic::{Code, Status, TimeoutExpired};

use crate::checks::{Refusal, refusal_with};
use crate::error::{Error, Violation};
use crate::text::cleaned;

/// The rule of what is no gRPC.
pub(super) const BROKEN: &str = "GRPC-6";

/// Made by our side of the connection, not by the plugin.
fn is_local(status: &Status) -> bool {
    status.details().is_empty() && std::error::Error::source(status).is_some()
}

/// Whether our own deadline ended the call: tonic cancels by itself what `grpc-timeout` limits. It also calls cancelled
/// what was on its way when the connection broke.
pub(super) fn is_own_timeout(status: &Status) -> bool {
    let first = std::error::Error::source(status);
    std::iter::successors(first, |error| error.source()).any(|error| error.is::<TimeoutExpired>())
}

/// The plugin's own error: the details hold an `Error` message; without details the status code decides.
pub(super) fn refused(plugin: &PluginName, call: &'static str, status: &Status) -> Option<Error> {
    let refusal = match with_details(status) {
        Some(refusal) => refusal,
        None => without_details(status)?,
    };
    Some(refusal.of(plugin, call))
}

/// An error that came as a message of its own, in a stream.
pub(super) fn refused_in_stream(plugin: &PluginName, call: &'static str, error: wire::Error) -> Error {
    let code = error.code.clone();
    refusal_with(&code, &error_from_wire(error)).of(plugin, call)
}

/// What is left when the plugin is alive and sent no error of the protocol: a defect of the connection or the answer,
/// or a code of a gRPC library outside the table, which counts as `ERROR`.
pub(super) fn broken(plugin: &PluginName, call: &'static str, status: &Status) -> Error {
    if !is_local(status) && status.code() != Code::OutOfRange {
        let message = cleaned(&format!("{:?}: {}", status.code(), status.message()));
        let (plugin, code) = (plugin.clone(), ErrorCode::Error);
        return Error::Refused {
            plugin,
            call,
            code,
            vendor_code: None,
            message,
            metadata: Default::default(),
            hints: Box::default(),
        };
    }
    let found = cleaned(&format!("{:?}: {}", status.code(), status.message()));
    let expected = format!("an answer of at most {GRPC_MESSAGE_BYTES_MAX} bytes or an error of the protocol");
    Violation::new(BROKEN, format!("the call failed with {found:?}, expected {expected}")).by(plugin, call)
}

/// Whether the way to the process is lost, rather than that one answer was no good.
pub(super) fn is_lost_connection(status: &Status) -> bool {
    is_local(status) && status.code() != Code::OutOfRange
}

fn with_details(status: &Status) -> Option<Refusal> {
    if status.details().is_empty() {
        return None;
    }
    let details = wire::Error::decode(status.details()).ok()?;
    if details == wire::Error::default() {
        return None;
    }
    let code = details.code.clone();
    Some(refusal_with(&code, &error_from_wire(details)))
}

fn without_details(status: &Status) -> Option<Refusal> {
    if is_local(status) {
        return None;
    }
    let code = match status.code() {
        Code::InvalidArgument | Code::NotFound => ErrorCode::ValidationError,
        Code::Unimplemented => ErrorCode::UnsupportedContractVersion,
        Code::PermissionDenied | Code::Unauthenticated => ErrorCode::AccessDenied,
        Code::DeadlineExceeded | Code::Cancelled => ErrorCode::Timeout,
        Code::ResourceExhausted => ErrorCode::Throttled,
        Code::Unknown => ErrorCode::Error,
        _ => return None,
    };
    let message = cleaned(status.message());
    Some(Refusal { code, vendor_code: None, message, metadata: Default::default(), hints: Box::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: &Status) -> Option<(ErrorCode, String)> {
        match refused(&"x".parse().unwrap(), "SignDigest", status) {
            Some(Error::Refused { code, message, .. }) => Some((code, message)),
            None => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn details_decide_before_the_status_code() {
        let details = wire::Error {
            code: "ACCESS_DENIED".to_owned(),
            message: "wrong\u{1b}[31m PIN".to_owned(),
            ..Default::default()
        };
        let status = Status::with_details(Code::Unknown, "other", details.encode_to_vec().into());
        assert_eq!(refusal(&status), Some((ErrorCode::AccessDenied, "wrong PIN".to_owned())));
    }

    #[test]
    fn codes_without_details_have_the_meaning_of_the_table() {
        for (code, expected) in [
            (Code::InvalidArgument, ErrorCode::ValidationError),
            (Code::Unimplemented, ErrorCode::UnsupportedContractVersion),
            (Code::PermissionDenied, ErrorCode::AccessDenied),
            (Code::DeadlineExceeded, ErrorCode::Timeout),
            (Code::ResourceExhausted, ErrorCode::Throttled),
            (Code::Unknown, ErrorCode::Error),
        ] {
            assert_eq!(refusal(&Status::new(code, "m")), Some((expected, "m".to_owned())));
        }
        assert_eq!(refusal(&Status::new(Code::OutOfRange, "too large")), None);
        assert_eq!(refusal(&Status::new(Code::Unavailable, "gone")), None);
    }

    #[test]
    fn only_an_expired_deadline_is_one() {
        assert!(is_own_timeout(&Status::from_error(Box::new(TimeoutExpired(())))));
        let mut broken = Status::from_error(Box::new(std::io::Error::other("pipe")));
        broken.set_source(std::sync::Arc::new(std::io::Error::other("operation was canceled")));
        assert!(!is_own_timeout(&broken) && !is_own_timeout(&Status::cancelled("by the plugin")));
    }

    #[test]
    fn an_answer_above_the_limit_is_a_broken_rule_and_other_codes_are_errors() {
        let judge = |status| broken(&"x".parse().unwrap(), "SignDigest", &status);
        assert_eq!(judge(Status::new(Code::OutOfRange, "too large")).rule(), Some("GRPC-6"));
        let error = judge(Status::new(Code::DataLoss, "m"));
        assert!(matches!(&error, Error::Refused { code: ErrorCode::Error, .. }), "{error}");
        let local = Status::from_error(Box::new(std::io::Error::other("pipe")));
        assert_eq!(judge(local).rule(), Some("GRPC-6"));
    }
}
