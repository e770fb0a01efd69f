//! The trust policy for artifacts in registries and image layouts.

use std::collections::HashSet;
use std::path::Path;

use super::error::{PolicyError, Violation};
use super::json::{Members, ShapeError};
use super::scope::{self, WILDCARD};
use super::statement::{Draft, Statement};
use super::{DocumentKind, document};
use crate::limits::SCOPES_MAX;

const KIND: DocumentKind = DocumentKind::Oci;

/// A checked OCI trust policy document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OciPolicy {
    statements: Vec<Scoped>,
    unknown: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Scoped {
    statement: Statement,
    /// As the document has them.
    scopes: Vec<String>,
    /// As they are compared.
    canonical: HashSet<String>,
}

impl OciPolicy {
    /// Reads and checks a document. `origin` is only named in errors.
    ///
    /// # Errors
    /// [`PolicyError::TooLarge`], [`PolicyError::Malformed`] or [`PolicyError::Invalid`].
    pub fn parse(document: &[u8], origin: &Path) -> Result<Self, PolicyError> {
        let (drafts, unknown) = document::read(KIND, document, origin, read)?;
        let statements = check(drafts).map_err(|v| document::invalid(origin, v))?;
        Ok(Self { statements, unknown })
    }

    /// The statement for an artifact, given as `registry/repository@digest`: the one whose scopes hold the text
    /// before the last `@`, else the one with the scope `*`. The registry is compared regardless of case and of the
    /// port 443, the repository exactly.
    ///
    /// # Errors
    /// [`PolicyError::UnusableReference`] or [`PolicyError::NoStatement`].
    pub fn applicable(&self, reference: &str) -> Result<&Statement, PolicyError> {
        let repository = reference.rsplit_once('@').map(|(repository, _)| repository);
        let repository = repository
            .filter(|r| scope::check(r).is_ok())
            .ok_or_else(|| PolicyError::UnusableReference { reference: reference.to_owned() })?;
        let with = |wanted: &str| self.statements.iter().find(|s| s.canonical.contains(wanted));
        let found = with(&scope::canonical(repository)).or_else(|| with(WILDCARD));
        let none = || PolicyError::NoStatement { reference: reference.to_owned() };
        found.map(|s| &s.statement).ok_or_else(none)
    }

    /// All statements with their scopes, in the order of the document.
    pub fn statements(&self) -> impl Iterator<Item = (&Statement, &[String])> {
        self.statements.iter().map(|s| (&s.statement, s.scopes.as_slice()))
    }

    /// Members of the document that have no effect, such as `trustPolicies[0].overide`: worth a warning.
    pub fn unknown_members(&self) -> &[String] {
        &self.unknown
    }
}

struct Drafted {
    draft: Draft,
    scopes: Vec<String>,
}

fn read(document: &Members<'_>) -> Result<(Vec<Drafted>, Vec<String>), ShapeError> {
    let mut unknown = document.unknown(&document::MEMBERS)?;
    let mut drafts = Vec::new();
    for members in document.objects("trustPolicies")? {
        let mut draft = Draft::read(&members, &["registryScopes"])?;
        unknown.append(&mut draft.unknown);
        drafts.push(Drafted { draft, scopes: members.texts("registryScopes")? });
    }
    Ok((drafts, unknown))
}

fn check(drafts: Vec<Drafted>) -> Result<Vec<Scoped>, Violation> {
    let mut names = HashSet::new();
    let mut statements = Vec::new();
    for Drafted { draft, scopes } in drafts {
        document::refuse_second(KIND, &mut names, &draft.name)?;
        let canonical = scopes.iter().map(|s| scope::canonical(s)).collect();
        statements.push(Scoped { statement: draft.check(KIND)?, scopes, canonical });
    }
    let mut seen = HashSet::new();
    for scoped in &statements {
        check_scopes(scoped, &mut seen)?;
    }
    Ok(statements)
}

fn check_scopes(scoped: &Scoped, seen: &mut HashSet<String>) -> Result<(), Violation> {
    let (scopes, name) = (&scoped.scopes, || scoped.statement.name().to_owned());
    if scopes.is_empty() {
        return Err(Violation::NoScopes { name: name() });
    }
    if scopes.len() > SCOPES_MAX {
        let (what, found) = ("registry scopes in a statement", scopes.len());
        return Err(Violation::TooMany { kind: KIND, what, found, allowed: SCOPES_MAX });
    }
    let everything = scopes.iter().any(|s| s == WILDCARD);
    if everything && scopes.len() > 1 {
        return Err(Violation::WildcardAmongScopes { name: name() });
    }
    for scope in scopes {
        if scope != WILDCARD {
            scope::check(scope)?;
        }
        if !seen.insert(scope::canonical(scope)) {
            return Err(Violation::ScopeTwice { scope: scope.clone() });
        }
    }
    if everything && scoped.statement.level().is_skip() {
        return Err(Violation::SkipForEverything { name: name() });
    }
    Ok(())
}
