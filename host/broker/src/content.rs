//! What is to be signed: the bytes a peer sends, read back strictly, with the digest made here.
//!
//! A peer says of what type its bytes are. They are read as that type and nothing else, by the code that reads
//! envelopes, so that policy and log see what a verifier of the signature will see.

use jiff::{SignedDuration, Timestamp};
use prokura_envelope::{EnvelopeFormat, Payload, PayloadError, SigningScheme, ToBeSigned};
use prokura_plugin::{Digest, KeySpec, SigningAlgorithm};
use prokura_proto::broker::v1;

use crate::limits::{ANNOTATIONS_MAX, CONTENT_BYTES_MAX, SIGNING_TIME_AHEAD_MAX_S, SIGNING_TIME_PAST_MAX_S};

/// Of what type the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContentType {
    /// The JWS signing input of a Notary envelope (RFC 7515 section 5.1).
    NotaryJws,
    /// The encoded `Sig_structure` of a Notary envelope (RFC 9052 section 4.4).
    NotaryCose,
    /// A digest made elsewhere; what was hashed is not known.
    Digest,
}

impl ContentType {
    /// As it is written in the log and in messages: the name of the field in the protocol.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotaryJws => "notary_jws",
            Self::NotaryCose => "notary_cose",
            Self::Digest => "digest",
        }
    }
}

impl std::fmt::Display for ContentType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a signature would say. Made by [`Content::read`] alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    content_type: ContentType,
    key_spec: KeySpec,
    digest: Digest,
    artifact: Option<Artifact>,
}

/// The artifact that a signature would vouch for, and the signed attributes beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct Artifact {
    /// Media type of the manifest or blob.
    pub media_type: String,
    /// Digest as `algorithm:hex`.
    pub digest: String,
    /// Length in bytes.
    pub size: u64,
    /// User metadata.
    pub annotations: std::collections::BTreeMap<String, String>,
    /// Who vouches for the signing time.
    pub signing_scheme: SigningScheme,
    /// When the signer says it signs.
    pub signing_time: Timestamp,
    /// From when on the signature is no longer good.
    pub expiry: Option<Timestamp>,
    /// Names of further signed attributes, such as `io.cncf.notary.verificationPlugin`, sorted.
    pub attributes: Vec<String>,
}

/// Why bytes are not signed, whoever asks. The caller must act.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// Nothing is to be signed.
    #[error("the request has no content, expected notary_jws, notary_cose or digest")]
    Missing,
    /// More bytes than any Notary envelope has to be signed.
    #[error(
        "{content_type} has {found} bytes, at most {CONTENT_BYTES_MAX} are signed; shorten the annotations"
    )]
    TooLarge {
        /// What the bytes were said to be.
        content_type: ContentType,
        /// Bytes found.
        found: usize,
    },
    /// The bytes are not of the type they are said to be of.
    #[error("the bytes are no {content_type}: {source}{hint}")]
    NotOfType {
        /// What the bytes were said to be.
        content_type: ContentType,
        /// What was found and what was expected.
        source: prokura_envelope::Error,
        /// What the bytes seem to be instead; empty if nobody knows.
        hint: &'static str,
    },
    /// Another payload is inside than a Notary payload.
    #[error("the bytes are no {content_type}: {source}")]
    Payload {
        /// What the bytes were said to be.
        content_type: ContentType,
        /// What was found and what was expected.
        source: PayloadError,
    },
    /// The payload holds what policy and log would not see.
    #[error(
        "the payload has member {name:?}, expected those of targetArtifact alone: mediaType, digest, size, annotations"
    )]
    UnknownMember {
        /// The first one found.
        name: String,
    },
    /// More annotations than policies are asked about.
    #[error("the artifact has {found} annotations, at most {ANNOTATIONS_MAX} are signed")]
    TooManyAnnotations {
        /// Annotations found.
        found: usize,
    },
    /// The header names an algorithm that does not belong to the key.
    #[error("the header names {found}, but the key is {key_spec} and signs with {}; ask DescribeKey for the key spec", key_spec.signing_algorithm())]
    Algorithm {
        /// Algorithm in the header.
        found: SigningAlgorithm,
        /// The spec of the key that was to sign.
        key_spec: KeySpec,
    },
    /// The signing time is not now.
    #[error("the signing time {found} is {}, expected at most {SIGNING_TIME_PAST_MAX_S} s before and {SIGNING_TIME_AHEAD_MAX_S} s after {now}; set the clock of the caller, or prepare the envelope anew", distance(*found, *now))]
    SigningTime {
        /// The signing time found.
        found: Timestamp,
        /// The time here.
        now: Timestamp,
    },
    /// The signature would have expired before it is made.
    #[error("the expiry {expiry} is not after {after}")]
    Expired {
        /// The expiry found.
        expiry: Timestamp,
        /// The later of the signing time and the time here.
        after: Timestamp,
    },
    /// A digest that is not as long as the hash of the key.
    #[error("the digest has {found} bytes, but the key is {key_spec} and signs {} digests of {} bytes", key_spec.hash_algorithm(), key_spec.hash_algorithm().digest_len())]
    DigestLength {
        /// Bytes found.
        found: usize,
        /// The spec of the key that was to sign.
        key_spec: KeySpec,
    },
}

impl Content {
    /// Reads what a peer sent for a key of the given spec.
    ///
    /// # Errors
    /// [`ContentError`] unless the bytes are what they are said to be, within the limits, for such a key, and now.
    pub fn read(wire: Option<&v1::Content>, key_spec: KeySpec, now: Timestamp) -> Result<Self, ContentError> {
        match wire.and_then(|wire| wire.content.as_ref()) {
            None => Err(ContentError::Missing),
            Some(v1::content::Content::NotaryJws(bytes)) => {
                Self::notary(ContentType::NotaryJws, EnvelopeFormat::Jws, bytes, key_spec, now)
            }
            Some(v1::content::Content::NotaryCose(bytes)) => {
                Self::notary(ContentType::NotaryCose, EnvelopeFormat::Cose, bytes, key_spec, now)
            }
            Some(v1::content::Content::Digest(bytes)) => {
                let digest = Digest::from_bytes(key_spec.hash_algorithm(), bytes.clone())
                    .map_err(|wrong| ContentError::DigestLength { found: wrong.found, key_spec })?;
                Ok(Self { content_type: ContentType::Digest, key_spec, digest, artifact: None })
            }
        }
    }

    fn notary(
        content_type: ContentType,
        format: EnvelopeFormat,
        bytes: &[u8],
        key_spec: KeySpec,
        now: Timestamp,
    ) -> Result<Self, ContentError> {
        if bytes.len() > CONTENT_BYTES_MAX {
            return Err(ContentError::TooLarge { content_type, found: bytes.len() });
        }
        let signed = ToBeSigned::parse(format, bytes).map_err(|source| {
            let hint = what_else(bytes);
            ContentError::NotOfType { content_type, source, hint }
        })?;
        if signed.algorithm != key_spec.signing_algorithm() {
            return Err(ContentError::Algorithm { found: signed.algorithm, key_spec });
        }
        let artifact = artifact(content_type, &signed)?;
        check_times(&artifact, now)?;
        let digest = Digest::of(key_spec.hash_algorithm(), bytes);
        Ok(Self { content_type, key_spec, digest, artifact: Some(artifact) })
    }

    /// Of what type the bytes are.
    pub const fn content_type(&self) -> ContentType {
        self.content_type
    }

    /// The spec of the key it was read for.
    pub const fn key_spec(&self) -> KeySpec {
        self.key_spec
    }

    /// What the vault will sign: made here from the bytes, or as given for [`ContentType::Digest`].
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// What the signature would vouch for; `None` for [`ContentType::Digest`].
    pub const fn artifact(&self) -> Option<&Artifact> {
        self.artifact.as_ref()
    }
}

fn artifact(content_type: ContentType, signed: &ToBeSigned) -> Result<Artifact, ContentError> {
    let refuse = |source| ContentError::Payload { content_type, source };
    let payload = Payload::parse(&signed.payload).map_err(refuse)?;
    if let Some(name) = payload.unknown_members().first() {
        return Err(ContentError::UnknownMember { name: name.clone() });
    }
    let target = payload.target().clone();
    if target.annotations.len() > ANNOTATIONS_MAX {
        return Err(ContentError::TooManyAnnotations { found: target.annotations.len() });
    }
    let signing_time = signed.time().unwrap_or(Timestamp::MIN); // the rules of the scheme have demanded one
    let mut attributes: Vec<String> = signed.extended.iter().map(|a| a.key.to_string()).collect();
    attributes.sort();
    Ok(Artifact {
        media_type: target.media_type,
        digest: target.digest,
        size: target.size,
        annotations: target.annotations,
        signing_scheme: signed.scheme,
        signing_time,
        expiry: signed.expiry,
        attributes,
    })
}

fn check_times(artifact: &Artifact, now: Timestamp) -> Result<(), ContentError> {
    let ahead = artifact.signing_time.duration_since(now);
    let too_late = ahead < SignedDuration::from_secs(-SIGNING_TIME_PAST_MAX_S);
    if too_late || ahead > SignedDuration::from_secs(SIGNING_TIME_AHEAD_MAX_S) {
        return Err(ContentError::SigningTime { found: artifact.signing_time, now });
    }
    let after = artifact.signing_time.max(now);
    match artifact.expiry {
        Some(expiry) if expiry <= after => Err(ContentError::Expired { expiry, after }),
        _ => Ok(()),
    }
}

/// The usual mistakes, told by their first bytes; only for messages.
fn what_else(bytes: &[u8]) -> &'static str {
    match bytes {
        [] => "; there are no bytes",
        [b'e', b'y', b'J', ..] => "; they look like a JWS, whose signing input goes into notary_jws",
        [0x84, 0x6A, ..] => "; they look like a Sig_structure, which goes into notary_cose",
        [0xD2, 0x84, ..] => {
            "; they look like a COSE_Sign1, expected the Sig_structure that its signature covers"
        }
        [b'{', ..] => "; they look like JSON, expected what the signature covers, not payload or envelope",
        _ if matches!(bytes.len(), 32 | 48 | 64) => {
            "; they look like a digest, which goes into digest and needs a policy for signDigest"
        }
        _ => "",
    }
}

fn distance(found: Timestamp, now: Timestamp) -> String {
    let seconds = found.duration_since(now).as_secs();
    let side = if seconds < 0 { "in the past" } else { "in the future" };
    format!("{} s {side}", seconds.unsigned_abs())
}

#[cfg(test)]
mod tests;
