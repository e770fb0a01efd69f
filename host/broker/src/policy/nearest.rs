//! Why no policy permits: the ones meant for the request, and which of their conditions does not hold.

use std::fmt;

use cedar_policy::{Effect, EvalResult, Expression, eval_expression};

use super::entities::Asked;
use super::origin::{self, Part};
use super::set::{PolicySet, name_of};
use crate::limits::NEAREST_MAX;

/// A policy that would permit if its conditions held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nearest {
    /// Its name.
    pub policy: String,
    /// Which condition does not hold, and what was found instead.
    pub why: String,
}

impl fmt::Display for Nearest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, but {}", self.policy, self.why)
    }
}

/// How far a condition came, so that those which failed last are told first.
struct Way {
    held: usize,
    nearest: Nearest,
}

const VALUE_CHARS_MAX: usize = 128;
const EXPRESSION_CHARS_MAX: usize = 256;

/// The permitting policies whose scope matches, best first; at most [`NEAREST_MAX`].
pub(super) fn of(set: &PolicySet, asked: &Asked) -> Box<[Nearest]> {
    let meant = set.slices.get(&asked.act).into_iter().flat_map(|slice| slice.meant_for(asked));
    let permits = meant.filter(|(scope, _)| scope.effect == Effect::Permit);
    let named = permits.map(|(_, policy)| name_of(policy));
    let mut ways: Vec<Way> =
        named.filter_map(|name| set.origin(&name).map(|origin| way(&name, &origin.text, asked))).collect();
    ways.sort_by(|a, b| b.held.cmp(&a.held).then_with(|| a.nearest.policy.cmp(&b.nearest.policy)));
    ways.into_iter().take(NEAREST_MAX).map(|way| way.nearest).collect()
}

fn way(name: &str, text: &str, asked: &Asked) -> Way {
    let parts = origin::parts(text);
    let broken = parts.iter().enumerate().find_map(|(held, part)| Some((held, why_not(part, asked)?)));
    let (held, why) = broken.unwrap_or_else(|| (0, "its conditions do not hold".to_owned()));
    Way { held, nearest: Nearest { policy: name.to_owned(), why } }
}

/// Why a part does not hold, if it does not.
fn why_not(part: &Part<'_>, asked: &Asked) -> Option<String> {
    let text = shown(part.text, EXPRESSION_CHARS_MAX);
    let expected = !part.negated;
    match evaluate(part.text, asked) {
        Ok(EvalResult::Bool(value)) if value == expected => None,
        Ok(_) => {
            let found = origin::left_side(part.text).and_then(|left| value(left, asked));
            let found = found.map_or_else(String::new, |found| format!(" (found {found})"));
            Some(format!("{text} is {}{found}", part.negated))
        }
        Err(problem) => Some(format!("{text} cannot be evaluated: {problem}")),
    }
}

fn value(expression: &str, asked: &Asked) -> Option<String> {
    match evaluate(expression, asked).ok()? {
        EvalResult::String(text) => Some(format!("{:?}", shown(&text, VALUE_CHARS_MAX))),
        EvalResult::Long(number) => Some(number.to_string()),
        EvalResult::EntityUid(uid) => Some(shown(&uid.to_string(), VALUE_CHARS_MAX)),
        _ => None,
    }
}

fn evaluate(text: &str, asked: &Asked) -> Result<EvalResult, String> {
    let expression: Expression = text.parse().map_err(|_| "it cannot be read by itself".to_owned())?;
    eval_expression(&asked.request, &asked.entities, &expression).map_err(|e| e.to_string())
}

/// On one line, without control characters.
fn shown(text: &str, chars_max: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(chars_max).collect()
}
