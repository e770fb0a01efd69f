//! Where callers connect: TCP with TLS and a UNIX socket, each within bounds, each connection with its evidence.
//!
//! A connection is admitted (or closed at once), has its handshake within a deadline, and is then handed to the gRPC
//! server with a [`ConnectionInfo`] that every request carries in its extensions. Dropping [`Incoming`] closes the
//! socket; connections that were handed over are the server's.

mod accept;
mod admission;
mod connection;
mod counts;
mod guard;
pub mod http2;
mod socket;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::Stream;

use crate::identity::tls::Tls;
use crate::limits::{
    CONNECTIONS_QUEUED, HANDSHAKE_DEADLINE, HANDSHAKES_MAX, LISTENER_CONNECTIONS_MAX, ORIGIN_BURST,
    ORIGIN_CONNECTIONS_MAX, ORIGIN_RATE, PREFACE_DEADLINE, WRITE_STALL_DEADLINE,
};
use accept::{Acceptor, Source};
use admission::Admission;

pub use admission::{AdmissionLimits, Origin, Turned};
pub use connection::{Connection, ConnectionInfo};
pub use counts::{Counts, Reading};
pub use socket::{SocketError, UnixSocket};

/// What one listener bears.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Who may connect how often.
    pub admission: AdmissionLimits,
    /// Handshakes under way. If there is no room for another, the oldest is closed.
    pub handshakes_max: usize,
    /// How long a handshake may take.
    pub handshake: Duration,
    /// How long the HTTP/2 preface may take after it.
    pub preface: Duration,
    /// How long the other side may read nothing while there is something for it.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            admission: AdmissionLimits {
                open_max: LISTENER_CONNECTIONS_MAX,
                open_per_origin_max: ORIGIN_CONNECTIONS_MAX,
                burst_per_origin: ORIGIN_BURST,
                rate_per_origin: ORIGIN_RATE,
            },
            handshakes_max: HANDSHAKES_MAX,
            handshake: HANDSHAKE_DEADLINE,
            preface: PREFACE_DEADLINE,
            stall: WRITE_STALL_DEADLINE,
        }
    }
}

/// Connections for the gRPC server. Dropping it closes the socket and the handshakes under way.
pub struct Incoming {
    connections: mpsc::Receiver<Connection>,
    counts: Arc<Counts>,
    admission: Arc<Admission>,
    address: Option<SocketAddr>,
}

impl Incoming {
    /// Accepts TLS on a bound TCP socket, by the configuration that `tls` has at each handshake. Must be called within a
    /// Tokio runtime.
    ///
    /// # Errors
    /// If the socket cannot be used.
    pub fn tcp(socket: std::net::TcpListener, tls: Arc<Tls>, limits: Limits) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let listener = tokio::net::TcpListener::from_std(socket)?;
        Ok(Self::start(Source::Tcp(listener, tls), limits, Some(address)))
    }

    /// Accepts on a UNIX socket. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// If the socket cannot be used.
    pub fn unix(socket: UnixSocket, limits: Limits) -> io::Result<Self> {
        let UnixSocket { listener, place } = socket;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::UnixListener::from_std(listener)?;
        Ok(Self::start(Source::Unix(listener, place), limits, None))
    }

    /// What became of connections so far.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// How many are open, handshakes included.
    pub fn open(&self) -> usize {
        self.admission.open()
    }

    /// The address bound, over TCP.
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    fn start(source: Source, limits: Limits, address: Option<SocketAddr>) -> Self {
        let (sender, connections) = mpsc::channel(CONNECTIONS_QUEUED);
        let (counts, admission) = (Arc::<Counts>::default(), Admission::new(limits.admission));
        let acceptor = Acceptor::new(source, limits, Arc::clone(&admission), Arc::clone(&counts), sender);
        tokio::spawn(acceptor.run());
        Self { connections, counts, admission, address }
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.connections.poll_recv(context).map(|connection| connection.map(Ok))
    }
}
