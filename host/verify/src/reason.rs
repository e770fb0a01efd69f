//! Why a check of a signature failed. The words follow `notation` where it has words.

use std::fmt;

use jiff::Timestamp;
use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::limits::QUOTED_BYTES_MAX;

/// One reason. Shown to people by `Display`; [`Reason::code`] is for programs. Serialised as `code` and `message`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant is described by its own message; the fields are its values")]
pub enum Reason {
    #[error("unable to parse the digital signature, error : {0}")]
    Unparsable(String),
    #[error("signature is invalid. Error: {0}")]
    Integrity(String),
    #[error("{key} is not a critical Extended attribute")]
    PluginNotCritical { key: &'static str },
    #[error("{key} from extended attribute is not a string")]
    PluginNotText { key: &'static str },
    #[error("{key} from extended attribute is an empty string")]
    PluginEmpty { key: &'static str },
    #[error(
        "the signature asks for the verification plugin {}: verification plugins are not run by this version",
        Quoted(name)
    )]
    PluginNeeded { name: String },
    #[error(
        "the signature asks for at least version {} of a verification plugin but names none",
        Quoted(version)
    )]
    PluginVersionAlone { version: String },
    #[error(
        "extended critical attribute {} was not processed: nothing here understands it, so the signature must not be accepted",
        Quoted(key)
    )]
    CriticalAttribute { key: String },
    #[error("{0}")]
    TrustStore(String),
    #[error(
        "no trusted certificates are found to verify authenticity: trust policy statement {statement:?} names no trust store of type {store_type}, which signing scheme {scheme} needs"
    )]
    NoTrustStore { statement: String, store_type: &'static str, scheme: &'static str },
    #[error(
        "the signature's certificate chain does not contain any trusted certificate: it ends at {}, which is not in {stores}. The signer must use a certificate that leads to a trusted one",
        Quoted(root)
    )]
    Untrusted { root: String, stores: String },
    #[error("no x509 trusted identities are configured in the trust policy {statement:?}")]
    NoX509Identities { statement: String },
    #[error("error while parsing the certificate subject from the digital signature. error : {0}")]
    SubjectUnusable(String),
    #[error(
        "signing certificate from the digital signature does not match the X.509 trusted identities [{identities}] defined in the trust policy {statement:?}: its subject is {}",
        Quoted(subject)
    )]
    IdentityNotTrusted { subject: String, identities: String, statement: String },
    #[error("digital signature has expired on \"{}\"", Rfc1123(*at))]
    Expired { at: Timestamp },
    #[error("the digital signature has no authentic signing time")]
    NoAuthenticSigningTime,
    #[error(
        "certificate {} was not valid when the digital signature was produced at \"{}\"",
        Quoted(subject),
        Rfc1123(*at)
    )]
    NotValidWhenSigned { subject: String, at: Timestamp },
    #[error(
        "the authentic signing time \"{}\" is later than the time of verification \"{}\": the clock of the signing authority or the one here is wrong",
        Rfc1123(*at),
        Rfc1123(*now)
    )]
    SignedInFuture { at: Timestamp, now: Timestamp },
    #[error(
        "verification time is before certificate {} validity period, it will be valid from \"{}\"",
        Quoted(subject),
        Rfc1123(*from)
    )]
    NotYetValid { subject: String, from: Timestamp },
    #[error(
        "verification time is after certificate {} validity period, it was expired at \"{}\"",
        Quoted(subject),
        Rfc1123(*at)
    )]
    CertificateExpired { subject: String, at: Timestamp },
    #[error("no timestamp countersignature was found in the signature envelope")]
    NoTimestamp,
    #[error(
        "trust policy statement {statement:?} asks for timestamps ({stores}): timestamp countersignatures are not verified by this version"
    )]
    TimestampsNotVerified { statement: String, stores: String },
    #[error("revocation status of {} cannot be checked by this version: it names {sources}", Quoted(subject))]
    RevocationUnchecked { subject: String, sources: String },
    #[error("the payload of the digital signature cannot be read: {0}")]
    Payload(String),
    #[error(
        "content descriptor mismatch: the signature is for another artifact, {member} {} instead of {}",
        Quoted(signed),
        Quoted(expected)
    )]
    OtherArtifact { member: &'static str, signed: String, expected: String },
    #[error(
        "integrity check failed. signature does not match the given blob: it is for {member} {} instead of {}",
        Quoted(signed),
        Quoted(expected)
    )]
    OtherBlob { member: &'static str, signed: String, expected: String },
    #[error(
        "unable to find specified metadata in the signature: {} should be {}, {}",
        Quoted(key),
        Quoted(expected),
        Found(signed.as_deref())
    )]
    Metadata { key: String, expected: String, signed: Option<String> },
}

impl Reason {
    /// A stable name for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unparsable(_) => "unparsable",
            Self::Integrity(_) => "integrity",
            Self::PluginNotCritical { .. } | Self::PluginNotText { .. } | Self::PluginEmpty { .. } => {
                "verificationPluginAttribute"
            }
            Self::PluginNeeded { .. } | Self::PluginVersionAlone { .. } => "verificationPlugin",
            Self::CriticalAttribute { .. } => "criticalAttribute",
            Self::TrustStore(_) => "trustStore",
            Self::NoTrustStore { .. } => "noTrustStore",
            Self::Untrusted { .. } => "untrusted",
            Self::NoX509Identities { .. } | Self::IdentityNotTrusted { .. } => "trustedIdentity",
            Self::SubjectUnusable(_) => "subject",
            Self::Expired { .. } => "expired",
            Self::NoAuthenticSigningTime => "authenticSigningTime",
            Self::NotValidWhenSigned { .. } => "certificateNotValidWhenSigned",
            Self::SignedInFuture { .. } => "signedInFuture",
            Self::NotYetValid { .. } => "certificateNotYetValid",
            Self::CertificateExpired { .. } => "certificateExpired",
            Self::NoTimestamp => "noTimestamp",
            Self::TimestampsNotVerified { .. } => "timestampsNotVerified",
            Self::RevocationUnchecked { .. } => "revocationUnchecked",
            Self::Payload(_) => "payload",
            Self::OtherArtifact { .. } => "otherArtifact",
            Self::OtherBlob { .. } => "otherBlob",
            Self::Metadata { .. } => "userMetadata",
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut reason = serializer.serialize_struct("Reason", 2)?;
        reason.serialize_field("code", self.code())?;
        reason.serialize_field("message", &self.to_string())?;
        reason.end()
    }
}

/// Hostile text as a reason keeps it: somewhat more than [`Quoted`] shows, so that the cut remains visible.
pub(crate) fn cut(text: &str) -> String {
    let mut ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    let end = ends.find(|end| *end > QUOTED_BYTES_MAX).unwrap_or(text.len());
    text.get(..end).unwrap_or_default().to_owned()
}

/// Hostile text in a message: quoted, control characters escaped, cut to a readable length.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end =
            self.0.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= QUOTED_BYTES_MAX);
        let shown = self.0.get(..end.last().unwrap_or(0)).unwrap_or_default();
        let cut = if shown.len() < self.0.len() { "..." } else { "" };
        write!(f, "{shown:?}{cut}")
    }
}

/// What the signature has instead.
struct Found<'a>(Option<&'a str>);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => write!(f, "but is {}", Quoted(value)),
            None => f.write_str("but is not there"),
        }
    }
}

/// A time as e-mail writes it, with a numeric offset: what people know from `notation`.
struct Rfc1123(Timestamp);

impl fmt::Display for Rfc1123 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.strftime("%a, %d %b %Y %H:%M:%S +0000"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_in_notation_and_hostile_text_is_tamed() {
        let at = "2023-06-23T22:04:01Z".parse().unwrap();
        assert_eq!(
            Reason::Expired { at }.to_string(),
            "digital signature has expired on \"Fri, 23 Jun 2023 22:04:01 +0000\""
        );
        let reason = Reason::CriticalAttribute { key: format!("\u{1b}[31m{}", "é".repeat(2000)) }.to_string();
        assert!(reason.contains("\\u{1b}[31mé") && reason.contains("é\"... was not processed"), "{reason}");
        assert!(reason.len() < 700, "{}", reason.len());
    }

    #[test]
    fn what_is_kept_of_hostile_text_reads_as_the_whole() {
        for text in ["", "short", &"x".repeat(512), &"x".repeat(513), &"é".repeat(4000)] {
            assert!(cut(text).len() <= QUOTED_BYTES_MAX + 4);
            assert_eq!(Quoted(&cut(text)).to_string(), Quoted(text).to_string());
        }
    }
}
