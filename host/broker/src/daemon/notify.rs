//! Tells systemd how the daemon fares: one datagram for each state (`sd_notify(3)`).

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;

/// Where systemd listens, if it does.
#[derive(Clone, Default)]
pub struct Notifier(Option<Arc<(UnixDatagram, SocketAddr)>>);

impl Notifier {
    /// Tells nobody.
    pub const fn silent() -> Self {
        Self(None)
    }

    /// `address` is that of `NOTIFY_SOCKET`: an absolute path, or a name in the abstract namespace after `@`. Anything
    /// else is nobody's.
    pub fn at(address: &OsStr) -> Self {
        let bytes = address.as_bytes();
        let address = match bytes.split_first() {
            Some((b'@', name)) => SocketAddr::from_abstract_name(name).ok(),
            Some((b'/', _)) => SocketAddr::from_pathname(address).ok(),
            _ => None,
        };
        Self(address.and_then(|address| Some(Arc::new((UnixDatagram::unbound().ok()?, address)))))
    }

    pub(super) fn ready(&self) {
        self.tell("READY=1\n");
    }

    pub(super) fn reloading(&self) {
        self.tell("RELOADING=1\n");
    }

    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\n");
    }

    /// A state for people, in one line.
    pub(super) fn status(&self, text: &str) {
        self.tell(&format!("STATUS={}\n", text.replace('\n', " ")));
    }

    fn tell(&self, state: &str) {
        if let Some(socket) = &self.0
            && let Err(error) = socket.0.send_to_addr(state.as_bytes(), &socket.1)
        {
            tracing::warn!(%error, "systemd cannot be told {}", state.trim_end());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_arrive_at_a_path_and_nobody_is_told_elsewhere() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::at(path.as_os_str());
        notifier.ready();
        notifier.status("two\nlines");
        let mut buffer = [0; 64];
        let mut next = || {
            let length = socket.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        };
        assert_eq!((next().as_str(), next().as_str()), ("READY=1\n", "STATUS=two lines\n"));
        assert!(Notifier::at(OsStr::new("relative")).0.is_none());
        assert!(Notifier::at(OsStr::new("@name")).0.is_some());
        Notifier::silent().ready();
    }
}
