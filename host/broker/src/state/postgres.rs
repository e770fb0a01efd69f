//! The state in PostgreSQL: a bounded pool, statements that end, TLS that proves the server, connections that may die.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::pool::PoolOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::{Host, Url};

use super::config::PostgresConfig;
use super::error::{StateError, Trouble};
use super::migrate;
use super::session::{Connection, Durability, Operation, Session};
use crate::limits::{STATE_CONNECTIONS_MAX, STATE_WAIT_MAX_S};

type Pool = sqlx::Pool<sqlx::Postgres>;

const WAIT_MAX: Duration = Duration::from_secs(STATE_WAIT_MAX_S);

/// Beyond one try for each connection that a restart of the server has broken.
const TRIES_MORE: u32 = 3;

pub(super) struct Postgres {
    place: Arc<str>,
    durable: Pool,
    /// For what a crash of the server may take the last moments of.
    hints: Pool,
    tries: u32,
}

/// A failed try, and whether another may follow.
struct Failed {
    error: StateError,
    nothing_changed: bool,
}

impl Postgres {
    pub(super) async fn open(config: &PostgresConfig) -> Result<Self, StateError> {
        if !(2..=STATE_CONNECTIONS_MAX).contains(&config.connections) {
            let found = format!("{} connections, expected 2 to {STATE_CONNECTIONS_MAX}", config.connections);
            return Err(StateError::new(Trouble::Invalid, "the broker's state in PostgreSQL", found));
        }
        let options = options(config)?;
        let place = match options.get_socket() {
            Some(socket) => format!("the broker's state in PostgreSQL at {}", socket.display()),
            None => {
                format!("the broker's state in PostgreSQL at {}:{}", options.get_host(), options.get_port())
            }
        };
        let place: Arc<str> = place.into();
        // A quarter of the connections, for they wait for no disk.
        let for_hints = (config.connections / 4).max(1);
        let durable = pool(config.connections - for_hints, options.clone());
        let hints = pool(for_hints, options.options([("synchronous_commit", "off")]));
        let mut connection =
            durable.acquire().await.map_err(|error| StateError::from_sqlx(&place, &error))?;
        migrate::migrate(&place, migrate::POSTGRES, &mut *connection).await?;
        drop(connection);
        Ok(Self { place, durable, hints, tries: config.connections + TRIES_MORE })
    }

    pub(super) async fn run<O: Operation>(&self, operation: O) -> Result<O::Output, StateError> {
        let mut tries = self.tries;
        loop {
            tries -= 1;
            match self.attempt(&operation).await {
                Ok(output) => return Ok(output),
                Err(Failed { error, nothing_changed }) => {
                    // A connection that broke says nothing about the next; that none can be had in time does.
                    let passes = matches!(error.trouble(), Trouble::Unreachable | Trouble::Overtaken);
                    if tries == 0 || !passes || !(O::REPEATABLE || nothing_changed) {
                        return Err(error);
                    }
                }
            }
        }
    }

    async fn attempt<O: Operation>(&self, operation: &O) -> Result<O::Output, Failed> {
        let pool = if O::DURABILITY == Durability::Hint { &self.hints } else { &self.durable };
        let before = |error: &sqlx::Error| Failed {
            error: StateError::from_sqlx(&self.place, error),
            nothing_changed: true,
        };
        if !O::TRANSACTION {
            let connection = Connection::Postgres(pool.acquire().await.map_err(|error| before(&error))?);
            let mut session = Session { place: Arc::clone(&self.place), connection };
            let done = operation.perform(&mut session).await;
            return done.map_err(|error| Failed { error, nothing_changed: O::READ_ONLY });
        }
        let connection = Connection::Transaction(pool.begin().await.map_err(|error| before(&error))?);
        let mut session = Session { place: Arc::clone(&self.place), connection };
        // If this fails, or nobody waits any more, the transaction is rolled back when it is dropped.
        let output = operation.perform(&mut session).await;
        let output = output.map_err(|error| Failed { error, nothing_changed: true })?;
        if let Connection::Transaction(transaction) = session.connection {
            let committed = transaction.commit().await;
            committed.map_err(|error| Failed { nothing_changed: false, ..before(&error) })?;
        }
        Ok(output)
    }

    pub(super) async fn close(self) {
        self.durable.close().await;
        self.hints.close().await;
    }
}

fn pool(connections: u32, options: PgConnectOptions) -> Pool {
    PoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(WAIT_MAX)
        // A broken connection shows itself when it is used, and the work is tried on another.
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

fn options(config: &PostgresConfig) -> Result<PgConnectOptions, StateError> {
    let place = "the address of PostgreSQL";
    let invalid = |found: String| StateError::new(Trouble::Invalid, place, found);
    let url = Url::parse(&config.url).map_err(|error| invalid(format!("is no URL: {error}")))?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(invalid(format!("found scheme {:?}, expected postgres", url.scheme())));
    }
    let mut options =
        PgConnectOptions::from_str(&config.url).map_err(|error| StateError::from_sqlx(place, &error))?;
    if let Some(password) = &config.password {
        options = options.password(password);
    }
    if !stays_here(&url, &options) {
        options = protected(&url, options)?;
    }
    let wait_ms = (WAIT_MAX.as_millis()).to_string();
    let limits = [
        ("statement_timeout", wait_ms.as_str()),
        ("lock_timeout", wait_ms.as_str()),
        ("idle_in_transaction_session_timeout", wait_ms.as_str()),
    ];
    Ok(options.application_name("prokurad").options(limits).disable_statement_logging())
}

/// Nothing leaves this machine: a UNIX socket or the loopback interface.
fn stays_here(url: &Url, options: &PgConnectOptions) -> bool {
    if options.get_socket().is_some() || options.get_host().starts_with('/') {
        return true;
    }
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        // The URLs of this scheme are opaque to the parser: addresses come as names.
        _ => {
            options.get_host() == "localhost"
                || options
                    .get_host()
                    .trim_matches(['[', ']'])
                    .parse()
                    .is_ok_and(|a: std::net::IpAddr| a.is_loopback())
        }
    }
}

/// On a network the server proves who it is: what the state says decides what is signed.
fn protected(url: &Url, options: PgConnectOptions) -> Result<PgConnectOptions, StateError> {
    let asked = url.query_pairs().find(|(name, _)| name == "sslmode" || name == "ssl-mode");
    match (asked, options.get_ssl_mode()) {
        (_, PgSslMode::VerifyFull) | (None, _) => Ok(options.ssl_mode(PgSslMode::VerifyFull)),
        (Some((_, mode)), _) => {
            let found = format!("found sslmode={mode}, expected verify-full (or leave it out)");
            Err(StateError::new(Trouble::Untrusted, "the address of PostgreSQL", found))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(url: &str) -> Result<PgSslMode, Trouble> {
        let config = PostgresConfig { url: url.to_owned(), password: None, connections: 4 };
        options(&config).map(|options| options.get_ssl_mode()).map_err(|error| error.trouble())
    }

    #[test]
    fn on_a_network_the_server_proves_who_it_is() {
        assert!(matches!(mode("postgres://u@db.example/x"), Ok(PgSslMode::VerifyFull)));
        assert!(matches!(mode("postgres://u@db.example/x?sslmode=verify-full"), Ok(PgSslMode::VerifyFull)));
        for weak in ["disable", "allow", "prefer", "require", "verify-ca"] {
            let url = format!("postgres://u@db.example/x?sslmode={weak}");
            assert_eq!(mode(&url).err(), Some(Trouble::Untrusted), "{weak}");
        }
        assert_eq!(mode("postgres://u@10.0.0.1/x?sslmode=require").err(), Some(Trouble::Untrusted));
        for here in ["127.0.0.1", "localhost", "[::1]"] {
            assert!(mode(&format!("postgres://u@{here}/x?sslmode=disable")).is_ok(), "{here}");
        }
        assert!(mode("postgres:///x?host=/run/postgresql&user=u&sslmode=disable").is_ok());
        assert_eq!(mode("mysql://u@db.example/x").err(), Some(Trouble::Invalid));
        assert_eq!(mode("nonsense").err(), Some(Trouble::Invalid));
    }
}
