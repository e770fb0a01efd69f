//! Strict reading of one JSON object: no second document, no repeated member, no value of the input in an error.
//!
//! The contract says JSON and no more. What two parsers could read differently is refused here (SPEC STDIO-5).

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeOwned, MapAccess, Visitor};

/// Reads the one JSON object in `bytes`; white space around it is allowed, unknown members are ignored.
///
/// # Errors
/// A sentence about what was expected and where. It repeats no value of the input: values may be confidential.
pub fn read_object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let first = bytes.iter().find(|b| !b.is_ascii_whitespace());
    if first != Some(&b'{') {
        return Err("expected one JSON object".to_owned());
    }
    serde_json::from_slice(bytes).map_err(|error| without_values(&error))
}

/// Keeps serde's "expected ..." and the place, drops what it quotes of the input before that.
fn without_values(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(", expected ") {
        Some((_, expected)) => format!("expected {expected}"),
        None => text,
    }
}

/// Reads a map of texts in which no name comes twice.
pub(crate) fn unique_entries<'de, D>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    deserializer.deserialize_map(Entries)
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some((name, value)) = access.next_entry::<String, String>()? {
            if entries.insert(name, value).is_some() {
                return Err(serde::de::Error::custom("duplicate name in an object of texts"));
            }
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::DescribeKeyRequest;

    fn refusal(json: &str) -> String {
        read_object::<DescribeKeyRequest>(json.as_bytes()).unwrap_err()
    }

    #[test]
    fn one_object_and_nothing_else() {
        assert!(refusal(r#"["1.0","k"]"#).contains("one JSON object"));
        assert!(refusal("").contains("one JSON object"));
        assert!(refusal("{} {}").contains("trailing"));
        assert!(refusal(r#"{"keyId":"k""#).contains("EOF"));
        assert!(read_object::<DescribeKeyRequest>(b"\n {\n \"keyId\" : \"k\" }\n").is_ok());
    }

    #[test]
    fn repeated_members_are_refused() {
        assert!(refusal(r#"{"keyId":"a","keyId":"b"}"#).contains("duplicate field `keyId`"));
        assert!(refusal(r#"{"pluginConfig":{"a":"1","a":"2"}}"#).contains("duplicate name"));
    }

    #[test]
    fn errors_do_not_quote_values() {
        for json in [r#"{"pluginConfig":{"pin":1234}}"#, r#"{"pluginConfig":"1234"}"#, r#"{"keyId":1234}"#] {
            let told = refusal(json);
            assert!(told.contains("expected") && !told.contains("1234"), "{told}");
        }
    }

    #[test]
    fn nesting_bombs_do_not_exhaust_the_stack() {
        let bomb = |end: &str| format!(r#"{{"keyId":"k","grease":{}{end}"#, "[".repeat(100_000));
        assert!(refusal(&bomb("")).contains("EOF"));
        let closed = bomb(&format!("{}}}", "]".repeat(100_000)));
        assert_eq!(read_object::<DescribeKeyRequest>(closed.as_bytes()).unwrap().key_id, "k");
    }
}
