//! Plugin config and environment, parsed into types at the door. Nothing here is secret: only where secrets are.

mod auth;
mod environment;
mod key_id;
mod source;

use std::path::PathBuf;

use prokura_plugin::{Error, VaultRequest};
use url::{Host, Url};

pub(crate) use auth::{Auth, SecretFrom};
pub(crate) use environment::{Environment, vault_names};
pub(crate) use key_id::{TransitId, check_path};
pub(crate) use source::CertificateSource;

/// What the plugin config may hold.
pub(crate) const NAMES: &[&str] = &[
    "address",
    "namespace",
    "mount",
    "auth",
    "auth-mount",
    "token-file",
    "role-id",
    "secret-id-file",
    "secret-id-env",
    "role",
    "jwt-file",
    "jwt-env",
    "certificates",
    "tls-ca-file",
    "tls-client-cert-file",
    "tls-client-key-file",
    "tls-server-name",
    "plain-http",
];
/// What would hold a secret.
pub(crate) const NAMES_OF_SECRETS: &[&str] = &["token", "secret-id", "jwt"];

/// One vault and one way to log in to it. Equal configs share one connection and one token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionConfig {
    /// `scheme://host:port/`, with a path if the vault is behind one.
    pub(crate) address: Url,
    /// Where the address was found, for messages.
    pub(crate) address_from: String,
    /// Namespace, for `X-Vault-Namespace`.
    pub(crate) namespace: Option<String>,
    /// Whom to trust, and who we are, in TLS.
    pub(crate) tls: TlsConfig,
    /// How to log in.
    pub(crate) auth: Auth,
}

/// TLS beyond the system's trust store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct TlsConfig {
    /// PEM file of the CAs to trust instead of the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// Directory of such files.
    pub(crate) ca_directory: Option<PathBuf>,
    /// The same certificates as text.
    pub(crate) ca_text: Option<String>,
    /// PEM files of the client's certificate and key.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
    /// The name the server's certificate must have, if not that of the address.
    pub(crate) server_name: Option<String>,
}

impl ConnectionConfig {
    /// Reads plugin config first, then the environment.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` naming the entry or variable and what it must hold.
    pub(crate) fn read(request: &VaultRequest, environment: &Environment) -> Result<Self, Error> {
        let (address, address_from) = address(request, environment)?;
        let tls = TlsConfig::read(request, environment)?;
        let namespace = text(request, environment, "namespace", "NAMESPACE");
        let namespace = namespace.map(|n| n.trim_matches('/').to_owned()).filter(|n| !n.is_empty());
        namespace.as_deref().map_or(Ok(()), check_path)?;
        Ok(Self { address, address_from, namespace, tls, auth: Auth::read(request, environment)? })
    }
}

impl TlsConfig {
    fn read(request: &VaultRequest, environment: &Environment) -> Result<Self, Error> {
        refuse_unverified(environment)?;
        let entry = |name, variable| text(request, environment, name, variable);
        let ca_file = entry("tls-ca-file", "CACERT").map(PathBuf::from);
        let certificate = entry("tls-client-cert-file", "CLIENT_CERT").map(PathBuf::from);
        let key = entry("tls-client-key-file", "CLIENT_KEY").map(PathBuf::from);
        let client = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (found, _) => {
                let lacking = if found.is_some() { "tls-client-key-file" } else { "tls-client-cert-file" };
                return Err(Error::validation(format!(
                    "TLS with a client certificate takes a certificate and its key, found one of them; set {lacking} too"
                )));
            }
        };
        // As in the vault's own tools: a file or text counts before a directory.
        let ca_text = environment.vault("CACERT_BYTES").map(|(_, value)| value);
        let ca_text = ca_text.filter(|_| ca_file.is_none());
        let ca_directory = environment.vault("CAPATH").map(|(_, value)| PathBuf::from(value));
        let ca_directory = ca_directory.filter(|_| ca_file.is_none() && ca_text.is_none());
        let server_name = entry("tls-server-name", "TLS_SERVER_NAME");
        Ok(Self { ca_file, ca_directory, ca_text, client, server_name })
    }
}

/// The value of a plugin config entry, else of `BAO_variable` or `VAULT_variable`.
fn text(request: &VaultRequest, environment: &Environment, entry: &str, variable: &str) -> Option<String> {
    let configured = request.config_optional(entry).map(str::to_owned);
    configured.or_else(|| environment.vault(variable).map(|(_, value)| value))
}

fn address(request: &VaultRequest, environment: &Environment) -> Result<(Url, String), Error> {
    let configured =
        request.config_optional("address").map(|a| ("plugin config address".to_owned(), a.to_owned()));
    let Some((from, text)) = configured.or_else(|| environment.vault("ADDR")) else {
        return Err(Error::validation(
            "the vault's address is not known; set VAULT_ADDR (or BAO_ADDR), or --plugin-config address=https://HOST:8200",
        ));
    };
    let wrong = |why: &str| {
        Error::validation(format!(
            "{from} is {text:?}: {why}; expected https://HOST:PORT, such as https://vault.example:8200"
        ))
    };
    let mut url = Url::parse(&text).map_err(|e| wrong(&e.to_string()))?;
    if !url.username().is_empty()
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return Err(wrong("user, query and fragment have no place in it"));
    }
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) || request.config_optional("plain-http") == Some("true") => {}
        "http" => {
            return Err(Error::validation(format!(
                "{from} is {text:?}: over plain http everybody on the way reads the token; use https, or, where the way \
                 is protected otherwise, set --plugin-config plain-http=true"
            )));
        }
        _ => return Err(wrong("the scheme is neither https nor http")),
    }
    if url.host().is_none() {
        return Err(wrong("it names no host"));
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok((url, from))
}

/// Whether the address is this machine's own.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn refuse_unverified(environment: &Environment) -> Result<(), Error> {
    let asked = environment.vault("SKIP_VERIFY");
    match asked.filter(|(_, value)| !matches!(value.as_str(), "0" | "f" | "F" | "false" | "FALSE" | "False"))
    {
        Some((name, _)) => Err(Error::validation(format!(
            "{name} is set: this plugin hands its token to no server it has not verified; unset it and name the \
             server's CA in VAULT_CACERT"
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
