//! The trust policy for files.

use std::collections::HashSet;
use std::path::Path;

use serde::Serialize;

use super::error::{PolicyError, Violation};
use super::json::{Members, ShapeError};
use super::statement::{Draft, Statement};
use super::{DocumentKind, document};

const KIND: DocumentKind = DocumentKind::Blob;

/// A checked blob trust policy document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobPolicy {
    statements: Vec<Marked>,
    unknown: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Marked {
    statement: Statement,
    global: bool,
}

impl BlobPolicy {
    /// Reads and checks a document. `origin` is only named in errors.
    ///
    /// # Errors
    /// [`PolicyError::TooLarge`], [`PolicyError::Malformed`] or [`PolicyError::Invalid`].
    pub fn parse(document: &[u8], origin: &Path) -> Result<Self, PolicyError> {
        let (drafts, unknown) = document::read(KIND, document, origin, read)?;
        let statements = check(drafts).map_err(|v| document::invalid(origin, v))?;
        Ok(Self { statements, unknown })
    }

    /// The text of a new document with one strict statement, as `blob policy init` writes it: JSON, two spaces.
    ///
    /// # Errors
    /// [`PolicyError::Invalid`] if the values break a rule; `origin` is only named there.
    pub fn initial(
        name: &str,
        trust_stores: &[String],
        trusted_identities: &[String],
        global: bool,
        origin: &Path,
    ) -> Result<Vec<u8>, PolicyError> {
        let signature_verification = InitialVerification { level: "strict" };
        let statement =
            InitialStatement { name, signature_verification, trust_stores, trusted_identities, global };
        let document = InitialDocument { version: "1.0", trust_policies: [statement] };
        let text = serde_json::to_vec_pretty(&document)
            .map_err(|e| PolicyError::Malformed { origin: origin.to_owned(), why: e.to_string() })?;
        Self::parse(&text, origin).map(|_| text)
    }

    /// The statement of this name, or the global one if none is named. There is no falling back from a name.
    ///
    /// # Errors
    /// [`PolicyError::NoSuchBlobStatement`] or [`PolicyError::NoGlobalBlobStatement`].
    pub fn applicable(&self, name: Option<&str>) -> Result<&Statement, PolicyError> {
        let found = match name {
            Some(name) => self.statements.iter().find(|s| s.statement.name() == name),
            None => self.statements.iter().find(|s| s.global),
        };
        found.map(|s| &s.statement).ok_or_else(|| match name {
            Some(name) => PolicyError::NoSuchBlobStatement { name: name.to_owned(), known: self.names() },
            None => PolicyError::NoGlobalBlobStatement,
        })
    }

    /// All statements in the order of the document, and whether each is the global one.
    pub fn statements(&self) -> impl Iterator<Item = (&Statement, bool)> {
        self.statements.iter().map(|s| (&s.statement, s.global))
    }

    /// Members of the document that have no effect, such as `trustPolicies[0].overide`: worth a warning.
    pub fn unknown_members(&self) -> &[String] {
        &self.unknown
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.statements.iter().map(|s| format!("{:?}", s.statement.name())).collect();
        names.join(", ")
    }
}

struct Drafted {
    draft: Draft,
    global: bool,
}

fn read(document: &Members<'_>) -> Result<(Vec<Drafted>, Vec<String>), ShapeError> {
    let mut unknown = document.unknown(&document::MEMBERS)?;
    let mut drafts = Vec::new();
    for members in document.objects("trustPolicies")? {
        let mut draft = Draft::read(&members, &["globalPolicy"])?;
        unknown.append(&mut draft.unknown);
        drafts.push(Drafted { draft, global: members.flag("globalPolicy")? });
    }
    Ok((drafts, unknown))
}

fn check(drafts: Vec<Drafted>) -> Result<Vec<Marked>, Violation> {
    let mut names = HashSet::new();
    let mut statements = Vec::new();
    for Drafted { draft, global } in drafts {
        document::refuse_second(KIND, &mut names, &draft.name)?;
        statements.push(Marked { statement: draft.check(KIND)?, global });
    }
    if statements.iter().filter(|s| s.global).count() > 1 {
        return Err(Violation::SeveralGlobal);
    }
    match statements.iter().find(|s| s.global && s.statement.level().is_skip()) {
        Some(marked) => Err(Violation::GlobalSkip { name: marked.statement.name().to_owned() }),
        None => Ok(statements),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InitialDocument<'a> {
    version: &'static str,
    trust_policies: [InitialStatement<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InitialStatement<'a> {
    name: &'a str,
    signature_verification: InitialVerification,
    trust_stores: &'a [String],
    trusted_identities: &'a [String],
    #[serde(rename = "globalPolicy", skip_serializing_if = "is_unset")]
    global: bool,
}

#[derive(Serialize)]
struct InitialVerification {
    level: &'static str,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_unset(flag: &bool) -> bool {
    !flag
}
