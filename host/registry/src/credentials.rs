//! Credentials for a registry: given by the caller, or looked up in the stores docker and notation share.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use crate::Error;

mod config;
mod helper;

use config::ConfigFile;
use helper::Helper;

/// A password or token: wiped from memory when dropped, never printed, cloned or serialised.
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the secret over.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(Zeroizing::new(secret.into()))
    }

    /// The secret itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// Where the credentials for a registry come from.
pub enum Credentials {
    /// No credentials.
    Anonymous,
    /// User name and password, as typed by the user.
    Basic {
        /// User name.
        username: String,
        /// Password or personal access token.
        password: Secret,
    },
    /// An OAuth2 refresh token, exchanged for access tokens at the registry's token service.
    IdentityToken(Secret),
    /// Looked up when a registry first asks for credentials.
    Stores(CredentialStores),
}

/// What was found for one registry.
pub(crate) enum Login {
    Anonymous,
    Basic { username: String, password: Secret },
    IdentityToken(Secret),
    RegistryToken(Secret),
}

/// The credential stores of a user, asked in notation's order: the first of notation's `config.json`, docker's
/// `config.json` and the system's own helper that has anything configured is the only one used.
#[derive(Debug, Clone, Default)]
pub struct CredentialStores {
    /// notation's `config.json` (`credsStore`, `credHelpers`).
    pub notation_config: Option<PathBuf>,
    /// docker's `config.json`, or podman's `auth.json`, which has the same form.
    pub docker_config: Option<PathBuf>,
    /// Directories in which helpers (`docker-credential-*`) are looked for, in the form of `PATH`.
    pub search_path: OsString,
    /// Whether the system's own helper is used when neither file configures anything.
    pub use_system_helper: bool,
}

enum Store {
    Nothing,
    Helper(Helper),
    File(ConfigFile),
}

impl CredentialStores {
    /// Stores a login through the credential helper configured for `registry`. Runs a process.
    ///
    /// Without a helper this fails: passwords are not written to files.
    pub async fn store(&self, registry: &str, username: &str, password: &Secret) -> Result<(), Error> {
        match self.choose(registry)? {
            Store::Helper(helper) => helper.store(server_address(registry), username, password).await,
            _ => Err(no_helper(registry)),
        }
    }

    /// Erases the login of `registry` through its credential helper. Runs a process. One that is not there is no
    /// error. A password that docker keeps in its file is not touched.
    pub async fn erase(&self, registry: &str) -> Result<(), Error> {
        let address = server_address(registry);
        match self.choose(registry)? {
            Store::Helper(helper) => helper.erase(address).await,
            Store::File(file) if file.has_entry(address) => Err(Error::Configuration {
                what: format!("the login of {registry} is kept in {}", file.path.display()),
                reason: "remove it with the tool that wrote it, `docker logout` or `podman logout`".into(),
            }),
            Store::File(_) | Store::Nothing => Ok(()),
        }
    }

    /// Looks for credentials; a helper is a process with a deadline of 30 s.
    pub(crate) async fn look_up(&self, registry: &str) -> Result<Login, Error> {
        let address = server_address(registry);
        match self.choose(registry)? {
            Store::Helper(helper) => helper.look_up(address).await,
            Store::File(file) => file.into_login(address),
            Store::Nothing => Ok(Login::Anonymous),
        }
    }

    fn choose(&self, registry: &str) -> Result<Store, Error> {
        let address = server_address(registry);
        for path in [&self.notation_config, &self.docker_config].into_iter().flatten() {
            let Some(file) = ConfigFile::load(path)?.filter(ConfigFile::is_configured) else {
                continue;
            };
            return Ok(match file.helper_for(address) {
                Some(name) => Store::Helper(Helper::named(name, &self.search_path)?),
                None => Store::File(file),
            });
        }
        let system = self.use_system_helper.then(|| Helper::of_system(&self.search_path)).flatten();
        Ok(system.map_or(Store::Nothing, Store::Helper))
    }
}

fn no_helper(registry: &str) -> Error {
    Error::Configuration {
        what: format!("there is no secure store for the login of {registry}"),
        reason:
            "install a docker credential helper (pass, secretservice, osxkeychain) and name it as credsStore \
                 in notation's or docker's config.json"
                .into(),
    }
}

/// The key under which docker files a registry: Docker Hub has a name of its own for historical reasons.
fn server_address(registry: &str) -> &str {
    match registry {
        "docker.io" | "registry-1.docker.io" => "https://index.docker.io/v1/",
        other => other,
    }
}
