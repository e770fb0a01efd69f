//! To-be-signed bytes read back: what a signature over them would say.

use jiff::Timestamp;
use prokura_plugin::SigningAlgorithm;

use crate::attribute::{ExtendedAttribute, SigningScheme};
use crate::certificate::Certificate;
use crate::content::Content;
use crate::error::Error;
use crate::format::EnvelopeFormat;
use crate::header::PAYLOAD_MEDIA_TYPE;
use crate::limits::{PAYLOAD_BYTES_MAX, TO_BE_SIGNED_BYTES_MAX};
use crate::{cose, jws};

/// What a signature over to-be-signed bytes would cover, each fact read as it is read from an envelope.
#[derive(Clone, Debug, PartialEq)]
pub struct ToBeSigned {
    /// The envelope format the bytes belong to.
    pub format: EnvelopeFormat,
    /// The exact payload bytes.
    pub payload: Vec<u8>,
    /// Media type of the payload as the header gives it.
    pub content_type: String,
    /// Signature algorithm as the header gives it.
    pub algorithm: SigningAlgorithm,
    /// Who vouches for the signing time.
    pub scheme: SigningScheme,
    /// When the signer says it signs; present exactly under `notary.x509`.
    pub signing_time: Option<Timestamp>,
    /// When the signing authority says it signs; present exactly under `notary.x509.signingAuthority`.
    pub authentic_signing_time: Option<Timestamp>,
    /// From when on the signature is no longer good.
    pub expiry: Option<Timestamp>,
    /// Signed attributes the specification does not define, sorted by key.
    pub extended: Vec<ExtendedAttribute>,
}

/// What an envelope holds beside what is signed.
pub(crate) struct Outside {
    pub(crate) chain: Vec<Certificate>,
    pub(crate) signing_agent: Option<String>,
    pub(crate) timestamp_token: Option<Vec<u8>>,
    pub(crate) signature: Vec<u8>,
}

impl ToBeSigned {
    /// Reads a JWS signing input (RFC 7515 section 5.1) or an encoded COSE `Sig_structure` (RFC 9052 section 4.4) by
    /// the rules by which envelopes are read, and beyond them: the content type must be that of a Notary payload, the
    /// encoding the one a verifier makes. The payload itself is for [`crate::Payload::parse`].
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Malformed`], [`Error::Attribute`], [`Error::UnsupportedAlgorithm`],
    /// [`Error::ContentType`].
    pub fn parse(format: EnvelopeFormat, bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > TO_BE_SIGNED_BYTES_MAX {
            return Err(Error::TooLarge { found: bytes.len(), allowed: TO_BE_SIGNED_BYTES_MAX });
        }
        let signed = match format {
            EnvelopeFormat::Jws => jws::decode_signing_input(bytes)?,
            EnvelopeFormat::Cose => cose::decode_sig_structure(bytes)?,
        };
        if signed.content_type != PAYLOAD_MEDIA_TYPE {
            return Err(Error::ContentType { found: crate::quoted(&signed.content_type) });
        }
        let payload_bytes = signed.payload.len();
        if payload_bytes > PAYLOAD_BYTES_MAX {
            let reason =
                format!("the payload has {payload_bytes} bytes, at most {PAYLOAD_BYTES_MAX} are signed");
            return Err(Error::Malformed { format, reason });
        }
        Ok(signed)
    }

    /// The time of signing, whoever vouches for it.
    pub fn time(&self) -> Option<Timestamp> {
        self.signing_time.or(self.authentic_signing_time)
    }

    pub(crate) fn into_content(self, outside: Outside) -> Content {
        Content {
            format: self.format,
            payload: self.payload,
            content_type: self.content_type,
            algorithm: self.algorithm,
            scheme: self.scheme,
            signing_time: self.signing_time,
            authentic_signing_time: self.authentic_signing_time,
            expiry: self.expiry,
            extended: self.extended,
            chain: outside.chain,
            signing_agent: outside.signing_agent,
            timestamp_token: outside.timestamp_token,
            signature: outside.signature,
        }
    }
}
