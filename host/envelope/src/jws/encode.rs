//! Writes JWS envelopes: members and list entries in the order notation writes them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use prokura_plugin::KeySpec;
use serde::Serialize;
use serde_json::Value;

use super::{ALGORITHMS, REGISTERED};
use crate::attribute::{AttributeKey, Attributes, ExtendedAttribute, SigningScheme};
use crate::error::Error;
use crate::header;
use crate::strict_json;
use crate::time::to_rfc3339;

/// The protected header as JSON, names in byte order.
pub(crate) fn protected_header(attributes: &Attributes, spec: KeySpec) -> Result<Vec<u8>, Error> {
    let mut members: BTreeMap<&str, Value> = BTreeMap::new();
    let algorithm = ALGORITHMS.iter().find(|(a, _)| *a == spec.signing_algorithm()).map(|(_, name)| *name);
    members.insert("alg", algorithm.into());
    members.insert("crit", critical_list(attributes)?.into());
    members.insert("cty", header::PAYLOAD_MEDIA_TYPE.into());
    members.insert(header::SIGNING_SCHEME, attributes.scheme.as_str().into());
    let time_name = match attributes.scheme {
        SigningScheme::X509 => header::SIGNING_TIME,
        SigningScheme::X509SigningAuthority => header::AUTHENTIC_SIGNING_TIME,
    };
    members.insert(time_name, to_rfc3339(attributes.signing_time).into());
    if let Some(expiry) = attributes.expiry {
        members.insert(header::EXPIRY, to_rfc3339(expiry).into());
    }
    for attribute in &attributes.extended {
        if members.insert(text_key(attribute)?, attribute.value.to_json()).is_some() {
            return Err(request(format!("extended attribute {:?} occurs twice", attribute.key.to_string())));
        }
    }
    let bytes = serde_json::to_vec(&members).map_err(|e| request(e.to_string()))?;
    // What a reader would refuse must not be signed: depth and number of values.
    strict_json::parse(&bytes).map_err(|e| request(format!("extended attributes: {e}")))?;
    Ok(bytes)
}

/// What the signature covers: both parts in base64url, a dot between (RFC 7515 section 5.1).
pub(crate) fn signing_input(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(protected), URL_SAFE_NO_PAD.encode(payload)).into_bytes()
}

/// The finished envelope.
pub(crate) fn assemble(
    protected: &[u8],
    payload: &[u8],
    chain: &[Vec<u8>],
    signing_agent: Option<&str>,
    signature: &[u8],
) -> Result<Vec<u8>, Error> {
    let envelope = Written {
        payload: URL_SAFE_NO_PAD.encode(payload),
        protected: URL_SAFE_NO_PAD.encode(protected),
        header: Unprotected { x5c: chain.iter().map(|der| STANDARD.encode(der)).collect(), signing_agent },
        signature: URL_SAFE_NO_PAD.encode(signature),
    };
    serde_json::to_vec(&envelope).map_err(|e| request(e.to_string()))
}

#[derive(Serialize)]
struct Written<'a> {
    payload: String,
    protected: String,
    header: Unprotected<'a>,
    signature: String,
}

#[derive(Serialize)]
struct Unprotected<'a> {
    x5c: Vec<String>,
    #[serde(rename = "io.cncf.notary.signingAgent", skip_serializing_if = "Option::is_none")]
    signing_agent: Option<&'a str>,
}

/// Signing scheme, critical extended attributes, authentic signing time, expiry.
fn critical_list(attributes: &Attributes) -> Result<Vec<&str>, Error> {
    let mut critical = vec![header::SIGNING_SCHEME];
    for attribute in attributes.extended.iter().filter(|a| a.critical) {
        critical.push(text_key(attribute)?);
    }
    if attributes.scheme == SigningScheme::X509SigningAuthority {
        critical.push(header::AUTHENTIC_SIGNING_TIME);
    }
    critical.extend(attributes.expiry.map(|_| header::EXPIRY));
    Ok(critical)
}

fn text_key(attribute: &ExtendedAttribute) -> Result<&str, Error> {
    let AttributeKey::Text(text) = &attribute.key else {
        return Err(request(format!("extended attribute {} needs a text as name in JWS", attribute.key)));
    };
    if REGISTERED.contains(&text.as_str()) || header::SYSTEM.contains(&text.as_str()) {
        return Err(request(format!("extended attribute {text:?} has a name that is reserved in JWS")));
    }
    if !attribute.value.fits_json() {
        return Err(request(format!("the value of extended attribute {text:?} cannot be written in JSON")));
    }
    Ok(text)
}

fn request(problem: String) -> Error {
    Error::Request { problem }
}
