//! The verification algorithm: one envelope, one statement, one target artifact, one moment.
//!
//! Source: Notary Project specification "Signature Verification". The order is that of `notation`: integrity,
//! critical attributes, authenticity, expiry, authentic timestamp, revocation, target artifact, user metadata.
//! No network, no clock; only the trust store is read.

mod authenticity;
mod critical;
mod revocation;
mod target;
mod time;

use std::collections::BTreeMap;

use jiff::Timestamp;
use prokura_envelope::{Content, EnvelopeFormat, ParsedEnvelope, Payload};

use crate::outcome::Outcome;
use crate::policy::{CheckType, Statement};
use crate::reason::Reason;
use crate::store::TrustStore;

/// What a signature is expected to be for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An artifact in a registry or image layout. All three must be equal to what is signed.
    Oci {
        /// Media type of the manifest.
        media_type: String,
        /// Digest of the manifest, such as `sha256:44136f...`.
        digest: String,
        /// Length of the manifest in bytes.
        size: u64,
    },
    /// A file.
    Blob {
        /// Media type, if it is to be compared.
        media_type: Option<String>,
        /// Digest of the file by the hash that belongs to the signing key: the one of
        /// `ParsedEnvelope::parse(..)?.content().algorithm`. Another one does not match.
        digest: String,
        /// Length of the file in bytes.
        size: u64,
    },
}

/// Everything a verification depends on.
#[derive(Clone, Copy, Debug)]
pub struct VerifyInput<'a> {
    /// Media type of the envelope, as the signature manifest gives it.
    pub media_type: &'a str,
    /// The envelope as fetched.
    pub envelope: &'a [u8],
    /// The applicable statement of the trust policy.
    pub statement: &'a Statement,
    /// Where trusted certificates are.
    pub store: &'a TrustStore,
    /// The moment of verification.
    pub now: Timestamp,
    /// What the signature should be for.
    pub target: &'a Target,
    /// User metadata the signature must hold; it may hold more.
    pub required_metadata: &'a BTreeMap<String, String>,
}

/// What the checks after integrity look at.
struct Evidence<'a> {
    input: &'a VerifyInput<'a>,
    content: &'a Content,
    payload: Result<&'a Payload, String>,
}

/// Verifies one signature. Under level `skip` nothing is read and the verdict is `Skipped`. Blocks while the trust
/// store is read.
pub fn verify_signature(input: &VerifyInput<'_>) -> Outcome {
    if input.statement.level().is_skip() {
        return Outcome::of(input.statement, |_| Vec::new());
    }
    let content = match verify_integrity(input) {
        Ok(content) => content,
        Err(reason) => return Outcome::of(input.statement, |_| vec![reason.clone()]),
    };
    let payload = Payload::parse(&content.payload);
    let evidence =
        Evidence { input, content: &content, payload: payload.as_ref().map_err(ToString::to_string) };
    let outcome = Outcome::of(input.statement, |check| evidence.judge(check));
    outcome.with(Some(content), payload.ok())
}

impl Evidence<'_> {
    /// Why a check fails; nothing if it passes.
    fn judge(&self, check: CheckType) -> Vec<Reason> {
        match check {
            CheckType::Integrity => Vec::new(), // there would be no evidence otherwise
            CheckType::CriticalAttributes => self.judge_critical_attributes(),
            CheckType::Authenticity => self.judge_authenticity(),
            CheckType::Expiry => self.judge_expiry(),
            CheckType::AuthenticTimestamp => self.judge_authentic_timestamp(),
            CheckType::Revocation => self.judge_revocation(),
            CheckType::TargetArtifact => self.judge_target(),
            CheckType::UserMetadata => self.judge_user_metadata(),
        }
    }
}

fn verify_integrity(input: &VerifyInput<'_>) -> Result<Content, Reason> {
    let format = EnvelopeFormat::from_media_type(input.media_type);
    let format = format.map_err(|e| Reason::Unparsable(e.to_string()))?;
    let parsed = ParsedEnvelope::parse(format, input.envelope);
    let parsed = parsed.map_err(|e| Reason::Unparsable(e.to_string()))?;
    let verified = parsed.verify().map_err(|e| Reason::Integrity(e.to_string()))?;
    Ok(verified.content().clone())
}
