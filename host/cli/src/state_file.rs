//! Files that keep state: read with a limit and never through a symlink, replaced whole, changed under a lock.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::exit::{Exit, Failure};
use crate::limits::{LOCK_RETRY, LOCK_WAIT};
use crate::output::{printable_line, shown};

/// Reads a regular file; `None` if there is none.
///
/// # Errors
/// For symlinks, directories, unreadable files and files above `bytes_max`.
pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, Failure> {
    let cannot = |error| cannot("read", path, error);
    let seen = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found.map_err(cannot)?,
    };
    if !seen.is_file() {
        return Err(not_regular(path));
    }
    let file = File::open(path).map_err(cannot)?;
    if !is_same_file(&seen, &file.metadata().map_err(cannot)?) {
        return Err(not_regular(path));
    }
    read_bounded(file, path, bytes_max).map(Some)
}

/// Reads a file the user named on the command line; symlinks are the user's business there.
///
/// # Errors
/// If it does not exist, is no file, cannot be read or is above `bytes_max`.
pub(crate) fn read_named(path: &Path, bytes_max: u64) -> Result<Vec<u8>, Failure> {
    let file = File::open(path).map_err(|error| cannot("read", path, error))?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(Failure::usage(format!("{} is a directory, expected a file", shown(path))));
    }
    read_bounded(file, path, bytes_max)
}

fn read_bounded(file: File, path: &Path, bytes_max: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|error| cannot("read", path, error))?;
    if bytes.len() as u64 > bytes_max {
        return Err(Failure::usage(format!("{} is larger than the limit of {bytes_max} bytes", shown(path))));
    }
    Ok(bytes)
}

/// Parses a whole JSON file. `advice` says what the user can do about a damaged one. No value of the file is in the
/// error: a plugin config may hold a PIN.
///
/// # Errors
/// Naming the file, the position and the kind of damage.
pub(crate) fn parse_json<T: DeserializeOwned>(path: &Path, bytes: &[u8], advice: &str) -> Result<T, Failure> {
    use serde_json::error::Category;
    serde_json::from_slice(bytes).map_err(|error| {
        let problem = match error.classify() {
            Category::Eof if bytes.is_empty() => "is empty".to_owned(),
            Category::Eof => format!("is cut short ({})", printable_line(&error.to_string())),
            // What serde says about data quotes it; about syntax it has fixed words.
            Category::Data => format!(
                "is malformed (a member is missing, given twice or of the wrong type at line {} column {})",
                error.line(),
                error.column()
            ),
            Category::Syntax | Category::Io => {
                format!("is malformed ({})", printable_line(&error.to_string()))
            }
        };
        Failure::usage(format!("{} {problem}, expected one complete JSON document; {advice}", shown(path)))
    })
}

/// Replaces a file: writes a temporary one beside it, flushes it to the disk, renames it. Missing directories are
/// made with mode 0700. A crash leaves the old file or the new one.
///
/// # Errors
/// If the directory cannot be written.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    write_beside(path, bytes, mode)
        .and_then(|file| file.persist(path).map_err(|error| error.error))
        .and_then(|_| flush_directory(path))
        .map_err(|error| cannot("write", path, error))
}

/// Whether [`create`] could make the file now, to be asked before something is done that costs more than a file.
///
/// # Errors
/// As [`create`].
pub(crate) fn check_creatable(path: &Path) -> Result<(), Failure> {
    if std::fs::symlink_metadata(path).is_ok() {
        return Err(exists(path));
    }
    write_beside(path, &[], 0o600).map(drop).map_err(|error| cannot("write", path, error))
}

fn exists(path: &Path) -> Failure {
    Failure::usage(format!(
        "{} already exists and is not overwritten; remove it or choose another name",
        shown(path)
    ))
}

/// Like [`replace`] for a file that must not exist yet.
///
/// # Errors
/// If it exists or the directory cannot be written.
pub(crate) fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let written = write_beside(path, bytes, mode)
        .and_then(|file| file.persist_noclobber(path).map_err(|error| error.error))
        .and_then(|_| flush_directory(path));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(path),
        _ => cannot("write", path, error),
    })
}

/// The lock of a state file: an advisory lock on a file beside it, released when this is dropped.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held for its drop")] File);

impl Lock {
    /// Waits for the lock of `path`.
    ///
    /// # Errors
    /// If another process holds it for longer than [`LOCK_WAIT`].
    pub(crate) fn acquire(path: &Path) -> Result<Self, Failure> {
        Self::acquire_within(path, LOCK_WAIT)
    }

    fn acquire_within(path: &Path, wait: Duration) -> Result<Self, Failure> {
        let lock_path = beside(path);
        let file = open_lock(&lock_path).map_err(|error| cannot("open the lock", &lock_path, error))?;
        let mut waited = Duration::ZERO;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::Error(error)) => return Err(cannot("lock", &lock_path, error)),
                Err(TryLockError::WouldBlock) if waited >= wait => {
                    return Err(Failure::infrastructure(format!(
                        "another process has held the lock {} for {} s; try again when it is done",
                        shown(&lock_path),
                        wait.as_secs()
                    )));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_RETRY),
            }
            waited += LOCK_RETRY;
        }
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    private_directory(directory_of(path))?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// `name.lock` beside `name`.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    path.with_file_name(name)
}

fn write_beside(path: &Path, bytes: &[u8], mode: u32) -> io::Result<tempfile::NamedTempFile> {
    let directory = directory_of(path);
    private_directory(directory)?;
    let mut file = tempfile::Builder::new().prefix(".prokura-").tempfile_in(directory)?;
    file.write_all(bytes)?;
    #[cfg(unix)]
    file.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// A rename is durable once the directory is.
fn flush_directory(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

/// The directory a path is in; for a bare file name the working directory.
fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn private_directory(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(unix)]
fn is_same_file(a: &std::fs::Metadata, b: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn is_same_file(_: &std::fs::Metadata, b: &std::fs::Metadata) -> bool {
    b.is_file()
}

fn not_regular(path: &Path) -> Failure {
    Failure::usage(format!("{:?} is not a regular file (symlinks are not supported)", path.to_string_lossy()))
}

fn cannot(action: &str, path: &Path, error: io::Error) -> Failure {
    let exit = match error.kind() {
        io::ErrorKind::NotFound
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::AlreadyExists => Exit::Usage,
        _ => Exit::Infrastructure,
    };
    Failure::new(exit, error).during(format!("cannot {action} {}", shown(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_is_whole_private_and_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b.json");
        replace(&path, b"1", 0o600).unwrap();
        replace(&path, b"22", 0o600).unwrap();
        assert_eq!(read(&path, 10).unwrap().unwrap(), b"22");
        assert_eq!(std::fs::read_dir(dir.path().join("a")).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
            assert_eq!((mode(&path), mode(&dir.path().join("a"))), (0o600, 0o700));
        }
        let error = create(&path, b"3", 0o600).unwrap_err();
        assert!(error.to_string().contains("already exists"), "{error}");
        assert_eq!(read(&path, 10).unwrap().unwrap(), b"22");
    }

    #[test]
    fn a_bare_file_name_is_in_the_working_directory() {
        assert_eq!(directory_of(Path::new("f.sig")), Path::new("."));
        assert_eq!(directory_of(Path::new("a/f.sig")), Path::new("a"));
        assert_eq!(directory_of(Path::new("/f.sig")), Path::new("/"));
    }

    #[test]
    fn symlinks_directories_and_oversized_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        assert!(read(&path, 10).unwrap().is_none());
        std::fs::write(&path, b"12345").unwrap();
        assert!(read(&path, 4).unwrap_err().to_string().contains("limit of 4 bytes"));
        assert!(read(dir.path(), 4).unwrap_err().to_string().contains("not a regular file"));
        #[cfg(unix)]
        {
            let link = dir.path().join("link");
            std::os::unix::fs::symlink(&path, &link).unwrap();
            assert!(read(&link, 10).unwrap_err().to_string().contains("symlinks are not supported"));
            assert_eq!(read_named(&link, 10).unwrap(), b"12345");
        }
    }

    #[test]
    fn damaged_json_names_file_position_and_remedy() {
        let parse = |bytes: &[u8]| {
            parse_json::<serde_json::Value>(Path::new("/c/k.json"), bytes, "restore it")
                .unwrap_err()
                .to_string()
        };
        let cut = parse(b"{\"keys\": [\n {\"na");
        assert!(cut.contains("/c/k.json is cut short") && cut.contains("line 2"), "{cut}");
        assert!(cut.ends_with("restore it"), "{cut}");
        assert!(parse(b"").contains("is empty"));
        assert!(parse(b"{} {}").contains("trailing characters"));
        let wrong =
            parse_json::<Vec<bool>>(Path::new("/c/k.json"), b"[\n\"canary\"]", "restore it").unwrap_err();
        let wrong = wrong.to_string();
        assert!(wrong.contains("wrong type at line 2 column 8") && !wrong.contains("canary"), "{wrong}");
    }

    #[test]
    fn a_held_lock_is_waited_for_and_then_reported() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.json");
        let held = Lock::acquire(&path).unwrap();
        let error = Lock::acquire_within(&path, Duration::from_millis(40)).unwrap_err();
        assert!(error.to_string().contains("f.json.lock"), "{error}");
        assert_eq!(error.exit, Exit::Infrastructure);
        drop(held);
        Lock::acquire_within(&path, Duration::ZERO).unwrap();
    }
}
