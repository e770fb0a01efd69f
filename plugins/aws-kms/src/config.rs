//! Plugin config, parsed into types at the door.

pub(crate) mod key_name;

use prokura_plugin::{Error, KeyRequest, VaultRequest};

use crate::certificate::Source;
use crate::config::key_name::KeyName;
use crate::limits::GRANT_TOKENS_MAX;

/// What the plugin config may hold.
pub(crate) const NAMES: &[&str] = &[
    "region",
    "certificate",
    "credentials",
    "profile",
    "grant_tokens",
    "endpoint",
    "fips",
    "dual_stack",
    "multi_region",
];

/// All that a request for a key says.
#[derive(Debug)]
pub(crate) struct KeyConfig {
    /// Which key.
    pub(crate) name: KeyName,
    /// Where it is and who asks.
    pub(crate) place: Place,
    /// Where its certificate is, if not in the bundle alone.
    pub(crate) certificate: Option<Source>,
    /// Tokens of grants too young to be known everywhere.
    pub(crate) grant_tokens: Vec<String>,
}

/// Region, endpoint and credentials: what keys share a session by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// `eu-central-1`; if none, the environment or the profile says.
    pub(crate) region: Option<String>,
    /// Endpoint of KMS instead of the region's own.
    pub(crate) endpoint: Option<String>,
    /// Endpoints validated under FIPS 140.
    pub(crate) fips: Option<bool>,
    /// Endpoints reached over IPv6 too.
    pub(crate) dual_stack: Option<bool>,
    /// Profile in the shared AWS configuration.
    pub(crate) profile: Option<String>,
    /// The one source of credentials to use.
    pub(crate) credentials: CredentialSource,
}

/// Where credentials come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum CredentialSource {
    /// The first of the others that has any, in their order.
    #[default]
    Automatic,
    /// `AWS_ACCESS_KEY_ID` and its kin.
    Environment,
    /// What the profile says: keys, a role, a process, IAM Identity Center.
    Profile,
    /// IAM Identity Center, as the profile says.
    Sso,
    /// A token in a file (`AWS_WEB_IDENTITY_TOKEN_FILE`).
    WebIdentity,
    /// The endpoint of ECS, EKS Pod Identity or Greengrass.
    Container,
    /// The instance metadata service of EC2, version 2.
    Metadata,
}

impl CredentialSource {
    const ALL: [Self; 7] = [
        Self::Automatic,
        Self::Environment,
        Self::Profile,
        Self::Sso,
        Self::WebIdentity,
        Self::Container,
        Self::Metadata,
    ];

    /// The word in the plugin config.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::Environment => "environment",
            Self::Profile => "profile",
            Self::Sso => "sso",
            Self::WebIdentity => "web-identity",
            Self::Container => "container",
            Self::Metadata => "imds",
        }
    }
}

impl KeyConfig {
    /// Reads key id and plugin config.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` naming the entry and what is expected.
    pub(crate) fn of(request: &KeyRequest) -> Result<Self, Error> {
        let name = KeyName::parse(request.key_id().as_str())?;
        let mut place = Place::of(request.vault())?;
        agree(&mut place.region, name.region(), "region")?;
        agree(&mut place.endpoint, name.endpoint(), "endpoint")?;
        let certificate = request.config_optional("certificate").map(Source::parse).transpose()?;
        Ok(Self { name, place, certificate, grant_tokens: grant_tokens(request.vault())? })
    }
}

impl Place {
    /// Reads the entries that keys of one place share.
    ///
    /// # Errors
    /// As [`KeyConfig::of`].
    pub(crate) fn of(request: &VaultRequest) -> Result<Self, Error> {
        let text = |name: &str| request.config_optional(name).map(str::to_owned);
        let region = text("region");
        if region.as_deref().is_some_and(|r| !r.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')) {
            return Err(refused("region", &region.unwrap_or_default(), "a region such as eu-central-1"));
        }
        Ok(Self {
            region,
            endpoint: request.config_optional("endpoint").map(endpoint).transpose()?,
            fips: flag(request, "fips")?,
            dual_stack: flag(request, "dual_stack")?,
            profile: text("profile"),
            credentials: credentials(request)?,
        })
    }
}

/// Reads a switch.
///
/// # Errors
/// `VALIDATION_ERROR` unless it is `true` or `false`.
pub(crate) fn flag(request: &VaultRequest, name: &str) -> Result<Option<bool>, Error> {
    match request.config_optional(name) {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(other) => Err(refused(name, other, "true or false")),
    }
}

fn credentials(request: &VaultRequest) -> Result<CredentialSource, Error> {
    let Some(word) = request.config_optional("credentials") else { return Ok(CredentialSource::Automatic) };
    let words = CredentialSource::ALL.map(CredentialSource::as_str).join(", ");
    CredentialSource::ALL
        .into_iter()
        .find(|source| source.as_str() == word)
        .ok_or_else(|| refused("credentials", word, &format!("one of {words}")))
}

fn grant_tokens(request: &VaultRequest) -> Result<Vec<String>, Error> {
    let Some(text) = request.config_optional("grant_tokens") else { return Ok(Vec::new()) };
    let tokens: Vec<String> = text.split(',').map(|t| t.trim().to_owned()).collect();
    if tokens.iter().any(String::is_empty) || tokens.len() > GRANT_TOKENS_MAX {
        // A grant token is no secret, but it is long.
        let expected = format!("up to {GRANT_TOKENS_MAX} grant tokens separated by commas");
        return Err(refused("grant_tokens", "…", &expected));
    }
    Ok(tokens)
}

/// An address of KMS. Without TLS only on this machine: whoever stands in between could sign in its place.
fn endpoint(text: &str) -> Result<String, Error> {
    let expected = "https://HOST[:PORT], or http:// on this machine";
    if text.starts_with("https://") {
        return Ok(text.to_owned());
    }
    let host = text.strip_prefix("http://").map(|rest| rest.split('/').next().unwrap_or_default());
    let host = host.map(|h| h.rsplit_once(':').filter(|_| !h.ends_with(']')).map_or(h, |(name, _)| name));
    match host {
        Some("localhost" | "127.0.0.1" | "[::1]") => Ok(text.to_owned()),
        _ => Err(refused("endpoint", text, expected)),
    }
}

/// What stands in the key id and in the plugin config must be equal.
fn agree(configured: &mut Option<String>, named: Option<&str>, what: &str) -> Result<(), Error> {
    match (configured.as_deref(), named) {
        (Some(configured), Some(named)) if configured != named => Err(Error::validation(format!(
            "the key id names {what} {named}, but plugin config {what:?} is {configured}; remove one of them, or \
             correct the key id"
        ))),
        (None, Some(named)) => {
            *configured = Some(named.to_owned());
            Ok(())
        }
        _ => Ok(()),
    }
}

fn refused(name: &str, found: &str, expected: &str) -> Error {
    Error::validation(format!(
        "plugin config {name:?} is {found:?}, expected {expected}; set it with --plugin-config {name}=VALUE"
    ))
}

#[cfg(test)]
mod tests {
    use prokura_plugin::Deadline;

    use super::*;

    fn config(id: &str, entries: &[(&str, &str)]) -> Result<KeyConfig, Error> {
        let entries = entries.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        KeyConfig::of(&KeyRequest::new(id, entries, Deadline::NONE).unwrap())
    }

    #[test]
    fn the_region_of_an_arn_is_taken_and_must_not_be_contradicted() {
        let arn = "arn:aws:kms:eu-central-1:111122223333:alias/release";
        assert_eq!(config(arn, &[]).unwrap().place.region.as_deref(), Some("eu-central-1"));
        assert!(config(arn, &[("region", "eu-central-1")]).is_ok());
        let error = config(arn, &[("region", "us-east-1")]).unwrap_err();
        assert!(error.message.contains("names region eu-central-1, but plugin config"), "{error}");
    }

    #[test]
    fn values_that_cannot_work_are_refused_by_name() {
        for (name, value) in [
            ("fips", "yes"),
            ("dual_stack", "1"),
            ("credentials", "password"),
            ("region", "eu central"),
            ("endpoint", "http://kms.example"),
            ("endpoint", "http://127.0.0.1.example:80"),
            ("endpoint", "ftp://127.0.0.1"),
            ("grant_tokens", "a,,b"),
        ] {
            let error = config("alias/release", &[(name, value)]).unwrap_err();
            assert!(error.message.contains(&format!("{name:?}")), "{error}");
        }
        for good in
            ["https://kms.example", "http://127.0.0.1:80", "http://localhost:4566/x", "http://[::1]:80"]
        {
            assert!(config("alias/release", &[("endpoint", good)]).is_ok(), "{good}");
        }
    }

    #[test]
    fn grant_tokens_are_a_list() {
        let config = config("alias/release", &[("grant_tokens", "one, two")]).unwrap();
        assert_eq!(config.grant_tokens, ["one", "two"]);
    }
}
