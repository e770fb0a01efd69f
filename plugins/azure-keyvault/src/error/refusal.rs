//! An error of the SDK taken apart: who refused, with which codes, and whether to ask again.

use std::time::Duration;

use azure_core::error::ErrorKind;
use azure_core::http::StatusCode;
use azure_core::http::headers::{HeaderName, Headers};
use serde_json::Value;

use super::REQUEST_ID;
use crate::limits::{REST, SHOWN_CHARS_MAX};

/// Who did not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// The vault, with an HTTP status.
    Vault(StatusCode),
    /// Entra or a metadata service, with an HTTP status.
    Authority(StatusCode),
    /// The credential, without asking anybody.
    Credential,
    /// The way there.
    Network,
    /// Nobody in time.
    Clock,
    /// An answer that is none.
    Answer,
}

/// Whether to ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    No,
    AfterFailure,
    WhenThrottled(Option<Duration>),
}

/// A request that failed, taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(super) by: By,
    pub(super) code: String,
    pub(super) inner: String,
    pub(super) message: String,
    pub(super) request_id: Option<String>,
    pub(super) retry_after: Option<Duration>,
}

impl Refusal {
    /// From the SDK's error. What Entra said stands behind an error of the credential.
    pub(crate) fn of(error: &azure_core::Error) -> Self {
        let from_credential = *error.kind() == ErrorKind::Credential;
        let mut link: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(current) = link {
            if let Some(error) = current.downcast_ref::<azure_core::Error>() {
                match error.kind() {
                    ErrorKind::HttpResponse { status, raw_response: Some(raw), .. } => {
                        let by = if from_credential { By::Authority(*status) } else { By::Vault(*status) };
                        return Self::answered(by, raw.headers(), raw.body().as_ref(), error);
                    }
                    ErrorKind::Io | ErrorKind::Connection => {
                        let on_the_way = if from_credential { "asking for a token: " } else { "" };
                        return Self::plain(By::Network, format!("{on_the_way}{}", cause(error)));
                    }
                    ErrorKind::DataConversion if !from_credential => {
                        return Self::plain(By::Answer, cause(error));
                    }
                    _ => {}
                }
            }
            link = current.source();
        }
        let text = if from_credential { cause(error) } else { error.to_string() };
        // A vault that asks for tokens of another service gets none; the SDK gives that no kind of its own.
        let no_token = from_credential || text.contains("challenge resource");
        // What follows is advice for programmers.
        let text = text.split(". Set verify_challenge_resource").next().unwrap_or_default().to_owned();
        Self::plain(if no_token { By::Credential } else { By::Answer }, text)
    }

    /// Nobody answered before the deadline.
    pub(crate) fn late(waited: Duration) -> Self {
        let late = Self::plain(By::Clock, format!("no answer within {:.1} s", waited.as_secs_f32()));
        Self { retry_after: Some(REST), ..late }
    }

    fn plain(by: By, message: String) -> Self {
        Self { by, code: String::new(), inner: String::new(), message, request_id: None, retry_after: None }
    }

    fn answered(by: By, headers: &Headers, body: &[u8], error: &azure_core::Error) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let text =
            |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (code, message) = match by {
            // Entra has the form of OAuth 2.0 (RFC 6749 section 5.2).
            By::Authority(_) => (text("/error"), text("/error_description")),
            _ => (text("/error/code"), text("/error/message")),
        };
        let message = if message.is_empty() { error.to_string() } else { message };
        let milliseconds =
            header(headers, "retry-after-ms").or_else(|| header(headers, "x-ms-retry-after-ms"));
        let milliseconds = milliseconds.and_then(|t| t.parse().ok()).map(Duration::from_millis);
        let seconds = || header(headers, "retry-after")?.parse().ok().map(Duration::from_secs);
        Self {
            by,
            code,
            inner: text("/error/innererror/code"),
            message,
            request_id: headers.get_optional_string(&REQUEST_ID).map(|id| shown(&id)),
            retry_after: milliseconds.or_else(seconds),
        }
    }

    /// Whether the same request may do better without anybody acting.
    pub(crate) fn again(&self) -> Again {
        match self.by {
            By::Vault(status) | By::Authority(status) => match u16::from(status) {
                429 => Again::WhenThrottled(self.retry_after),
                503 if self.retry_after.is_some() => Again::WhenThrottled(self.retry_after),
                408 | 500 | 502..=504 => Again::AfterFailure,
                _ => Again::No,
            },
            By::Network if self.is_about_trust() => Again::No,
            By::Network | By::Answer => Again::AfterFailure,
            By::Credential | By::Clock => Again::No,
        }
    }

    /// Whether the vault does not take the token.
    pub(crate) fn is_about_the_token(&self) -> bool {
        self.by == By::Vault(StatusCode::Unauthorized)
    }

    /// Whether the server shows a certificate that cannot be trusted.
    pub(super) fn is_about_trust(&self) -> bool {
        self.by == By::Network && self.message.contains("invalid peer certificate")
    }

    /// Whether there is no such object.
    pub(crate) fn is_not_found(&self) -> bool {
        self.by == By::Vault(StatusCode::NotFound)
    }
}

fn header(headers: &Headers, name: &'static str) -> Option<String> {
    headers.get_optional_string(&HeaderName::from_static(name))
}

/// The innermost reason of an error, which says most.
pub(crate) fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(inner) = innermost.source() {
        innermost = inner;
    }
    let text = innermost.to_string();
    if text.contains("close_notify") {
        return "the connection was closed in the middle of an answer".to_owned();
    }
    shown(&text)
}

/// A text of the service, cut and without control characters.
pub(crate) fn shown(text: &str) -> String {
    let one_line =
        text.split(['\r', '\n']).map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    let mut shown: String = one_line.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS_MAX).collect();
    if shown.len() < one_line.len() {
        shown.push('…');
    }
    shown
}
