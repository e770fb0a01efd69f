//! One statement of a trust policy: how strictly, against which trust stores, for which trusted identities.

use std::fmt;

use super::DocumentKind;
use super::error::{StatementRule, Violation};
use super::json::{Members, ShapeError};
use super::level::Level;
use crate::identity::TrustedIdentity;
use crate::limits::{IDENTITIES_MAX, STATEMENT_STORES_MAX};
use crate::store::{StoreType, is_store_name};

/// Members of a statement in both kinds of document.
pub(super) const MEMBERS: [&str; 4] = ["name", "signatureVerification", "trustStores", "trustedIdentities"];
const VERIFICATION_MEMBERS: [&str; 3] = ["level", "override", "verifyTimestamp"];

/// A checked statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    name: String,
    level: Level,
    verify_timestamp: VerifyTimestamp,
    trust_stores: Vec<StoreReference>,
    trusted_identities: Vec<TrustedIdentity>,
}

/// When a timestamp countersignature is asked for, given that the statement names a `tsa` trust store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VerifyTimestamp {
    /// For every signature.
    #[default]
    Always,
    /// Only for signatures with an expired certificate.
    AfterCertExpiry,
}

/// A trust store as a statement names it: `ca:acme`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreReference {
    /// Which kind of trust.
    pub store_type: StoreType,
    /// Its name, `[a-zA-Z0-9_.-]+`.
    pub name: String,
}

/// A statement's common members as written, not yet checked.
pub(super) struct Draft {
    pub(super) name: String,
    level: Result<Level, super::LevelError>,
    verify_timestamp: String,
    trust_stores: Vec<String>,
    trusted_identities: Vec<String>,
    /// Members that have no effect.
    pub(super) unknown: Vec<String>,
}

impl Statement {
    /// Its name, unique in the document.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How strictly it verifies.
    pub const fn level(&self) -> &Level {
        &self.level
    }

    /// When timestamp countersignatures are asked for.
    pub const fn verify_timestamp(&self) -> VerifyTimestamp {
        self.verify_timestamp
    }

    /// The trust stores it names. Empty for level `skip` only.
    pub fn trust_stores(&self) -> &[StoreReference] {
        &self.trust_stores
    }

    /// The identities it trusts. Empty for level `skip` only.
    pub fn trusted_identities(&self) -> &[TrustedIdentity] {
        &self.trusted_identities
    }

    /// Whether it names a `tsa` trust store, so that timestamp countersignatures matter.
    pub fn names_tsa_store(&self) -> bool {
        self.trust_stores.iter().any(|s| s.store_type == StoreType::Tsa)
    }
}

impl fmt::Display for StoreReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.store_type, self.name)
    }
}

impl Draft {
    /// Reads the common members; `more` are the names of those only one kind of document has.
    pub(super) fn read(members: &Members<'_>, more: &[&str]) -> Result<Self, ShapeError> {
        let mut unknown = members.unknown(&[&MEMBERS, more].concat())?;
        let verification = members.object("signatureVerification")?;
        let verify_timestamp = match &verification {
            Some(v) => {
                unknown.extend(v.unknown(&VERIFICATION_MEMBERS)?);
                v.text("verifyTimestamp")?.unwrap_or_default().to_owned()
            }
            None => String::new(),
        };
        Ok(Self {
            name: members.text("name")?.unwrap_or_default().to_owned(),
            level: read_level(verification.as_ref())?,
            verify_timestamp,
            trust_stores: members.texts("trustStores")?,
            trusted_identities: members.texts("trustedIdentities")?,
            unknown,
        })
    }

    /// Checks the rules both kinds of document share, in the order in which `notation` does.
    pub(super) fn check(self, kind: DocumentKind) -> Result<Statement, Violation> {
        if self.name.is_empty() {
            return Err(Violation::Unnamed { kind });
        }
        let name = self.name.clone();
        self.check_rules().map_err(|rule| Violation::Statement { kind, name, rule })
    }

    fn check_rules(self) -> Result<Statement, StatementRule> {
        let level = self.level.map_err(StatementRule::Level)?;
        let verify_timestamp = match self.verify_timestamp.as_str() {
            "" | "always" => VerifyTimestamp::Always,
            "afterCertExpiry" => VerifyTimestamp::AfterCertExpiry,
            other => return Err(StatementRule::VerifyTimestamp(other.to_owned())),
        };
        let (stores, identities) = (self.trust_stores, self.trusted_identities);
        if level.is_skip() && !(stores.is_empty() && identities.is_empty()) {
            return Err(StatementRule::SkipWithTrust);
        }
        if !level.is_skip() && (stores.is_empty() || identities.is_empty()) {
            return Err(StatementRule::MissingTrust);
        }
        Ok(Statement {
            name: self.name,
            level,
            verify_timestamp,
            trust_stores: check_stores(&stores)?,
            trusted_identities: check_identities(&identities)?,
        })
    }
}

fn read_level(verification: Option<&Members<'_>>) -> Result<Result<Level, super::LevelError>, ShapeError> {
    let Some(verification) = verification else { return Ok(Level::named("")) };
    let mut level = Level::named(verification.text("level")?.unwrap_or_default());
    if let Some(overrides) = verification.object("override")? {
        for (check, action) in overrides.iter() {
            let action = overrides.as_text(action, &overrides.place_of(check))?;
            level = level.and_then(|mut level| level.override_with(check, action).map(|()| level));
        }
    }
    Ok(level)
}

fn check_stores(values: &[String]) -> Result<Vec<StoreReference>, StatementRule> {
    if values.len() > STATEMENT_STORES_MAX {
        let (what, allowed) = ("trust stores", STATEMENT_STORES_MAX);
        return Err(StatementRule::TooMany { what, found: values.len(), allowed });
    }
    values.iter().map(|value| check_store(value)).collect()
}

fn check_store(value: &str) -> Result<StoreReference, StatementRule> {
    let (kind, name) = value.split_once(':').ok_or_else(|| StatementRule::StoreFormat(value.to_owned()))?;
    let store_type = kind
        .parse()
        .map_err(|_| StatementRule::StoreType { store_type: kind.to_owned(), value: value.to_owned() })?;
    if !is_store_name(name) {
        return Err(StatementRule::StoreName { name: name.to_owned(), value: value.to_owned() });
    }
    Ok(StoreReference { store_type, name: name.to_owned() })
}

fn check_identities(values: &[String]) -> Result<Vec<TrustedIdentity>, StatementRule> {
    if values.len() > IDENTITIES_MAX {
        let (what, allowed) = ("trusted identities", IDENTITIES_MAX);
        return Err(StatementRule::TooMany { what, found: values.len(), allowed });
    }
    if values.len() > 1 && values.iter().any(|v| v == "*") {
        return Err(StatementRule::WildcardAmongIdentities);
    }
    let identities = values.iter().map(|v| TrustedIdentity::parse(v)).collect::<Result<Vec<_>, _>>()?;
    refuse_overlap(&identities)?;
    Ok(identities)
}

fn refuse_overlap(identities: &[TrustedIdentity]) -> Result<(), StatementRule> {
    let names: Vec<_> = identities.iter().filter_map(|i| Some((i, i.subject()?))).collect();
    for (at, (first, subset)) in names.iter().enumerate() {
        for (other, (second, superset)) in names.iter().enumerate() {
            if at != other && subset.is_subset_of(superset) {
                let (first, second) = (first.to_string(), second.to_string());
                return Err(StatementRule::Overlap { first, second });
            }
        }
    }
    Ok(())
}
