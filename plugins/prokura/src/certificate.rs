//! The certificates of a key: those the broker holds, asked for again when they may have been renewed.

use prokura_plugin::{CertificateChain, Error};
use prokura_proto::broker::v1::DescribeKeyResponse;

use crate::error::malformed;

/// The chain of a description, leaf first.
///
/// # Errors
/// `ERROR` if it holds what is no certificate.
pub(crate) fn chain(described: &DescribeKeyResponse) -> Result<CertificateChain, Error> {
    CertificateChain::from_der(described.certificate_chain.clone()).map_err(|e| {
        malformed(&format!("read the certificates of key {}", described.key_name), &format!("is wrong: {e}"))
    })
}
