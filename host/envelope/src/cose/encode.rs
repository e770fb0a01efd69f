//! Writes COSE envelopes with deterministic encoding (RFC 8949 section 4.2.1), as notation does.

use ciborium::Value;
use prokura_plugin::KeySpec;

use super::{
    ALGORITHMS, LABEL_ALG, LABEL_CONTENT_TYPE, LABEL_CRIT, LABEL_X5CHAIN, TAG_COSE_SIGN1, TAG_EPOCH_TIME,
    scan,
};
use crate::attribute::{AttributeKey, AttributeValue, Attributes, SigningScheme};
use crate::error::Error;
use crate::header;

/// The protected header as an encoded map.
pub(crate) fn protected_header(attributes: &Attributes, spec: KeySpec) -> Result<Vec<u8>, Error> {
    let algorithm = ALGORITHMS.iter().find(|(a, _)| *a == spec.signing_algorithm()).map_or(0, |(_, id)| *id);
    let mut entries: Vec<(Value, Value)> = vec![
        (LABEL_ALG.into(), algorithm.into()),
        (LABEL_CRIT.into(), critical_list(attributes)),
        (LABEL_CONTENT_TYPE.into(), header::PAYLOAD_MEDIA_TYPE.into()),
        (header::SIGNING_SCHEME.into(), attributes.scheme.as_str().into()),
        (time_name(attributes.scheme).into(), epoch(attributes.signing_time)),
    ];
    entries.extend(attributes.expiry.map(|expiry| (header::EXPIRY.into(), epoch(expiry))));
    for attribute in &attributes.extended {
        refuse_reserved(&attribute.key)?;
        entries.push((key(&attribute.key), value(&attribute.value)?));
    }
    let bytes = encode(&sorted_map(entries)?)?;
    // What a reader would refuse must not be signed: depth, number of items, length of keys.
    scan::check(&bytes).map_err(|e| request(format!("extended attributes: {e}")))?;
    Ok(bytes)
}

/// What the signature covers (RFC 9052 section 4.4), with no external data.
pub(crate) fn sig_structure(protected: &[u8], payload: &[u8]) -> Result<Vec<u8>, Error> {
    encode(&Value::Array(vec![
        "Signature1".into(),
        Value::Bytes(protected.to_vec()),
        Value::Bytes(Vec::new()),
        Value::Bytes(payload.to_vec()),
    ]))
}

/// The finished envelope.
pub(crate) fn assemble(
    protected: &[u8],
    payload: &[u8],
    chain: &[Vec<u8>],
    signing_agent: Option<&str>,
    signature: &[u8],
) -> Result<Vec<u8>, Error> {
    // An array even for one certificate: verifiers so far know nothing else.
    let chain = chain.iter().map(|der| Value::Bytes(der.clone())).collect();
    let mut unprotected = vec![(LABEL_X5CHAIN.into(), Value::Array(chain))];
    unprotected.extend(signing_agent.map(|agent| (header::SIGNING_AGENT.into(), agent.into())));
    let sign1 = Value::Array(vec![
        Value::Bytes(protected.to_vec()),
        sorted_map(unprotected)?,
        Value::Bytes(payload.to_vec()),
        Value::Bytes(signature.to_vec()),
    ]);
    encode(&Value::Tag(TAG_COSE_SIGN1, Box::new(sign1)))
}

/// Signing scheme, authentic signing time, expiry, critical extended attributes.
fn critical_list(attributes: &Attributes) -> Value {
    let names = crate::rules::mandatory_critical(attributes.scheme, attributes.expiry.is_some());
    let extended = attributes.extended.iter().filter(|a| a.critical).map(|a| key(&a.key));
    Value::Array(names.into_iter().map(Value::from).chain(extended).collect())
}

const fn time_name(scheme: SigningScheme) -> &'static str {
    match scheme {
        SigningScheme::X509 => header::SIGNING_TIME,
        SigningScheme::X509SigningAuthority => header::AUTHENTIC_SIGNING_TIME,
    }
}

fn epoch(time: jiff::Timestamp) -> Value {
    Value::Tag(TAG_EPOCH_TIME, Box::new(time.as_second().into()))
}

fn refuse_reserved(key: &AttributeKey) -> Result<(), Error> {
    // Integer labels 1 to 7, 9, 11 and 12 are header parameters of RFC 9052 and RFC 9338; 32 to 35 of RFC 9360.
    let reserved = match key {
        AttributeKey::Text(text) => header::SYSTEM.contains(&text.as_str()),
        AttributeKey::Int(label) => matches!(label, 0..=15 | 32..=35),
    };
    if reserved {
        return Err(request(format!("extended attribute {key} has a name that is reserved in COSE")));
    }
    Ok(())
}

fn key(key: &AttributeKey) -> Value {
    match key {
        AttributeKey::Text(text) => text.as_str().into(),
        AttributeKey::Int(label) => (*label).into(),
    }
}

fn value(attribute: &AttributeValue) -> Result<Value, Error> {
    Ok(match attribute {
        AttributeValue::Null => Value::Null,
        AttributeValue::Bool(value) => Value::Bool(*value),
        AttributeValue::Integer(value) => {
            let integer =
                (*value).try_into().map_err(|_| request(format!("{value} has more than 64 bits")))?;
            Value::Integer(integer)
        }
        AttributeValue::Float(value) => Value::Float(*value),
        AttributeValue::Text(text) => Value::Text(text.clone()),
        AttributeValue::Bytes(bytes) => Value::Bytes(bytes.clone()),
        AttributeValue::Array(items) => Value::Array(items.iter().map(value).collect::<Result<_, _>>()?),
        AttributeValue::Map(entries) => {
            let entries = entries.iter().map(|(k, v)| Ok((key(k), value(v)?)));
            sorted_map(entries.collect::<Result<_, Error>>()?)?
        }
        AttributeValue::Tagged(tag, inner) => Value::Tag(*tag, Box::new(value(inner)?)),
    })
}

/// A map with its keys in the bytewise order of their encodings.
fn sorted_map(entries: Vec<(Value, Value)>) -> Result<Value, Error> {
    let encoded = entries.into_iter().map(|(key, value)| Ok((encode(&key)?, (key, value))));
    let mut encoded = encoded.collect::<Result<Vec<_>, Error>>()?;
    encoded.sort_by(|(a, _), (b, _)| a.cmp(b));
    if encoded.iter().zip(encoded.iter().skip(1)).any(|((a, _), (b, _))| a == b) {
        return Err(request("a map of an extended attribute has a key twice".to_owned()));
    }
    Ok(Value::Map(encoded.into_iter().map(|(_, entry)| entry).collect()))
}

fn encode(value: &Value) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).map_err(|e| request(e.to_string()))?;
    Ok(bytes)
}

fn request(problem: String) -> Error {
    Error::Request { problem }
}
