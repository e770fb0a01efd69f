//! Strict reading of JSON: no member twice, no member that differs from a known one only in case, bounded depth.
//!
//! A member that is given twice, or that one reader knows and another overlooks, lets two readers see two policies.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A JSON value with its members in the order of the text. Nesting is limited to 128 by `serde_json`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number,
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// A value of another type than expected, or a misspelt member; `place` reads like `trustPolicies[0].name`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: expected {expected}, found {found}")]
pub(super) struct ShapeError {
    place: String,
    expected: String,
    found: String,
}

/// The members of one object, and where it stands in the document.
pub(super) struct Members<'a> {
    place: String,
    members: &'a [(String, Json)],
}

/// Reads one JSON document; nothing may follow it. Errors name line and column.
pub(super) fn parse(document: &[u8]) -> Result<Json, serde_json::Error> {
    serde_json::from_slice(document)
}

impl<'a> Members<'a> {
    /// `place` is empty for the document itself.
    pub(super) fn of(json: &'a Json, place: &str) -> Result<Self, ShapeError> {
        match json {
            Json::Object(members) => Ok(Self { place: place.to_owned(), members }),
            other => Err(ShapeError {
                place: if place.is_empty() { "the document".to_owned() } else { place.to_owned() },
                expected: "an object".to_owned(),
                found: other.kind().to_owned(),
            }),
        }
    }

    /// Names and values in the order of the text.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a str, &'a Json)> {
        self.members.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The text of a member; `null` counts as absent.
    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, ShapeError> {
        self.find(name).map(|value| self.as_text(value, &self.place_of(name))).transpose()
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, ShapeError> {
        match self.find(name) {
            None => Ok(false),
            Some(Json::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.mismatch(self.place_of(name), "true or false", other)),
        }
    }

    /// The objects of a list, each with its place; empty if absent.
    pub(super) fn objects(&self, name: &str) -> Result<Vec<Members<'a>>, ShapeError> {
        let at = |index| format!("{}[{index}]", self.place_of(name));
        self.list(name)?.iter().enumerate().map(|(index, item)| Members::of(item, &at(index))).collect()
    }

    /// The texts of a list; empty if absent.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>, ShapeError> {
        let at = |index| format!("{}[{index}]", self.place_of(name));
        let text = |(index, item)| self.as_text(item, &at(index)).map(str::to_owned);
        self.list(name)?.iter().enumerate().map(text).collect()
    }

    pub(super) fn object(&self, name: &str) -> Result<Option<Members<'a>>, ShapeError> {
        self.find(name).map(|value| Members::of(value, &self.place_of(name))).transpose()
    }

    /// Names of members that are none of `known`, with their place; they have no effect.
    pub(super) fn unknown(&self, known: &[&str]) -> Result<Vec<String>, ShapeError> {
        let mut unknown = Vec::new();
        for (name, _) in self.members.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
            if let Some(meant) = known.iter().find(|k| k.eq_ignore_ascii_case(name)) {
                return Err(ShapeError {
                    place: self.place_of(name),
                    expected: format!("the member to be spelt {meant:?}"),
                    found: format!("{name:?}"),
                });
            }
            unknown.push(self.place_of(name));
        }
        Ok(unknown)
    }

    pub(super) fn as_text(&self, value: &'a Json, place: &str) -> Result<&'a str, ShapeError> {
        match value {
            Json::Text(text) => Ok(text),
            other => Err(self.mismatch(place.to_owned(), "a text", other)),
        }
    }

    pub(super) fn place_of(&self, name: &str) -> String {
        if self.place.is_empty() {
            name.escape_debug().to_string()
        } else {
            format!("{}.{}", self.place, name.escape_debug())
        }
    }

    fn list(&self, name: &str) -> Result<&'a [Json], ShapeError> {
        match self.find(name) {
            None => Ok(&[]),
            Some(Json::List(items)) => Ok(items),
            Some(other) => Err(self.mismatch(self.place_of(name), "a list", other)),
        }
    }

    fn find(&self, name: &str) -> Option<&'a Json> {
        self.members.iter().find(|(n, _)| n == name).map(|(_, value)| value).filter(|v| **v != Json::Null)
    }

    fn mismatch(&self, place: String, expected: &str, found: &Json) -> ShapeError {
        ShapeError { place, expected: expected.to_owned(), found: found.kind().to_owned() }
    }
}

impl Json {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "true or false",
            Self::Number => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Json, E> {
        Ok(Json::Bool(flag))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Number)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Json, E> {
        Ok(Json::Number)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Number)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut object: Vec<(String, Json)> = Vec::new();
        let mut names = std::collections::HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            if !names.insert(name.clone()) {
                return Err(A::Error::custom(format!("member {name:?} is given twice")));
            }
            object.push((name, members.next_value()?));
        }
        Ok(Json::Object(object))
    }
}
