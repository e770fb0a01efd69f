//! Plugin config and key ids, parsed into types at the door.

pub(crate) mod cloud;
pub(crate) mod key_name;
pub(crate) mod source;

use prokura_plugin::{CA_CERTS, Error, VaultRequest};

use crate::Surroundings;
use cloud::Cloud;
use key_name::{KeyName, VaultHost};
use source::Source;

/// What the plugin config may hold, besides `ca_certs` those of notation-azure-kv among it.
pub(crate) const NAMES: &[&str] = &[
    "credential_type",
    "tenant_id",
    "client_id",
    "client_certificate",
    "client_secret_file",
    "federated_token_file",
    "object_id",
    "resource_id",
    "subscription",
    "self_signed",
    "chain_from",
    "vault",
    "cloud",
    "authority_host",
    "protection",
    "verify_challenge_resource",
];
/// What would hold a secret.
pub(crate) const NAMES_OF_SECRETS: &[&str] = &["client_secret"];

/// Where the certificates of a key come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChainFrom {
    /// The certificate object of the same name and version: the leaf. What is above it comes from `ca_certs`.
    Certificate,
    /// The secret of the same name and version, which holds the whole chain. On request only.
    Secret,
    /// Nothing of the vault: `ca_certs` holds all, the leaf included.
    Bundle,
}

impl ChainFrom {
    /// What to do where no certificate is found this way.
    pub(crate) const fn advice(self) -> &'static str {
        match self {
            Self::Certificate => {
                "the vault has no certificate of the name and version of this key; with plugin config chain_from=bundle \
                 the file that ca_certs names holds it"
            }
            Self::Secret => {
                "the vault has no secret with a certificate of the name and version of this key; with plugin config \
                 chain_from=bundle the file that ca_certs names holds it"
            }
            Self::Bundle => {
                "the vault is not asked for a certificate (chain_from=bundle): the file that ca_certs names must hold it"
            }
        }
    }
}

/// The plugin config of a key or a vault.
pub(crate) struct Config {
    /// Where bare names belong.
    pub(crate) vault: Option<VaultHost>,
    pub(crate) cloud: Cloud,
    pub(crate) source: Source,
    /// Base URL of the authority, if it is not the one of the vault's cloud.
    pub(crate) authority: Option<String>,
    pub(crate) chain_from: Option<ChainFrom>,
    pub(crate) verify_challenge_resource: bool,
    /// Whether keys are made in hardware.
    pub(crate) hardware: Option<bool>,
}

impl Config {
    pub(crate) fn of(request: &VaultRequest, surroundings: &Surroundings) -> Result<Self, Error> {
        let text = |name: &str| request.config_optional(name);
        let cloud = text("cloud").map_or(Ok(Cloud::default()), Cloud::parse)?;
        let has_bundle = text(CA_CERTS).is_some();
        if boolean(request, "self_signed")? == Some(true) && has_bundle {
            return Err(Error::validation(
                "plugin config has both self_signed=true and ca_certs: a self-signed certificate has nothing above it; \
                 remove one of them",
            ));
        }
        let authority =
            text("authority_host").map(str::to_owned).or_else(|| surroundings.text("AZURE_AUTHORITY_HOST"));
        Ok(Self {
            vault: text("vault").map(|vault| VaultHost::parse(vault, cloud)).transpose()?,
            cloud,
            source: Source::choose(request, surroundings)?,
            authority: authority.as_deref().map(checked_authority).transpose()?,
            chain_from: text("chain_from").map(chain_from).transpose()?,
            verify_challenge_resource: boolean(request, "verify_challenge_resource")?.unwrap_or(true),
            hardware: text("protection").map(hardware).transpose()?,
        })
    }

    /// The key that a key id names.
    pub(crate) fn key_name(&self, id: &str) -> Result<KeyName, Error> {
        KeyName::parse(id, self.vault.as_ref(), self.cloud)
    }

    /// Where the certificates of a key in `host` come from.
    pub(crate) fn chain_from(&self, host: &VaultHost) -> Result<ChainFrom, Error> {
        match self.chain_from {
            Some(from) if from != ChainFrom::Bundle && host.is_managed_hsm() => Err(Error::validation(
                "plugin config chain_from: a Managed HSM keeps no certificates and secrets; put the whole chain, leaf \
                 included, into the PEM file that plugin config ca_certs names and remove chain_from",
            )),
            Some(from) => Ok(from),
            None if host.is_managed_hsm() => Ok(ChainFrom::Bundle),
            None => Ok(ChainFrom::Certificate),
        }
    }

    /// Who issues tokens for `host`.
    pub(crate) fn authority(&self, host: &VaultHost) -> String {
        let by_cloud = || Cloud::of(host).unwrap_or(self.cloud).authority().to_owned();
        self.authority.clone().unwrap_or_else(by_cloud)
    }
}

fn chain_from(text: &str) -> Result<ChainFrom, Error> {
    match text {
        "certificate" => Ok(ChainFrom::Certificate),
        "secret" => Ok(ChainFrom::Secret),
        "bundle" => Ok(ChainFrom::Bundle),
        _ => Err(Error::validation(format!(
            "plugin config chain_from is {text:?}, expected certificate, secret or bundle"
        ))),
    }
}

fn hardware(text: &str) -> Result<bool, Error> {
    match text {
        "hsm" => Ok(true),
        "software" => Ok(false),
        _ => {
            Err(Error::validation(format!("plugin config protection is {text:?}, expected hsm or software")))
        }
    }
}

fn boolean(request: &VaultRequest, name: &str) -> Result<Option<bool>, Error> {
    match request.config_optional(name).map(str::to_ascii_lowercase).as_deref() {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(other) => {
            Err(Error::validation(format!("plugin config {name} is {other:?}, expected true or false")))
        }
    }
}

/// A client secret goes there: nothing but TLS, and nothing that could be mistaken.
fn checked_authority(text: &str) -> Result<String, Error> {
    let url = url::Url::parse(text).ok();
    match url.filter(|url| url.scheme() == "https" && url.username().is_empty() && url.query().is_none()) {
        Some(_) => Ok(text.trim_end_matches('/').to_owned()),
        None => Err(Error::validation(format!(
            "authority host {text:?} is no https URL, expected such as {}",
            Cloud::Public.authority()
        ))),
    }
}
