//! Trust policy documents: what may be trusted for which artifact, and how strictly.
//!
//! Source: Notary Project specification "Trust Store and Trust Policy". Documents written for `notation` are read
//! as `notation` reads them, except where that would be less safe: a member given twice, a member whose name
//! differs from a known one only in case, and a `skip` statement that applies to everything are refused.

mod blob;
mod document;
mod error;
mod file;
mod json;
mod level;
mod oci;
mod scope;
mod statement;

pub use blob::BlobPolicy;
pub use error::{PolicyError, StatementRule, Violation};
pub use file::{Imported, OldFile, PolicyFile};
pub use level::{Action, CheckType, Level, LevelError};
pub use oci::OciPolicy;
pub use statement::{Statement, StoreReference, VerifyTimestamp};

use std::fmt;

/// Which of the two documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentKind {
    /// `trustpolicy.oci.json` (or the older `trustpolicy.json`): artifacts in registries and image layouts.
    Oci,
    /// `trustpolicy.blob.json`: files.
    Blob,
}

impl fmt::Display for DocumentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Oci => "oci",
            Self::Blob => "blob",
        })
    }
}
