//! Verification levels: which check is enforced, logged or skipped, and how a statement overrides that.

use std::fmt;

use serde::Serialize;

/// One check of a signature.
///
/// The first five are the validation types of the specification and follow the level. The others belong to every
/// verification and are always enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum CheckType {
    /// The envelope is well formed and its signature is made by its leaf certificate.
    Integrity,
    /// The chain holds a trusted certificate and the leaf is a trusted identity.
    Authenticity,
    /// The certificates were valid when the signature was made.
    AuthenticTimestamp,
    /// The signature has not expired.
    Expiry,
    /// No certificate of the chain is revoked.
    Revocation,
    /// No verification plugin and no critical attribute is asked for that is not understood.
    CriticalAttributes,
    /// The payload names the artifact at hand.
    TargetArtifact,
    /// The payload holds the user metadata that was asked for.
    UserMetadata,
}

/// What a failed check means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// The signature is refused.
    Enforce,
    /// The failure is shown, the signature is not refused for it.
    Log,
    /// The check is not done.
    Skip,
}

/// A verification level, possibly with overrides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Level {
    name: &'static str,
    integrity: Action,
    authenticity: Action,
    authentic_timestamp: Action,
    expiry: Action,
    revocation: Action,
}

/// Why a `signatureVerification` gives no level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant is described by its own message; the fields are its values")]
pub enum LevelError {
    #[error("signature verification level is empty or missing in the trust policy statement")]
    Missing,
    #[error("invalid signature verification level {0:?}, expected strict, permissive, audit or skip")]
    Unknown(String),
    #[error("signature verification level \"skip\" can't be used to customize signature verification")]
    SkipCustomised,
    #[error(
        "verification type {0:?} in custom signature verification is not supported, supported values are [\"integrity\" \"authenticity\" \"authenticTimestamp\" \"expiry\" \"revocation\"]"
    )]
    UnknownType(String),
    #[error(
        "verification action {0:?} in custom signature verification is not supported, supported values are [\"enforce\" \"log\" \"skip\"]"
    )]
    UnknownAction(String),
    #[error("\"integrity\" verification can not be overridden in custom signature verification")]
    IntegrityOverridden,
    #[error("\"{0}\" verification can not be skipped in custom signature verification")]
    Skipped(CheckType),
}

impl CheckType {
    /// The five types a level decides about, in the order of the specification.
    pub const OF_LEVELS: [Self; 5] =
        [Self::Integrity, Self::Authenticity, Self::AuthenticTimestamp, Self::Expiry, Self::Revocation];
    /// All checks in the order in which they are done.
    pub const IN_ORDER: [Self; 8] = [
        Self::Integrity,
        Self::CriticalAttributes,
        Self::Authenticity,
        Self::Expiry,
        Self::AuthenticTimestamp,
        Self::Revocation,
        Self::TargetArtifact,
        Self::UserMetadata,
    ];

    /// The name used in trust policies and in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Integrity => "integrity",
            Self::Authenticity => "authenticity",
            Self::AuthenticTimestamp => "authenticTimestamp",
            Self::Expiry => "expiry",
            Self::Revocation => "revocation",
            Self::CriticalAttributes => "criticalAttributes",
            Self::TargetArtifact => "targetArtifact",
            Self::UserMetadata => "userMetadata",
        }
    }
}

impl fmt::Display for CheckType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Action {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Enforce, Self::Log, Self::Skip];

    /// The name used in trust policies and in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Log => "log",
            Self::Skip => "skip",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Level {
    /// Everything is enforced.
    pub const STRICT: Self = Self::new("strict", Action::Enforce, Action::Enforce);
    /// Integrity and authenticity are enforced, the rest is logged.
    pub const PERMISSIVE: Self = Self::new("permissive", Action::Enforce, Action::Log);
    /// Integrity is enforced, the rest is logged.
    pub const AUDIT: Self = Self::new("audit", Action::Log, Action::Log);
    /// Signatures are not looked at.
    pub const SKIP: Self = Self { integrity: Action::Skip, ..Self::new("skip", Action::Skip, Action::Skip) };

    const fn new(name: &'static str, authenticity: Action, rest: Action) -> Self {
        Self {
            name,
            integrity: Action::Enforce,
            authenticity,
            authentic_timestamp: rest,
            expiry: rest,
            revocation: rest,
        }
    }

    /// `strict`, `permissive`, `audit`, `skip`, or `custom` where a statement overrides something.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Whether signatures are not looked at.
    pub fn is_skip(&self) -> bool {
        self.integrity == Action::Skip
    }

    /// What a failure of this check means. Checks no level decides about are enforced, unless the level is `skip`.
    pub const fn action(&self, check: CheckType) -> Action {
        match check {
            CheckType::Authenticity => self.authenticity,
            CheckType::AuthenticTimestamp => self.authentic_timestamp,
            CheckType::Expiry => self.expiry,
            CheckType::Revocation => self.revocation,
            CheckType::Integrity
            | CheckType::CriticalAttributes
            | CheckType::TargetArtifact
            | CheckType::UserMetadata => self.integrity,
        }
    }

    /// The level of this name, without overrides.
    pub(super) fn named(name: &str) -> Result<Self, LevelError> {
        match name {
            "" => Err(LevelError::Missing),
            "strict" => Ok(Self::STRICT),
            "permissive" => Ok(Self::PERMISSIVE),
            "audit" => Ok(Self::AUDIT),
            "skip" => Ok(Self::SKIP),
            other => Err(LevelError::Unknown(other.to_owned())),
        }
    }

    /// Applies one member of `override`.
    pub(super) fn override_with(&mut self, check: &str, action: &str) -> Result<(), LevelError> {
        if self.is_skip() {
            return Err(LevelError::SkipCustomised);
        }
        let known = CheckType::OF_LEVELS.into_iter().find(|t| t.as_str() == check);
        let check = known.ok_or_else(|| LevelError::UnknownType(check.to_owned()))?;
        let known = Action::ALL.into_iter().find(|a| a.as_str() == action);
        let action = known.ok_or_else(|| LevelError::UnknownAction(action.to_owned()))?;
        if action == Action::Skip && !matches!(check, CheckType::Revocation | CheckType::Integrity) {
            return Err(LevelError::Skipped(check));
        }
        match check {
            CheckType::Authenticity => self.authenticity = action,
            CheckType::AuthenticTimestamp => self.authentic_timestamp = action,
            CheckType::Expiry => self.expiry = action,
            CheckType::Revocation => self.revocation = action,
            _ => return Err(LevelError::IntegrityOverridden),
        }
        self.name = "custom";
        Ok(())
    }
}
