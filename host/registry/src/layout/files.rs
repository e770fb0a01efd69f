//! The files of an image layout: opened without following links, written to a temporary name and renamed.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bytes::Bytes;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::{Digest, Error};

/// Reads the file at `names` below `root`, at most `limit_bytes` of it.
pub(super) fn read(root: &Path, names: &[&str], limit_bytes: u64) -> Result<Vec<u8>, Error> {
    let path = names.iter().fold(root.to_owned(), |path, name| path.join(name));
    let file = open(root, names)?;
    let io = |source| Error::Io { action: "read", path: path.clone(), source };
    if !file.metadata().map_err(io)?.is_file() {
        return Err(Error::Layout { path, reason: "it is not a regular file".into() });
    }
    let mut bytes = Vec::new();
    file.take(limit_bytes + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > limit_bytes {
        return Err(Error::TooLarge { what: path.display().to_string(), found: None, limit_bytes });
    }
    Ok(bytes)
}

/// Reads the blob named by `digest`; the caller checks size and digest.
pub(super) fn read_blob(root: &Path, digest: &Digest, limit_bytes: u64) -> Result<Bytes, Error> {
    match read(root, &blob_names(digest), limit_bytes) {
        Ok(bytes) => Ok(bytes.into()),
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::NotFound {
                what: format!("the blob {digest}"),
                place: format!("the image layout {}", root.display()),
            })
        }
        Err(error) => Err(error),
    }
}

/// Writes the blob named by `digest`. One that is there and intact is kept; a damaged one is replaced.
pub(super) fn write_blob(root: &Path, digest: &Digest, bytes: &[u8]) -> Result<(), Error> {
    match read_blob(root, digest, bytes.len() as u64) {
        Ok(found) if digest.matches(&found) => return Ok(()),
        Ok(_) | Err(Error::NotFound { .. } | Error::TooLarge { .. }) => {}
        Err(error) => return Err(error),
    }
    let mut directory = root.to_owned();
    for name in ["blobs", digest.algorithm().name()] {
        directory.push(name);
        ensure_dir(&directory)?;
    }
    replace(&directory, digest.hex(), bytes)
}

/// Makes `blobs/sha256` in a new layout.
pub(super) fn create_dirs(root: &Path) -> Result<(), Error> {
    ensure_dir(&root.join("blobs"))?;
    ensure_dir(&root.join("blobs").join("sha256"))
}

/// Puts `bytes` in place of `directory/name`: a crash leaves the old file or the new one, never half.
pub(super) fn replace(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let target = directory.join(name);
    let io = |action| {
        let path = target.clone();
        move |source| Error::Io { action, path, source }
    };
    // The mode is subject to the umask, like that of any file the user creates.
    let mut temporary = tempfile::Builder::new()
        .prefix(".tmp-")
        .permissions(std::fs::Permissions::from_mode(0o666))
        .tempfile_in(directory)
        .map_err(io("write"))?;
    temporary.write_all(bytes).map_err(io("write"))?;
    temporary.as_file().sync_all().map_err(io("flush"))?;
    temporary.persist(&target).map_err(|e| io("put in place")(e.error))?;
    File::open(directory).and_then(|d| d.sync_all()).map_err(io("flush the directory of"))
}

fn blob_names(digest: &Digest) -> [&str; 3] {
    ["blobs", digest.algorithm().name(), digest.hex()]
}

/// Opens for reading without following a symbolic link at any step below `root`.
fn open(root: &Path, names: &[&str]) -> Result<File, Error> {
    let mut path = root.to_owned();
    let directory = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
    let mut opened =
        rustix::fs::openat(CWD, root, directory, Mode::empty()).map_err(|e| open_error(&path, e))?;
    for (position, name) in names.iter().enumerate() {
        path.push(name);
        let is_last = position + 1 == names.len();
        // Without O_NONBLOCK, opening a FIFO put in place of a blob would wait for a writer for ever.
        let file = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let flags = if is_last { file } else { directory } | OFlags::NOFOLLOW;
        opened =
            rustix::fs::openat(&opened, *name, flags, Mode::empty()).map_err(|e| open_error(&path, e))?;
    }
    Ok(File::from(opened))
}

fn open_error(path: &Path, errno: Errno) -> Error {
    let path = path.to_owned();
    match errno {
        Errno::LOOP | Errno::MLINK => {
            Error::Layout { path, reason: "it is a symbolic link, which may lead out of the layout".into() }
        }
        Errno::NOTDIR => Error::Layout { path, reason: "it is a symbolic link or no directory".into() },
        errno => Error::Io { action: "open", path, source: errno.into() },
    }
}

fn ensure_dir(path: &Path) -> Result<(), Error> {
    match std::fs::create_dir(path) {
        Ok(()) => return Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(source) => return Err(Error::Io { action: "create", path: path.to_owned(), source }),
    }
    let io = |source| Error::Io { action: "look at", path: path.to_owned(), source };
    if std::fs::symlink_metadata(path).map_err(io)?.is_dir() {
        return Ok(());
    }
    Err(Error::Layout { path: path.to_owned(), reason: "it is a symbolic link or no directory".into() })
}
