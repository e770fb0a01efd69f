//! What can be wrong with a trust policy. The words follow `notation` where it has words, so that a search finds them.

use std::io;
use std::path::PathBuf;

use super::DocumentKind;
use super::level::LevelError;
use crate::identity::NameError;

const HOW_TO: &str =
    "To create a trust policy, see: https://notaryproject.dev/docs/quickstart/#create-a-trust-policy";

/// Why there is no usable trust policy, or no statement for what is to be verified. The operator must act.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// No document. Without one nothing is trusted.
    #[error("trust policy is not present. {HOW_TO} ({} was looked for)", path.display())]
    Absent {
        /// Where it was looked for last.
        path: PathBuf,
    },
    /// A directory, a symlink, a device.
    #[error("trust policy is not a regular file (symlinks are not supported). {HOW_TO} ({})", path.display())]
    NotRegularFile {
        /// What was found.
        path: PathBuf,
    },
    /// The permissions forbid reading it.
    #[error("unable to read trust policy due to file permissions, please verify the permissions of {}", path.display())]
    Forbidden {
        /// Which file.
        path: PathBuf,
    },
    /// Reading failed otherwise.
    #[error("unable to read trust policy {}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Larger than [`crate::limits::POLICY_BYTES_MAX`].
    #[error("trust policy {} has more than {allowed} bytes, split or shorten it", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// Bytes allowed.
        allowed: u64,
    },
    /// Not JSON, cut short, a member twice, or a member of the wrong type. `why` names the position.
    #[error("malformed trust policy {}: {why}. Correct the file or import a complete one. {HOW_TO}", origin.display())]
    Malformed {
        /// Which file.
        origin: PathBuf,
        /// What was found, what was expected, and where.
        why: String,
    },
    /// JSON, but against a rule of the specification.
    #[error("{violation} (in {})", origin.display())]
    Invalid {
        /// Which file.
        origin: PathBuf,
        /// The broken rule.
        violation: Box<Violation>,
    },
    /// The reference has no repository in front of an `@`.
    #[error(
        "artifact URI {reference:?} could not be parsed, make sure it is the fully qualified oci artifact URI without the scheme/protocol. e.g domain.com:80/my/repository@sha256:digest"
    )]
    UnusableReference {
        /// What was given.
        reference: String,
    },
    /// No statement covers the repository.
    #[error(
        "artifact {reference:?} has no applicable oci trust policy statement. Trust policy applicability for a given artifact is determined by registryScopes. {HOW_TO}"
    )]
    NoStatement {
        /// What was given.
        reference: String,
    },
    /// No blob statement has this name.
    #[error("no applicable blob trust policy with name {name:?}, the document has {known}")]
    NoSuchBlobStatement {
        /// What was given.
        name: String,
        /// The names in the document.
        known: String,
    },
    /// No statement name was given and none is global.
    #[error(
        "no global blob trust policy: name a statement with --policy-name or set globalPolicy in one statement"
    )]
    NoGlobalBlobStatement,
    /// The document could not be written. The old one is untouched.
    #[error("trust policy {} could not be written: {source}", path.display())]
    NotWritten {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A broken rule of the document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant is described by its own message; the fields are its values")]
pub enum Violation {
    #[error("{kind} trust policy document has empty version, version must be specified: \"1.0\"")]
    NoVersion { kind: DocumentKind },
    #[error("{kind} trust policy document uses unsupported version {found:?}, supported is \"1.0\"")]
    UnsupportedVersion { kind: DocumentKind, found: String },
    #[error("{kind} trust policy document can not have zero trust policy statements")]
    NoStatements { kind: DocumentKind },
    #[error("{kind} trust policy document has {found} {what}, at most {allowed} are allowed")]
    TooMany { kind: DocumentKind, what: &'static str, found: usize, allowed: usize },
    #[error(
        "multiple {kind} trust policy statements use the same name {name:?}, statement names must be unique"
    )]
    NameTwice { kind: DocumentKind, name: String },
    #[error(
        "{kind} trust policy: a trust policy statement is missing a name, every statement requires a name"
    )]
    Unnamed { kind: DocumentKind },
    #[error("{kind} trust policy: trust policy statement {name:?} {rule}")]
    Statement { kind: DocumentKind, name: String, rule: StatementRule },
    #[error(
        "oci trust policy statement {name:?} has zero registry scopes, it must specify registry scopes with at least one value"
    )]
    NoScopes { name: String },
    #[error(
        "oci trust policy statement {name:?} uses wildcard registry scope '*', a wildcard scope cannot be used in conjunction with other scope values"
    )]
    WildcardAmongScopes { name: String },
    #[error(
        "registry scope {scope:?} is present in multiple oci trust policy statements, one registry scope value can only be associated with one statement"
    )]
    ScopeTwice { scope: String },
    #[error(
        "registry scope {scope:?} is not valid, make sure it is a fully qualified repository without the scheme, protocol or tag. For example domain.com/my/repository or a local scope like local/myOCILayout"
    )]
    InvalidScope { scope: String },
    #[error(
        "registry scope {scope:?} with wild card(s) is not valid, make sure it is a fully qualified repository without the scheme, protocol or tag. For example domain.com/my/repository or a local scope like local/myOCILayout"
    )]
    WildcardInScope { scope: String },
    #[error(
        "oci trust policy statement {name:?} skips signature verification for the global scope '*', which the specification forbids: list the repositories by name"
    )]
    SkipForEverything { name: String },
    #[error(
        "multiple blob trust policy statements have globalPolicy set to true. Only one trust policy statement can be marked as global policy"
    )]
    SeveralGlobal,
    #[error(
        "blob trust policy statement {name:?} is the global policy and skips signature verification, which the specification forbids: unset globalPolicy or choose another level"
    )]
    GlobalSkip { name: String },
}

/// A broken rule of one statement. Displayed behind `trust policy statement "name"`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant is described by its own message; the fields are its values")]
pub enum StatementRule {
    #[error("has invalid signatureVerification: {0}")]
    Level(LevelError),
    #[error(
        "has invalid signatureVerification: verifyTimestamp must be \"always\" or \"afterCertExpiry\", but got {0:?}"
    )]
    VerifyTimestamp(String),
    #[error(
        "is set to skip signature verification but configured with trust stores and/or trusted identities, remove them if signature verification needs to be skipped"
    )]
    SkipWithTrust,
    #[error("is either missing trust stores or trusted identities, both must be specified")]
    MissingTrust,
    #[error("has {found} {what}, at most {allowed} are allowed")]
    TooMany { what: &'static str, found: usize, allowed: usize },
    #[error(
        "has malformed trust store value {0:?}. The required format is <TrustStoreType>:<TrustStoreName>"
    )]
    StoreFormat(String),
    #[error(
        "uses an unsupported trust store type {store_type:?} in trust store value {value:?}, supported are ca, signingAuthority and tsa"
    )]
    StoreType { store_type: String, value: String },
    #[error(
        "uses an unsupported trust store name {name:?} in trust store value {value:?}. Named store name needs to follow [a-zA-Z0-9_.-]+ format"
    )]
    StoreName { name: String, value: String },
    #[error(
        "uses a wildcard trusted identity '*', a wildcard identity cannot be used in conjunction with other values"
    )]
    WildcardAmongIdentities,
    #[error("has an empty trusted identity")]
    EmptyIdentity,
    #[error("has trusted identity {0:?} missing separator, expected x509.subject:<distinguished name>")]
    IdentitySeparator(String),
    #[error("has trusted identity {0:?} without an identity value")]
    IdentityValue(String),
    #[error("has trusted identity {identity:?} with invalid identity value: {why}")]
    IdentityName { identity: String, why: NameError },
    #[error("has overlapping x509 trustedIdentities, {first:?} overlaps with {second:?}")]
    Overlap { first: String, second: String },
}
