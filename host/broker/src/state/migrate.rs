//! The tables' versions: applied in order, compared with what was applied before, never taken back.

use sqlx::migrate::{Migrate, Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr as _};

use super::error::StateError;

/// Versions for SQLite. A file that was released is never edited: its checksum is in the users' databases.
pub(super) const SQLITE: &[(&str, &str)] =
    &[("state", include_str!("../../migrations/sqlite/0001_state.sql"))];

/// Versions for PostgreSQL.
pub(super) const POSTGRES: &[(&str, &str)] =
    &[("state", include_str!("../../migrations/postgres/0001_state.sql"))];

/// Brings the tables up to the newest version. On PostgreSQL the one who comes second waits for an advisory lock and
/// finds everything done; a version that fails leaves nothing.
///
/// # Errors
/// [`StateError`], if the tables are newer than this program or were made by something else.
pub(super) async fn migrate<C: Migrate>(
    place: &str,
    versions: &'static [(&'static str, &'static str)],
    connection: &mut C,
) -> Result<(), StateError> {
    let newest = i64::try_from(versions.len()).unwrap_or(i64::MAX);
    let migrations = (1..).zip(versions).map(|(version, (name, sql))| {
        let sql = AssertSqlSafe(*sql).into_sql_str();
        Migration::new(version, (*name).into(), MigrationType::Simple, sql, false)
    });
    let migrator = Migrator::with_migrations(migrations.collect());
    let done = migrator.run_direct(None, connection, false).await;
    done.map_err(|error| StateError::from_migration(place, newest, &error))
}
