//! Bodies of gRPC vectors as messages: JSON with the names of `plugin.proto`, bytes in Base64.

use std::collections::BTreeMap;

use prokura_proto::plugin::v1;
use serde::Deserialize;

use crate::json::read_object;
use crate::message::Base64;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Request {
    key: Option<Key>,
    key_spec: String,
    hash_algorithm: String,
    digest: Base64,
    to_be_signed: Base64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    #[serde(default)]
    key_id: String,
    #[serde(default)]
    plugin_config: BTreeMap<String, String>,
}

/// The body of a `DescribeKey` vector.
///
/// # Errors
/// If the body is no such message.
pub fn describe_key(body: &[u8]) -> Result<v1::DescribeKeyRequest, String> {
    read_object::<Request>(body).map(|r| v1::DescribeKeyRequest { key: r.key.map(reference) })
}

/// The body of a `SignDigest` vector.
///
/// # Errors
/// If the body is no such message.
pub fn sign_digest(body: &[u8]) -> Result<v1::SignDigestRequest, String> {
    read_object::<Request>(body).map(|r| v1::SignDigestRequest {
        key: r.key.map(reference),
        key_spec: r.key_spec,
        hash_algorithm: r.hash_algorithm,
        digest: r.digest.0,
        to_be_signed: r.to_be_signed.0,
    })
}

fn reference(key: Key) -> v1::KeyReference {
    v1::KeyReference { key_id: key.key_id, plugin_config: key.plugin_config }
}
