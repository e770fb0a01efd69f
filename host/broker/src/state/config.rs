//! Where the state is kept.

use std::fmt;
use std::path::PathBuf;

use zeroize::Zeroizing;

/// Where the state is kept.
#[derive(Debug)]
pub enum Config {
    /// In `state.db` in this directory, which is made if it is not there. For one process.
    Sqlite {
        /// For the owner alone.
        directory: PathBuf,
    },
    /// In a PostgreSQL database, for any number of replicas.
    Postgres(PostgresConfig),
}

/// A PostgreSQL database.
pub struct PostgresConfig {
    /// `postgres://user@host:port/database?sslmode=verify-full&sslrootcert=/path/ca.pem`, or with `?host=/directory` for
    /// a UNIX socket. Without `sslrootcert` the public authorities are trusted. What it leaves out is taken from libpq's
    /// variables (`PGPASSWORD`, `PGSSLCERT` and so on), as with any client of PostgreSQL.
    pub url: String,
    /// Read from a file or a credential by whoever makes this; none for peer, certificate or trust authentication.
    pub password: Option<Zeroizing<String>>,
    /// Connections of this replica; all replicas together must stay below the server's `max_connections`.
    pub connections: u32,
}

impl fmt::Debug for PostgresConfig {
    /// Without the URL, for it may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConfig").field("connections", &self.connections).finish_non_exhaustive()
    }
}
