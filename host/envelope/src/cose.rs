//! The COSE envelope: tagged `COSE_Sign1` (RFC 9052 section 4.2) with embedded payload.
//!
//! Source: Notary Project specification, "COSE Signature Envelope".

mod decode;
mod encode;
mod scan;

pub(crate) use decode::{decode, decode_sig_structure};
pub(crate) use encode::{assemble, protected_header, sig_structure};

use prokura_plugin::SigningAlgorithm;

/// CBOR tag of `COSE_Sign1` (RFC 9052 section 4.2).
const TAG_COSE_SIGN1: u64 = 18;
/// CBOR tag of a time as seconds since 1970 (RFC 8949 section 3.4.2).
const TAG_EPOCH_TIME: u64 = 1;
/// Label of the algorithm (RFC 9052 section 3.1).
const LABEL_ALG: i64 = 1;
/// Label of the critical list.
const LABEL_CRIT: i64 = 2;
/// Label of the content type.
const LABEL_CONTENT_TYPE: i64 = 3;
/// Label of the certificate chain (RFC 9360 section 2).
const LABEL_X5CHAIN: i64 = 33;

/// Signature algorithms (RFC 9053 section 2.1, RFC 8230 section 2), beside the terms of the plugin contract.
const ALGORITHMS: [(SigningAlgorithm, i64); 6] = [
    (SigningAlgorithm::RsassaPssSha256, -37),
    (SigningAlgorithm::RsassaPssSha384, -38),
    (SigningAlgorithm::RsassaPssSha512, -39),
    (SigningAlgorithm::EcdsaSha256, -7),
    (SigningAlgorithm::EcdsaSha384, -35),
    (SigningAlgorithm::EcdsaSha512, -36),
];
