//! A PostgreSQL server of the system's own packages, in a directory of its own: started, killed, started again.

use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::program::{Missing, output, run, system};

const START_TIME_MAX: Duration = Duration::from_secs(60);
const INSTALL: &str = "apt-get install postgresql";

/// What runs in the background has no standard input in a shell, so it is kept as 3.
const WATCH: &str = r#"exec 3<&0; "$@" 3<&- & server=$!
(cat <&3 >/dev/null; kill -QUIT $server) 2>/dev/null & exec 3<&-; wait $server"#;

/// The server; it and its files end when this is dropped, and when the test process dies.
pub struct Postgres {
    directory: PathBuf,
    programs: PathBuf,
    /// On 127.0.0.1; the UNIX socket is named after it too.
    pub port: u16,
    child: Mutex<Option<Child>>,
    databases: AtomicU32,
    /// Removes the directory when its standard input ends.
    cleaner: Child,
}

impl Postgres {
    /// Makes and starts a server with the given lines added to `postgresql.conf`; it lets everybody in by `trust` over
    /// the UNIX socket, and by password over TCP.
    ///
    /// # Errors
    /// [`Missing`] if PostgreSQL is not installed.
    pub fn start(settings: &str) -> Result<Self> {
        let programs = programs()?;
        // Short: a UNIX socket lives in it.
        let directory = tempfile::Builder::new().prefix("prokura-pg-").tempdir()?.keep();
        let cleaner = Command::new("sh")
            .args(["-c", r#"cat >/dev/null; sleep 0.5; rm -rf "$0""#])
            .arg(&directory)
            .stdin(Stdio::piped())
            .spawn()?;
        if let Some((uid, gid)) = other_user()? {
            chown(&directory, Some(uid), Some(gid))?;
            std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o711))?;
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let (child, databases) = (Mutex::default(), AtomicU32::default());
        let server = Self { directory, programs, port, child, databases, cleaner };
        let data = server.data();
        let mut initdb = server.command("initdb")?;
        initdb.args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-D"]).arg(&data);
        run(&mut initdb)?;
        let config = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{}'\nmax_wal_size = 256MB\n\
             {settings}\n",
            server.directory.display()
        );
        std::fs::write(data.join("postgresql.auto.conf"), config)?;
        std::fs::write(
            data.join("pg_hba.conf"),
            "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n",
        )?;
        server.start_again()?;
        Ok(server)
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// A program of PostgreSQL; the server refuses to run as root, so root lends it another user.
    fn command(&self, program: &str) -> Result<Command> {
        let program = self.programs.join(program);
        let mut command = match other_user()? {
            None => Command::new(program),
            Some((uid, gid)) => {
                let mut command = Command::new("setpriv");
                let (uid, gid) = (uid.to_string(), gid.to_string());
                command.args(["--reuid", &uid, "--regid", &gid, "--clear-groups"]).arg(program);
                command
            }
        };
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command)
    }

    /// Starts it, and waits until it answers.
    ///
    /// # Errors
    /// With its log, if it does not.
    pub fn start_again(&self) -> Result<()> {
        let until = Instant::now() + START_TIME_MAX;
        // After a kill the old server's children may still be going: then the new one ends at once, and is tried again.
        loop {
            let mut server = self.command("postgres")?;
            let log = std::fs::File::options().create(true).append(true).open(self.directory.join("log"))?;
            server.arg("-D").arg(self.data()).stderr(log);
            // The shell ends the server when its stdin is closed, which also happens when this process is killed.
            let mut child = Command::new("sh")
                .args(["-c", WATCH, "sh"])
                .arg(server.get_program())
                .args(server.get_args())
                .current_dir("/")
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(std::fs::File::options().append(true).open(self.directory.join("log"))?)
                .spawn()?;
            while child.try_wait()?.is_none() {
                if self.psql("postgres", "SELECT 1").is_ok() {
                    *self.child.lock().unwrap_or_else(|e| e.into_inner()) = Some(child);
                    return Ok(());
                }
                ensure!(Instant::now() < until, "PostgreSQL does not start: {}", self.log());
                std::thread::sleep(Duration::from_millis(20));
            }
            ensure!(Instant::now() < until, "PostgreSQL ends at once: {}", self.log());
        }
    }

    /// What the server wrote.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Kills the server, as a crash of its machine would: nothing is written any more.
    ///
    /// # Errors
    /// If it does not run.
    pub fn kill(&self) -> Result<()> {
        self.end("KILL")
    }

    /// Stops it as an administrator in a hurry does: transactions under way are aborted.
    ///
    /// # Errors
    /// If it does not run.
    pub fn stop(&self) -> Result<()> {
        self.end("INT")
    }

    fn end(&self, signal: &str) -> Result<()> {
        let pid = std::fs::read_to_string(self.data().join("postmaster.pid"))?;
        let pid = pid.lines().next().context("postmaster.pid is empty")?.trim().to_owned();
        run(Command::new("kill").args(["-s", signal, &pid]))?;
        let child = self.child.lock().unwrap_or_else(|e| e.into_inner()).take();
        if let Some(mut child) = child {
            // Not `wait`, which closes its standard input, and with that asks for another end.
            let until = Instant::now() + START_TIME_MAX;
            while child.try_wait()?.is_none() {
                ensure!(Instant::now() < until, "PostgreSQL does not end: {}", self.log());
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Ok(())
    }

    /// A new, empty database.
    ///
    /// # Errors
    /// If the server does not answer.
    pub fn database(&self) -> Result<String> {
        let name = format!("d{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name}"))?;
        Ok(name)
    }

    /// Where a database is reached over the UNIX socket, as the administrator.
    pub fn url(&self, database: &str) -> String {
        let socket = self.directory.display();
        format!("postgres:///{database}?host={socket}&port={}&user=postgres", self.port)
    }

    /// Where a database is reached over TCP.
    pub fn tcp_url(&self, user: &str, host: &str, database: &str) -> String {
        format!("postgres://{user}@{host}:{}/{database}", self.port)
    }

    /// Statements as the administrator; what they print, without headings.
    ///
    /// # Errors
    /// With the server's words, if one fails.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String> {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "postgres",
            "-d",
            database,
            "-c",
            sql,
        ]);
        psql.arg("-h").arg(&self.directory).arg("-p").arg(self.port.to_string()).current_dir("/");
        let ran = output(&mut psql)?;
        match ran.code {
            Some(0) => Ok(ran.stdout.trim().to_owned()),
            _ => bail!("{sql}: {}", ran.stderr.trim()),
        }
    }

    /// Puts a file beside the server's data, readable by the server alone.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn keep(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.data().join(name);
        crate::home::write_private(&path, text)?;
        if let Some((uid, gid)) = other_user()? {
            chown(&path, Some(uid), Some(gid))?;
        }
        Ok(path)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.lock().unwrap_or_else(|e| e.into_inner()).take() {
            drop(child.stdin.take());
            let _ = child.wait();
        }
        drop(self.cleaner.stdin.take());
        let _ = self.cleaner.wait();
    }
}

/// Where the newest version is.
fn programs() -> Result<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    found.retain(|path| path.join("initdb").is_file());
    found.sort_by_key(|path| version(path));
    if let Some(newest) = found.pop() {
        return Ok(newest);
    }
    let initdb = system("initdb", INSTALL)?;
    Ok(initdb.parent().context("a program is in a directory")?.to_owned())
}

fn version(path: &Path) -> u32 {
    let name = path.parent().and_then(Path::file_name).unwrap_or_default();
    name.to_string_lossy().parse().unwrap_or_default()
}

/// The user `postgres` of the package, if this process is root.
fn other_user() -> Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd")?;
    let line = users.lines().find(|line| line.starts_with("postgres:"));
    let line = line.ok_or_else(|| Missing::new("the user postgres", INSTALL))?;
    let ids: Vec<u32> = line.split(':').skip(2).take(2).filter_map(|id| id.parse().ok()).collect();
    match ids.as_slice() {
        [uid, gid] => Ok(Some((*uid, *gid))),
        _ => bail!("/etc/passwd says {line:?}"),
    }
}
