//! Reading and writing files that trust rests on: regular files only, bounded, replaced whole or not at all.

use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tempfile::NamedTempFile;

/// Why a file was not read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// A directory, symlink, device, socket or FIFO.
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

/// Reads a regular file of at most `bytes_max`. A symlink in the last place is not followed. Only what was opened is
/// looked at, so nothing can be exchanged between the look and the reading.
pub(crate) fn read_regular(path: &Path, bytes_max: u64) -> Result<Vec<u8>, ReadError> {
    // Without O_NONBLOCK, opening a FIFO would wait for a writer for ever.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(opened) => File::from(opened),
        Err(Errno::LOOP | Errno::MLINK | Errno::NXIO) => return Err(ReadError::NotRegular),
        Err(errno) => return Err(ReadError::Io(errno.into())),
    };
    if !file.metadata()?.is_file() {
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, FileType, mknodat};

    use super::*;

    #[test]
    fn only_regular_files_are_read_and_none_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), b"four").unwrap();
        assert_eq!(read_regular(&at("file"), 4).unwrap(), b"four");
        assert!(matches!(read_regular(&at("file"), 3), Err(ReadError::TooLarge)));
        symlink(at("file"), at("link")).unwrap();
        mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        std::fs::create_dir(at("directory")).unwrap();
        for name in ["link", "fifo", "socket", "directory"] {
            assert!(matches!(read_regular(&at(name), 4), Err(ReadError::NotRegular)), "{name}");
        }
        let absent = read_regular(&at("absent"), 4);
        assert!(matches!(absent, Err(ReadError::Io(e)) if e.kind() == io::ErrorKind::NotFound));
    }
}
