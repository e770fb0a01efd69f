//! Adding, listing, showing and deleting certificates, for the command line.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use prokura_envelope::certificate::Certificate;
use serde::Serialize;

use super::{Store, StoreType, TrustStore, TrustStoreError, check_anchor, is_store_name};
use crate::files::{self, ReadError};
use crate::limits::{NAME_BYTES_MAX, STORE_FILE_BYTES_MAX, STORES_LISTED_MAX};

/// One file of a trust store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// The type of its store.
    pub store_type: StoreType,
    /// The name of its store.
    pub store: String,
    /// The file name.
    pub file: String,
}

impl TrustStore {
    /// Copies a certificate file into a named store, 0600, making the store (0700) if need be. The file must be one
    /// the store may hold; nothing is written otherwise. Returns the new path. Blocks on the file system.
    ///
    /// # Errors
    /// [`TrustStoreError::Exists`] if the store has a file of that name, [`TrustStoreError::NotAdded`] if the file is
    /// unusable, others if the store is.
    pub fn add(&self, store_type: StoreType, name: &str, file: &Path) -> Result<PathBuf, TrustStoreError> {
        let path = self.path(store_type, name)?;
        let refuse = |why: String| TrustStoreError::NotAdded { path: file.to_owned(), why };
        let file_name = file.file_name().and_then(|n| n.to_str()).filter(|n| is_file_name(n));
        let file_name = file_name.ok_or_else(|| refuse("it has no usable file name".to_owned()))?;
        let bytes = read_source(file).map_err(refuse)?;
        for certificate in Certificate::from_pem_bundle(&bytes).map_err(|e| refuse(e.to_string()))? {
            check_anchor(&certificate, store_type).map_err(refuse)?;
        }
        let target = path.join(file_name);
        self.write(&Store { store_type, name, path: &path }, &target, &bytes)?;
        Ok(target)
    }

    /// The files of all stores, or of those of one type or name, sorted. Files are not opened. Stores that do not
    /// exist are empty. Blocks on the file system.
    ///
    /// # Errors
    /// [`TrustStoreError`] if the name is invalid or a directory cannot be read.
    pub fn list(
        &self,
        store_type: Option<StoreType>,
        name: Option<&str>,
    ) -> Result<Vec<Listed>, TrustStoreError> {
        let mut listed = Vec::new();
        for store_type in StoreType::ALL.into_iter().filter(|t| store_type.is_none_or(|wanted| wanted == *t))
        {
            let names = match name {
                Some(name) => vec![name.to_owned()],
                None => self.names(store_type)?,
            };
            for store in names {
                listed.extend(self.list_one(store_type, &store)?);
            }
        }
        listed.sort_unstable();
        Ok(listed)
    }

    /// The certificates of one file, also of one that makes its store unusable. Blocks on the file system.
    ///
    /// # Errors
    /// [`TrustStoreError`] if there is no such file or it holds no certificates.
    pub fn show(
        &self,
        store_type: StoreType,
        name: &str,
        file: &str,
    ) -> Result<Vec<Certificate>, TrustStoreError> {
        let path = self.path(store_type, name)?;
        self.existing(store_type, name, file)?;
        Store { store_type, name, path: &path }.read(file)
    }

    /// Deletes one file, and the store with its last file. Returns the path that is gone. Blocks on the file system.
    ///
    /// # Errors
    /// [`TrustStoreError`] if there is no such file or it cannot be deleted.
    pub fn delete(&self, store_type: StoreType, name: &str, file: &str) -> Result<PathBuf, TrustStoreError> {
        let path = self.existing(store_type, name, file)?;
        let changed = |source| TrustStoreError::NotChanged { path: path.clone(), source };
        fs::remove_file(&path).map_err(changed)?;
        match fs::remove_dir(self.path(store_type, name)?) {
            Err(error) if error.kind() != ErrorKind::DirectoryNotEmpty => Err(changed(error)),
            _ => Ok(path),
        }
    }

    /// Deletes a named store with all its files. Returns its path. Blocks on the file system.
    ///
    /// # Errors
    /// [`TrustStoreError`] if there is no such store, it is a symlink, or it cannot be deleted.
    pub fn delete_all(&self, store_type: StoreType, name: &str) -> Result<PathBuf, TrustStoreError> {
        let path = self.path(store_type, name)?;
        Store { store_type, name, path: &path }.refuse_unless_directory()?;
        match fs::remove_dir_all(&path) {
            Ok(()) => Ok(path),
            Err(source) => Err(TrustStoreError::NotChanged { path, source }),
        }
    }

    fn write(&self, store: &Store<'_>, target: &Path, bytes: &[u8]) -> Result<(), TrustStoreError> {
        let changed = |source| TrustStoreError::NotChanged { path: target.to_owned(), source };
        match store.refuse_unless_directory() {
            Err(TrustStoreError::Absent { .. }) => files::create_private_dir(store.path).map_err(changed)?,
            other => other?,
        }
        let staging = self.x509.join(store.store_type.as_str());
        files::create(target, &staging, bytes).map_err(|e| match e.kind() {
            ErrorKind::AlreadyExists => TrustStoreError::Exists { path: target.to_owned() },
            _ => changed(e),
        })
    }

    fn names(&self, store_type: StoreType) -> Result<Vec<String>, TrustStoreError> {
        let directory = self.x509.join(store_type.as_str());
        let failed = |source| TrustStoreError::NotListed { path: directory.clone(), source };
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            result => result.map_err(failed)?,
        };
        let mut names = Vec::new();
        for entry in entries.take(STORES_LISTED_MAX) {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().into_string().ok().filter(|n| is_store_name(n));
            let is_directory = entry.file_type().is_ok_and(|t| t.is_dir());
            names.extend(name.filter(|_| is_directory));
        }
        Ok(names)
    }

    fn list_one(&self, store_type: StoreType, name: &str) -> Result<Vec<Listed>, TrustStoreError> {
        let path = self.path(store_type, name)?;
        let store = Store { store_type, name, path: &path };
        match store.refuse_unless_directory() {
            Err(TrustStoreError::Absent { .. }) => return Ok(Vec::new()),
            other => other?,
        }
        let listed = |file| Listed { store_type, store: name.to_owned(), file };
        Ok(store.files()?.into_iter().map(listed).collect())
    }

    fn existing(&self, store_type: StoreType, name: &str, file: &str) -> Result<PathBuf, TrustStoreError> {
        if !is_file_name(file) {
            return Err(TrustStoreError::InvalidFileName { name: file.to_owned() });
        }
        let path = self.path(store_type, name)?;
        Store { store_type, name, path: &path }.refuse_unless_directory()?;
        let path = path.join(file);
        match fs::symlink_metadata(&path) {
            Ok(_) => Ok(path),
            Err(_) => {
                let (file, name) = (file.to_owned(), name.to_owned());
                Err(TrustStoreError::NoSuchFile { file, name, store_type })
            }
        }
    }
}

/// The operator names this file on purpose, so a symlink is followed; a device or a pipe is not opened.
fn read_source(file: &Path) -> Result<Vec<u8>, String> {
    if !fs::metadata(file).map_err(|e| e.to_string())?.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let source = File::open(file).map_err(|e| e.to_string())?;
    files::read_bounded(source, STORE_FILE_BYTES_MAX).map_err(|e| match e {
        ReadError::Io(error) => error.to_string(),
        ReadError::TooLarge | ReadError::NotRegular => {
            format!("it has more than {STORE_FILE_BYTES_MAX} bytes")
        }
    })
}

fn is_file_name(name: &str) -> bool {
    let path_like = name.contains(['/', '\0']) || matches!(name, "." | "..");
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !path_like
}
