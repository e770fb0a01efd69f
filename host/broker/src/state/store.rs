//! The state, opened: one type, whichever back end is behind it.

use super::config::Config;
use super::error::StateError;
use super::names::{Nonce, nonce};
use super::postgres::Postgres;
use super::session::Operation;
use super::sqlite::Sqlite;

/// The state. Share it by reference or `Arc`; all methods may run at once.
///
/// Each method does its work as a whole or not at all, also if its future is dropped; then nobody knows which.
pub struct Store {
    backend: Backend,
    /// Who this is among those who share the state: new at each start.
    pub(super) holder: Nonce,
}

enum Backend {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

impl Store {
    /// Opens the state, checks it, and brings its tables up to this program's version. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`StateError`], which says who must act: not writable, in use, damaged, made by a newer program, unreachable.
    pub async fn open(config: &Config) -> Result<Self, StateError> {
        let holder = nonce()?;
        let backend = match config {
            Config::Sqlite { directory } => Backend::Sqlite(Sqlite::open(directory).await?),
            Config::Postgres(config) => Backend::Postgres(Postgres::open(config).await?),
        };
        Ok(Self { backend, holder })
    }

    /// Whether others may share this state.
    pub const fn is_shared(&self) -> bool {
        matches!(self.backend, Backend::Postgres(_))
    }

    /// Ends what is under way and closes all connections.
    pub async fn close(self) {
        match self.backend {
            Backend::Sqlite(sqlite) => sqlite.close().await,
            Backend::Postgres(postgres) => postgres.close().await,
        }
    }

    pub(super) async fn run<O: Operation>(&self, operation: O) -> Result<O::Output, StateError> {
        match &self.backend {
            Backend::Sqlite(sqlite) if O::READ_ONLY => sqlite.read(operation).await,
            Backend::Sqlite(sqlite) => sqlite.run(operation).await,
            Backend::Postgres(postgres) => postgres.run(operation).await,
        }
    }
}
