//! Sockets that systemd has bound (`sd_listen_fds(3)`): descriptors from 3 on.
//!
//! They are taken by `pidfd_getfd(2)` from this very process: a second descriptor of the same socket, for which no
//! promise about foreign descriptors has to be made in unsafe code. The first one stays open, as systemd's own does.

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use rustix::net::AddressFamily;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use super::DaemonError;
use crate::limits::INHERITED_SOCKETS_MAX;

const FIRST: i32 = 3;

/// A socket that listens.
pub(super) enum Inherited {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// Takes `count` sockets.
pub(super) fn inherited(count: u32) -> Result<Vec<Inherited>, DaemonError> {
    let count = i32::try_from(count.min(INHERITED_SOCKETS_MAX)).unwrap_or_default();
    (FIRST..FIRST + count).map(|descriptor| take(descriptor).map_err(failed)).collect()
}

fn take(descriptor: i32) -> io::Result<Inherited> {
    let this = pidfd_open(getpid(), PidfdFlags::empty())?;
    let socket: OwnedFd = pidfd_getfd(&this, descriptor, PidfdGetfdFlags::empty())?;
    let address = rustix::net::getsockname(&socket)?;
    match address.address_family() {
        AddressFamily::UNIX => Ok(Inherited::Unix(UnixListener::from(socket))),
        AddressFamily::INET | AddressFamily::INET6 => Ok(Inherited::Tcp(TcpListener::from(socket))),
        other => Err(io::Error::other(format!("found address family {other:?}, expected UNIX or IP"))),
    }
}

fn failed(source: io::Error) -> DaemonError {
    DaemonError::System { what: "taking a socket from systemd", source }
}
