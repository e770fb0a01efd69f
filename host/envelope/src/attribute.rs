//! Signed attributes: signing scheme, times, and whatever else a signer adds.

use std::fmt;

use jiff::Timestamp;
use serde_json::Value;

/// Who vouches for the signing time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SigningScheme {
    /// `notary.x509`: the signer; a countersignature may vouch for the time.
    X509,
    /// `notary.x509.signingAuthority`: a signing authority.
    X509SigningAuthority,
}

impl SigningScheme {
    /// Both schemes.
    pub const ALL: [SigningScheme; 2] = [Self::X509, Self::X509SigningAuthority];

    /// The wire form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X509 => "notary.x509",
            Self::X509SigningAuthority => "notary.x509.signingAuthority",
        }
    }

    pub(crate) fn from_wire(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

impl fmt::Display for SigningScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is signed beside the payload, and the one unsigned attribute a signer chooses.
#[derive(Clone, Debug, PartialEq)]
pub struct Attributes {
    /// The signing scheme.
    pub scheme: SigningScheme,
    /// When the signature is made; fractions of a second are cut off.
    pub signing_time: Timestamp,
    /// From when on the signature is no longer good; fractions of a second are cut off.
    pub expiry: Option<Timestamp>,
    /// Further signed attributes.
    pub extended: Vec<ExtendedAttribute>,
    /// Software that makes the signature, such as `prokura/0.1.0`. Unsigned; has no part in verification.
    pub signing_agent: Option<String>,
}

/// A signed attribute the specification does not define.
#[derive(Clone, Debug, PartialEq)]
pub struct ExtendedAttribute {
    /// Its name or label.
    pub key: AttributeKey,
    /// Whether a verifier that does not understand it must refuse the signature.
    pub critical: bool,
    /// Its value.
    pub value: AttributeValue,
}

/// Name of a header parameter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AttributeKey {
    /// A text, in both formats.
    Text(String),
    /// An integer label, in COSE only.
    Int(i64),
}

impl AttributeKey {
    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Int(_) => None,
        }
    }
}

impl fmt::Display for AttributeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Int(label) => label.fmt(f),
        }
    }
}

/// Value of a header parameter: what JSON and CBOR have in common, and what only CBOR has.
#[derive(Clone, Debug, PartialEq)]
pub enum AttributeValue {
    /// Null.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer of -2^64 to 2^64-1.
    Integer(i128),
    /// A floating-point number.
    Float(f64),
    /// A text.
    Text(String),
    /// Bytes; COSE only.
    Bytes(Vec<u8>),
    /// An array.
    Array(Vec<AttributeValue>),
    /// A map with unique keys; in JWS all of them text.
    Map(Vec<(AttributeKey, AttributeValue)>),
    /// A tagged value; COSE only.
    Tagged(u64, Box<AttributeValue>),
}

impl AttributeValue {
    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value as JSON. What JSON lacks becomes text: bytes as lower-case hex, labels as decimal numbers, a tag as
    /// `tag(value)`, integers beyond 64 bits and floats that are no numbers as their decimal text.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Integer(value) => integer_to_json(*value),
            Self::Float(value) => {
                serde_json::Number::from_f64(*value).map_or_else(|| value.to_string().into(), Value::Number)
            }
            Self::Text(text) => Value::String(text.clone()),
            Self::Bytes(bytes) => Value::String(crate::lower_hex(bytes)),
            Self::Array(items) => items.iter().map(Self::to_json).collect(),
            Self::Map(entries) => entries.iter().map(|(k, v)| (k.to_string(), v.to_json())).collect(),
            Self::Tagged(tag, value) => Value::String(format!("{tag}({value})")),
        }
    }

    pub(crate) fn from_json(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            Value::Number(number) => {
                let integer = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
                integer.map_or_else(|| Self::Float(number.as_f64().unwrap_or(f64::NAN)), Self::Integer)
            }
            Value::String(text) => Self::Text(text),
            Value::Array(items) => Self::Array(items.into_iter().map(Self::from_json).collect()),
            Value::Object(members) => Self::Map(
                members.into_iter().map(|(k, v)| (AttributeKey::Text(k), Self::from_json(v))).collect(),
            ),
        }
    }

    /// Whether [`AttributeValue::to_json`] loses nothing, so that the value can be signed in a JWS.
    pub(crate) fn fits_json(&self) -> bool {
        match self {
            Self::Null | Self::Bool(_) | Self::Text(_) => true,
            Self::Integer(value) => i64::try_from(*value).is_ok() || u64::try_from(*value).is_ok(),
            Self::Float(value) => value.is_finite(),
            Self::Array(items) => items.iter().all(Self::fits_json),
            Self::Map(entries) => entries.iter().all(|(k, v)| k.as_text().is_some() && v.fits_json()),
            Self::Bytes(_) | Self::Tagged(..) => false,
        }
    }
}

impl fmt::Display for AttributeValue {
    /// A text as it is, anything else as JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Tagged(tag, value) => write!(f, "{tag}({value})"),
            other => match other.to_json() {
                Value::String(text) => f.write_str(&text),
                json => json.fmt(f),
            },
        }
    }
}

fn integer_to_json(value: i128) -> Value {
    match (i64::try_from(value), u64::try_from(value)) {
        (Ok(value), _) => value.into(),
        (_, Ok(value)) => value.into(),
        _ => value.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_values_survive_the_way_through() {
        let json: Value =
            serde_json::from_str(r#"{"a":[1,-2,18446744073709551615,1.5,"x",null,true]}"#).unwrap();
        let value = AttributeValue::from_json(json.clone());
        assert!(value.fits_json());
        assert_eq!(value.to_json(), json);
    }

    #[test]
    fn what_json_lacks_is_shown_but_does_not_fit() {
        let bytes = AttributeValue::Bytes(vec![0xAB, 1]);
        assert_eq!(bytes.to_string(), "ab01");
        let tagged = AttributeValue::Tagged(1, Box::new(AttributeValue::Integer(5)));
        assert_eq!(tagged.to_string(), "1(5)");
        let labelled = AttributeValue::Map(vec![(AttributeKey::Int(-3), AttributeValue::Null)]);
        assert_eq!(labelled.to_string(), r#"{"-3":null}"#);
        for value in [bytes, tagged, labelled, AttributeValue::Integer(-(1 << 64))] {
            assert!(!value.fits_json(), "{value}");
        }
    }
}
