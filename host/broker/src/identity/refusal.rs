//! Why a caller is not known: what was found, what was expected, and who must act.

use std::fmt;

use crate::limits::IDENTITY_QUOTED_CHARS_MAX;

/// The kind of a refusal, for status codes and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// Neither a certificate, nor a token, nor a UNIX socket.
    NoEvidence,
    /// The client certificate names nobody, or is no longer trusted.
    Certificate,
    /// The token is malformed, not meant for this broker, or not valid now.
    Token,
    /// The token could not be judged, because the keys of its issuer could not be fetched. A retry may help.
    IssuerUnavailable,
}

/// A caller that was not identified. The text holds no secret: of a token at most claims are quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    kind: RefusalKind,
    found: String,
    expected: String,
    remedy: String,
}

impl Refusal {
    pub(crate) fn new(
        kind: RefusalKind,
        found: impl Into<String>,
        expected: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { kind, found: found.into(), expected: expected.into(), remedy: remedy.into() }
    }

    /// Its kind.
    pub const fn kind(&self) -> RefusalKind {
        self.kind
    }

    /// Whether the same call may succeed later without anybody acting.
    pub const fn is_transient(&self) -> bool {
        matches!(self.kind, RefusalKind::IssuerUnavailable)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "found {}; expected {}; {}", self.found, self.expected, self.remedy)
    }
}

impl std::error::Error for Refusal {}

/// Text from outside, fit for a message: without control characters, and cut.
pub(crate) fn quoted(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(IDENTITY_QUOTED_CHARS_MAX).collect()
}
