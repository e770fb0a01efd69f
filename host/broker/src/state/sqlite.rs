//! The state in one SQLite file: locked for one process, checked at the start, written by one task.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

use super::error::{StateError, Trouble};
use super::migrate;
use super::session::{Connection, Operation, Session};
use super::writer::Writer;
use crate::limits::STATE_WAIT_MAX_S;

const WAIT_MAX: Duration = Duration::from_secs(STATE_WAIT_MAX_S);

/// Connections that only read; in WAL mode they never wait for the writer.
const READERS: u32 = 2;

pub(super) struct Sqlite {
    place: Arc<str>,
    writer: Writer,
    readers: sqlx::Pool<sqlx::Sqlite>,
}

impl Sqlite {
    pub(super) async fn open(directory: &Path) -> Result<Self, StateError> {
        let file = directory.join("state.db");
        let place: Arc<str> = format!("the broker's state in {}", file.display()).into();
        let lock = lock(&place, directory)?;
        if !exists(&place, &file)? {
            create(&place, directory, &file).await?;
        }
        check_file(&place, &file)?;
        let mut writer = connect(&place, &options(&file)).await?;
        check_content(&place, &mut writer).await?;
        migrate::migrate(&place, migrate::SQLITE, &mut writer).await?;
        let writable = "UPDATE journal_head SET next = next WHERE id = 1";
        sqlx::query(writable).execute(&mut writer).await.map_err(|e| StateError::from_sqlx(&place, &e))?;
        let readers = PoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(WAIT_MAX)
            .test_before_acquire(false)
            .connect_lazy_with(options(&file).pragma("query_only", "ON"));
        let session = Session { place: Arc::clone(&place), connection: Connection::Sqlite(writer) };
        Ok(Self { place, writer: Writer::start(session, lock), readers })
    }

    pub(super) async fn run<O: Operation>(&self, operation: O) -> Result<O::Output, StateError> {
        self.writer.run(operation).await
    }

    pub(super) async fn read<O: Operation>(&self, operation: O) -> Result<O::Output, StateError> {
        let reader = self.readers.acquire().await.map_err(|e| StateError::from_sqlx(&self.place, &e))?;
        let connection = Connection::Reader(reader);
        operation.perform(&mut Session { place: Arc::clone(&self.place), connection }).await
    }

    pub(super) async fn close(self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Directory and lock, made if they are not there.
fn lock(place: &str, directory: &Path) -> Result<File, StateError> {
    let failed = |doing: &str, error: &io::Error| {
        StateError::from_io(place, &format!("{doing} {}", directory.display()), error)
    };
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| failed("make the directory", &error))?;
    let mut options = OpenOptions::new();
    let lock =
        options.create(true).write(true).truncate(false).mode(0o600).open(directory.join("state.lock"));
    let lock = lock.map_err(|error| failed("write state.lock in", &error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StateError::new(
            Trouble::InUse,
            place,
            "another process has the lock on state.lock".to_owned(),
        )),
        Err(TryLockError::Error(error)) => Err(failed("lock state.lock in", &error)),
    }
}

fn exists(place: &str, file: &Path) -> Result<bool, StateError> {
    let there = |file: &Path| {
        file.try_exists()
            .map_err(|error| StateError::from_io(place, &format!("see {}", file.display()), &error))
    };
    if there(file)? {
        return Ok(true);
    }
    if there(&beside(file, "-wal"))? {
        let found = "state.db is gone, and its write-ahead log state.db-wal is there".to_owned();
        return Err(StateError::damaged(place, found));
    }
    Ok(false)
}

/// A new database appears whole or not at all: then an empty file is known to be a damaged one.
async fn create(place: &str, directory: &Path, file: &Path) -> Result<(), StateError> {
    let new = directory.join("state.db.new");
    let failed = |error: io::Error| StateError::from_io(place, &format!("make {}", new.display()), &error);
    for leftover in [new.clone(), beside(&new, "-wal"), beside(&new, "-shm")] {
        match fs::remove_file(leftover) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new).map_err(failed)?;
    let mut connection = connect(place, &options(&new)).await?;
    migrate::migrate(place, migrate::SQLITE, &mut connection).await?;
    // The last connection writes everything into the file itself and removes the write-ahead log.
    connection.close().await.map_err(|error| StateError::from_sqlx(place, &error))?;
    File::open(&new).and_then(|file| file.sync_all()).map_err(failed)?;
    fs::rename(&new, file).map_err(failed)?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)
}

/// What can be seen from outside: a length, and who may read it.
fn check_file(place: &str, file: &Path) -> Result<(), StateError> {
    let found = fs::metadata(file).map_err(|error| StateError::from_io(place, "read", &error))?;
    if found.len() == 0 {
        return Err(StateError::damaged(place, "the file is empty".to_owned()));
    }
    if found.permissions().mode() & 0o777 != 0o600 {
        let private = fs::set_permissions(file, Permissions::from_mode(0o600));
        private.map_err(|error| StateError::from_io(place, "make it private (chmod 0600)", &error))?;
    }
    Ok(())
}

/// Reads the whole file: tables, and that each index agrees with its table.
async fn check_content(place: &str, connection: &mut SqliteConnection) -> Result<(), StateError> {
    let row = sqlx::query("PRAGMA integrity_check(1)").fetch_one(connection).await;
    let found: String = row.and_then(|row| row.try_get(0)).map_err(|e| StateError::from_sqlx(place, &e))?;
    if found == "ok" {
        return Ok(());
    }
    Err(StateError::damaged(place, format!("its integrity check says {found:?}")))
}

fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(WAIT_MAX)
        .disable_statement_logging()
}

async fn connect(place: &str, options: &SqliteConnectOptions) -> Result<SqliteConnection, StateError> {
    options.connect().await.map_err(|error| StateError::from_sqlx(place, &error))
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
