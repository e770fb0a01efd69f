//! The seam between what is stored and where: statements that both back ends understand, with numbers and bytes.

use std::future::Future;

use sqlx::pool::PoolConnection;
use sqlx::postgres::PgRow;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Postgres, Row as _, Transaction};

use super::error::StateError;

/// How sure a change must be before it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Durability {
    /// It survives the death of this process; a power cut may take the last moments.
    Hint,
    /// As sure as what would make it matter: the others that share the state.
    Claim,
    /// On the disk.
    Answer,
}

/// Something that is done as a whole or not at all. It may be tried more than once, so it keeps no notes.
pub(super) trait Operation: Send + Sync + 'static {
    type Output: Send + 'static;

    /// How sure the change must be.
    const DURABILITY: Durability;
    /// Changes nothing.
    const READ_ONLY: bool = false;
    /// More than one statement that must hold together.
    const TRANSACTION: bool = false;
    /// Done twice is as good as done once: it may be repeated when nobody knows whether it was committed.
    const REPEATABLE: bool = true;

    fn perform(&self, session: &mut Session)
    -> impl Future<Output = Result<Self::Output, StateError>> + Send;
}

/// A connection, in a transaction where one is needed.
pub(super) struct Session {
    pub(super) place: std::sync::Arc<str>,
    pub(super) connection: Connection,
}

pub(super) enum Connection {
    Sqlite(SqliteConnection),
    Reader(PoolConnection<sqlx::Sqlite>),
    Postgres(PoolConnection<Postgres>),
    Transaction(Transaction<'static, Postgres>),
}

/// An argument of a statement, `$1` and on.
#[derive(Clone, Copy)]
pub(super) enum Arg<'a> {
    Int(i64),
    Bytes(&'a [u8]),
}

macro_rules! bound {
    ($sql:expr, $args:expr) => {{
        let mut query = sqlx::query($sql);
        for arg in $args {
            query = match arg {
                Arg::Int(value) => query.bind(*value),
                Arg::Bytes(value) => query.bind(value.to_vec()),
            };
        }
        query
    }};
}

impl Session {
    /// The rows of a statement.
    pub(super) async fn rows(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<Vec<Row>, StateError> {
        let rows = match &mut self.connection {
            Connection::Sqlite(c) => {
                bound!(sql, args).fetch_all(c).await.map(|rows| rows.into_iter().map(Row::Sqlite).collect())
            }
            Connection::Reader(c) => bound!(sql, args)
                .fetch_all(&mut **c)
                .await
                .map(|rows| rows.into_iter().map(Row::Sqlite).collect()),
            Connection::Postgres(c) => bound!(sql, args)
                .fetch_all(&mut **c)
                .await
                .map(|rows| rows.into_iter().map(Row::Postgres).collect()),
            Connection::Transaction(c) => bound!(sql, args)
                .fetch_all(&mut **c)
                .await
                .map(|rows| rows.into_iter().map(Row::Postgres).collect()),
        };
        rows.map_err(|error| StateError::from_sqlx(&self.place, &error))
    }

    /// How many rows a statement changed.
    pub(super) async fn execute(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<u64, StateError> {
        let changed = match &mut self.connection {
            Connection::Sqlite(c) => bound!(sql, args).execute(c).await.map(|done| done.rows_affected()),
            Connection::Reader(c) => {
                bound!(sql, args).execute(&mut **c).await.map(|done| done.rows_affected())
            }
            Connection::Postgres(c) => {
                bound!(sql, args).execute(&mut **c).await.map(|done| done.rows_affected())
            }
            Connection::Transaction(c) => {
                bound!(sql, args).execute(&mut **c).await.map(|done| done.rows_affected())
            }
        };
        changed.map_err(|error| StateError::from_sqlx(&self.place, &error))
    }

    /// Inserts entries of the journal from place `first` on: one journey to the server however many they are.
    pub(super) async fn insert_entries(&mut self, first: i64, entries: &[Vec<u8>]) -> Result<(), StateError> {
        if let Connection::Transaction(c) = &mut self.connection {
            let sql = "INSERT INTO journal (place, entry) \
                       SELECT $1 + n - 1, entry FROM unnest($2::BYTEA[]) WITH ORDINALITY AS given (entry, n)";
            let inserted = sqlx::query(sql).bind(first).bind(entries).execute(&mut **c).await;
            return inserted.map(|_| ()).map_err(|error| StateError::from_sqlx(&self.place, &error));
        }
        for (place, entry) in (first..).zip(entries) {
            let sql = "INSERT INTO journal (place, entry) VALUES ($1, $2)";
            self.execute(sql, &[Arg::Int(place), Arg::Bytes(entry)]).await?;
        }
        Ok(())
    }
}

/// A row of an answer.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    pub(super) fn int(&self, column: usize) -> Result<i64, StateError> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
        .map_err(unexpected)
    }

    pub(super) fn bytes(&self, column: usize) -> Result<Vec<u8>, StateError> {
        Ok(self.optional_bytes(column)?.unwrap_or_default())
    }

    pub(super) fn optional_bytes(&self, column: usize) -> Result<Option<Vec<u8>>, StateError> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
        .map_err(unexpected)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn unexpected(error: sqlx::Error) -> StateError {
    StateError::damaged("the state", format!("a table has another form than expected: {error}"))
}
