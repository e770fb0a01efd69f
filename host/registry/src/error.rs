//! What can go wrong with a registry or an image layout, who must act, and whether a retry may help.

use std::path::PathBuf;

use crate::{Digest, text};

/// Who must act on an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The caller: the reference, the credentials or the files named on the command line.
    User,
    /// Whoever set up this machine: configuration files, credential helpers, certificates, file modes.
    Operator,
    /// Whoever runs the registry or wrote the image layout: its content or its answer breaks a rule.
    Registry,
    /// The way between: connection, name resolution, time.
    Network,
}

/// Everything this crate can fail with. No message carries a credential.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A reference does not follow the grammar. User. Retry: no.
    #[error("the reference {found:?} is not valid: expected {expected}")]
    InvalidReference {
        /// The text found.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A digest does not follow the grammar. User. Retry: no.
    #[error("the digest {found:?} is not valid: expected {expected}")]
    InvalidDigest {
        /// The text found.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// Nothing of that name is there. User. Retry: no.
    #[error("{what} was not found in {place}")]
    NotFound {
        /// What was looked for.
        what: String,
        /// The repository or the image layout.
        place: String,
    },
    /// Something is larger than its limit; it was not read to its end. Registry. Retry: no.
    #[error("{what} is too large: {}, the limit is {}", size_text(*found), limit_text(*limit_bytes))]
    TooLarge {
        /// What is too large.
        what: String,
        /// Its size in bytes, when it was announced.
        found: Option<u64>,
        /// The limit in bytes.
        limit_bytes: u64,
    },
    /// Content has another size than its descriptor says. Registry. Retry: no.
    #[error("{what} has {found} bytes, its descriptor says {expected}; the content was cut or replaced")]
    SizeMismatch {
        /// What was read.
        what: String,
        /// Size expected, in bytes.
        expected: u64,
        /// Size found, in bytes.
        found: u64,
    },
    /// Content has another digest than expected. Registry. Retry: no.
    #[error("{what} has digest {found}, expected {expected}; the content was replaced or damaged")]
    DigestMismatch {
        /// What was read.
        what: String,
        /// Digest expected.
        expected: Digest,
        /// Digest found.
        found: Digest,
    },
    /// Content breaks a rule of its format. Registry. Retry: no.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// What was read.
        what: String,
        /// The rule broken.
        reason: String,
    },
    /// A list or a chain is longer than its limit. Registry. Retry: no.
    #[error("{what} has more than {limit} {unit}")]
    TooMany {
        /// What was walked.
        what: String,
        /// The limit.
        limit: usize,
        /// What was counted.
        unit: &'static str,
    },
    /// A signature manifest names another subject than the one asked for. Registry. Retry: no.
    #[error("the signature manifest {manifest} belongs to {found}, not to {expected}")]
    WrongSubject {
        /// The signature manifest.
        manifest: Digest,
        /// The subject it names, or "no subject".
        found: String,
        /// The subject asked for.
        expected: Digest,
    },
    /// The directory is no usable OCI image layout. User. Retry: no.
    #[error("{} is not a usable OCI image layout: {reason}", path.display())]
    Layout {
        /// The layout's directory or the file in it.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process holds the lock of an image layout. Operator. Retry: yes.
    #[error("the image layout {} is being written by another process for more than {seconds} s", path.display())]
    LayoutLocked {
        /// The layout's directory.
        path: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
    /// A file operation failed. Operator. Retry: no.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The registry answered with an error status. Registry (5xx, 429) or user (other 4xx). Retry: 429 and 5xx.
    #[error("{origin} answered {status} to {request}{}", detail_text(detail))]
    Refused {
        /// Scheme, host and port.
        origin: String,
        /// HTTP status.
        status: u16,
        /// Method and path.
        request: String,
        /// The registry's own words, made safe; may be empty.
        detail: String,
    },
    /// The registry does not accept the credentials, or wants some and none are configured. User. Retry: no.
    #[error("{registry} refused access: {reason}{}", detail_text(detail))]
    Unauthorized {
        /// The registry.
        registry: String,
        /// What was sent and what is missing.
        reason: String,
        /// The registry's own words, made safe; may be empty.
        detail: String,
    },
    /// An authentication challenge that cannot be followed safely. Registry. Retry: no.
    #[error("{registry} asks for authentication in a way that is refused: {reason}")]
    Challenge {
        /// The registry.
        registry: String,
        /// The rule broken.
        reason: String,
    },
    /// A redirect that cannot be followed safely. Registry. Retry: no.
    #[error("{from} redirects {request} to {to}: {reason}")]
    Redirect {
        /// Origin that sent the redirect.
        from: String,
        /// Method and path.
        request: String,
        /// Origin it points to, or the text found.
        to: String,
        /// The rule broken.
        reason: &'static str,
    },
    /// The registry's answer misses or contradicts what the distribution specification asks. Registry. Retry: no.
    #[error("{origin} sent an unusable answer to {request}: {reason}")]
    Protocol {
        /// Scheme, host and port.
        origin: String,
        /// Method and path.
        request: String,
        /// The rule broken.
        reason: String,
    },
    /// No usable connection, or it broke. Network. Retry: yes.
    #[error("cannot talk to {origin} ({request}): {reason}")]
    Network {
        /// Scheme, host and port.
        origin: String,
        /// Method and path.
        request: String,
        /// The reason, without the address.
        reason: String,
    },
    /// The registry's certificate was not accepted. Operator. Retry: no.
    #[error(
        "the TLS certificate of {origin} was not accepted: {reason}; add the registry's CA certificate if it is a private one"
    )]
    Tls {
        /// Scheme, host and port.
        origin: String,
        /// The reason.
        reason: String,
    },
    /// The deadline of the whole call passed. Network. Retry: yes.
    #[error("{what} did not finish within {seconds} s")]
    Deadline {
        /// The call.
        what: &'static str,
        /// The deadline.
        seconds: u64,
    },
    /// Others kept overwriting a referrers tag. Registry. Retry: yes.
    #[error(
        "the entry of {manifest} in the referrers tag {tag} was overwritten by other writers {attempts} times; \
         the signature is stored, but cannot be listed until it is pushed again"
    )]
    LostUpdate {
        /// The signature manifest.
        manifest: Digest,
        /// The tag.
        tag: String,
        /// How often it was tried.
        attempts: usize,
    },
    /// A setting given by the caller cannot be used. Operator. Retry: no.
    #[error("{what}: {reason}")]
    Configuration {
        /// The setting or file.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// A credential helper failed. Operator. Retry: no.
    #[error("the credential helper {helper} {reason}")]
    Helper {
        /// Name of the executable.
        helper: String,
        /// What happened.
        reason: String,
    },
}

impl Error {
    /// Who must act.
    pub fn blame(&self) -> Blame {
        match self {
            Self::InvalidReference { .. } | Self::InvalidDigest { .. } | Self::NotFound { .. } => Blame::User,
            Self::Layout { .. } | Self::Unauthorized { .. } => Blame::User,
            Self::Refused { status, .. } if *status < 500 && *status != 429 => Blame::User,
            Self::LayoutLocked { .. } | Self::Io { .. } | Self::Configuration { .. } => Blame::Operator,
            Self::Helper { .. } | Self::Tls { .. } => Blame::Operator,
            Self::Network { .. } | Self::Deadline { .. } => Blame::Network,
            _ => Blame::Registry,
        }
    }

    /// Whether the same call may succeed later without anybody acting.
    pub fn may_retry(&self) -> bool {
        match self {
            Self::LayoutLocked { .. } | Self::Network { .. } | Self::Deadline { .. } => true,
            Self::LostUpdate { .. } => true,
            Self::Refused { status, .. } => is_transient(*status),
            _ => false,
        }
    }

    /// Whether a registry does not know a blob that a manifest names. Just after the blob was pushed that is a race of
    /// the registry with itself: docker-registry 2.8 loses sight of a blob while somebody else pushes the same.
    pub(crate) fn is_unknown_blob(&self) -> bool {
        matches!(self, Self::Refused { status: 400 | 404, detail, .. } if detail.contains("MANIFEST_BLOB_UNKNOWN"))
    }

    /// A short constructor for rules of a format.
    pub(crate) fn malformed(what: &str, reason: impl Into<String>) -> Self {
        Self::Malformed { what: text::printable(what), reason: reason.into() }
    }

    /// A short constructor for JSON that does not parse.
    pub(crate) fn json(what: &str, error: &serde_json::Error) -> Self {
        Self::malformed(what, format!("not the JSON expected: {}", text::printable(&error.to_string())))
    }
}

/// Statuses that a registry sends when it is busy or restarting, not when it disagrees.
///
/// 500 among them: docker-registry 2.8 answers so to whoever reads a tag while somebody else replaces it.
pub(crate) fn is_transient(status: u16) -> bool {
    matches!(status, 429 | 500 | 502 | 503 | 504)
}

fn limit_text(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 20 && b % (1 << 20) == 0 => format!("{} MiB", b >> 20),
        b if b >= 1 << 10 && b % (1 << 10) == 0 => format!("{} KiB", b >> 10),
        b => format!("{b} bytes"),
    }
}

fn size_text(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "more was sent than allowed".to_owned(), |b| format!("it has {b} bytes"))
}

fn detail_text(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(": \"{detail}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_named_in_the_units_people_use() {
        let error =
            Error::TooLarge { what: "the manifest".into(), found: Some(5 << 20), limit_bytes: 4 << 20 };
        assert_eq!(error.to_string(), "the manifest is too large: it has 5242880 bytes, the limit is 4 MiB");
    }

    #[test]
    fn blame_and_retry_follow_the_status() {
        let refused = |status| Error::Refused {
            origin: "https://r".into(),
            status,
            request: "GET /v2/".into(),
            detail: String::new(),
        };
        assert_eq!((refused(403).blame(), refused(403).may_retry()), (Blame::User, false));
        assert_eq!((refused(429).blame(), refused(429).may_retry()), (Blame::Registry, true));
        assert_eq!((refused(501).blame(), refused(501).may_retry()), (Blame::Registry, false));
        assert_eq!((refused(503).blame(), refused(503).may_retry()), (Blame::Registry, true));
    }
}
