//! Trust stores: named directories of certificates that are trusted for one purpose.
//!
//! Source: Notary Project specification "Trust Store". Layout: `x509/{ca|signingAuthority|tsa}/{name}/{file}` below
//! the trust store directory. One unusable file makes the whole named store unusable: nobody shall believe that a
//! certificate is trusted, or is the only one trusted, when it is not.

mod edit;
mod error;

pub use edit::Listed;
pub use error::TrustStoreError;

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use prokura_envelope::certificate::Certificate;
use serde::Serialize;

use crate::files::{self, ReadError};
use crate::limits::{NAME_BYTES_MAX, STORE_CERTIFICATES_MAX, STORE_FILE_BYTES_MAX, STORE_FILES_MAX};

/// What the certificates of a store are trusted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum StoreType {
    /// Signing certificates, scheme `notary.x509`.
    Ca,
    /// Signing certificates, scheme `notary.x509.signingAuthority`.
    SigningAuthority,
    /// Timestamp authorities. Root certificates only.
    Tsa,
}

/// The text is none of `ca`, `signingAuthority` and `tsa`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unsupported trust store type: {0:?}, expected ca, signingAuthority or tsa")]
pub struct UnknownStoreType(pub String);

/// The trust store directory. Nothing is read before it is asked for.
#[derive(Clone, Debug)]
pub struct TrustStore {
    x509: PathBuf,
}

impl StoreType {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Ca, Self::SigningAuthority, Self::Tsa];

    /// The name in trust policies and of the directory.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ca => "ca",
            Self::SigningAuthority => "signingAuthority",
            Self::Tsa => "tsa",
        }
    }
}

impl fmt::Display for StoreType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for StoreType {
    type Err = UnknownStoreType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|t| t.as_str() == text);
        found.ok_or_else(|| UnknownStoreType(text.to_owned()))
    }
}

impl TrustStore {
    /// `directory` is `{NOTATION_CONFIG}/truststore`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { x509: directory.into().join("x509") }
    }

    /// Where a named store is.
    ///
    /// # Errors
    /// [`TrustStoreError::InvalidName`].
    pub fn path(&self, store_type: StoreType, name: &str) -> Result<PathBuf, TrustStoreError> {
        if is_store_name(name) {
            return Ok(self.x509.join(store_type.as_str()).join(name));
        }
        Err(TrustStoreError::InvalidName { name: name.to_owned() })
    }

    /// All certificates of a named store, files in the order of their names. Each is a CA or self-signed; in a `tsa`
    /// store each is a self-signed CA. Expired ones are returned. Blocks on the file system.
    ///
    /// # Errors
    /// [`TrustStoreError`] if the store is absent, empty or no directory, or any file in it is unusable.
    pub fn certificates(
        &self,
        store_type: StoreType,
        name: &str,
    ) -> Result<Vec<Certificate>, TrustStoreError> {
        let path = self.path(store_type, name)?;
        let store = Store { store_type, name, path: &path };
        store.refuse_unless_directory()?;
        let mut certificates = Vec::new();
        for file in store.files()? {
            certificates.extend(store.read_anchors(&file)?);
            if certificates.len() > STORE_CERTIFICATES_MAX {
                return Err(store.too_many("certificates", STORE_CERTIFICATES_MAX));
            }
        }
        if certificates.is_empty() {
            return Err(TrustStoreError::Empty { name: name.to_owned(), store_type });
        }
        Ok(certificates)
    }
}

/// Whether a text may name a trust store: `[a-zA-Z0-9_.-]+`, and no path.
pub(crate) fn is_store_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed) && !matches!(name, "." | "..")
}

/// One named store during one call.
struct Store<'a> {
    store_type: StoreType,
    name: &'a str,
    path: &'a Path,
}

impl Store<'_> {
    fn refuse_unless_directory(&self) -> Result<(), TrustStoreError> {
        let (name, store_type) = (self.name.to_owned(), self.store_type);
        match fs::symlink_metadata(self.path) {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => Err(TrustStoreError::NotADirectory { name, store_type, path: self.path.to_owned() }),
            Err(e) if e.kind() == ErrorKind::NotFound => Err(TrustStoreError::Absent { name, store_type }),
            Err(source) => Err(TrustStoreError::Inaccessible { name, store_type, source }),
        }
    }

    fn files(&self) -> Result<Vec<String>, TrustStoreError> {
        let inaccessible = |source| {
            let (name, store_type) = (self.name.to_owned(), self.store_type);
            TrustStoreError::Inaccessible { name, store_type, source }
        };
        let mut files = Vec::new();
        for entry in fs::read_dir(self.path).map_err(inaccessible)? {
            let name = entry.map_err(inaccessible)?.file_name();
            let shown = name.to_string_lossy().into_owned();
            files.push(name.into_string().map_err(|_| self.not_regular(&shown))?);
            if files.len() > STORE_FILES_MAX {
                return Err(self.too_many("files", STORE_FILES_MAX));
            }
        }
        files.sort_unstable();
        Ok(files)
    }

    fn read(&self, file: &str) -> Result<Vec<Certificate>, TrustStoreError> {
        let unreadable = |why: String| {
            let (file, name, store_type) = (file.to_owned(), self.name.to_owned(), self.store_type);
            TrustStoreError::Unreadable { file, name, store_type, why }
        };
        let bytes =
            files::read_regular(&self.path.join(file), STORE_FILE_BYTES_MAX).map_err(|e| match e {
                ReadError::NotRegular => self.not_regular(file),
                ReadError::TooLarge => unreadable(format!("more than {STORE_FILE_BYTES_MAX} bytes")),
                ReadError::Io(error) => unreadable(error.to_string()),
            })?;
        Certificate::from_pem_bundle(&bytes).map_err(|e| unreadable(e.to_string()))
    }

    fn read_anchors(&self, file: &str) -> Result<Vec<Certificate>, TrustStoreError> {
        let certificates = self.read(file)?;
        for certificate in &certificates {
            check_anchor(certificate, self.store_type).map_err(|why| {
                let (file, name, store_type) = (file.to_owned(), self.name.to_owned(), self.store_type);
                TrustStoreError::NotAnAnchor { file, name, store_type, why }
            })?;
        }
        Ok(certificates)
    }

    fn not_regular(&self, file: &str) -> TrustStoreError {
        let (file, name) = (file.to_owned(), self.name.to_owned());
        TrustStoreError::NotARegularFile { file, name, store_type: self.store_type }
    }

    fn too_many(&self, what: &'static str, allowed: usize) -> TrustStoreError {
        TrustStoreError::TooMany { name: self.name.to_owned(), store_type: self.store_type, what, allowed }
    }
}

/// What may be trusted: a CA or a self-signed certificate, in a `tsa` store only a certificate that is both.
fn check_anchor(certificate: &Certificate, store_type: StoreType) -> Result<(), String> {
    let subject = certificate.subject();
    let (ca, self_signed) = (certificate.is_ca(), certificate.is_self_signed());
    if store_type == StoreType::Tsa && !(ca && self_signed) {
        return Err(format!("certificate with subject {subject:?} is not a root CA certificate"));
    }
    if !ca && !self_signed {
        return Err(format!(
            "certificate with subject {subject:?} is not a CA certificate or self-signed signing certificate"
        ));
    }
    Ok(())
}
