//! What both kinds of document have in common: size, version, number and names of statements.

use std::collections::HashSet;
use std::path::Path;

use super::DocumentKind;
use super::error::{PolicyError, Violation};
use super::json::{self, Members, ShapeError};
use crate::limits::{POLICY_BYTES_MAX, STATEMENTS_MAX};

/// Members of a document.
pub(super) const MEMBERS: [&str; 2] = ["version", "trustPolicies"];

/// Reads a document up to its version and the number of statements, and the statements with `statements`.
pub(super) fn read<T>(
    kind: DocumentKind,
    document: &[u8],
    origin: &Path,
    statements: impl FnOnce(&Members<'_>) -> Result<T, ShapeError>,
) -> Result<T, PolicyError> {
    if document.len() as u64 > POLICY_BYTES_MAX {
        return Err(PolicyError::TooLarge { path: origin.to_owned(), allowed: POLICY_BYTES_MAX });
    }
    let json = json::parse(document).map_err(|e| malformed(origin, &e))?;
    let members = Members::of(&json, "").map_err(|e| malformed(origin, &e))?;
    let version = members.text("version").map_err(|e| malformed(origin, &e))?;
    let count = members.objects("trustPolicies").map_err(|e| malformed(origin, &e))?.len();
    // Before the version: a misspelt `version` is better named than missed.
    members.unknown(&MEMBERS).map_err(|e| malformed(origin, &e))?;
    check_head(kind, version.unwrap_or_default(), count).map_err(|v| invalid(origin, v))?;
    statements(&members).map_err(|e| malformed(origin, &e))
}

/// Statement names are unique.
pub(super) fn refuse_second(
    kind: DocumentKind,
    names: &mut HashSet<String>,
    name: &str,
) -> Result<(), Violation> {
    if names.insert(name.to_owned()) {
        return Ok(());
    }
    Err(Violation::NameTwice { kind, name: name.to_owned() })
}

pub(super) fn invalid(origin: &Path, violation: Violation) -> PolicyError {
    PolicyError::Invalid { origin: origin.to_owned(), violation: Box::new(violation) }
}

fn malformed(origin: &Path, why: &dyn std::error::Error) -> PolicyError {
    PolicyError::Malformed { origin: origin.to_owned(), why: why.to_string() }
}

fn check_head(kind: DocumentKind, version: &str, count: usize) -> Result<(), Violation> {
    match version {
        "1.0" => {}
        "" => return Err(Violation::NoVersion { kind }),
        found => return Err(Violation::UnsupportedVersion { kind, found: found.to_owned() }),
    }
    match count {
        0 => Err(Violation::NoStatements { kind }),
        found if found > STATEMENTS_MAX => {
            Err(Violation::TooMany { kind, what: "trust policy statements", found, allowed: STATEMENTS_MAX })
        }
        _ => Ok(()),
    }
}
