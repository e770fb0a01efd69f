//! Plugin config and environment, parsed into types at the door. Nothing here is secret: only where secrets are.

mod environment;
mod token;

use std::fmt;
use std::path::PathBuf;

use prokura_plugin::{Error, KeyRequest, VaultRequest};
use url::Url;

pub(crate) use environment::Environment;
pub(crate) use token::TokenFrom;

use crate::limits::KEY_NAME_BYTES_MAX;

/// The entries of a plugin config that this plugin reads.
pub(crate) const NAMES: &[&str] = &[
    "address",
    "ca",
    "identity",
    "identity-key",
    "token",
    "token-file",
    "token-env",
    "audience",
    "expected-key",
    "allow-digest",
];

/// One broker and who we are to it. Equal configs share one connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionConfig {
    /// Where the broker listens.
    pub(crate) address: Address,
    /// PEM files of the client's certificate and of its key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
    /// Where the bearer token comes from.
    pub(crate) token: TokenFrom,
}

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    /// TLS over TCP.
    Https {
        /// Name or address; IPv6 without brackets.
        host: String,
        /// Port.
        port: u16,
        /// PEM file of the CA of its certificate.
        ca: PathBuf,
    },
    /// A UNIX socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Https { host, port, .. } if host.contains(':') => write!(f, "https://[{host}]:{port}"),
            Self::Https { host, port, .. } => write!(f, "https://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl ConnectionConfig {
    /// Reads the plugin config; the environment decides which token there is where the config does not.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` naming the entry and what it must hold.
    pub(crate) fn read(request: &VaultRequest, environment: &Environment) -> Result<Self, Error> {
        let address = address(request)?;
        let file = |entry| request.config_optional(entry).map(PathBuf::from);
        let identity = match (file("identity"), file("identity-key")) {
            (Some(certificate), key) => Some((certificate.clone(), key.unwrap_or(certificate))),
            (None, None) => None,
            (None, Some(_)) => {
                return Err(Error::validation(
                    "plugin config identity-key is set without identity; name the file of the client certificate too",
                ));
            }
        };
        if identity.is_some() && matches!(address, Address::Unix(_)) {
            return Err(Error::validation(
                "plugin config identity has no use with a UNIX socket, which knows its callers; leave it out",
            ));
        }
        let token = TokenFrom::read(request, environment, &address, identity.is_some())?;
        Ok(Self { address, identity, token })
    }
}

fn address(request: &VaultRequest) -> Result<Address, Error> {
    let text = request.config("address")?;
    let wrong = |why: &str| {
        let expected = "expected https://HOST:PORT or unix:///PATH";
        Error::validation(format!("plugin config address is {text:?}: {why}; {expected}"))
    };
    let url = Url::parse(text).map_err(|e| wrong(&e.to_string()))?;
    let has_more = !url.username().is_empty() || url.password().is_some() || url.query().is_some();
    if has_more || url.fragment().is_some() {
        return Err(wrong("user, query and fragment have no place in it"));
    }
    match (url.scheme(), url.host_str().filter(|host| !host.is_empty())) {
        ("unix", None) if url.path().len() > 1 => {
            // Not the path of the URL, which is percent-encoded.
            let path = text.get("unix://".len()..).unwrap_or_default();
            Ok(Address::Unix(PathBuf::from(path)))
        }
        ("https", Some(host)) if matches!(url.path(), "" | "/") => {
            let ca = request.config_optional("ca").map(PathBuf::from).ok_or_else(|| {
                Error::validation(
                    "plugin config ca is missing; set it to the PEM file of the CA that issued the broker's certificate",
                )
            })?;
            let host = host.trim_matches(['[', ']']).to_owned();
            Ok(Address::Https { host, port: url.port_or_known_default().unwrap_or(443), ca })
        }
        ("https", _) => Err(wrong("a path has no place in it")),
        ("http", _) => Err(wrong("the broker must prove who it is")),
        ("unix", _) => Err(wrong("the path of the socket is absolute, behind three slashes")),
        _ => Err(wrong("the scheme is neither https nor unix")),
    }
}

/// What is asked of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyConfig {
    /// Its name at the broker.
    pub(crate) name: String,
    /// Hex SHA-256 of the SubjectPublicKeyInfo it must have.
    pub(crate) expected: Option<String>,
    /// Whether a digest may be signed that the broker cannot look behind.
    pub(crate) allow_digest: bool,
}

impl KeyConfig {
    /// Reads key id and plugin config.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` naming what is wrong.
    pub(crate) fn read(request: &KeyRequest) -> Result<Self, Error> {
        let name = key_name(request.key_id().as_str())?.to_owned();
        let expected = match request.config_optional("expected-key") {
            Some(text) if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) => {
                Some(text.to_ascii_lowercase())
            }
            Some(text) => {
                return Err(Error::validation(format!(
                    "plugin config expected-key has {} characters, expected the 64 hex digits of the SHA-256 of the key's \
                     SubjectPublicKeyInfo",
                    text.len()
                )));
            }
            None => None,
        };
        let allow_digest = match request.config_optional("allow-digest") {
            Some("yes") => true,
            Some("no") | None => false,
            Some(other) => {
                return Err(Error::validation(format!(
                    "plugin config allow-digest is {other:?}, expected yes or no"
                )));
            }
        };
        Ok(Self { name, expected, allow_digest })
    }
}

fn key_name(text: &str) -> Result<&str, Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    if !text.is_empty() && text.len() <= KEY_NAME_BYTES_MAX && text.chars().all(allowed) {
        return Ok(text);
    }
    let shown: String = text.chars().take(64).collect();
    Err(Error::validation(format!(
        "key id {shown:?} is no name of a key at a broker, expected 1 to {KEY_NAME_BYTES_MAX} letters, digits, '.', '_', '-' \
         and '/'"
    )))
}

#[cfg(test)]
mod tests;
