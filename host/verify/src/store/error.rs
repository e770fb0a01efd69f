//! What can be wrong with a trust store. The words follow `notation` where it has words.

use std::io;
use std::path::PathBuf;

use super::StoreType;

/// Why a trust store gives no certificates, or was not changed. The operator must act.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant is described by its own message; the fields are its values")]
pub enum TrustStoreError {
    #[error("trust store name needs to follow [a-zA-Z0-9_.-]+ format, {name:?} is invalid")]
    InvalidName { name: String },
    #[error("{name:?} is no file name: expected the name of a file in the trust store, without a path")]
    InvalidFileName { name: String },
    #[error(
        "the trust store {name:?} of type \"{store_type}\" does not exist, add a certificate with `prokura cert add`"
    )]
    Absent { name: String, store_type: StoreType },
    #[error(
        "the trust store {name} of type {store_type} with path {} is not a regular directory (symlinks are not supported)",
        path.display()
    )]
    NotADirectory { name: String, store_type: StoreType, path: PathBuf },
    #[error("failed to access the trust store {name:?} of type \"{store_type}\": {source}")]
    Inaccessible { name: String, store_type: StoreType, source: io::Error },
    #[error("the trust store {name:?} of type \"{store_type}\" has more than {allowed} {what}")]
    TooMany { name: String, store_type: StoreType, what: &'static str, allowed: usize },
    #[error(
        "trusted certificate {file:?} in trust store {name} of type {store_type} is not a regular file (directories or symlinks are not supported)"
    )]
    NotARegularFile { file: String, name: String, store_type: StoreType },
    #[error(
        "failed to read the trusted certificate {file:?} in trust store {name} of type {store_type}: {why}"
    )]
    Unreadable { file: String, name: String, store_type: StoreType, why: String },
    #[error(
        "failed to validate the trusted certificate {file:?} in trust store {name} of type {store_type}: {why}"
    )]
    NotAnAnchor { file: String, name: String, store_type: StoreType, why: String },
    #[error(
        "no x509 certificates were found in trust store {name:?} of type \"{store_type}\", add one with `prokura cert add`"
    )]
    Empty { name: String, store_type: StoreType },
    #[error("certificate already exists in the Trust Store: {}", path.display())]
    Exists { path: PathBuf },
    #[error("certificate {file:?} does not exist in trust store {name:?} of type \"{store_type}\"")]
    NoSuchFile { file: String, name: String, store_type: StoreType },
    #[error("certificate file {} can not be added: {why}", path.display())]
    NotAdded { path: PathBuf, why: String },
    #[error("trust stores in {} could not be listed: {source}", path.display())]
    NotListed { path: PathBuf, source: io::Error },
    #[error("{} could not be changed: {source}", path.display())]
    NotChanged { path: PathBuf, source: io::Error },
}
