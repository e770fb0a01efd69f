//! What an envelope holds, in one shape for both formats.

use jiff::Timestamp;
use prokura_plugin::SigningAlgorithm;

use crate::attribute::{ExtendedAttribute, SigningScheme};
use crate::certificate::Certificate;
use crate::format::EnvelopeFormat;

/// Everything an envelope holds. Whether it is verified is told by the type that lends it.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    /// The envelope format.
    pub format: EnvelopeFormat,
    /// The exact signed payload bytes.
    pub payload: Vec<u8>,
    /// Media type of the payload as the header gives it.
    pub content_type: String,
    /// Signature algorithm as the header gives it.
    pub algorithm: SigningAlgorithm,
    /// Who vouches for the signing time.
    pub scheme: SigningScheme,
    /// When the signer says it signed; present exactly under `notary.x509`.
    pub signing_time: Option<Timestamp>,
    /// When the signing authority says it signed; present exactly under `notary.x509.signingAuthority`.
    pub authentic_signing_time: Option<Timestamp>,
    /// From when on the signature is no longer good.
    pub expiry: Option<Timestamp>,
    /// Signed attributes the specification does not define, sorted by key. A critical one that nobody processes
    /// must lead to refusal; that is for the verifier to decide.
    pub extended: Vec<ExtendedAttribute>,
    /// The certificate chain, leaf first.
    pub chain: Vec<Certificate>,
    /// Software that made the envelope. Unsigned.
    pub signing_agent: Option<String>,
    /// RFC 3161 token over the signature, DER. Unsigned; not examined here.
    pub timestamp_token: Option<Vec<u8>>,
    /// The raw signature: `r ‖ s` or the RSA bytes.
    pub signature: Vec<u8>,
}
