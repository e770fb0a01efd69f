//! What AWS's refusals mean in terms of the contract: by the table of its codes, and by what became of the call.

mod table;

use std::time::Duration;

use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_kms::operation::RequestId as _;
use prokura_plugin::{Error, ErrorCode, Scope};

use crate::limits::{REST_SECONDS, SHOWN_CHARS_MAX};
use crate::vault::Session;
use crate::vault::attempts::Seen;
use table::{TABLE, UNKNOWN, UNKNOWN_SERVER};

/// What is being attempted, for messages and for the permission it takes.
pub(crate) struct Doing<'a> {
    /// In the form "sign with key x".
    pub(crate) what: String,
    /// The IAM action, such as `kms:Sign`.
    pub(crate) action: &'static str,
    /// On which resource, an ARN where it is known.
    pub(crate) resource: &'a str,
}

/// Turns a failed call into an error.
pub(crate) fn refused<E>(doing: &Doing<'_>, session: &Session, error: &SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let what = &doing.what;
    let id = error.request_id().map(str::to_owned);
    let refusal = match error {
        SdkError::ServiceError(refusal) if refusal.err().code().is_none() && is_success(error) => {
            unreadable(what, error)
        }
        SdkError::ServiceError(refusal) => return service_error(doing, session, refusal.err(), error, id),
        SdkError::TimeoutError(_) => Error::timeout(format!(
            "cannot {what}: AWS did not answer in region {}; a retry may help",
            session.region()
        ))
        .with_scope(Scope::Vault),
        SdkError::ResponseError(_) => unreadable(what, error),
        SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
            Some(connector) if !connector.is_user() && (connector.is_io() || connector.is_timeout()) => {
                unreachable(what, session, error)
            }
            _ => no_credentials(what, session, error),
        },
        _ => no_credentials(what, session, error),
    };
    match id {
        Some(id) => refusal.request_id(id),
        None => refusal,
    }
}

fn service_error<E>(
    doing: &Doing<'_>,
    session: &Session,
    refusal: &E,
    error: &SdkError<E, HttpResponse>,
    id: Option<String>,
) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let name = shown(refusal.code().unwrap_or("no code"));
    let status = error.raw_response().map_or(0, |r| r.status().as_u16());
    let row = TABLE.iter().find(|row| row.codes.contains(&name.as_str()));
    let row = row.unwrap_or(if status >= 500 { &UNKNOWN_SERVER } else { &UNKNOWN });
    let said = refusal.message().map(|m| format!(" ({})", shown(m))).unwrap_or_default();
    let advice = row
        .advice
        .replace("{action}", doing.action)
        .replace("{resource}", doing.resource)
        .replace("{region}", session.region());
    let message = format!("cannot {}: {} answered {name}{said}: {advice}", doing.what, doing.action);
    let error = Error::new(row.code, message).with_scope(row.scope).retryable(row.retryable).vault_code(name);
    match id {
        Some(id) => error.request_id(id),
        None => error,
    }
}

/// Time ran out, in one attempt or between several.
///
/// The host has some of its deadline left, for the answer; it must not spend that on asking again.
pub(crate) fn out_of_time(doing: &Doing<'_>, seen: &Seen) -> Error {
    why_out_of_time(doing, seen).retry_after(Duration::from_secs(REST_SECONDS))
}

fn why_out_of_time(doing: &Doing<'_>, seen: &Seen) -> Error {
    let what = &doing.what;
    let tries = seen.count;
    let Some(code) = &seen.code else {
        let trouble =
            seen.trouble.as_ref().map(|t| format!(" ({t}, {tries} times so far)")).unwrap_or_default();
        return Error::timeout(format!(
            "cannot {what}: AWS did not answer {} before the deadline{trouble}; a retry may help",
            doing.action
        ))
        .with_scope(Scope::Vault);
    };
    let row = TABLE.iter().find(|row| row.codes.contains(&code.as_str())).unwrap_or(&UNKNOWN_SERVER);
    let kind = if row.code == ErrorCode::Throttled { ErrorCode::Throttled } else { ErrorCode::Timeout };
    let error = Error::new(
        kind,
        format!(
            "cannot {what}: the deadline passed while {} answered {code}, {tries} times so far",
            doing.action
        ),
    )
    .with_scope(Scope::Vault)
    .retryable(true)
    .vault_code(code);
    match &seen.request_id {
        Some(id) => error.request_id(id),
        None => error,
    }
}

/// Whether AWS did what was asked, as far as the status tells; then what cannot be parsed is no refusal.
fn is_success<E>(error: &SdkError<E, HttpResponse>) -> bool {
    error.raw_response().is_some_and(|response| response.status().is_success())
}

fn unreadable<E>(what: &str, error: &SdkError<E, HttpResponse>) -> Error
where
    E: std::error::Error + 'static,
{
    Error::internal(format!(
        "cannot {what}: AWS's answer cannot be read ({}); something on the way to AWS may have changed or cut it, a retry \
         may help",
        innermost(error)
    ))
    .with_scope(Scope::Vault)
    .retryable(true)
}

fn unreachable<E>(what: &str, session: &Session, error: &SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    Error::internal(format!(
        "cannot {what}: AWS cannot be reached in region {} ({}); check network, proxy (HTTPS_PROXY), endpoint and region; \
         a retry may help",
        session.region(),
        innermost(error)
    ))
    .with_scope(Scope::Vault)
    .retryable(true)
}

fn no_credentials<E>(what: &str, session: &Session, error: &SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let source =
        session.credential_source().map(|s| format!(" of source {}", s.as_str())).unwrap_or_default();
    Error::access_denied(format!(
        "cannot {what}: no usable AWS credentials{source} ({}); whoever runs this must provide some, for instance \
         AWS_PROFILE, AWS_ACCESS_KEY_ID or a role, or fix the source with --plugin-config credentials=SOURCE",
        innermost(error)
    ))
    .with_scope(Scope::Session)
}

/// The innermost cause: what wraps it only says that there was one.
fn innermost<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: std::error::Error + 'static,
{
    let text = root_cause(error);
    if text.is_empty() { shown(&DisplayErrorContext(error).to_string()) } else { text }
}

/// The text of the error that no other one caused.
pub(crate) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    shown(&cause.to_string())
}

/// A text from outside, cut and without control characters.
pub(crate) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_passed_while_throttled_is_called_so() {
        let doing = Doing { what: "sign with key k".to_owned(), action: "kms:Sign", resource: "k" };
        let seen = Seen {
            count: 4,
            code: Some("ThrottlingException".to_owned()),
            request_id: Some("r".to_owned()),
            ..Seen::default()
        };
        let error = out_of_time(&doing, &seen);
        assert_eq!((error.code, error.request_id.as_deref()), (ErrorCode::Throttled, Some("r")));
        assert!(error.message.contains("ThrottlingException, 4 times so far"), "{error}");
        assert_eq!(out_of_time(&doing, &Seen::default()).code, ErrorCode::Timeout);
    }
}
