//! JSON of tokens and key sets: bounded, and no member twice (RFC 7515, section 4; RFC 7519, section 4), because two
//! readers of one token must not see two.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::limits::{TOKEN_JSON_DEPTH_MAX, TOKEN_JSON_VALUES_MAX};

/// Parses one object. The error says what is wrong and quotes at most a member's name.
pub(crate) fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    let budget = Cell::new(TOKEN_JSON_VALUES_MAX);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: 0, budget: &budget }.deserialize(&mut reader).map_err(|e| e.to_string())?;
    reader.end().map_err(|e| e.to_string())?;
    match value {
        Value::Object(members) => Ok(members),
        _ => Err("no JSON object".to_owned()),
    }
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    budget: &'a Cell<usize>,
}

impl Strict<'_> {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth == TOKEN_JSON_DEPTH_MAX {
            return Err(E::custom(format_args!("nested deeper than {TOKEN_JSON_DEPTH_MAX} levels")));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        let left = self.budget.get().checked_sub(1);
        let left =
            left.ok_or_else(|| D::Error::custom(format_args!("more than {TOKEN_JSON_VALUES_MAX} values")))?;
        self.budget.set(left);
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(inner)?;
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a member occurs twice"));
            }
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_read_as_serde_json_reads_them() {
        let text = r#"{"a":[1,-2,3.5,"x",null,true],"b":{"c":{}}}"#;
        assert_eq!(
            Value::from(parse_object(text.as_bytes()).unwrap()),
            serde_json::from_str::<Value>(text).unwrap()
        );
    }

    #[test]
    fn members_twice_bombs_and_other_values_are_refused() {
        for (text, reason) in [
            (r#"{"a":1,"a":2}"#.to_owned(), "twice"),
            (r#"{"b":[{"a":1,"\u0061":2}]}"#.to_owned(), "twice"),
            (format!("{{\"a\":{}{}}}", "[".repeat(20), "]".repeat(20)), "deeper"),
            (format!("{{\"a\":{}}}", "[".repeat(1_000_000)), "deeper"),
            (format!("{{\"a\":[{}0]}}", "0,".repeat(TOKEN_JSON_VALUES_MAX)), "more than"),
            ("{}{}".to_owned(), "trailing"),
            ("[]".to_owned(), "no JSON object"),
        ] {
            let error = parse_object(text.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{reason}: {error}");
        }
    }
}
