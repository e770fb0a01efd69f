//! Notary signature envelopes (JWS, COSE) and certificate rules: bytes in, bytes out.
//!
//! ```text
//! Payload + Attributes + KeySpec ──► Unsigned ──► to_be_signed() ──► [a vault signs] ──► finish() ──► Envelope
//! to-be-signed bytes ──► ToBeSigned (what a signature over them would say; for whoever signs for others)
//! bytes ──► ParsedEnvelope (not verified) ──► verify() ──► VerifiedEnvelope ──► into_envelope() ──► Envelope
//! ```
//!
//! Pure: no I/O, no clock, no environment, no randomness. An [`Envelope`] exists only verified: its signature verifies
//! under its leaf certificate and its chain keeps every rule below. Whether anybody trusts that chain, whether the
//! signature has expired, and what to do about unknown critical attributes is for the verifier to decide; see
//! [`Content`].
//!
//! # Certificate rules
//!
//! Applied to every chain, at the signing time when signing and without validity periods when reading. Source: Notary
//! Project signature specification, "Certificate Requirements". A single self-signed certificate is a legal chain if
//! it keeps the rules for a leaf.
//!
//! | rule | certificate | must |
//! |---|---|---|
//! | CERT-1 | chain | have one to sixteen certificates |
//! | CERT-2 | each | be valid at the signing time, both ends included (only when signing) |
//! | CERT-3 | last | be self-signed: the chain ends with the root |
//! | CERT-4 | all but the last | not be self-signed |
//! | CERT-5 | all but the last | be issued, byte for byte, by the subject of the next |
//! | CERT-6 | all but the last | verify under the key of the next; not by MD5 or SHA-1 |
//! | CERT-7 | leaf | be no CA |
//! | CERT-8 | leaf | have a critical key usage |
//! | CERT-9 | leaf | have key usage digitalSignature |
//! | CERT-10 | leaf | have no key usage but digitalSignature and nonRepudiation |
//! | CERT-11 | leaf | not have extended key usage any, serverAuth, clientAuth, emailProtection, timeStamping, OCSPSigning |
//! | CERT-12 | leaf | hold an RSA key of 2048, 3072 or 4096 bit or an EC key on P-256, P-384 or P-521 |
//! | CERT-13 | all but the leaf | be a CA by basic constraints |
//! | CERT-14 | all but the leaf | allow as many intermediates by path length as stand below |
//! | CERT-15 | all but the leaf | have a critical key usage with keyCertSign |
//! | CERT-16 | each | have the three extensions above at most once and readable |
//!
//! CAs may sign with RSA (PKCS#1 v1.5 or PSS) of 2048 to 8192 bit, ECDSA on the three curves, each with SHA-256,
//! SHA-384 or SHA-512, or with Ed25519. Validity periods need not nest; name constraints, policies and all other
//! extensions are ignored, critical or not; basic constraints of a CA need not be critical.
//!
//! # Choices where specification and practice differ
//!
//! "notation" is its Go implementation, notation-core-go 1.3. What is written, it accepts, and so does the
//! specification.
//!
//! | on reading | specification | notation | here | tested by |
//! |---|---|---|---|---|
//! | PSS salt length in JWS | that of the hash | any | any | `any_salt_length_is_read_in_jws` |
//! | PSS salt length in COSE | that of the hash | that of the hash | that of the hash; the error names the salt | `a_changed_payload_and_another_salt_are_integrity_failures` |
//! | times in JWS | RFC 3339, no fractions | any RFC 3339 | any RFC 3339, any offset, digits beyond nanoseconds cut | `legal_variety_is_accepted` |
//! | signing time missing in JWS | refused | accepted | refused | `rules_of_scheme_and_times` |
//! | time of the other signing scheme in COSE | refused | ignored | refused | `rules_of_the_protected_header` |
//! | unknown top-level or `header` members in JWS | none allowed | ignored | ignored: unsigned, bounded in size | `legal_variety_is_accepted` |
//! | duplicate members or map keys | refused | last wins (JWS), refused (COSE) | refused at every level | `duplicates_and_bombs_...` |
//! | `crit` entry twice, absent, or registered | refused | refused (JWS), absent refused (COSE) | refused; in COSE labels 1, 3 and the signing time may be listed (RFC 9052) | `rules_of_the_critical_list` |
//! | unknown critical attribute | refused | kept | kept, marked critical: the verifier refuses it unless a verification plugin processes it | `unknown_critical_attributes_...` |
//! | `b64` in JWS | not defined | ignored | refused | `rules_of_the_critical_list` |
//! | Base64 that is not canonical | refused | accepted | refused | `base64_with_stray_trailing_bits_is_refused` |
//! | `x5chain` as one byte string, or protected | allowed | refused | accepted; both at once refused | `chains_in_every_legal_place` |
//! | `x5chain` protected, in bytes still to be signed | allowed | not written | refused | `a_chain_to_be_signed_...` |
//! | indefinite lengths in COSE | not deterministic | refused | refused | `duplicates_and_bombs_are_refused` |
//! | `anyExtendedKeyUsage` | refused | accepted | refused | `cert_11_extended_key_usage_of_the_leaf` |
//! | `OCSPSigning` | not mentioned | refused | refused | `cert_11_extended_key_usage_of_the_leaf` |
//! | other RSA sizes of at least 2048 bit | allowed | refused | refused: no algorithm belongs to them | `cert_12_key_of_the_leaf` |
//!
//! aws-lc-rs must be told the length of a PSS salt, so for JWS every possible length is tried, at most 447 public
//! operations.
//!
//! # Limits
//!
//! Everything read is bounded: see [`limits`]. RFC 3161 tokens are carried as bytes and not examined.

mod attribute;
pub mod certificate;
mod content;
mod cose;
mod envelope;
mod error;
mod format;
pub mod header;
pub mod issue;
mod jws;
pub mod limits;
mod payload;
mod rules;
mod signature;
mod strict_json;
mod time;
mod to_be_signed;
mod unsigned;

pub use attribute::{AttributeKey, AttributeValue, Attributes, ExtendedAttribute, SigningScheme};
pub use content::Content;
pub use envelope::{Envelope, ParsedEnvelope, VerifiedEnvelope};
pub use error::{Blame, Error, Mismatch};
pub use format::{EnvelopeFormat, UnknownFormat};
pub use payload::{Descriptor, Payload, PayloadError, RESERVED_PREFIX};
pub use to_be_signed::ToBeSigned;
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
