//! Reads one table of the config strictly: every problem is told, not only the first, and what is left over is unknown.

use std::path::{Path, PathBuf};

use crate::limits::{CONFIG_LIST_MAX, CONFIG_TEXT_BYTES_MAX};

/// What is wrong with the config: the place as it is written in TOML, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Such as `keys.release.plugin`.
    pub place: String,
    /// What was found, what was expected, who must act.
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// A table whose entries are taken one by one.
pub(super) struct Table<'a> {
    place: String,
    entries: toml::Table,
    asked: Vec<&'static str>,
    base: &'a Path,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Table<'a> {
    pub(super) fn new(
        place: &str,
        entries: toml::Table,
        base: &'a Path,
        problems: &'a mut Vec<Problem>,
    ) -> Self {
        Self { place: place.to_owned(), entries, asked: Vec::new(), base, problems }
    }

    pub(super) fn problem(&mut self, name: &str, message: impl Into<String>) {
        let place = self.place_of(name);
        self.problems.push(Problem { place, message: message.into() });
    }

    pub(super) fn take(&mut self, name: &'static str) -> Option<toml::Value> {
        self.asked.push(name);
        self.entries.remove(name)
    }

    /// A table inside this one; an empty one if it is not there.
    pub(super) fn inner(&mut self, name: &'static str) -> Option<toml::Table> {
        match self.take(name)? {
            toml::Value::Table(table) => Some(table),
            other => {
                self.problem(name, expected("a table", &other));
                None
            }
        }
    }

    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        match self.take(name)? {
            toml::Value::String(text) if text.len() <= CONFIG_TEXT_BYTES_MAX => Some(text),
            toml::Value::String(text) => {
                let length = text.len();
                self.problem(
                    name,
                    format!("found {length} bytes, expected at most {CONFIG_TEXT_BYTES_MAX}; shorten it"),
                );
                None
            }
            other => {
                self.problem(name, expected("a text in quotes", &other));
                None
            }
        }
    }

    /// A text that is parsed into something.
    pub(super) fn parsed<T>(&mut self, name: &'static str) -> Option<T>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        let text = self.text(name)?;
        text.parse().map_err(|error: T::Err| self.problem(name, format!("{error}; correct it"))).ok()
    }

    pub(super) fn required<T>(&mut self, name: &'static str, found: Option<T>, what: &str) -> Option<T> {
        let place = self.place_of(name);
        if found.is_none() && !self.problems.iter().any(|problem| problem.place == place) {
            self.problem(name, format!("is not there, expected {what}; add it"));
        }
        found
    }

    /// A path; relative ones start at the directory of the config.
    pub(super) fn path(&mut self, name: &'static str) -> Option<PathBuf> {
        let text = self.text(name)?;
        if text.is_empty() {
            self.problem(name, "is empty, expected a path; correct it");
            return None;
        }
        Some(self.base.join(text))
    }

    pub(super) fn number(
        &mut self,
        name: &'static str,
        range: std::ops::RangeInclusive<u64>,
        unset: u64,
    ) -> u64 {
        match self.take(name) {
            None => unset,
            Some(toml::Value::Integer(n)) if u64::try_from(n).is_ok_and(|n| range.contains(&n)) => {
                u64::try_from(n).unwrap_or(unset)
            }
            Some(other) => {
                let wanted = format!("a whole number from {} to {}", range.start(), range.end());
                self.problem(name, expected(&wanted, &other));
                unset
            }
        }
    }

    pub(super) fn texts(&mut self, name: &'static str) -> Vec<String> {
        let list = match self.take(name) {
            None => return Vec::new(),
            Some(toml::Value::Array(list)) if list.len() <= CONFIG_LIST_MAX => list,
            Some(other) => {
                let wanted = format!("a list of at most {CONFIG_LIST_MAX} texts");
                self.problem(name, expected(&wanted, &other));
                return Vec::new();
            }
        };
        let mut texts = Vec::new();
        for value in list {
            match value {
                toml::Value::String(text) if text.len() <= CONFIG_TEXT_BYTES_MAX => texts.push(text),
                other => self.problem(name, expected("texts in the list", &other)),
            }
        }
        texts
    }

    pub(super) fn paths(&mut self, name: &'static str) -> Vec<PathBuf> {
        self.texts(name).into_iter().map(|text| self.base.join(text)).collect()
    }

    /// The rest as names and texts, for tables whose names are free.
    pub(super) fn free_texts(mut self) -> std::collections::BTreeMap<String, String> {
        let mut texts = std::collections::BTreeMap::new();
        for (name, value) in std::mem::take(&mut self.entries) {
            match value {
                toml::Value::String(text) if text.len() <= CONFIG_TEXT_BYTES_MAX => {
                    texts.insert(name, text);
                }
                other => self.problem(&name, expected("a text in quotes", &other)),
            }
        }
        texts
    }

    /// Whatever was not asked for is unknown.
    pub(super) fn end(mut self) {
        let left: Vec<String> = self.entries.keys().cloned().collect();
        for name in left {
            let nearest = nearest(&name, &self.asked);
            let message = match nearest {
                Some(known) => format!("is not known here, did you mean {known:?}? Correct or remove it"),
                None => {
                    format!("is not known here, expected one of {}; remove it", self.asked.join(", "))
                }
            };
            self.problem(&name, message);
        }
    }

    fn place_of(&self, name: &str) -> String {
        if self.place.is_empty() { name.to_owned() } else { format!("{}.{name}", self.place) }
    }
}

/// `found` is never quoted: it may be a secret in the wrong place.
fn expected(what: &str, found: &toml::Value) -> String {
    format!("found {}, expected {what}; correct it", kind(found))
}

fn kind(value: &toml::Value) -> String {
    match value {
        toml::Value::Integer(n) => n.to_string(),
        toml::Value::Boolean(b) => b.to_string(),
        toml::Value::Array(list) => format!("a list of {}", list.len()),
        other => format!("a {}", other.type_str()),
    }
}

/// The known name with the fewest edits, if few are enough for a typing error.
pub(super) fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let distance = |other: &str| edits(name, other);
    let best = known.iter().min_by_key(|other| distance(other))?;
    (distance(best) <= best.len().div_ceil(3)).then_some(*best)
}

/// Levenshtein's distance, over bytes; both texts are short.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().take(128).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, above) in b.bytes().zip(row.iter().skip(1)) {
            let replaced = diagonal + usize::from(x != y);
            diagonal = *above;
            left = replaced.min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_one_typing_error_away() {
        let known = ["plugin", "id", "config", "certificate"];
        assert_eq!(nearest("plugn", &known), Some("plugin"));
        assert_eq!(nearest("certificat", &known), Some("certificate"));
        assert_eq!(nearest("unrelated", &known), None);
        assert_eq!((edits("kitten", "sitting"), edits("", "ab"), edits("ab", "")), (3, 2, 2));
    }
}
