//! Fetching an issuer's discovery document (OpenID Connect Discovery 1.0, section 4) and its JWK set (RFC 7517).

use std::time::Duration;

use reqwest::header::{ACCEPT, CACHE_CONTROL};
use reqwest::{Certificate, Client, Response, StatusCode, redirect};
use serde_json::{Map, Value};
use url::Url;

use super::algorithm::IssuerKey;
use super::issuer::{IssuerConfig, IssuerError};
use super::refusal::quoted;
use super::strict_json;
use crate::limits::{
    DISCOVERY_BYTES_MAX, ISSUER_CONNECT_DEADLINE, ISSUER_DEADLINE, JWKS_BYTES_MAX, JWKS_KEYS_MAX, KEYS_FRESH,
    KEYS_FRESH_MAX, KEYS_FRESH_MIN,
};

/// Where the keys of one issuer come from.
pub(crate) struct Source {
    config: IssuerConfig,
    client: Client,
}

/// What was fetched, and for how long the issuer says it holds, within bounds.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) keys: Vec<IssuerKey>,
    pub(crate) fresh_for: Duration,
}

impl Source {
    pub(crate) fn new(config: IssuerConfig) -> Result<Self, IssuerError> {
        config.check()?;
        let client = client(&config).map_err(|e| IssuerError {
            issuer: quoted(&config.issuer),
            found: format!("CAs that cannot be used: {}", quoted(&e.to_string())),
            expected: "X.509 CA certificates".to_owned(),
        })?;
        Ok(Self { config, client })
    }

    /// Two requests, bounded in size and together in time. The error is for the operator; it names no token.
    pub(crate) async fn fetch(&self) -> Result<Fetched, String> {
        tokio::time::timeout(ISSUER_DEADLINE, self.both())
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", ISSUER_DEADLINE.as_secs())))
    }

    async fn both(&self) -> Result<Fetched, String> {
        let issuer = &self.config.issuer;
        let address = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let (discovery, _) = self.document(&address, DISCOVERY_BYTES_MAX).await?;
        let text = |name: &str| discovery.get(name).and_then(Value::as_str);
        let found = text("issuer").ok_or_else(|| format!("{address} has no text `issuer`"))?;
        if found != issuer {
            return Err(format!("{address} is of issuer {:?}", quoted(found)));
        }
        let address = text("jwks_uri").ok_or_else(|| format!("{address} has no text `jwks_uri`"))?;
        let (set, fresh_for) = self.document(address, JWKS_BYTES_MAX).await?;
        let keys = keys(&set).map_err(|e| format!("{}: {e}", quoted(address)))?;
        Ok(Fetched { keys, fresh_for })
    }

    async fn document(&self, address: &str, limit: usize) -> Result<(Map<String, Value>, Duration), String> {
        let url = self.config.check_url(address).map_err(|e| e.to_string())?;
        let mut response = self.ask(url).await.map_err(|e| format!("{}: {e}", quoted(address)))?;
        let fresh_for = fresh_for(&response);
        let bytes = body(&mut response, limit).await.map_err(|e| format!("{}: {e}", quoted(address)))?;
        let object =
            strict_json::parse_object(&bytes).map_err(|e| format!("{}: {}", quoted(address), quoted(&e)))?;
        Ok((object, fresh_for))
    }

    async fn ask(&self, url: Url) -> Result<Response, String> {
        let request = self.client.get(url).header(ACCEPT, "application/json, application/jwk-set+json");
        let response = request.send().await.map_err(|e| causes(&e))?;
        match response.status() {
            StatusCode::OK => Ok(response),
            other => Err(format!("HTTP status {other}, expected 200")),
        }
    }
}

/// No redirects (a document moves by configuration), no proxy from the environment, no cookies.
fn client(config: &IssuerConfig) -> reqwest::Result<Client> {
    let mut builder = Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .https_only(!config.plain_http_on_loopback)
        .connect_timeout(ISSUER_CONNECT_DEADLINE)
        .timeout(ISSUER_DEADLINE);
    if !config.authorities.is_empty() {
        let roots =
            config.authorities.iter().map(|der| Certificate::from_der(der)).collect::<Result<Vec<_>, _>>()?;
        builder = builder.tls_certs_only(roots);
    }
    builder.build()
}

async fn body(response: &mut Response, limit: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| causes(&e))? {
        if bytes.len() + chunk.len() > limit {
            return Err(format!("more than {limit} bytes"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// RFC 9111, section 5.2.2.1, within bounds.
fn fresh_for(response: &Response) -> Duration {
    let header = response.headers().get(CACHE_CONTROL).and_then(|value| value.to_str().ok());
    header.map_or(KEYS_FRESH, bounded_max_age)
}

fn bounded_max_age(cache_control: &str) -> Duration {
    let mut directives = cache_control.split(',').map(|directive| directive.trim().to_ascii_lowercase());
    let seconds = directives.find_map(|directive| match directive.as_str() {
        "no-store" | "no-cache" => Some(0),
        other => other.strip_prefix("max-age=")?.trim_matches('"').parse::<u64>().ok(),
    });
    seconds.map_or(KEYS_FRESH, Duration::from_secs).clamp(KEYS_FRESH_MIN, KEYS_FRESH_MAX)
}

fn keys(set: &Map<String, Value>) -> Result<Vec<IssuerKey>, String> {
    let list = set.get("keys").and_then(Value::as_array).ok_or("no array `keys`")?;
    if list.len() > JWKS_KEYS_MAX {
        return Err(format!("{} keys, at most {JWKS_KEYS_MAX} are read", list.len()));
    }
    let keys: Vec<_> = list.iter().filter_map(Value::as_object).filter_map(IssuerKey::parse).collect();
    if keys.is_empty() { Err("no key that verifies signatures".to_owned()) } else { Ok(keys) }
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    quoted(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_age_is_honoured_within_bounds() {
        for (header, expected) in [
            ("max-age=600", Duration::from_secs(600)),
            ("public, MAX-AGE=600, must-revalidate", Duration::from_secs(600)),
            ("max-age=0", KEYS_FRESH_MIN),
            ("no-store", KEYS_FRESH_MIN),
            ("max-age=99999999", KEYS_FRESH_MAX),
            ("max-age=99999999999999999999999", KEYS_FRESH),
            ("private", KEYS_FRESH),
        ] {
            assert_eq!(bounded_max_age(header), expected, "{header}");
        }
    }
}
