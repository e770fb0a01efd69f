//! Reads COSE envelopes.
//!
//! The protected header is verified as the bytes received, never encoded anew. The certificate chain is taken from
//! the unprotected header, as an array or (RFC 9360) as one byte string; a chain in the protected header alone is
//! taken from there, and two chains are refused. Other unprotected parameters are ignored: they are unsigned.

use ciborium::Value;
use jiff::Timestamp;
use prokura_plugin::SigningAlgorithm;

use super::{
    ALGORITHMS, LABEL_ALG, LABEL_CONTENT_TYPE, LABEL_CRIT, LABEL_X5CHAIN, TAG_COSE_SIGN1, TAG_EPOCH_TIME,
    encode, scan,
};
use crate::attribute::{AttributeKey, AttributeValue};
use crate::certificate::Certificate;
use crate::content::Content;
use crate::envelope::Decoded;
use crate::error::Error;
use crate::format::EnvelopeFormat;
use crate::limits::{SIGNING_AGENT_BYTES_MAX, TIMESTAMP_TOKEN_BYTES_MAX};
use crate::rules::{self, Found, broken};
use crate::to_be_signed::{Outside, ToBeSigned};
use crate::{envelope, header};

/// Header parameters by key.
type Parameters = Vec<(AttributeKey, Value)>;

/// The elements of `COSE_Sign1`.
struct Sign1 {
    /// The protected header, still encoded.
    protected: Vec<u8>,
    unprotected: Value,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

/// Takes an envelope apart and applies the rules for signed attributes. Verifies nothing.
pub(crate) fn decode(bytes: &[u8]) -> Result<Decoded, Error> {
    let Sign1 { protected, unprotected, payload, signature } = match parse(bytes, "envelope")? {
        Value::Tag(TAG_COSE_SIGN1, sign1) => sign1_parts(*sign1)?,
        Value::Tag(other, _) => return Err(malformed(format!("CBOR tag {other}, expected 18 (COSE_Sign1)"))),
        _ => return Err(malformed("no CBOR tag, expected 18 (COSE_Sign1)")),
    };
    if signature.is_empty() {
        return Err(malformed("the signature is empty"));
    }
    let to_be_signed = encode::sig_structure(&protected, &payload)?;
    let (signed, chain) = signed(&protected, payload)?;
    let unprotected = parameters(unprotected, "unprotected")?;
    Ok(Decoded { content: content(signed, chain, unprotected, signature)?, to_be_signed })
}

/// Takes a `Sig_structure` (RFC 9052 section 4.4) apart and applies the rules for signed attributes. Its encoding must
/// be the one a verifier makes of header and payload: any other is covered by no signature.
pub(crate) fn decode_sig_structure(bytes: &[u8]) -> Result<ToBeSigned, Error> {
    let Value::Array(parts) = parse(bytes, "Sig_structure")? else {
        return Err(malformed("no array, expected the Sig_structure of a COSE_Sign1"));
    };
    let (protected, payload) = match <[Value; 4]>::try_from(parts) {
        Ok([Value::Text(context), _, _, _]) if context != "Signature1" => {
            let found = crate::quoted(&context);
            return Err(malformed(format!("Sig_structure for {found:?}, expected \"Signature1\"")));
        }
        Ok([Value::Text(_), Value::Bytes(_), Value::Bytes(external), _]) if !external.is_empty() => {
            let found = external.len();
            return Err(malformed(format!("{found} bytes of external_aad, expected none")));
        }
        Ok([Value::Text(_), Value::Bytes(protected), Value::Bytes(_), Value::Bytes(payload)]) => {
            (protected, payload)
        }
        Ok(_) => {
            return Err(malformed("expected [\"Signature1\", protected header, external_aad, payload]"));
        }
        Err(parts) => {
            return Err(malformed(format!("Sig_structure has {} elements, expected 4", parts.len())));
        }
    };
    if encode::sig_structure(&protected, &payload)? != bytes {
        return Err(malformed("the Sig_structure is not encoded deterministically (RFC 8949 section 4.2.1)"));
    }
    let (signed, chain) = signed(&protected, payload)?;
    match chain {
        None => Ok(signed),
        Some(_) => Err(broken("x5chain (33)", "is protected, expected it in the unprotected header")),
    }
}

fn parse(bytes: &[u8], what: &str) -> Result<Value, Error> {
    scan::check(bytes).map_err(|e| malformed(format!("{what}: {e}")))?;
    ciborium::from_reader(bytes).map_err(|e| malformed(format!("{what}: {}", crate::quoted(&e.to_string()))))
}

fn sign1_parts(sign1: Value) -> Result<Sign1, Error> {
    let Value::Array(parts) = sign1 else {
        return Err(malformed("COSE_Sign1 is no array"));
    };
    match <[Value; 4]>::try_from(parts) {
        Ok([Value::Bytes(protected), unprotected, Value::Bytes(payload), Value::Bytes(signature)]) => {
            Ok(Sign1 { protected, unprotected, payload, signature })
        }
        Ok([_, _, Value::Null, _]) => Err(malformed("the payload is detached, expected it inside")),
        Ok(_) => Err(malformed("protected header, payload and signature must be byte strings")),
        Err(parts) => Err(malformed(format!("COSE_Sign1 has {} elements, expected 4", parts.len()))),
    }
}

fn parameters(header: Value, name: &str) -> Result<Parameters, Error> {
    let Value::Map(entries) = header else {
        return Err(malformed(format!("the {name} header is no map")));
    };
    entries.into_iter().map(|(key, value)| Ok((label(key)?, value))).collect()
}

/// What is signed, and the chain if it is signed too.
fn signed(protected: &[u8], payload: Vec<u8>) -> Result<(ToBeSigned, Option<Value>), Error> {
    if payload.is_empty() {
        return Err(malformed("the payload is empty"));
    }
    let mut protected = parameters(parse(protected, "protected header")?, "protected")?;
    let algorithm = algorithm(take(&mut protected, LABEL_ALG).as_ref())?;
    let content_type = content_type(take(&mut protected, LABEL_CONTENT_TYPE))?;
    let critical = critical_list(take(&mut protected, LABEL_CRIT))?;
    let scheme = match take(&mut protected, header::SIGNING_SCHEME) {
        Some(Value::Text(scheme)) => scheme,
        Some(_) => return Err(broken(header::SIGNING_SCHEME, "is no text")),
        None => return Err(broken(header::SIGNING_SCHEME, "is missing")),
    };
    let signing_time = time(&mut protected, header::SIGNING_TIME)?;
    let authentic_signing_time = time(&mut protected, header::AUTHENTIC_SIGNING_TIME)?;
    let expiry = time(&mut protected, header::EXPIRY)?;
    let chain = take(&mut protected, LABEL_X5CHAIN);
    let others = protected.into_iter().map(|(key, value)| Ok((key, attribute_value(value)?)));
    let others = others.collect::<Result<_, Error>>()?;
    let checked = rules::check(Found {
        scheme,
        signing_time,
        authentic_signing_time,
        expiry,
        critical,
        others,
        may_be_critical: may_be_critical(signing_time.is_some(), chain.is_some()),
    })?;
    let signed = ToBeSigned {
        format: EnvelopeFormat::Cose,
        payload,
        content_type,
        algorithm,
        scheme: checked.scheme,
        signing_time,
        authentic_signing_time,
        expiry,
        extended: checked.extended,
    };
    Ok((signed, chain))
}

fn content(
    signed: ToBeSigned,
    protected_chain: Option<Value>,
    mut unprotected: Parameters,
    signature: Vec<u8>,
) -> Result<Content, Error> {
    let outside = Outside {
        chain: x5chain(protected_chain, take(&mut unprotected, LABEL_X5CHAIN))?,
        signing_agent: signing_agent(take(&mut unprotected, header::SIGNING_AGENT))?,
        timestamp_token: timestamp_token(take(&mut unprotected, header::TIMESTAMP_SIGNATURE))?,
        signature,
    };
    Ok(signed.into_content(outside))
}

fn algorithm(value: Option<&Value>) -> Result<SigningAlgorithm, Error> {
    let found = match value {
        Some(Value::Integer(id)) => i128::from(*id),
        Some(_) => return Err(broken("alg (1)", "is no integer")),
        None => return Err(broken("alg (1)", "is missing")),
    };
    let known = ALGORITHMS.iter().find(|(_, id)| i128::from(*id) == found).map(|(algorithm, _)| *algorithm);
    known.ok_or_else(|| Error::UnsupportedAlgorithm { found: found.to_string() })
}

fn content_type(value: Option<Value>) -> Result<String, Error> {
    match value {
        Some(Value::Text(text)) => Ok(text),
        Some(_) => Err(broken("content type (3)", "is no text")),
        None => Err(broken("content type (3)", "is missing")),
    }
}

fn critical_list(value: Option<Value>) -> Result<Vec<AttributeKey>, Error> {
    match value {
        None => Ok(Vec::new()),
        Some(Value::Array(labels)) => labels.into_iter().map(label).collect(),
        Some(_) => Err(broken("crit (2)", "is no array")),
    }
}

/// Parameters every verifier understands may be listed as critical without need (RFC 9052 section 3.1).
fn may_be_critical(has_signing_time: bool, has_protected_chain: bool) -> Vec<AttributeKey> {
    let mut keys = vec![AttributeKey::Int(LABEL_ALG), AttributeKey::Int(LABEL_CONTENT_TYPE)];
    keys.extend(has_signing_time.then(|| AttributeKey::Text(header::SIGNING_TIME.to_owned())));
    keys.extend(has_protected_chain.then_some(AttributeKey::Int(LABEL_X5CHAIN)));
    keys
}

fn x5chain(protected: Option<Value>, unprotected: Option<Value>) -> Result<Vec<Certificate>, Error> {
    let chain = match (protected, unprotected) {
        (Some(_), Some(_)) => return Err(malformed("two certificate chains, protected and unprotected")),
        (Some(chain), None) | (None, Some(chain)) => chain,
        (None, None) => return Err(Error::NoCertificates),
    };
    let certificates = match chain {
        Value::Bytes(single) => vec![Value::Bytes(single)],
        Value::Array(certificates) => certificates,
        _ => return Err(malformed("x5chain (33) is neither an array nor a byte string")),
    };
    let der = |certificate| match certificate {
        Value::Bytes(der) => Ok(der),
        _ => Err(malformed("x5chain (33) holds something else than byte strings")),
    };
    envelope::parse_chain(certificates.into_iter().map(der))
}

fn time(protected: &mut Parameters, name: &str) -> Result<Option<Timestamp>, Error> {
    let seconds = match take(protected, name) {
        None => return Ok(None),
        Some(Value::Tag(TAG_EPOCH_TIME, inner)) => match *inner {
            Value::Integer(seconds) => i64::try_from(seconds).ok(),
            _ => None,
        },
        Some(_) => None,
    };
    let time = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map(Some).ok_or_else(|| broken(name, "is no CBOR tag 1 with an integer number of seconds in range"))
}

fn signing_agent(value: Option<Value>) -> Result<Option<String>, Error> {
    match value {
        None => Ok(None),
        Some(Value::Text(text)) if text.len() <= SIGNING_AGENT_BYTES_MAX => Ok(Some(text)),
        Some(_) => {
            Err(malformed(format!("the signing agent is no text of at most {SIGNING_AGENT_BYTES_MAX} bytes")))
        }
    }
}

fn timestamp_token(value: Option<Value>) -> Result<Option<Vec<u8>>, Error> {
    match value {
        None => Ok(None),
        Some(Value::Bytes(der)) if der.len() <= TIMESTAMP_TOKEN_BYTES_MAX => Ok(Some(der)),
        Some(_) => Err(malformed(format!(
            "the timestamp token is no byte string of at most {TIMESTAMP_TOKEN_BYTES_MAX} bytes"
        ))),
    }
}

fn attribute_value(value: Value) -> Result<AttributeValue, Error> {
    Ok(match value {
        Value::Null => AttributeValue::Null,
        Value::Bool(value) => AttributeValue::Bool(value),
        Value::Integer(value) => AttributeValue::Integer(value.into()),
        Value::Float(value) => AttributeValue::Float(value),
        Value::Text(text) => AttributeValue::Text(text),
        Value::Bytes(bytes) => AttributeValue::Bytes(bytes),
        Value::Array(items) => {
            AttributeValue::Array(items.into_iter().map(attribute_value).collect::<Result<_, _>>()?)
        }
        Value::Map(entries) => {
            let entries = entries.into_iter().map(|(key, value)| Ok((label(key)?, attribute_value(value)?)));
            AttributeValue::Map(entries.collect::<Result<_, Error>>()?)
        }
        Value::Tag(tag, inner) => AttributeValue::Tagged(tag, Box::new(attribute_value(*inner)?)),
        _ => return Err(malformed("a kind of CBOR value that is not supported")),
    })
}

fn label(key: Value) -> Result<AttributeKey, Error> {
    match key {
        Value::Text(text) => Ok(AttributeKey::Text(text)),
        Value::Integer(label) => match i64::try_from(label) {
            Ok(label) => Ok(AttributeKey::Int(label)),
            Err(_) => Err(malformed("a label has more than 64 bits")),
        },
        _ => Err(malformed("a label is neither integer nor text")),
    }
}

fn take(parameters: &mut Parameters, key: impl Into<AttributeKey>) -> Option<Value> {
    let key = key.into();
    let at = parameters.iter().position(|(found, _)| *found == key)?;
    Some(parameters.swap_remove(at).1)
}

impl From<i64> for AttributeKey {
    fn from(label: i64) -> Self {
        Self::Int(label)
    }
}

impl From<&str> for AttributeKey {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

fn malformed(reason: impl Into<String>) -> Error {
    Error::Malformed { format: EnvelopeFormat::Cose, reason: reason.into() }
}
