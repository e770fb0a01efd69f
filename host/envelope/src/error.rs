//! What can be wrong with an envelope, and who must act.

use prokura_plugin::{KeySpec, SigningAlgorithm};

use crate::certificate::{CertificateError, RuleViolation};
use crate::format::EnvelopeFormat;

/// Why an envelope was not made or not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request to sign cannot be put into an envelope.
    #[error("cannot prepare the signature: {problem}")]
    Request {
        /// What was found and what was expected.
        problem: String,
    },
    /// A raw signature came with another key spec than was asked for.
    #[error("the signature is made for an {found} key, but the key described before is {expected}")]
    WrongKeySpec {
        /// The key spec the envelope was prepared for.
        expected: KeySpec,
        /// The key spec of the raw signature.
        found: KeySpec,
    },
    /// The leaf certificate holds a key of another spec than the one that was to sign.
    #[error(
        "the leaf certificate {subject:?} holds an {found} key, but the signing key is {expected}; \
         configure the certificate chain of the signing key, leaf first"
    )]
    WrongLeafKey {
        /// Subject of the leaf.
        subject: String,
        /// The key spec the envelope was prepared for.
        expected: KeySpec,
        /// The key spec of the leaf.
        found: KeySpec,
    },
    /// The raw signature does not verify under the leaf certificate. No envelope is made of it.
    #[error("the signature does not verify under the leaf certificate {subject:?}: {mismatch}")]
    WrongSignature {
        /// Subject of the leaf.
        subject: String,
        /// What the signature turned out to be.
        mismatch: Mismatch,
    },
    /// More bytes than any envelope has.
    #[error("the envelope has {found} bytes, at most {allowed} are read")]
    TooLarge {
        /// Bytes found.
        found: usize,
        /// Bytes allowed.
        allowed: usize,
    },
    /// The bytes are no envelope of the format.
    #[error("not a valid {format} envelope: {reason}")]
    Malformed {
        /// The format the bytes were said to have.
        format: EnvelopeFormat,
        /// What was found and what was expected.
        reason: String,
    },
    /// A signed attribute is missing, malformed or breaks a rule of the specification.
    #[error("signed attribute {name}: {problem}")]
    Attribute {
        /// Name or label of the header parameter.
        name: String,
        /// What was found and what was expected.
        problem: String,
    },
    /// The header names an algorithm that Notary signatures do not use.
    #[error(
        "signature algorithm {found} is not supported, expected PS256, PS384, PS512, ES256, ES384 or ES512"
    )]
    UnsupportedAlgorithm {
        /// The algorithm found.
        found: String,
    },
    /// The header names an algorithm that does not belong to the key of the leaf.
    #[error("the header names {header}, but the leaf certificate holds an {key} key")]
    AlgorithmMismatch {
        /// Algorithm in the header.
        header: SigningAlgorithm,
        /// Key spec of the leaf.
        key: KeySpec,
    },
    /// The payload is of another type than a Notary payload.
    #[error("the payload has content type {found:?}, expected {:?}", crate::header::PAYLOAD_MEDIA_TYPE)]
    ContentType {
        /// Content type found.
        found: String,
    },
    /// There is no certificate chain.
    #[error("there is no certificate chain; leaf, intermediates and root are required, leaf first")]
    NoCertificates,
    /// A certificate of the chain cannot be read.
    #[error("certificate {index} of the chain: {source}")]
    Certificate {
        /// Position from 0, the leaf.
        index: usize,
        /// Why.
        source: CertificateError,
    },
    /// The certificate chain breaks a rule.
    #[error("the certificate chain breaks {0}")]
    Chain(#[from] RuleViolation),
    /// The signature of an envelope does not verify: header or payload were changed, or another key signed.
    #[error(
        "the envelope was changed or is wrongly signed; under the leaf certificate {subject:?}: {mismatch}"
    )]
    Integrity {
        /// Subject of the leaf.
        subject: String,
        /// What the signature turned out to be.
        mismatch: Mismatch,
    },
}

/// What a refused signature turned out to be. Found by trying the usual mistakes; only for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mismatch {
    /// It verifies under another certificate of the chain.
    OtherCertificate {
        /// Subject of that certificate.
        subject: String,
    },
    /// RSA-PSS with a salt of another length than the hash.
    SaltLength {
        /// Bytes of salt found.
        found: usize,
        /// Bytes of salt required: the length of the hash.
        expected: usize,
    },
    /// RSA with PKCS#1 v1.5 padding instead of PSS.
    Pkcs1,
    /// The digest was hashed once more before signing.
    HashedTwice,
    /// None of the usual mistakes: another key, other bytes, or garbage.
    Unknown,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OtherCertificate { subject } => {
                write!(f, "it was made by the key of {subject:?}, which is further up the chain")
            }
            Self::SaltLength { found, expected } => {
                write!(f, "its PSS salt has {found} bytes, {expected} (the length of the hash) are required")
            }
            Self::Pkcs1 => f.write_str("it is RSA with PKCS#1 v1.5 padding, RSASSA-PSS is required"),
            Self::HashedTwice => f.write_str("the digest was hashed once more before it was signed"),
            Self::Unknown => f.write_str("another key made the signature, or it covers other bytes"),
        }
    }
}

/// Who must act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The caller: change the request.
    User,
    /// Whoever configured keys and certificates.
    Operator,
    /// The author of the plugin: its answer breaks the contract.
    PluginAuthor,
    /// The vault or its administrator.
    Vault,
    /// The way to a vault or registry.
    Network,
    /// Whoever made the signature that was read; the reader cannot mend it.
    Publisher,
}

impl Error {
    /// Who must act when signing. On reading somebody else's envelope it is the publisher, whatever the error.
    pub const fn blame(&self) -> Blame {
        match self {
            Self::Request { .. } => Blame::User,
            Self::WrongKeySpec { .. } => Blame::PluginAuthor,
            Self::WrongSignature { mismatch: Mismatch::OtherCertificate { .. }, .. }
            | Self::WrongLeafKey { .. }
            | Self::Chain(_)
            | Self::Certificate { .. }
            | Self::NoCertificates => Blame::Operator,
            Self::WrongSignature { .. } => Blame::PluginAuthor,
            _ => Blame::Publisher,
        }
    }
}
