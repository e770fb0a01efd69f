//! Envelopes: made and verified, parsed and not yet verified, parsed and verified.

use crate::certificate::{Certificate, check_code_signing_chain};
use crate::content::Content;
use crate::error::Error;
use crate::format::EnvelopeFormat;
use crate::header::PAYLOAD_MEDIA_TYPE;
use crate::limits::{CERTIFICATES_MAX, ENVELOPE_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::signature::{Salt, explain, verifies};
use crate::{cose, jws};

/// An envelope whose signature verifies under its leaf certificate and whose chain keeps the certificate rules.
///
/// Whether anybody should trust that chain is for trust policy to say. There are two ways to one:
/// [`crate::Unsigned::finish`] and [`VerifiedEnvelope::into_envelope`].
#[derive(Clone, Debug)]
pub struct Envelope {
    bytes: Vec<u8>,
    content: Content,
}

/// An envelope that was read. Nothing about it is verified, though its signed attributes keep the rules.
#[derive(Clone, Debug)]
pub struct ParsedEnvelope {
    bytes: Vec<u8>,
    content: Content,
    to_be_signed: Vec<u8>,
}

/// An envelope that was read and whose signature verifies.
#[derive(Clone, Debug)]
pub struct VerifiedEnvelope {
    envelope: Envelope,
}

/// An envelope taken apart by its format.
pub(crate) struct Decoded {
    pub(crate) content: Content,
    pub(crate) to_be_signed: Vec<u8>,
}

impl Envelope {
    /// The bytes as they are stored and sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The envelope format.
    pub const fn format(&self) -> EnvelopeFormat {
        self.content.format
    }

    /// What it holds; verified.
    pub const fn content(&self) -> &Content {
        &self.content
    }
}

impl ParsedEnvelope {
    /// Reads an envelope of the given format.
    ///
    /// Applies the rules for signed attributes: presence by signing scheme, the critical list, types of values.
    /// Unknown critical attributes are kept for the verifier to judge.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Malformed`], [`Error::Attribute`], [`Error::UnsupportedAlgorithm`],
    /// [`Error::NoCertificates`], [`Error::Certificate`].
    pub fn parse(format: EnvelopeFormat, bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > ENVELOPE_BYTES_MAX {
            return Err(Error::TooLarge { found: bytes.len(), allowed: ENVELOPE_BYTES_MAX });
        }
        let Decoded { content, to_be_signed } = match format {
            EnvelopeFormat::Jws => jws::decode(bytes)?,
            EnvelopeFormat::Cose => cose::decode(bytes)?,
        };
        let payload_bytes = content.payload.len();
        if payload_bytes > PAYLOAD_BYTES_MAX {
            let reason =
                format!("the payload has {payload_bytes} bytes, at most {PAYLOAD_BYTES_MAX} are read");
            return Err(Error::Malformed { format, reason });
        }
        Ok(Self { bytes: bytes.to_vec(), content, to_be_signed })
    }

    /// What it says; not verified. For showing only.
    pub const fn content(&self) -> &Content {
        &self.content
    }

    /// Verifies content type, certificate rules (validity periods left aside), the algorithm, and the signature.
    ///
    /// # Errors
    /// [`Error::ContentType`], [`Error::Chain`], [`Error::AlgorithmMismatch`], [`Error::Integrity`].
    pub fn verify(self) -> Result<VerifiedEnvelope, Error> {
        let content = &self.content;
        if content.content_type != PAYLOAD_MEDIA_TYPE {
            return Err(Error::ContentType { found: crate::quoted(&content.content_type) });
        }
        check_code_signing_chain(&content.chain, None)?;
        let leaf = content.chain.first().ok_or(Error::NoCertificates)?;
        let key = leaf.public_key().map_err(|_| Error::NoCertificates)?; // CERT-12 has refused other keys
        if content.algorithm != key.spec().signing_algorithm() {
            return Err(Error::AlgorithmMismatch { header: content.algorithm, key: key.spec() });
        }
        let salt = match content.format {
            EnvelopeFormat::Jws => Salt::Any,
            EnvelopeFormat::Cose => Salt::HashLength,
        };
        if !verifies(&key, &self.to_be_signed, &content.signature, salt) {
            let mismatch = explain(&key, &self.to_be_signed, &content.signature, salt);
            return Err(Error::Integrity { subject: leaf.subject(), mismatch });
        }
        Ok(VerifiedEnvelope { envelope: Envelope { bytes: self.bytes, content: self.content } })
    }
}

impl VerifiedEnvelope {
    /// What it holds; verified.
    pub const fn content(&self) -> &Content {
        &self.envelope.content
    }

    /// The envelope, with its bytes as they were read.
    pub fn into_envelope(self) -> Envelope {
        self.envelope
    }
}

/// Parses the certificates of an envelope, leaf first.
pub(crate) fn parse_chain(
    ders: impl ExactSizeIterator<Item = Result<Vec<u8>, Error>>,
) -> Result<Vec<Certificate>, Error> {
    match ders.len() {
        0 => return Err(Error::NoCertificates),
        1..=CERTIFICATES_MAX => {}
        // The rule that would refuse the chain says so without parsing it.
        found => {
            return Err(Error::Chain(crate::certificate::RuleViolation {
                rule: "CERT-1",
                message: format!("the chain has {found} certificates, at most {CERTIFICATES_MAX} are read"),
            }));
        }
    }
    let parse = |(index, der): (usize, Result<Vec<u8>, Error>)| {
        Certificate::from_der(&der?).map_err(|source| Error::Certificate { index, source })
    };
    ders.enumerate().map(parse).collect()
}
