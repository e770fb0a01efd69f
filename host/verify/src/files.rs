//! Reading and writing files that trust rests on: regular files only, bounded, replaced whole or not at all.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use tempfile::NamedTempFile;

/// Why a file was not read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// A directory, symlink, device, socket, or a file that was exchanged meanwhile.
    NotRegular,
    /// Larger than allowed.
    TooLarge,
    /// The system said no.
    Io(io::Error),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads a regular file of at most `bytes_max`. Symlinks are not followed; a file that is exchanged between the look
/// and the open is noticed by its inode.
pub(crate) fn read_regular(path: &Path, bytes_max: u64) -> Result<Vec<u8>, ReadError> {
    let seen = fs::symlink_metadata(path)?;
    if !seen.is_file() {
        return Err(ReadError::NotRegular);
    }
    let file = File::open(path)?;
    let opened = file.metadata()?;
    if !opened.is_file() || (opened.dev(), opened.ino()) != (seen.dev(), seen.ino()) {
        return Err(ReadError::NotRegular);
    }
    read_bounded(file, bytes_max)
}

/// Reads at most `bytes_max`; a longer source is refused, not cut.
pub(crate) fn read_bounded(source: impl Read, bytes_max: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    source.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max { Err(ReadError::TooLarge) } else { Ok(bytes) }
}

/// Makes a directory and its parents, 0700.
pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file of mode 0600 under a temporary name and renames it over `path`.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    written_in(parent, bytes)?.persist(path).map_err(|e| e.error)?;
    sync_parent(path)
}

/// As [`replace`], but fails with `AlreadyExists` if there is a file. The temporary name is in `staging`, a directory
/// of the same file system: a crash must not leave half a certificate where every file is read.
pub(crate) fn create(path: &Path, staging: &Path, bytes: &[u8]) -> io::Result<()> {
    written_in(staging, bytes)?.persist_noclobber(path).map_err(|e| e.error)?;
    sync_parent(path)
}

fn written_in(directory: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix(".prokura-").tempfile_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}
