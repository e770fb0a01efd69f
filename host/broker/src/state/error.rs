//! Why the state cannot be used: what was found, who must act and whether to ask again.

use std::io;

use prokura_envelope::Blame;
use sqlx::migrate::MigrateError;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// No space, or the quota of the disk is used up.
    Full,
    /// It can be read and not written.
    ReadOnly,
    /// The file, or what is in it, is not what was written.
    Damaged,
    /// Another process has it.
    InUse,
    /// The server does not answer, or the connection broke.
    Unreachable,
    /// The server's certificate is not trusted, or the connection would not be protected.
    Untrusted,
    /// The server knows the user not, or lets it do too little.
    Refused,
    /// All connections are taken, or a statement took too long.
    Busy,
    /// PostgreSQL let another transaction go first.
    Overtaken,
    /// Made by a newer program.
    Newer,
    /// The tables were made by other migrations than the program's.
    Altered,
    /// The lease was handed over to another.
    Fenced,
    /// The caller asks for something that cannot be.
    Invalid,
    /// None of the above: a mistake in the broker.
    Internal,
}

impl Trouble {
    /// Whether the same call may succeed later without anybody doing anything.
    const fn passes(self) -> bool {
        matches!(self, Self::Unreachable | Self::Busy | Self::Overtaken)
    }

    const fn blame(self) -> Blame {
        match self {
            Self::Unreachable => Blame::Network,
            Self::Invalid => Blame::User,
            _ => Blame::Operator,
        }
    }

    const fn remedy(self) -> &'static str {
        match self {
            Self::Full => {
                "whoever keeps this machine or server must free or add space; nothing was half written"
            }
            Self::ReadOnly => {
                "whoever keeps this machine must make the directory and its file system writable for the broker's user"
            }
            Self::Damaged => {
                "whoever keeps this machine must stop the broker, move state.db, state.db-wal and state.db-shm away and \
                 start it again (idempotency keys and counts of the last day are forgotten, the audit log is not), or \
                 restore the database from its backup"
            }
            Self::InUse => {
                "one directory serves one broker: stop the other, give this one another directory, or use PostgreSQL"
            }
            Self::Unreachable => {
                "whoever keeps the PostgreSQL server or the way to it must act if this goes on"
            }
            Self::Untrusted => {
                "whoever keeps this broker must name the server as its certificate does and its authority with \
                 sslmode=verify-full&sslrootcert=/path/ca.pem"
            }
            Self::Refused => {
                "whoever keeps the PostgreSQL server must let the broker's user log in (pg_hba.conf, password) and \
                 GRANT CONNECT on the database, CREATE and USAGE on its schema, and all rights on its tables"
            }
            Self::Busy => {
                "ask again; if this goes on, whoever keeps this broker must raise its number of connections, or \
                 whoever keeps the server must see what holds it up (pg_stat_activity)"
            }
            Self::Overtaken => "ask again",
            Self::Newer => {
                "whoever keeps this broker must update it: an older program never writes to newer tables"
            }
            Self::Altered => {
                "whoever keeps this broker must run the program that made the tables, or restore them from a backup"
            }
            Self::Fenced => "this replica must stop sequencing and acquire the lease anew",
            Self::Invalid => "the request must be changed",
            Self::Internal => "please report this with the log",
        }
    }
}

/// Why the state cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{place}: {found}; {}; retry: {}", .trouble.remedy(), if .trouble.passes() { "yes" } else { "no" })]
pub struct StateError {
    trouble: Trouble,
    place: String,
    found: String,
}

impl StateError {
    pub(super) fn new(trouble: Trouble, place: impl Into<String>, found: String) -> Self {
        Self { trouble, place: place.into(), found }
    }

    pub(super) fn invalid(found: String) -> Self {
        Self::new(Trouble::Invalid, "the state", found)
    }

    pub(super) fn damaged(place: &str, found: String) -> Self {
        Self::new(Trouble::Damaged, place, found)
    }

    /// What is wrong.
    pub const fn trouble(&self) -> Trouble {
        self.trouble
    }

    /// Whether the same call may succeed later without anybody doing anything.
    pub const fn is_retryable(&self) -> bool {
        self.trouble.passes()
    }

    /// Who must act.
    pub const fn blame(&self) -> Blame {
        self.trouble.blame()
    }

    pub(super) fn from_io(place: &str, doing: &str, error: &io::Error) -> Self {
        let trouble = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Trouble::Full,
            io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::AlreadyExists
            | io::ErrorKind::NotADirectory => Trouble::ReadOnly,
            io::ErrorKind::InvalidData => Trouble::Damaged,
            _ => Trouble::Internal,
        };
        Self::new(trouble, place, format!("cannot {doing}: {error}"))
    }

    pub(super) fn from_sqlx(place: &str, error: &sqlx::Error) -> Self {
        let trouble = match error {
            // The handshake's own errors come as errors of input and output.
            sqlx::Error::Io(error) if error.get_ref().is_some_and(|e| e.is::<rustls::Error>()) => {
                Trouble::Untrusted
            }
            sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => Trouble::Unreachable,
            // What a server says on its way down may be cut off.
            sqlx::Error::Protocol(_) => Trouble::Unreachable,
            sqlx::Error::Tls(_) => Trouble::Untrusted,
            sqlx::Error::PoolTimedOut => Trouble::Busy,
            sqlx::Error::Configuration(_) => Trouble::Invalid,
            sqlx::Error::Database(error) => {
                let code = error.code().unwrap_or_default();
                match error.try_downcast_ref::<sqlx::sqlite::SqliteError>() {
                    Some(_) => sqlite_trouble(&code),
                    None => postgres_trouble(&code),
                }
            }
            _ => Trouble::Internal,
        };
        Self::new(trouble, place, error.to_string())
    }

    pub(super) fn from_migration(place: &str, newest: i64, error: &MigrateError) -> Self {
        let (trouble, found) = match error {
            MigrateError::VersionMissing(found) if *found > newest => {
                let found =
                    format!("its tables are of version {found}, this program knows versions up to {newest}");
                (Trouble::Newer, found)
            }
            MigrateError::VersionMissing(found) => {
                (Trouble::Altered, format!("it has tables of version {found}, which this program never made"))
            }
            MigrateError::VersionMismatch(found) => {
                let found = format!(
                    "its tables of version {found} were made by other statements than this program's"
                );
                (Trouble::Altered, found)
            }
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                return Self::from_sqlx(place, error);
            }
            other => (Trouble::Internal, other.to_string()),
        };
        Self::new(trouble, place, found)
    }
}

/// Result codes of SQLite (<https://sqlite.org/rescode.html>); the low byte is the primary one.
fn sqlite_trouble(code: &str) -> Trouble {
    let code: u32 = code.parse().unwrap_or_default();
    match code & 0xff {
        5 | 6 => Trouble::Busy,
        8 | 14 => Trouble::ReadOnly,
        11 | 26 => Trouble::Damaged,
        13 => Trouble::Full,
        // SQLITE_IOERR_SHMSIZE: the index of the write-ahead log cannot grow.
        _ if code == 4874 => Trouble::Full,
        // SQLITE_IOERR: the file system failed; whether the file is whole is found out at the next start.
        10 => Trouble::Damaged,
        _ => Trouble::Internal,
    }
}

/// Error codes of PostgreSQL (its manual, appendix A).
fn postgres_trouble(code: &str) -> Trouble {
    match code {
        "53100" => Trouble::Full,
        "25006" => Trouble::ReadOnly,
        // Serialisation, deadlock.
        "40001" | "40P01" => Trouble::Overtaken,
        // Lock and statement timeouts, too many connections, out of memory.
        "55P03" | "57014" | "53000" | "53200" | "53300" | "53400" => Trouble::Busy,
        "42501" | "3D000" | "3F000" => Trouble::Refused,
        "XX001" | "XX002" | "42P01" | "42703" => Trouble::Damaged,
        code if code.starts_with("28") => Trouble::Refused,
        // Connection exceptions, and a server that goes down, crashed or comes up.
        code if code.starts_with("08") || code.starts_with("57P") => Trouble::Unreachable,
        code if code.starts_with("58") => Trouble::Damaged,
        _ => Trouble::Internal,
    }
}
