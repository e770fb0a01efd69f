//! Notary signature envelopes (JWS, COSE) and certificate rules: bytes in, bytes out.

mod attribute;
pub mod certificate;
mod content;
mod cose;
mod envelope;
mod error;
mod format;
pub mod header;
mod jws;
pub mod limits;
mod payload;
mod rules;
mod signature;
mod strict_json;
mod time;
mod unsigned;

pub use attribute::{AttributeKey, AttributeValue, Attributes, ExtendedAttribute, SigningScheme};
pub use content::Content;
pub use envelope::{Envelope, ParsedEnvelope, VerifiedEnvelope};
pub use error::{Blame, Error, Mismatch};
pub use format::{EnvelopeFormat, UnknownFormat};
pub use payload::{Descriptor, Payload, PayloadError, RESERVED_PREFIX};
pub use unsigned::Unsigned;

/// Foreign text fit for a message: control characters removed, cut to [`limits::QUOTED_CHARS_MAX`].
fn quoted(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(limits::QUOTED_CHARS_MAX).collect()
}

fn lower_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
