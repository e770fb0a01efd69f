//! The daemon's UNIX socket: bound beside its name and renamed into place, so that it is never open to others; a
//! socket that nobody answers is replaced, one that somebody answers is not.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Gid, chown, flock};

/// Owner and group may connect: who is in the group may call, and policy decides on.
const SOCKET_MODE: u32 = 0o660;
const LOCK_MODE: u32 = 0o600;

/// A UNIX socket that listens. Removed when dropped, if this process made it.
pub struct UnixSocket {
    pub(crate) listener: UnixListener,
    pub(crate) place: Option<Place>,
}

/// The socket cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// A system call failed.
    #[error(
        "the socket {path} cannot be made: {source}; expected a directory that the broker's user may write"
    )]
    System {
        /// Where it was to be.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Others could exchange the socket.
    #[error(
        "the directory of the socket {path} has mode {mode:04o} and belongs to user {owner}; expected the broker's user \
         or root, and writing for nobody else; make one with `install -d -m 0755 -o <user>`"
    )]
    Directory {
        /// Where the socket was to be.
        path: PathBuf,
        /// Permissions of its directory.
        mode: u32,
        /// Owner of its directory.
        owner: u32,
    },
    /// Something that is no socket.
    #[error("{path} is there and no socket; expected nothing or a socket that was left behind; move it away")]
    Occupied {
        /// What is there.
        path: PathBuf,
    },
    /// Another daemon.
    #[error("somebody answers at {path}; expected no other broker there; stop it, or configure another path")]
    InUse {
        /// The socket.
        path: PathBuf,
    },
}

/// The file of a socket, and the lock beside it.
pub(crate) struct Place {
    path: PathBuf,
    inode: (u64, u64),
    _lock: File,
}

impl UnixSocket {
    /// A socket made by somebody else, such as systemd.
    pub const fn inherited(listener: UnixListener) -> Self {
        Self { listener, place: None }
    }

    /// Makes a socket of mode 0660 at `path`, for `group` if one is given. Blocks on the file system.
    ///
    /// # Errors
    /// [`SocketError`].
    pub fn bind(path: &Path, group: Option<u32>) -> Result<Self, SocketError> {
        check_directory(path)?;
        let lock = lock(path)?;
        check_free(path)?;
        let system = |source| SocketError::System { path: path.to_owned(), source };
        let (listener, inode) = bind_aside(path, group).map_err(system)?;
        Ok(Self { listener, place: Some(Place { path: path.to_owned(), inode, _lock: lock }) })
    }
}

fn check_directory(path: &Path) -> Result<(), SocketError> {
    let system = |source| SocketError::System { path: path.to_owned(), source };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let metadata = fs::metadata(directory).map_err(system)?;
    let (mode, owner) = (metadata.mode() & 0o7777, metadata.uid());
    let ours = owner == 0 || owner == rustix::process::geteuid().as_raw();
    if metadata.is_dir() && ours && mode & 0o022 == 0 {
        return Ok(());
    }
    Err(SocketError::Directory { path: path.to_owned(), mode, owner })
}

/// Held as long as the socket, so that two daemons that start at once do not take it from each other.
fn lock(path: &Path) -> Result<File, SocketError> {
    let system = |source| SocketError::System { path: path.to_owned(), source };
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = OpenOptions::new().create(true).write(true).truncate(false).mode(LOCK_MODE).open(name);
    let file = file.map_err(system)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(SocketError::InUse { path: path.to_owned() }),
        Err(e) => Err(system(e.into())),
    }
}

fn check_free(path: &Path) -> Result<(), SocketError> {
    let system = |source| SocketError::System { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(system(e)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(SocketError::Occupied { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(e) => Err(system(e)),
        Ok(_) => Err(SocketError::InUse { path: path.to_owned() }),
    }
}

fn bind_aside(path: &Path, group: Option<u32>) -> io::Result<(UnixListener, (u64, u64))> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    let aside = PathBuf::from(aside);
    match fs::remove_file(&aside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(&aside)?;
    let finish = || {
        if let Some(group) = group {
            chown(&aside, None, Some(Gid::from_raw(group)))?;
        }
        fs::set_permissions(&aside, fs::Permissions::from_mode(SOCKET_MODE))?;
        let metadata = fs::symlink_metadata(&aside)?;
        fs::rename(&aside, path)?;
        Ok((metadata.dev(), metadata.ino()))
    };
    match finish() {
        Ok(inode) => Ok((listener, inode)),
        Err(e) => {
            let _ = fs::remove_file(&aside);
            Err(e)
        }
    }
}

impl Drop for Place {
    /// Another's socket at the same place is left alone. The lock's file stays: removing it would let two hold it.
    fn drop(&mut self) {
        let ours = |m: &fs::Metadata| (m.dev(), m.ino()) == self.inode;
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| ours(&metadata)) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> tempfile::TempDir {
        tempfile::TempDir::new().unwrap()
    }

    #[test]
    fn a_socket_is_made_for_owner_and_group_and_removed_again() {
        let directory = directory();
        let path = directory.path().join("s");
        let socket = UnixSocket::bind(&path, Some(rustix::process::getegid().as_raw())).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
        UnixStream::connect(&path).unwrap();
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_that_nobody_answers_is_replaced() {
        let directory = directory();
        let path = directory.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "it was left behind");
        let _socket = UnixSocket::bind(&path, None).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn what_is_in_use_or_no_socket_stays() {
        let directory = directory();
        let path = directory.path().join("s");
        let other = UnixListener::bind(&path).unwrap();
        assert!(matches!(UnixSocket::bind(&path, None), Err(SocketError::InUse { .. })));
        UnixStream::connect(&path).unwrap();
        drop(other);
        let ours = UnixSocket::bind(&path, None).unwrap();
        assert!(matches!(UnixSocket::bind(&path, None), Err(SocketError::InUse { .. })), "it is locked");
        drop(ours);
        fs::write(&path, "precious").unwrap();
        assert!(matches!(UnixSocket::bind(&path, None), Err(SocketError::Occupied { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn anothers_socket_is_not_removed() {
        let directory = directory();
        let path = directory.path().join("s");
        let ours = UnixSocket::bind(&path, None).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(ours);
        assert!(path.exists());
    }

    #[test]
    fn a_directory_that_others_may_write_is_refused() {
        let directory = directory();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let error = UnixSocket::bind(&directory.path().join("s"), None).err().unwrap();
        assert!(matches!(error, SocketError::Directory { mode: 0o777, .. }), "{error}");
    }
}
