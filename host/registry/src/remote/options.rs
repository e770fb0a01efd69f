//! How a registry is spoken to: everything a caller decides, nothing read from the environment.

use std::time::Duration;

use crate::{Credentials, Error};

/// Options for one remote repository.
pub struct RemoteOptions {
    /// Speak plain HTTP. The caller decides; see [`crate::is_localhost`] for notation's rule.
    pub plain_http: bool,
    /// Additional CA certificates, each a PEM bundle or one DER certificate. The system's own stay trusted.
    pub ca_certificates: Vec<Vec<u8>>,
    /// Credentials, used when the registry asks for them.
    pub credentials: Credentials,
    /// `User-Agent` of every request, such as `prokura/0.1.0`.
    pub user_agent: String,
    /// Proxies, when the caller wants any.
    pub proxy: ProxySettings,
    /// Time limits.
    pub timeouts: Timeouts,
    /// Repetition of requests that a busy registry did not take.
    pub retry: Retry,
}

impl RemoteOptions {
    /// HTTPS, no credentials, no proxy, default times.
    pub fn new(user_agent: impl Into<String>) -> Self {
        Self {
            plain_http: false,
            ca_certificates: Vec::new(),
            credentials: Credentials::Anonymous,
            user_agent: user_agent.into(),
            proxy: ProxySettings::default(),
            timeouts: Timeouts::default(),
            retry: Retry::default(),
        }
    }
}

/// Proxies in the form of the usual environment variables. A proxy's own credentials may be in its URL.
#[derive(Clone, Default)]
pub struct ProxySettings {
    /// For `http` addresses (`HTTP_PROXY`).
    pub http: Option<String>,
    /// For `https` addresses (`HTTPS_PROXY`).
    pub https: Option<String>,
    /// Hosts that are reached directly, separated by commas (`NO_PROXY`).
    pub no_proxy: Option<String>,
}

/// Time limits of one remote repository.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a connection with its TLS handshake. Default 15 s.
    pub connect: Duration,
    /// Between two pieces of an answer. Default 60 s.
    pub idle: Duration,
    /// For one call of [`crate::Repository`] with all its requests, retries and pauses. Default 300 s.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connect: seconds(15), idle: seconds(60), total: seconds(300) }
    }
}

/// Repetition of idempotent requests after 429, 500, 502, 503, 504 or a failed connection.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// Attempts altogether; 1 means no repetition. Default 4.
    pub attempts: u32,
    /// Pause before the second attempt; it doubles from one to the next and is spread at random by half. A
    /// `Retry-After` in seconds takes its place. Default 500 ms.
    pub first_pause: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 4, first_pause: Duration::from_millis(500) }
    }
}

/// The HTTP client for `options`. Redirects are left to the caller, proxies come from the options alone.
pub(super) fn http_client(options: &RemoteOptions) -> Result<reqwest::Client, Error> {
    let mut extra = Vec::new();
    for bytes in &options.ca_certificates {
        extra.extend(certificates(bytes)?);
    }
    let what = if extra.is_empty() {
        "the TLS settings of this machine"
    } else {
        "the CA certificates of this machine or those given for the registry"
    };
    let unusable =
        |e: &reqwest::Error| Error::Configuration { what: what.into(), reason: super::answer::chain_text(e) };
    match builder(options)?.tls_certs_merge(extra.clone()).build() {
        Ok(client) => Ok(client),
        // A machine without system certificates still reaches plain HTTP and registries of the given CAs.
        Err(e) if options.plain_http || !extra.is_empty() => {
            let only = builder(options)?.tls_certs_only(extra).build();
            only.map_err(|_| unusable(&e))
        }
        Err(e) => Err(unusable(&e)),
    }
}

fn builder(options: &RemoteOptions) -> Result<reqwest::ClientBuilder, Error> {
    let mut builder = reqwest::Client::builder()
        .user_agent(&options.user_agent)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(options.timeouts.connect)
        .read_timeout(options.timeouts.idle)
        .no_proxy();
    let direct = options.proxy.no_proxy.as_deref().and_then(reqwest::NoProxy::from_string);
    let bad = |_| Error::Configuration {
        what: "the proxy address".into(),
        reason: "it is not a URL with scheme and host".into(),
    };
    if let Some(address) = &options.proxy.http {
        builder = builder.proxy(reqwest::Proxy::http(address).map_err(bad)?.no_proxy(direct.clone()));
    }
    if let Some(address) = &options.proxy.https {
        builder = builder.proxy(reqwest::Proxy::https(address).map_err(bad)?.no_proxy(direct));
    }
    Ok(builder)
}

fn certificates(bytes: &[u8]) -> Result<Vec<reqwest::Certificate>, Error> {
    let is_pem = bytes.windows(11).any(|w| w == b"-----BEGIN ");
    let parsed = if is_pem {
        reqwest::Certificate::from_pem_bundle(bytes)
    } else {
        reqwest::Certificate::from_der(bytes).map(|c| vec![c])
    };
    match parsed {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(Error::Configuration {
            what: "a CA certificate for the registry".into(),
            reason: "expected PEM certificates or one DER certificate".into(),
        }),
    }
}
