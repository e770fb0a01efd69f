//! The socket: bound in a private directory, closed to everybody but its owner, removed at the end.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_stream::{Stream, StreamExt};

use crate::error::Error;

const ROOT: u32 = 0;

/// A bound socket. Dropping it removes the file.
pub(crate) struct Socket {
    path: PathBuf,
    listener: Option<std::os::unix::net::UnixListener>,
    owner: u32,
}

impl Socket {
    /// Binds `path`, which must lie in a directory that nobody else can enter (SPEC GRPC-7).
    ///
    /// # Errors
    /// `VALIDATION_ERROR` if the directory is open to others, `ERROR` if the path cannot be bound.
    pub(crate) fn bind(path: &Path) -> Result<Self, Error> {
        let refuse = |e: std::io::Error| Error::internal(format!("socket {}: {e}", path.display()));
        let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mode = fs::metadata(directory).map_err(refuse)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let directory = directory.display();
            return Err(Error::validation(format!(
                "directory {directory} of the socket has mode {mode:04o}, expected 0700; the host must make it private"
            )));
        }
        let listener = std::os::unix::net::UnixListener::bind(path).map_err(refuse)?;
        let mut socket = Self { path: path.to_owned(), listener: Some(listener), owner: ROOT };
        // The private directory keeps others out until the mode is set.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(refuse)?;
        socket.owner = fs::metadata(path).map_err(refuse)?.uid();
        Ok(socket)
    }

    /// Connections of this user and root; others are closed at once (SPEC GRPC-9).
    pub(crate) fn connections(
        &self,
    ) -> Result<impl Stream<Item = std::io::Result<UnixStream>> + use<>, Error> {
        let refuse = |e: std::io::Error| Error::internal(format!("socket {}: {e}", self.path.display()));
        let listener = self.listener.as_ref().ok_or_else(|| Error::internal("the socket is closed"))?;
        let listener = listener.try_clone().map_err(refuse)?;
        listener.set_nonblocking(true).map_err(refuse)?;
        let listener = UnixListener::from_std(listener).map_err(refuse)?;
        let owner = self.owner;
        Ok(UnixListenerStream::new(listener)
            .filter(move |connection| connection.as_ref().map_or(true, |c| is_allowed(c, owner))))
    }
}

fn is_allowed(connection: &UnixStream, owner: u32) -> bool {
    connection.peer_cred().is_ok_and(|peer| [owner, ROOT].contains(&peer.uid()))
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.listener = None;
        let _ = fs::remove_file(&self.path);
    }
}
