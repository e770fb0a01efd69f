//! Every limit on what is read here, with its reason.

/// Largest envelope, in bytes. Real ones are 5-20 KiB; a payload with all its annotations stays far below.
pub const ENVELOPE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Largest payload, in bytes: a descriptor, below 1 KiB without user metadata and below 10 KiB with. A verifier holds
/// several copies at once, so the limit of the envelope is not enough.
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;
/// Most to-be-signed bytes read back: the largest payload in Base64, and a protected header of a third of it.
pub const TO_BE_SIGNED_BYTES_MAX: usize = 2 * PAYLOAD_BYTES_MAX;
/// Deepest nesting of JSON arrays and objects. An envelope needs 3; extended attributes may nest.
pub const JSON_DEPTH_MAX: usize = 16;
/// Most values in one JSON text, counting every scalar, array and object.
pub const JSON_VALUES_MAX: usize = 16 * 1024;
/// Deepest nesting of CBOR arrays, maps and tags. An envelope needs 5; extended attributes may nest.
pub const CBOR_DEPTH_MAX: usize = 16;
/// Most data items in one CBOR text, counting every scalar, array, map and tag.
pub const CBOR_ITEMS_MAX: usize = 4 * 1024;
/// Longest text used as a key of a CBOR map, in bytes: keys are compared with each other.
pub const CBOR_KEY_BYTES_MAX: usize = 1024;
/// Most certificates in a chain. Public code-signing chains have two to four.
pub const CERTIFICATES_MAX: usize = 16;
/// Largest certificate, in bytes of DER. Real ones are 1-3 KiB.
pub const CERTIFICATE_BYTES_MAX: usize = 64 * 1024;
/// Most certificates in a PEM bundle, such as a file of a trust store. The largest public root program has about 200.
pub const BUNDLE_CERTIFICATES_MAX: usize = 512;
/// Most extended attributes of one signature.
pub const EXTENDED_ATTRIBUTES_MAX: usize = 256;
/// Largest RFC 3161 token, in bytes: the size at which notation stops reading an answer of a TSA.
pub const TIMESTAMP_TOKEN_BYTES_MAX: usize = 1024 * 1024;
/// Longest signing agent, in bytes: a product token, shown to people.
pub const SIGNING_AGENT_BYTES_MAX: usize = 4096;
/// Longest piece of foreign text repeated in an error message, in characters.
pub const QUOTED_CHARS_MAX: usize = 128;
/// Longest subject of a certificate request, in bytes as RFC 4514 writes it. Real ones are below 300.
pub const SUBJECT_BYTES_MAX: usize = 2048;
/// Most URLs of an issuer taken from one certificate; real ones have one.
pub const ISSUER_URLS_MAX: usize = 4;
/// Most issuers tried while a chain is put in order; each costs a signature verification.
pub const RESOLVE_STEPS_MAX: usize = 256;
