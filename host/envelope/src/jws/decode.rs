//! Reads JWS envelopes.
//!
//! Members nobody defined, beside or inside `header`, are ignored: they are unsigned, and notation ignores them.

use base64::Engine as _;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use prokura_plugin::SigningAlgorithm;
use serde_json::{Map, Value};

use super::{ALGORITHMS, REGISTERED};
use crate::attribute::{AttributeKey, AttributeValue};
use crate::certificate::Certificate;
use crate::content::Content;
use crate::envelope::Decoded;
use crate::error::Error;
use crate::format::EnvelopeFormat;
use crate::limits::{SIGNING_AGENT_BYTES_MAX, TIMESTAMP_TOKEN_BYTES_MAX};
use crate::rules::{self, Found, broken};
use crate::strict_json::{kind, parse_object};
use crate::time::from_rfc3339;
use crate::to_be_signed::{Outside, ToBeSigned};
use crate::{envelope, header};

type Object = Map<String, Value>;

/// Takes an envelope apart and applies the rules for signed attributes. Verifies nothing.
pub(crate) fn decode(bytes: &[u8]) -> Result<Decoded, Error> {
    let mut envelope = parse_object(bytes).map_err(malformed)?;
    let protected_text = required_text(&mut envelope, "protected")?;
    let payload_text = required_text(&mut envelope, "payload")?;
    let signature_text = required_text(&mut envelope, "signature")?;
    let unprotected = match envelope.remove("header") {
        Some(Value::Object(unprotected)) => unprotected,
        Some(other) => return Err(malformed(format!("\"header\" is {}, expected an object", kind(&other)))),
        None => return Err(Error::NoCertificates),
    };
    let signature = decoded(&URL_SAFE_NO_PAD, "signature", &signature_text)?;
    if signature.is_empty() {
        return Err(malformed("the signature is empty"));
    }
    let signed = signed(&protected_text, &payload_text)?;
    let to_be_signed = format!("{protected_text}.{payload_text}").into_bytes();
    Ok(Decoded { content: content(signed, unprotected, signature)?, to_be_signed })
}

/// Takes a signing input (RFC 7515 section 5.1) apart and applies the rules for signed attributes.
pub(crate) fn decode_signing_input(bytes: &[u8]) -> Result<ToBeSigned, Error> {
    let (protected, payload) = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.split_once('.'))
        .ok_or_else(|| malformed("no dot between two Base64 texts, expected the signing input of a JWS"))?;
    signed(protected, payload)
}

/// Both parts in base64url.
fn signed(protected: &str, payload: &str) -> Result<ToBeSigned, Error> {
    let payload = decoded(&URL_SAFE_NO_PAD, "payload", payload)?;
    if payload.is_empty() {
        return Err(malformed("the payload is empty"));
    }
    let protected = decoded(&URL_SAFE_NO_PAD, "protected", protected)?;
    let mut protected = parse_object(&protected).map_err(|e| malformed(format!("protected header: {e}")))?;
    let algorithm = algorithm(&attribute_text(&mut protected, "alg")?)?;
    let content_type = attribute_text(&mut protected, "cty")?;
    let scheme = attribute_text(&mut protected, header::SIGNING_SCHEME)?;
    let signing_time = time(&mut protected, header::SIGNING_TIME)?;
    let authentic_signing_time = time(&mut protected, header::AUTHENTIC_SIGNING_TIME)?;
    let expiry = time(&mut protected, header::EXPIRY)?;
    let critical = critical_list(protected.remove("crit"))?;
    if protected.contains_key("b64") {
        return Err(broken("b64", "must not be present: the payload is always Base64 (RFC 7797)"));
    }
    let others = protected.into_iter().map(|(k, v)| (AttributeKey::Text(k), AttributeValue::from_json(v)));
    let others = others.collect();
    let may_be_critical = Vec::new();
    let checked = rules::check(Found {
        scheme,
        signing_time,
        authentic_signing_time,
        expiry,
        critical,
        others,
        may_be_critical,
    })?;
    Ok(ToBeSigned {
        format: EnvelopeFormat::Jws,
        payload,
        content_type,
        algorithm,
        scheme: checked.scheme,
        signing_time,
        authentic_signing_time,
        expiry,
        extended: checked.extended,
    })
}

fn content(signed: ToBeSigned, mut unprotected: Object, signature: Vec<u8>) -> Result<Content, Error> {
    let outside = Outside {
        chain: chain(unprotected.remove("x5c"))?,
        signing_agent: signing_agent(unprotected.remove(header::SIGNING_AGENT))?,
        timestamp_token: timestamp_token(unprotected.remove(header::TIMESTAMP_SIGNATURE))?,
        signature,
    };
    Ok(signed.into_content(outside))
}

fn algorithm(name: &str) -> Result<SigningAlgorithm, Error> {
    let known = ALGORITHMS.iter().find(|(_, known)| *known == name).map(|(algorithm, _)| *algorithm);
    known.ok_or_else(|| Error::UnsupportedAlgorithm { found: crate::quoted(name) })
}

fn critical_list(list: Option<Value>) -> Result<Vec<AttributeKey>, Error> {
    let list = match list {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(other) => {
            return Err(broken("crit", format!("is {}, expected an array of strings", kind(&other))));
        }
    };
    let key = |entry| match entry {
        Value::String(name) if REGISTERED.contains(&name.as_str()) => {
            Err(broken("crit", format!("lists {name:?}, which RFC 7515 section 4.1.11 forbids")))
        }
        Value::String(name) => Ok(AttributeKey::Text(name)),
        other => Err(broken("crit", format!("lists {}, expected strings", kind(&other)))),
    };
    list.into_iter().map(key).collect()
}

fn chain(x5c: Option<Value>) -> Result<Vec<Certificate>, Error> {
    let list = match x5c {
        None => return Err(Error::NoCertificates),
        Some(Value::Array(list)) => list,
        Some(other) => return Err(malformed(format!("\"x5c\" is {}, expected an array", kind(&other)))),
    };
    let der = |entry| match entry {
        Value::String(text) => decoded(&STANDARD, "x5c", &text),
        other => Err(malformed(format!("\"x5c\" holds {}, expected strings", kind(&other)))),
    };
    envelope::parse_chain(list.into_iter().map(der))
}

fn signing_agent(value: Option<Value>) -> Result<Option<String>, Error> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) if text.len() <= SIGNING_AGENT_BYTES_MAX => Ok(Some(text)),
        Some(Value::String(text)) => Err(malformed(format!(
            "the signing agent has {} bytes, at most {SIGNING_AGENT_BYTES_MAX} are read",
            text.len()
        ))),
        Some(other) => Err(malformed(format!("the signing agent is {}, expected a string", kind(&other)))),
    }
}

fn timestamp_token(value: Option<Value>) -> Result<Option<Vec<u8>>, Error> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) if text.len() <= TIMESTAMP_TOKEN_BYTES_MAX.div_ceil(3) * 4 => {
            decoded(&STANDARD, header::TIMESTAMP_SIGNATURE, &text).map(Some)
        }
        Some(Value::String(_)) => {
            Err(malformed(format!("the timestamp token is larger than {TIMESTAMP_TOKEN_BYTES_MAX} bytes")))
        }
        Some(other) => Err(malformed(format!("the timestamp token is {}, expected a string", kind(&other)))),
    }
}

fn required_text(object: &mut Object, name: &str) -> Result<String, Error> {
    match object.remove(name) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(malformed(format!("{name:?} is {}, expected a string", kind(&other)))),
        None => Err(malformed(format!("{name:?} is missing"))),
    }
}

fn attribute_text(protected: &mut Object, name: &str) -> Result<String, Error> {
    match protected.remove(name) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(broken(name, format!("is {}, expected a string", kind(&other)))),
        None => Err(broken(name, "is missing")),
    }
}

fn time(protected: &mut Object, name: &str) -> Result<Option<Timestamp>, Error> {
    match protected.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => {
            let problem = || broken(name, format!("{:?} is not an RFC 3339 time", crate::quoted(&text)));
            from_rfc3339(&text).ok_or_else(problem).map(Some)
        }
        Some(other) => Err(broken(name, format!("is {}, expected an RFC 3339 time", kind(&other)))),
    }
}

fn decoded(engine: &GeneralPurpose, name: &str, text: &str) -> Result<Vec<u8>, Error> {
    let alphabet = if text.contains(['=', '+', '/']) { "; base64url has no '=', '+' or '/'" } else { "" };
    let hint = if std::ptr::eq(engine, &URL_SAFE_NO_PAD) { alphabet } else { "" };
    engine.decode(text).map_err(|e| malformed(format!("{name:?} is not canonical Base64: {e}{hint}")))
}

fn malformed(reason: impl Into<String>) -> Error {
    Error::Malformed { format: EnvelopeFormat::Jws, reason: reason.into() }
}
