//! The daemon: made from its config, served until a signal says otherwise, reloaded without a dropped request.
//!
//! - `SIGTERM`, `SIGINT`: no new connection is taken, requests under way are finished within `limits.drain_s`, then the
//!   plugins are ended and the log is published.
//! - `SIGHUP`: policies, keys, TLS files and pins are read anew and replaced all together, with the difference in the
//!   log; on any error the old ones stay. Sockets, the audit log, `in_flight` and the log's format take a restart.

mod activation;
mod check;
mod notify;
mod parts;
mod reload;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prokura_proto::broker::v1::broker_server::BrokerServer;
use prokura_signer::PluginDirectory;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::audit::{Log, LogKey, Options};
use crate::config::{Config, ConfigError, Problem};
use crate::identity::Identifier;
use crate::identity::tls::Tls;
use crate::limits::{SIGN_DEADLINE_MAX_S, WARM_INTERVAL};
use crate::listen::{Incoming, Limits, UnixSocket, http2};
use crate::service::{Broker, Clock, Router};

pub use check::{Checked, check};
pub use notify::Notifier;

/// What only the binary may read.
#[derive(Clone)]
pub struct Surroundings {
    /// The environment, of which plugins get what an allow-list names.
    pub environment: Vec<(OsString, OsString)>,
    /// The time of day.
    pub clock: Clock,
    /// Where systemd wants to be told; [`Notifier::silent`] without it.
    pub notifier: Notifier,
    /// How many sockets systemd has handed over.
    pub inherited_sockets: u32,
}

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The config, or a file that it names.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file that the config names, each with its place.
    #[error("{} of the configuration cannot be used:{}", if .0.len() == 1 { "a part" } else { "parts" }, .0.iter().map(|problem| format!("\n  {problem}")).collect::<String>())]
    Parts(Vec<Problem>),
    /// A plugin.
    #[error(transparent)]
    Plugin(Box<prokura_signer::Error>),
    /// The audit log.
    #[error(transparent)]
    Log(#[from] crate::audit::AuditError),
    /// A socket.
    #[error("cannot listen on {place}: {reason}")]
    Listen {
        /// Where.
        place: String,
        /// Why not, and who must act.
        reason: String,
    },
    /// The system.
    #[error("{what}: {source}; whoever keeps this machine must act")]
    System {
        /// What was attempted.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Requests were cut off at the end.
    #[error("{0} requests were still under way after limits.drain_s and were cut off; raise it")]
    CutOff(usize),
}

impl From<prokura_signer::Error> for DaemonError {
    fn from(error: prokura_signer::Error) -> Self {
        Self::Plugin(Box::new(error))
    }
}

impl DaemonError {
    /// Whether config or its files must be changed, and not the machine.
    pub const fn is_configuration(&self) -> bool {
        matches!(self, Self::Config(_) | Self::Parts(_))
    }
}

/// A daemon that listens.
struct Daemon {
    path: PathBuf,
    config: Config,
    broker: Broker,
    identifier: Arc<Identifier>,
    tls: Option<Arc<Tls>>,
    log: Arc<Log>,
    surroundings: Surroundings,
}

/// Runs until a signal ends it.
///
/// # Errors
/// [`DaemonError`].
pub async fn run(path: &Path, config: Config, surroundings: Surroundings) -> Result<(), DaemonError> {
    let mut parts = parts::read(&config, None)?;
    let directory = PluginDirectory::new(config.plugins.clone(), None);
    let vaults =
        crate::vaults::Vaults::open(config.keys.clone(), &directory, &surroundings.environment, None);
    let vaults = vaults.await?;
    let log = Arc::new(open_log(&config).await?);
    let identifier = Arc::new(Identifier::new(Arc::clone(&parts.trust), Arc::clone(&parts.issuers)));
    let tls = parts.tls()?.map(Arc::new);
    let rules = parts::rules(&config, parts.policies, vaults);
    let clock = Arc::clone(&surroundings.clock);
    let broker =
        Broker::new(rules, Arc::clone(&identifier), Arc::clone(&log), clock, config.limits.in_flight);
    let daemon = Daemon { path: path.to_owned(), config, broker, identifier, tls, log, surroundings };
    daemon.serve().await
}

async fn open_log(config: &Config) -> Result<Log, DaemonError> {
    let audit = config.audit.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let wrong = |error: crate::audit::KeyError| {
            DaemonError::Parts(vec![parts::problem("audit.key", error.to_string())])
        };
        let key = LogKey::open(&audit.key, &audit.name).map_err(wrong)?;
        Ok(Log::open(&audit.directory, key, Options::default())?)
    });
    opened
        .await
        .map_err(|error| DaemonError::System { what: "opening the audit log", source: error.into() })?
}

/// What the daemon is told by.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn watch() -> Result<Self, DaemonError> {
        let on =
            |kind| signal(kind).map_err(|source| DaemonError::System { what: "watching a signal", source });
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            hangup: on(SignalKind::hangup())?,
        })
    }
}

impl Daemon {
    async fn serve(mut self) -> Result<(), DaemonError> {
        // Before anybody can see that the daemon is there: a signal that is not watched ends the process.
        let signals = Signals::watch()?;
        let sockets = self.sockets()?;
        let (stop, stopped) = watch::channel(false);
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<BrokerServer<Broker>>().await;
        let mut servers = JoinSet::new();
        for incoming in sockets {
            let mut stopped = stopped.clone();
            let until = async move {
                let _ = stopped.wait_for(|stop| *stop).await;
            };
            let router = Router::new(self.broker.server(), health_service.clone());
            // The service keeps its deadlines itself; this is for what hangs all the same.
            let longest = Duration::from_secs(SIGN_DEADLINE_MAX_S + 5);
            servers.spawn(http2::server(longest).serve_with_incoming_shutdown(router, incoming, until));
        }
        self.warm().await;
        self.surroundings.notifier.ready();
        self.until_told(signals).await;
        self.surroundings.notifier.stopping();
        health.set_not_serving::<BrokerServer<Broker>>().await;
        tracing::info!(under_way = self.broker.under_way(), "ending: requests under way are finished");
        let _ = stop.send(true);
        self.drain(servers).await
    }

    /// Reloads and keeps warm until a signal asks for the end.
    async fn until_told(&mut self, mut signals: Signals) {
        let mut again = tokio::time::interval(WARM_INTERVAL);
        again.tick().await;
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => return,
                _ = signals.interrupt.recv() => return,
                _ = signals.hangup.recv() => self.reload().await,
                _ = again.tick() => self.warm_in_background(),
            }
        }
    }

    async fn warm(&self) {
        tell_unusable(&self.broker.rules().vaults.warm((self.surroundings.clock)()).await);
    }

    fn warm_in_background(&self) {
        let (broker, now) = (self.broker.clone(), (self.surroundings.clock)());
        tokio::spawn(async move { tell_unusable(&broker.rules().vaults.warm(now).await) });
    }

    async fn drain(
        self,
        mut servers: JoinSet<Result<(), tonic::transport::Error>>,
    ) -> Result<(), DaemonError> {
        let finish = async {
            while servers.join_next().await.is_some() {}
            self.broker.idle().await;
        };
        let in_time = tokio::time::timeout(self.config.limits.drain, finish).await.is_ok();
        let left = self.broker.under_way();
        self.broker.rules().vaults.close().await;
        drop(servers);
        let Self { broker, log, .. } = self;
        drop(broker);
        // Only if requests were cut off does somebody else still hold the log; it is published when they let go.
        if let Ok(log) = Arc::try_unwrap(log) {
            let closed = tokio::task::spawn_blocking(move || log.close());
            closed.await.map_err(|error| DaemonError::System {
                what: "closing the audit log",
                source: error.into(),
            })??;
        }
        tracing::info!("ended");
        if in_time { Ok(()) } else { Err(DaemonError::CutOff(left)) }
    }

    fn sockets(&self) -> Result<Vec<Incoming>, DaemonError> {
        let limits = self.limits();
        let mut sockets = Vec::new();
        for socket in activation::inherited(self.surroundings.inherited_sockets)? {
            sockets.push(match socket {
                activation::Inherited::Unix(listener) => {
                    listening("a socket of systemd", Incoming::unix(UnixSocket::inherited(listener), limits))?
                }
                activation::Inherited::Tcp(listener) => {
                    self.over_tls("a socket of systemd", listener, limits)?
                }
            });
        }
        if let Some(path) = &self.config.listen.unix {
            let place = path.display().to_string();
            let socket = listening(&place, UnixSocket::bind(path, self.config.listen.unix_group))?;
            sockets.push(listening(&place, Incoming::unix(socket, limits))?);
            tracing::info!(socket = place, "listening");
        }
        if let Some(address) = self.config.listen.tcp {
            let place = address.to_string();
            let listener = listening(&place, std::net::TcpListener::bind(address))?;
            let incoming = self.over_tls(&place, listener, limits)?;
            tracing::info!(address = %incoming.address().unwrap_or(address), "listening");
            sockets.push(incoming);
        }
        if sockets.is_empty() {
            let message = "is empty: set unix or tcp, or start the broker by a systemd socket unit";
            return Err(DaemonError::Parts(vec![parts::problem("listen", message)]));
        }
        Ok(sockets)
    }

    fn over_tls(
        &self,
        place: &str,
        listener: std::net::TcpListener,
        limits: Limits,
    ) -> Result<Incoming, DaemonError> {
        let tls = self.tls.clone().ok_or_else(|| {
            let message =
                "is not there, but there is a TCP socket; add certificate, key and client_cas or pins";
            DaemonError::Parts(vec![parts::problem("tls", message)])
        })?;
        listening(place, Incoming::tcp(listener, tls, limits))
    }

    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.admission.open_max = self.config.limits.connections;
        limits
    }
}

fn listening<T, E: std::fmt::Display>(place: &str, result: Result<T, E>) -> Result<T, DaemonError> {
    result.map_err(|error| DaemonError::Listen { place: place.to_owned(), reason: error.to_string() })
}

fn tell_unusable(unusable: &[(String, Arc<crate::vaults::Unusable>)]) {
    for (key, error) in unusable {
        tracing::warn!(key, %error, "key cannot be used");
    }
}
