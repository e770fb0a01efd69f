//! The JWS envelope: flattened JSON serialization (RFC 7515 section 7.2.2) with one signature.
//!
//! Source: Notary Project specification, "JWS Signature Envelope".

mod decode;
mod encode;

pub(crate) use decode::{decode, decode_signing_input};
pub(crate) use encode::{assemble, protected_header, signing_input};

use prokura_plugin::SigningAlgorithm;

/// Names of the signature algorithms (RFC 7518 section 3.1), beside the terms of the plugin contract.
const ALGORITHMS: [(SigningAlgorithm, &str); 6] = [
    (SigningAlgorithm::RsassaPssSha256, "PS256"),
    (SigningAlgorithm::RsassaPssSha384, "PS384"),
    (SigningAlgorithm::RsassaPssSha512, "PS512"),
    (SigningAlgorithm::EcdsaSha256, "ES256"),
    (SigningAlgorithm::EcdsaSha384, "ES384"),
    (SigningAlgorithm::EcdsaSha512, "ES512"),
];

/// Names registered for JOSE headers (IANA "JSON Web Signature and Encryption Header Parameters"). They cannot be
/// extended attributes that are written, and RFC 7515 section 4.1.11 forbids them in `crit`.
const REGISTERED: [&str; 21] = [
    "alg", "crit", "cty", "jku", "jwk", "kid", "x5u", "x5c", "x5t", "x5t#S256", "typ", "enc", "zip", "epk",
    "apu", "apv", "iv", "tag", "p2s", "p2c", "b64",
];
