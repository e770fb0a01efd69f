//! Key ids: the identifiers of Key Vault and the forms other tools write them in.

use std::fmt;

use prokura_plugin::Error;
use url::Url;

use crate::config::cloud::Cloud;
use crate::limits::{NAME_BYTES_MAX, VERSION_BYTES_MAX};

const EXPECTED: &str = "expected https://VAULT.vault.azure.net/keys/NAME[/VERSION], the same with certificates or for \
                        VAULT.managedhsm.azure.net, azurekms://VAULT/NAME, or NAME with plugin config vault";

/// Where a vault is: `VAULT.vault.azure.net`, `HSM.managedhsm.azure.net`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct VaultHost {
    host: String,
    port: Option<u16>,
}

/// Which kind of object an identifier names. A certificate's key has the same name and version as the certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Collection {
    Keys,
    Certificates,
}

/// One key, with or without its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyName {
    pub(crate) host: VaultHost,
    pub(crate) collection: Collection,
    pub(crate) name: String,
    pub(crate) version: Option<String>,
}

impl VaultHost {
    /// A host as plugin config `vault` names it: a URL, a host name, or the vault's bare name.
    pub(crate) fn parse(text: &str, cloud: Cloud) -> Result<Self, Error> {
        let refuse = || {
            Error::validation(format!(
                "{text:?} is no vault, expected https://VAULT.vault.azure.net or VAULT"
            ))
        };
        let rest = text.strip_prefix("https://");
        let is_whole = rest.is_some() || text.contains(['.', ':']);
        let rest = rest.unwrap_or(text).trim_end_matches('/');
        let host = if is_whole { rest.to_owned() } else { format!("{rest}.{}", cloud.vault_suffix()) };
        let url = Url::parse(&format!("https://{host}")).map_err(|_| refuse())?;
        let bare = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty();
        let host = url.host_str().filter(|_| bare && !rest.is_empty()).ok_or_else(refuse)?;
        Ok(Self { host: host.to_owned(), port: url.port() })
    }

    /// The URL requests go to.
    pub(crate) fn url(&self) -> String {
        format!("https://{self}")
    }

    /// The host's name, without a port.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The name before the first dot: what `az --vault-name` or `--hsm-name` takes.
    pub(crate) fn short_name(&self) -> &str {
        self.host.split('.').next().unwrap_or(&self.host)
    }

    /// A Managed HSM keeps keys only.
    pub(crate) fn is_managed_hsm(&self) -> bool {
        self.host.split('.').nth(1) == Some("managedhsm")
    }
}

impl fmt::Display for VaultHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl KeyName {
    /// Reads a key id. `vault` is where a bare name belongs.
    pub(crate) fn parse(id: &str, vault: Option<&VaultHost>, cloud: Cloud) -> Result<Self, Error> {
        if let Some(rest) = id.strip_prefix("azurekms://") {
            return Self::of_cosign(id, rest, cloud);
        }
        if let Some(rest) = id.strip_prefix("azurekms:") {
            return Self::of_step(id, rest, cloud);
        }
        if id.contains("://") {
            return Self::of_url(id);
        }
        let host = vault.ok_or_else(|| refused(id, "it names no vault"))?;
        let (name, version) = id.split_once('/').map_or((id, None), |(name, version)| (name, Some(version)));
        Self::new(id, host.clone(), Collection::Keys, name, version)
    }

    fn of_url(id: &str) -> Result<Self, Error> {
        let url = Url::parse(id).map_err(|e| refused(id, &e.to_string()))?;
        if url.scheme() != "https" {
            return Err(refused(id, &format!("its scheme is {}", url.scheme())));
        }
        let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        let host = url
            .host_str()
            .filter(|_| plain)
            .ok_or_else(|| refused(id, "it has parts that identifiers have not"))?;
        let host = VaultHost { host: host.to_owned(), port: url.port() };
        let mut parts = url.path().trim_matches('/').split('/');
        let collection = match parts.next() {
            Some("keys") => Collection::Keys,
            Some("certificates") => Collection::Certificates,
            Some("secrets") => {
                return Err(refused(id, "it names a secret; the key has the same name behind /keys/"));
            }
            _ => return Err(refused(id, "its path begins with neither keys nor certificates")),
        };
        let (name, version) = (parts.next().unwrap_or_default(), parts.next());
        if parts.next().is_some() {
            return Err(refused(id, "its path has too many parts"));
        }
        Self::new(id, host, collection, name, version)
    }

    /// `azurekms://HOST/NAME[/VERSION]`, as sigstore's tools write it.
    fn of_cosign(id: &str, rest: &str, cloud: Cloud) -> Result<Self, Error> {
        let mut parts = rest.split('/');
        let host = VaultHost::parse(parts.next().unwrap_or_default(), cloud)?;
        let (name, version) = (parts.next().unwrap_or_default(), parts.next());
        if parts.next().is_some() {
            return Err(refused(id, "its path has too many parts"));
        }
        Self::new(id, host, Collection::Keys, name, version)
    }

    /// `azurekms:name=NAME;vault=VAULT?version=VERSION`, as Smallstep's tools write it.
    fn of_step(id: &str, rest: &str, cloud: Cloud) -> Result<Self, Error> {
        let value = |wanted: &str| {
            let pairs = rest.split([';', '?', '&']).filter_map(|pair| pair.split_once('='));
            pairs.filter(|(name, _)| *name == wanted).map(|(_, value)| value).next()
        };
        let host = VaultHost::parse(value("vault").ok_or_else(|| refused(id, "it names no vault"))?, cloud)?;
        Self::new(id, host, Collection::Keys, value("name").unwrap_or_default(), value("version"))
    }

    fn new(
        id: &str,
        host: VaultHost,
        collection: Collection,
        name: &str,
        version: Option<&str>,
    ) -> Result<Self, Error> {
        let version = version.filter(|v| !v.is_empty());
        if !is_object_name(name) {
            return Err(refused(
                id,
                &format!("{name:?} is no name of 1 to {NAME_BYTES_MAX} letters, digits and dashes"),
            ));
        }
        if let Some(version) = version.filter(|v| !is_version(v)) {
            return Err(refused(
                id,
                &format!("{version:?} is no version; Key Vault's have 32 letters and digits"),
            ));
        }
        if collection == Collection::Certificates && host.is_managed_hsm() {
            return Err(refused(id, "a Managed HSM keeps no certificates; name the key behind /keys/"));
        }
        Ok(Self { host, collection, name: name.to_owned(), version: version.map(str::to_owned) })
    }

    /// The same key in exactly this version.
    pub(crate) fn with_version(&self, version: &str) -> Self {
        Self { collection: Collection::Keys, version: Some(version.to_owned()), ..self.clone() }
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let collection = if self.collection == Collection::Keys { "keys" } else { "certificates" };
        write!(f, "{}/{collection}/{}", self.host.url(), self.name)?;
        self.version.as_ref().map_or(Ok(()), |version| write!(f, "/{version}"))
    }
}

/// Names go into paths: nothing that means something there.
pub(crate) fn is_object_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn is_version(version: &str) -> bool {
    version.len() <= VERSION_BYTES_MAX && version.bytes().all(|b| b.is_ascii_alphanumeric())
}

fn refused(id: &str, why: &str) -> Error {
    Error::validation(format!("key id {id:?}: {why}; {EXPECTED}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(id: &str) -> Result<String, Error> {
        let vault = VaultHost::parse("home", Cloud::Public)?;
        KeyName::parse(id, Some(&vault), Cloud::Public).map(|name| name.to_string())
    }

    #[test]
    fn every_way_to_name_a_key_leads_to_its_identifier() {
        let version = "0123456789abcdef0123456789abcdef";
        for (id, expected) in [
            ("https://v.vault.azure.net/keys/k", "https://v.vault.azure.net/keys/k".to_owned()),
            ("https://v.vault.azure.net/keys/k/", "https://v.vault.azure.net/keys/k".to_owned()),
            ("HTTPS://V.vault.azure.net/keys/K-1", "https://v.vault.azure.net/keys/K-1".to_owned()),
            (
                &format!("https://h.managedhsm.azure.net/keys/k/{version}"),
                format!("https://h.managedhsm.azure.net/keys/k/{version}"),
            ),
            (
                &format!("https://v.vault.azure.net/certificates/k/{version}"),
                format!("https://v.vault.azure.net/certificates/k/{version}"),
            ),
            ("azurekms://v/k", "https://v.vault.azure.net/keys/k".to_owned()),
            (
                &format!("azurekms://v.vault.azure.cn/k/{version}"),
                format!("https://v.vault.azure.cn/keys/k/{version}"),
            ),
            (
                &format!("azurekms:name=k;vault=v?version={version}"),
                format!("https://v.vault.azure.net/keys/k/{version}"),
            ),
            ("k", "https://home.vault.azure.net/keys/k".to_owned()),
            ("https://localhost:8443/keys/k", "https://localhost:8443/keys/k".to_owned()),
        ] {
            assert_eq!(parsed(id).unwrap(), expected, "{id}");
        }
    }

    #[test]
    fn what_is_no_identifier_is_refused_and_told() {
        for (id, why) in [
            ("http://v.vault.azure.net/keys/k", "its scheme is http"),
            ("https://v.vault.azure.net/secrets/k", "names a secret"),
            ("https://v.vault.azure.net/keys/k/1/2", "too many parts"),
            ("https://v.vault.azure.net/keys/../secrets/k", "names a secret"),
            ("https://v.vault.azure.net/keys/a%2Fb", "is no name"),
            ("https://v.vault.azure.net/keys/k?x=1", "parts that identifiers have not"),
            ("https://u:p@v.vault.azure.net/keys/k", "parts that identifiers have not"),
            ("https://v.vault.azure.net/keys/", "is no name"),
            ("https://v.vault.azure.net/keys/k/a-b", "is no version"),
            ("https://h.managedhsm.azure.net/certificates/k", "keeps no certificates"),
            ("azurekms:name=k", "names no vault"),
            ("a b", "is no name"),
        ] {
            let error = parsed(id).unwrap_err();
            assert!(error.message.contains(why), "{id}: {error}");
        }
        let error = KeyName::parse("k", None, Cloud::Public).unwrap_err();
        assert!(error.message.contains("names no vault"), "{error}");
    }
}
