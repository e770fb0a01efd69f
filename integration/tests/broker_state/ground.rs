//! What the tests stand on: an empty state of either kind, and the requests they make.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use jiff::Timestamp;
use prokura_broker::peer::PeerKind;
use prokura_broker::state::{Begun, Caller, Claim, Config, PostgresConfig, Signed, StateError, Store};
use prokura_integration::backend::postgres::Postgres;
use prokura_integration::program::{Missing, run, system};
use tempfile::TempDir;
use tokio::runtime::Runtime;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Sqlite,
    Postgres,
}

pub(crate) const BACKENDS: &[Backend] = &[Backend::Sqlite, Backend::Postgres];

impl Backend {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgresql",
        }
    }
}

/// An empty state, and threads to use it.
pub(crate) struct Ground {
    pub(crate) backend: Backend,
    pub(crate) runtime: Runtime,
    place: Place,
}

enum Place {
    Directory(TempDir),
    Database(String),
}

impl Ground {
    pub(crate) fn new(backend: Backend) -> Result<Self> {
        let place = match backend {
            Backend::Sqlite => Place::Directory(tempfile::Builder::new().prefix("prokura-state-").tempdir()?),
            Backend::Postgres => Place::Database(server()?.database()?),
        };
        Ok(Self { backend, runtime: runtime()?, place })
    }

    pub(crate) fn config(&self) -> Result<Config> {
        config(self.backend, &self.address()?)
    }

    /// A directory or a URL.
    pub(crate) fn address(&self) -> Result<String> {
        Ok(match &self.place {
            Place::Directory(directory) => directory.path().join("state").display().to_string(),
            Place::Database(name) => server()?.url(name),
        })
    }

    pub(crate) fn open(&self) -> Result<Store> {
        Ok(self.runtime.block_on(Store::open(&self.config()?))?)
    }

    /// Two replicas; with SQLite there can be one only, which is both.
    pub(crate) fn two(&self) -> Result<[std::sync::Arc<Store>; 2]> {
        let one = std::sync::Arc::new(self.open()?);
        let two = match self.backend {
            Backend::Sqlite => std::sync::Arc::clone(&one),
            Backend::Postgres => std::sync::Arc::new(self.open()?),
        };
        Ok([one, two])
    }

    /// Statements behind the broker's back. No store of SQLite may be open.
    pub(crate) fn sql(&self, sql: &str) -> Result<String> {
        match &self.place {
            Place::Database(name) => server()?.psql(name, sql),
            Place::Directory(directory) => sqlite(&directory.path().join("state/state.db"), sql),
        }
    }
}

pub(crate) fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

pub(crate) fn config(backend: Backend, address: &str) -> Result<Config> {
    Ok(match backend {
        Backend::Sqlite => Config::Sqlite { directory: PathBuf::from(address) },
        Backend::Postgres => {
            Config::Postgres(PostgresConfig { url: address.to_owned(), password: None, connections: 6 })
        }
    })
}

fn sqlite(file: &std::path::Path, sql: &str) -> Result<String> {
    let script = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
                  for s in sys.argv[2].split(';'):\n    print('\\n'.join('|'.join(map(str, r)) for r in c.execute(s)))\n\
                  c.close()";
    let python = system("python3", "apt-get install python3")?;
    Ok(run(Command::new(python).args(["-c", script]).arg(file).arg(sql))?.trim().to_owned())
}

/// The server of this process.
pub(crate) fn server() -> Result<&'static Postgres> {
    static SERVER: OnceLock<Result<Postgres, (Option<Missing>, String)>> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        Postgres::start("max_connections = 300").map_err(|e| (e.downcast_ref().cloned(), format!("{e:#}")))
    });
    match server {
        Ok(server) => Ok(server),
        Err((Some(missing), _)) => Err(missing.clone().into()),
        Err((None, reason)) => Err(anyhow!("{reason}")),
    }
}

pub(crate) const CALLER: Caller<'static> = Caller { kind: PeerKind::Oidc, id: "issuer|subject" };
pub(crate) const SIGNED: Signed<'static> = Signed { caller: CALLER, key_name: "release" };
pub(crate) const LEASE: Duration = Duration::from_secs(60);
pub(crate) const TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// So many seconds after the begin of a test.
pub(crate) fn at(seconds: i64) -> Timestamp {
    // On the hour, so that buckets begin where tests do.
    Timestamp::from_second(1_800_000_000 + seconds).unwrap_or_default()
}

/// Asks as [`CALLER`] for content 1.
pub(crate) async fn begin(store: &Store, key: &str, now: i64) -> Result<Begun, StateError> {
    store.begin(CALLER, key, [1; 32], at(now), LEASE, TTL).await
}

/// The claim of a request that is the first.
pub(crate) async fn claim(store: &Store, key: &str, now: i64) -> Result<Claim> {
    match begin(store, key, now).await? {
        Begun::New(claim) => Ok(claim),
        other => Err(anyhow!("expected New, found {other:?}")),
    }
}

/// The error of something that must fail, with all these words.
pub(crate) fn refused<T>(done: Result<T, StateError>, words: &[&str]) -> Result<StateError> {
    let error = done.err().context("it worked, expected an error")?;
    let said = error.to_string();
    for word in words {
        ensure!(said.contains(word), "{word:?} is not said: {said}");
    }
    println!("    {said}");
    Ok(error)
}
