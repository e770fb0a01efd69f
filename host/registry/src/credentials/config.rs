//! docker's `config.json` (also podman's `auth.json` and notation's `config.json`) as far as logins go.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Login, Secret};
use crate::Error;
use crate::limits::CONFIG_BYTES_MAX;

/// One configuration file.
pub(super) struct ConfigFile {
    pub(super) path: PathBuf,
    content: Content,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    #[serde(default)]
    auths: Option<BTreeMap<String, Entry>>,
    #[serde(default)]
    creds_store: Option<String>,
    #[serde(default)]
    cred_helpers: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
struct Entry {
    #[serde(default)]
    auth: Option<Secret>,
    #[serde(default)]
    identitytoken: Option<Secret>,
    #[serde(default)]
    registrytoken: Option<Secret>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<Secret>,
}

impl ConfigFile {
    /// Reads the file; one that is not there configures nothing.
    pub(super) fn load(path: &Path) -> Result<Option<Self>, Error> {
        let io = |source| Error::Io { action: "read", path: path.to_owned(), source };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io(source)),
        };
        let mut bytes = Zeroizing::new(Vec::new());
        file.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > CONFIG_BYTES_MAX {
            let what = path.display().to_string();
            return Err(Error::TooLarge { what, found: None, limit_bytes: CONFIG_BYTES_MAX });
        }
        let content = serde_json::from_slice(&bytes).map_err(|e| broken(path, &position(&e)))?;
        Ok(Some(Self { path: path.to_owned(), content }))
    }

    /// Whether the file says anything about logins.
    pub(super) fn is_configured(&self) -> bool {
        let content = &self.content;
        content.creds_store.as_deref().is_some_and(|s| !s.is_empty())
            || content.cred_helpers.as_ref().is_some_and(|h| !h.is_empty())
            || content.auths.as_ref().is_some_and(|a| !a.is_empty())
    }

    /// The helper for a server: its own one, else the general one.
    pub(super) fn helper_for(&self, address: &str) -> Option<&str> {
        let own = self.content.cred_helpers.as_ref().and_then(|h| h.get(address));
        own.or(self.content.creds_store.as_ref()).map(String::as_str).filter(|name| !name.is_empty())
    }

    pub(super) fn has_entry(&self, address: &str) -> bool {
        self.key_for(address).is_some()
    }

    /// The login kept in the file itself.
    pub(super) fn into_login(mut self, address: &str) -> Result<Login, Error> {
        let key = self.key_for(address);
        let entry = key.and_then(|key| self.content.auths.as_mut()?.remove(&key)).unwrap_or_default();
        if let Some(token) = entry.identitytoken.filter(not_empty) {
            return Ok(Login::IdentityToken(token));
        }
        if let Some(token) = entry.registrytoken.filter(not_empty) {
            return Ok(Login::RegistryToken(token));
        }
        if let Some(auth) = entry.auth.filter(not_empty) {
            let reason = format!("the entry \"auth\" of {address} is not base64 of user:password");
            return decode(&auth).ok_or_else(|| broken(&self.path, &reason));
        }
        Ok(match (entry.username, entry.password) {
            (Some(username), Some(password)) => Login::Basic { username, password },
            _ => Login::Anonymous,
        })
    }

    /// Old files name a server as a URL with scheme and path.
    fn key_for(&self, address: &str) -> Option<String> {
        let auths = self.content.auths.as_ref()?;
        if auths.contains_key(address) {
            return Some(address.to_owned());
        }
        auths.keys().find(|key| host_of(key) == address).cloned()
    }
}

fn not_empty(secret: &Secret) -> bool {
    !secret.expose().is_empty()
}

fn host_of(key: &str) -> &str {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    rest.split('/').next().unwrap_or(rest)
}

fn decode(auth: &Secret) -> Option<Login> {
    let bytes = Zeroizing::new(STANDARD.decode(auth.expose()).ok()?);
    let (username, password) = std::str::from_utf8(&bytes).ok()?.split_once(':')?;
    // docker pads what it stores with NUL bytes.
    let password = password.trim_end_matches('\0');
    Some(Login::Basic { username: username.to_owned(), password: Secret::new(password) })
}

/// Where a JSON text breaks, without a word of it: it may be a password.
pub(super) fn position(error: &serde_json::Error) -> String {
    let kind = match error.classify() {
        serde_json::error::Category::Eof => "it ends too early",
        serde_json::error::Category::Data => "it does not have the members expected",
        _ => "it is not JSON",
    };
    format!("{kind}, at line {} column {}", error.line(), error.column())
}

fn broken(path: &Path, reason: &str) -> Error {
    Error::Configuration { what: path.display().to_string(), reason: reason.to_owned() }
}
