//! What changes when one set of policies takes the place of another.

use std::fmt;

use super::set::PolicySet;

/// Names of policies, each with its place, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Only in the new set.
    pub added: Vec<String>,
    /// Only in the old set.
    pub removed: Vec<String>,
    /// In both, with another text.
    pub changed: Vec<String>,
}

impl Difference {
    /// From `old` to `new`.
    pub fn between(old: &PolicySet, new: &PolicySet) -> Self {
        let place = |set: &PolicySet, name: &str| {
            set.origin(name).map_or_else(String::new, |o| format!("{name} ({}:{})", o.file, o.line))
        };
        let mut difference = Self::default();
        for name in new.names() {
            match old.origin(name) {
                None => difference.added.push(place(new, name)),
                Some(before) if new.origin(name).is_some_and(|after| after.text != before.text) => {
                    difference.changed.push(place(new, name));
                }
                Some(_) => {}
            }
        }
        let gone = old.names().filter(|name| new.origin(name).is_none());
        difference.removed = gone.map(|name| place(old, name)).collect();
        difference
    }

    /// Whether the same policies stand in both, though perhaps elsewhere.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

impl fmt::Display for Difference {
    /// One line each: `+` added, `-` removed, `~` changed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("no policy changed");
        }
        let lines = [('+', &self.added), ('-', &self.removed), ('~', &self.changed)];
        let lines =
            lines.iter().flat_map(|(sign, names)| names.iter().map(move |name| format!("{sign} {name}")));
        f.write_str(&lines.collect::<Vec<_>>().join("\n"))
    }
}
