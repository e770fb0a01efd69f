//! Where trust policy documents are kept, and how they get there.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::error::PolicyError;
use super::{BlobPolicy, DocumentKind, OciPolicy};
use crate::files::{self, ReadError};
use crate::limits::POLICY_BYTES_MAX;

const OCI: &str = "trustpolicy.oci.json";
const OCI_OLD: &str = "trustpolicy.json";
const BLOB: &str = "trustpolicy.blob.json";

/// A trust policy document as it stands in the configuration directory, not yet checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFile {
    /// Where it was found.
    pub path: PathBuf,
    /// Its bytes, at most [`POLICY_BYTES_MAX`].
    pub bytes: Vec<u8>,
    /// Whether this is the older `trustpolicy.json`.
    pub is_old: bool,
}

/// What an import did.
#[derive(Debug)]
pub struct Imported {
    /// The file that now holds the document.
    pub path: PathBuf,
    /// What became of the older `trustpolicy.json`.
    pub old: OldFile,
}

/// What became of `trustpolicy.json`, which is no longer read once there is a `trustpolicy.oci.json`.
#[derive(Debug)]
pub enum OldFile {
    /// There was none.
    Absent,
    /// It is gone.
    Deleted,
    /// It could not be deleted. It has no effect any more.
    Kept(std::io::Error),
}

impl PolicyFile {
    /// Where a document of this kind is written.
    pub fn path_of(config: &Path, kind: DocumentKind) -> PathBuf {
        config.join(match kind {
            DocumentKind::Oci => OCI,
            DocumentKind::Blob => BLOB,
        })
    }

    /// Whether there is something an import would replace, even if it is not readable.
    pub fn exists(config: &Path, kind: DocumentKind) -> bool {
        fs::symlink_metadata(Self::path_of(config, kind)).is_ok()
            || (kind == DocumentKind::Oci && fs::symlink_metadata(config.join(OCI_OLD)).is_ok())
    }

    /// Reads the document in `config`, for OCI the older `trustpolicy.json` if there is no `trustpolicy.oci.json`.
    /// Blocks on the file system.
    ///
    /// # Errors
    /// [`PolicyError`] if there is none, it is no regular file, cannot be read or is too large.
    pub fn read(config: &Path, kind: DocumentKind) -> Result<Self, PolicyError> {
        match read_at(Self::path_of(config, kind), false) {
            Err(PolicyError::Absent { path }) if kind == DocumentKind::Oci => {
                read_at(config.join(OCI_OLD), true).map_err(|e| match e {
                    PolicyError::Absent { .. } => PolicyError::Absent { path },
                    other => other,
                })
            }
            result => result,
        }
    }
}

impl OciPolicy {
    /// Reads and checks the document in the configuration directory. Blocks on the file system.
    ///
    /// # Errors
    /// [`PolicyError`] as for [`PolicyFile::read`] and [`OciPolicy::parse`].
    pub fn load(config: &Path) -> Result<Self, PolicyError> {
        let file = PolicyFile::read(config, DocumentKind::Oci)?;
        Self::parse(&file.bytes, &file.path)
    }

    /// Checks a document and puts its bytes into the configuration directory as `trustpolicy.oci.json` (0600, the
    /// directory 0700), then deletes the older `trustpolicy.json`. Whether to replace a document is for the caller to
    /// ask. Blocks on the file system.
    ///
    /// # Errors
    /// [`PolicyError`]; the old document is then untouched.
    pub fn import(config: &Path, document: &[u8], origin: &Path) -> Result<Imported, PolicyError> {
        Self::parse(document, origin)?;
        let path = write(config, DocumentKind::Oci, document)?;
        let old = match fs::remove_file(config.join(OCI_OLD)) {
            Ok(()) => OldFile::Deleted,
            Err(error) if error.kind() == ErrorKind::NotFound => OldFile::Absent,
            Err(error) => OldFile::Kept(error),
        };
        Ok(Imported { path, old })
    }
}

impl BlobPolicy {
    /// Reads and checks the document in the configuration directory. Blocks on the file system.
    ///
    /// # Errors
    /// [`PolicyError`] as for [`PolicyFile::read`] and [`BlobPolicy::parse`].
    pub fn load(config: &Path) -> Result<Self, PolicyError> {
        let file = PolicyFile::read(config, DocumentKind::Blob)?;
        Self::parse(&file.bytes, &file.path)
    }

    /// Checks a document and puts its bytes into the configuration directory as `trustpolicy.blob.json` (0600, the
    /// directory 0700). Blocks on the file system.
    ///
    /// # Errors
    /// [`PolicyError`]; the old document is then untouched.
    pub fn import(config: &Path, document: &[u8], origin: &Path) -> Result<Imported, PolicyError> {
        Self::parse(document, origin)?;
        let path = write(config, DocumentKind::Blob, document)?;
        Ok(Imported { path, old: OldFile::Absent })
    }
}

fn read_at(path: PathBuf, is_old: bool) -> Result<PolicyFile, PolicyError> {
    match files::read_regular(&path, POLICY_BYTES_MAX) {
        Ok(bytes) => Ok(PolicyFile { path, bytes, is_old }),
        Err(ReadError::NotRegular) => Err(PolicyError::NotRegularFile { path }),
        Err(ReadError::TooLarge) => Err(PolicyError::TooLarge { path, allowed: POLICY_BYTES_MAX }),
        Err(ReadError::Io(source)) => Err(match source.kind() {
            ErrorKind::NotFound => PolicyError::Absent { path },
            ErrorKind::PermissionDenied => PolicyError::Forbidden { path },
            _ => PolicyError::Unreadable { path, source },
        }),
    }
}

fn write(config: &Path, kind: DocumentKind, document: &[u8]) -> Result<PathBuf, PolicyError> {
    let path = PolicyFile::path_of(config, kind);
    let written = files::create_private_dir(config).and_then(|()| files::replace(&path, document));
    match written {
        Ok(()) => Ok(path),
        Err(source) => Err(PolicyError::NotWritten { path, source }),
    }
}
