//! The loop that accepts connections, and the handshakes it starts.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Limits;
use super::admission::{Admission, Admitted, Origin};
use super::connection::{Connection, ConnectionInfo, Stream};
use super::counts::Counts;
use super::guard::Guard;
use super::socket::Place;
use crate::identity::tls::{ALPN, Tls};
use crate::identity::unix::Credentials;
use crate::identity::{ClientChain, Evidence};
use crate::limits::ACCEPT_PAUSE;

/// What is listened on.
pub(crate) enum Source {
    Tcp(TcpListener, Arc<Tls>),
    Unix(UnixListener, Option<Place>),
}

/// A connection that was accepted and is nobody's yet.
enum Raw {
    Tcp(TcpStream, SocketAddr, Arc<Tls>),
    Unix(UnixStream),
}

/// Runs until nobody takes its connections any more.
pub(crate) struct Acceptor {
    source: Source,
    start: Start,
    handshakes: JoinSet<()>,
    /// Oldest first; those that are over are dropped when room is needed.
    order: VecDeque<AbortHandle>,
}

/// What every handshake needs.
#[derive(Clone)]
struct Start {
    limits: Limits,
    admission: Arc<Admission>,
    counts: Arc<Counts>,
    ready: mpsc::Sender<Connection>,
}

impl Acceptor {
    pub(crate) fn new(
        source: Source,
        limits: Limits,
        admission: Arc<Admission>,
        counts: Arc<Counts>,
        ready: mpsc::Sender<Connection>,
    ) -> Self {
        let start = Start { limits, admission, counts, ready };
        Self { source, start, handshakes: JoinSet::new(), order: VecDeque::new() }
    }

    pub(crate) async fn run(mut self) {
        loop {
            tokio::select! {
                () = self.start.ready.closed() => return,
                Some(_) = self.handshakes.join_next() => {}
                accepted = self.source.accept() => match accepted {
                    Ok(raw) => self.begin(raw),
                    Err(e) if is_of_one_connection(&e) => {}
                    Err(error) => {
                        // Out of descriptors or memory: what is open must end first.
                        tracing::warn!(%error, "no connection can be accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    fn begin(&mut self, raw: Raw) {
        let origin = match raw.origin() {
            Ok(origin) => origin,
            Err(error) => {
                tracing::debug!(%error, "a connection ended before it began");
                return;
            }
        };
        let admitted = match self.start.admission.admit(origin, Instant::now()) {
            Ok(admitted) => admitted,
            Err(why) => {
                self.start.counts.turn(why);
                tracing::debug!(%origin, ?why, "a connection was turned away");
                return;
            }
        };
        self.make_room();
        let handshake = self.handshakes.spawn(self.start.clone().handshake(raw, origin, admitted));
        self.order.push_back(handshake);
    }

    /// Honest handshakes are over soon, so the oldest is the least likely to be one.
    fn make_room(&mut self) {
        if self.order.len() < self.start.limits.handshakes_max {
            return;
        }
        self.order.retain(|handshake| !handshake.is_finished());
        while self.order.len() >= self.start.limits.handshakes_max {
            let Some(oldest) = self.order.pop_front() else { return };
            oldest.abort();
            self.start.counts.displace();
        }
    }
}

impl Source {
    async fn accept(&self) -> io::Result<Raw> {
        match self {
            Self::Tcp(listener, tls) => {
                listener.accept().await.map(|(stream, address)| Raw::Tcp(stream, address, Arc::clone(tls)))
            }
            Self::Unix(listener, _place) => listener.accept().await.map(|(stream, _)| Raw::Unix(stream)),
        }
    }
}

impl Raw {
    fn origin(&self) -> io::Result<Origin> {
        match self {
            Self::Tcp(_, address, _) => Ok(Origin::of(address.ip())),
            Self::Unix(stream) => stream.peer_cred().map(|credentials| Origin::User(credentials.uid())),
        }
    }
}

impl Start {
    async fn handshake(self, raw: Raw, origin: Origin, admitted: Admitted) {
        let Ok(finished) = timeout(self.limits.handshake, finish(raw, origin)).await else {
            self.counts.expire();
            tracing::debug!(%origin, "a handshake took too long");
            return;
        };
        match finished {
            Ok((stream, info)) => {
                let guard = Guard::new(stream, Instant::now() + self.limits.preface, self.limits.stall);
                if self.ready.send(Connection::new(guard, info, admitted)).await.is_ok() {
                    self.counts.serve();
                }
            }
            Err(error) => {
                self.counts.fail();
                tracing::debug!(%origin, %error, "a handshake failed");
            }
        }
    }
}

async fn finish(raw: Raw, origin: Origin) -> io::Result<(Stream, ConnectionInfo)> {
    match raw {
        Raw::Tcp(stream, address, tls) => {
            stream.set_nodelay(true)?;
            let stream = TlsAcceptor::from(tls.current()).accept(stream).await?;
            let evidence = evidence(&stream)?;
            let info = ConnectionInfo { evidence, origin, address: Some(address) };
            Ok((Stream::Tls(Box::new(stream)), info))
        }
        Raw::Unix(stream) => {
            let kernel = stream.peer_cred()?;
            let credentials = tokio::task::spawn_blocking(move || Credentials::look_up(kernel)).await?;
            let info =
                ConnectionInfo { evidence: Evidence::Unix(Arc::new(credentials)), origin, address: None };
            Ok((Stream::Unix(stream), info))
        }
    }
}

fn evidence(stream: &TlsStream<TcpStream>) -> io::Result<Evidence> {
    let (_, connection) = stream.get_ref();
    if connection.alpn_protocol() != Some(ALPN) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the client did not agree on HTTP/2 (ALPN h2)",
        ));
    }
    let chain = connection.peer_certificates().filter(|chain| !chain.is_empty());
    Ok(chain.map_or(Evidence::Nothing, |chain| {
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        Evidence::Certificate(Arc::new(ClientChain::new(chain)))
    }))
}

/// accept(2): errors of the connection that was to be accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
