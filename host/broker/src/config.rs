//! `prokurad.toml`: read strictly, into types, with every problem told at once.
//!
//! Unknown keys are refused with the nearest known one. Relative paths start at the directory of the file. Secrets have
//! no place here: a plugin takes them from a file or a credential that its config names.
//!
//! ```toml
//! [listen]
//! unix = "/run/prokura/broker.sock"   # unix_group = 1234, whose members may connect
//! tcp = "0.0.0.0:7443"                # with [tls]
//!
//! [tls]
//! certificate = "tls/broker.pem"      # leaf first
//! key = "tls/broker.key"
//! client_cas = ["tls/builders.pem"]
//! pins = []                           # hex SHA-256 of a client's SubjectPublicKeyInfo
//!
//! [oidc.github]
//! issuer = "https://token.actions.githubusercontent.com"
//! audiences = ["signing.example"]
//! required_claims = { repository_owner = ["acme"] }
//!
//! [policy]
//! directory = "policy"
//!
//! [audit]
//! directory = "/var/lib/prokura/log"
//! name = "signing.example/log"        # the origin in its checkpoints
//! key = "audit.key"                   # made at the first start if it is not there
//! claims = ["repository", "ref"]      # of a caller's identity, recorded with each request
//!
//! [plugins]
//! directory = "/usr/libexec/notation/plugins"
//!
//! [keys.release]
//! plugin = "pkcs11"
//! id = "pkcs11:token=hsm;object=release"
//! config = { module = "/usr/lib/softhsm/libsofthsm2.so", "pin-file" = "/run/credentials/pin" }
//! groups = ["release"]
//! labels = { team = "platform" }
//! ```

mod issuer;
mod key;
mod limits;
mod table;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::identity::IssuerConfig;
use crate::limits::{AUDIT_CLAIMS_MAX, CONFIG_BYTES_MAX, KEYS_MAX};
use table::Table;

pub use key::{KeyConfig, KeyName};
pub use limits::Limits;
pub use table::Problem;

/// What an operator configured. Every value is parsed; files it names are not looked at.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: Listen,
    /// TLS on TCP; present exactly if there is a TCP address.
    pub tls: Option<Tls>,
    /// Issuers of tokens by which callers may be known.
    pub issuers: Vec<IssuerConfig>,
    /// The directory of Cedar policies.
    pub policy_directory: PathBuf,
    /// The audit log.
    pub audit: Audit,
    /// `{plugins}/{name}/notation-{name}`.
    pub plugins: PathBuf,
    /// The keys, in order of their names.
    pub keys: Vec<KeyConfig>,
    /// What is allowed at most.
    pub limits: Limits,
    /// How logs are written.
    pub log_format: LogFormat,
}

/// Where to listen; at least one of both, or sockets from systemd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listen {
    /// A UNIX socket.
    pub unix: Option<PathBuf>,
    /// The group whose members may connect; without it only the broker's own user and group.
    pub unix_group: Option<u32>,
    /// A TCP address, with TLS.
    pub tcp: Option<SocketAddr>,
}

/// The broker's certificate, and the clients' that it accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// PEM, leaf first.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
    /// PEM files of CAs that issue client certificates.
    pub client_cas: Vec<PathBuf>,
    /// Hex SHA-256 of SubjectPublicKeyInfos.
    pub pins: Vec<String>,
}

/// The audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Its directory.
    pub directory: PathBuf,
    /// Its name, the origin of its checkpoints.
    pub name: String,
    /// The file of the key that signs its checkpoints.
    pub key: PathBuf,
    /// Names of claims that are recorded with each request.
    pub claims: Vec<String>,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why there is no config.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{} cannot be read: {source}; whoever keeps this machine must act", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no TOML. The message never quotes the file, which may hold a secret in the wrong place.
    #[error("{} is no TOML at line {line}: {message}; correct it", path.display())]
    NotToml {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// It is TOML and not a config.
    #[error("{}:{}", path.display(), list(problems))]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// Each of them.
        problems: Vec<Problem>,
    },
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

impl Config {
    /// Reads a file. Blocks on the file system.
    ///
    /// # Errors
    /// [`ConfigError`], with all problems that were found.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
        let path = std::path::absolute(path).map_err(unreadable)?;
        let text = read_bounded(&path).map_err(unreadable)?;
        Self::parse(&text, &path)
    }

    /// Parses the text of the file at `path`.
    ///
    /// # Errors
    /// [`ConfigError::NotToml`] or [`ConfigError::Wrong`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let entries: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            ConfigError::NotToml {
                path: path.to_owned(),
                line: before.lines().count().max(1),
                message: error.message().lines().next().unwrap_or_default().to_owned(),
            }
        })?;
        let base = path.parent().unwrap_or_else(|| Path::new("."));
        let mut problems = Vec::new();
        match config(entries, base, &mut problems) {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(ConfigError::Wrong { path: path.to_owned(), problems }),
        }
    }
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(CONFIG_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > CONFIG_BYTES_MAX {
        return Err(std::io::Error::other(format!("it has more than {CONFIG_BYTES_MAX} bytes")));
    }
    Ok(text)
}

fn config(entries: toml::Table, base: &Path, problems: &mut Vec<Problem>) -> Option<Config> {
    let mut top = Table::new("", entries, base, problems);
    let mut inner = |name| top.inner(name);
    let (listen_table, tls_table) = (inner("listen"), inner("tls"));
    let (policy, audit_table, plugins) = (inner("policy"), inner("audit"), inner("plugins"));
    let (keys_table, limits_table, log) = (inner("keys"), inner("limits"), inner("log"));
    let oidc = inner("oidc");
    top.end();
    let listen = listen(listen_table.unwrap_or_default(), base, problems);
    let has_tls = tls_table.is_some();
    let issuers = issuer::read_all(oidc.unwrap_or_default(), base, problems);
    let tls = tls_table.and_then(|table| tls(table, !issuers.is_empty(), base, problems));
    if listen.tcp.is_some() != has_tls {
        let message = if has_tls {
            "is there, but listen.tcp is not; add the address to listen on, or remove the section"
        } else {
            "is not there, but listen.tcp is; add certificate, key and client_cas or pins: TCP is never served without TLS"
        };
        problems.push(Problem { place: "tls".to_owned(), message: message.to_owned() });
    }
    let policy_directory = directory("policy", policy, base, problems);
    let audit = audit(audit_table.unwrap_or_default(), base, problems);
    let plugins = directory("plugins", plugins, base, problems);
    let keys = keys(keys_table.unwrap_or_default(), base, problems);
    let limits = limits::read(Table::new("limits", limits_table.unwrap_or_default(), base, problems));
    let log_format = log_format(log.unwrap_or_default(), base, problems);
    let (policy_directory, audit, plugins) = (policy_directory?, audit?, plugins?);
    Some(Config { listen, tls, issuers, policy_directory, audit, plugins, keys, limits, log_format })
}

fn listen(entries: toml::Table, base: &Path, problems: &mut Vec<Problem>) -> Listen {
    let mut table = Table::new("listen", entries, base, problems);
    let unix = table.path("unix");
    let group = table.number("unix_group", 0..=u64::from(u32::MAX) - 1, u64::MAX);
    let unix_group = u32::try_from(group).ok();
    let tcp = table.parsed("tcp");
    table.end();
    Listen { unix, unix_group, tcp }
}

fn tls(entries: toml::Table, has_issuers: bool, base: &Path, problems: &mut Vec<Problem>) -> Option<Tls> {
    let mut table = Table::new("tls", entries, base, problems);
    let certificate = table.path("certificate");
    let certificate = table.required("certificate", certificate, "a PEM file with the broker's certificate");
    let key = table.path("key");
    let key = table.required("key", key, "a PEM file with the certificate's key");
    let client_cas = table.paths("client_cas");
    let pins = table.texts("pins");
    if client_cas.is_empty() && pins.is_empty() && !has_issuers {
        table.problem(
            "client_cas",
            "is empty, so is pins, and there is no [oidc.NAME]: nobody could call; add one of them",
        );
    }
    table.end();
    Some(Tls { certificate: certificate?, key: key?, client_cas, pins })
}

fn audit(entries: toml::Table, base: &Path, problems: &mut Vec<Problem>) -> Option<Audit> {
    let mut table = Table::new("audit", entries, base, problems);
    let directory = table.path("directory");
    let directory = table.required("directory", directory, "the directory of the log");
    let name = table.text("name");
    let name = table.required("name", name, "the log's name, such as \"signing.example/log\"");
    let key = table.path("key");
    let key = table.required("key", key, "the file of the log's key");
    let claims = table.texts("claims");
    if claims.len() > AUDIT_CLAIMS_MAX {
        table.problem("claims", format!("found {} names, expected at most {AUDIT_CLAIMS_MAX}", claims.len()));
    }
    table.end();
    Some(Audit { directory: directory?, name: name?, key: key?, claims })
}

fn directory(
    section: &str,
    entries: Option<toml::Table>,
    base: &Path,
    problems: &mut Vec<Problem>,
) -> Option<PathBuf> {
    let mut table = Table::new(section, entries.unwrap_or_default(), base, problems);
    let found = table.path("directory");
    let found = table.required("directory", found, "a directory");
    table.end();
    found
}

fn keys(entries: toml::Table, base: &Path, problems: &mut Vec<Problem>) -> Vec<KeyConfig> {
    let found = entries.len();
    if found == 0 || found > KEYS_MAX {
        let message = format!("found {found} keys, expected 1 to {KEYS_MAX}; add [keys.NAME]");
        problems.push(Problem { place: "keys".to_owned(), message });
        return Vec::new();
    }
    let mut keys: Vec<_> =
        entries.into_iter().filter_map(|(name, value)| key::read(&name, value, base, problems)).collect();
    keys.sort_by(|a, b| a.name.cmp(&b.name));
    keys
}

fn log_format(entries: toml::Table, base: &Path, problems: &mut Vec<Problem>) -> LogFormat {
    let mut table = Table::new("log", entries, base, problems);
    let format = match table.text("format").as_deref() {
        None | Some("text") => LogFormat::Text,
        Some("json") => LogFormat::Json,
        Some(_) => {
            table.problem("format", "is neither \"text\" nor \"json\"; correct it");
            LogFormat::Text
        }
    };
    table.end();
    format
}

#[cfg(test)]
mod tests;
