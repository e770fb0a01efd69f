//! HTTP with the vault: one request, one bounded answer, no judgement.

use std::time::{Duration, Instant};

use prokura_plugin::Error;
use reqwest::header::{HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use url::Url;
use zeroize::Zeroizing;

use crate::config::ConnectionConfig;
use crate::limits::{ANSWER_BYTES_MAX, ATTEMPT_TIME_MAX, CONNECT_TIME_MAX, IDLE_CONNECTIONS_MAX};
use crate::vault::tls;

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// Servers and agents may demand it, so that no browser can be made to ask.
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

/// What is asked of the vault, and what a policy must allow for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// GET.
    Read,
    /// GET with `list=true`.
    List,
    /// POST to something that is there already.
    Update,
    /// POST to something that is not there yet.
    Create,
}

impl Verb {
    /// The capability in a policy.
    pub(crate) const fn capability(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::List => "list",
            Self::Update => "update",
            Self::Create => "create",
        }
    }
}

/// One call, as it is made and as messages describe it.
#[derive(Debug)]
pub(crate) struct Call {
    /// What a policy must allow.
    pub(crate) verb: Verb,
    /// The path as it stands in a policy.
    pub(crate) path: String,
    /// JSON to send; may hold a secret, so it is shown nowhere.
    pub(crate) body: Option<Body>,
    /// What is attempted, in the form "sign with key x".
    pub(crate) doing: String,
}

/// JSON text that is wiped when dropped.
pub(crate) struct Body(Zeroizing<Vec<u8>>);

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({} bytes)", self.0.len())
    }
}

impl Call {
    /// A GET.
    pub(crate) fn read(path: impl Into<String>, doing: impl Into<String>) -> Self {
        Self { verb: Verb::Read, path: path.into(), body: None, doing: doing.into() }
    }

    /// A POST of JSON.
    pub(crate) fn write(
        verb: Verb,
        path: impl Into<String>,
        body: &impl serde::Serialize,
        doing: impl Into<String>,
    ) -> Result<Self, Error> {
        let body = Zeroizing::new(serde_json::to_vec(body).map_err(Error::internal)?);
        Ok(Self { verb, path: path.into(), body: Some(Body(body)), doing: doing.into() })
    }
}

/// What the vault answered. No `Debug`: the answer to a login holds a token.
pub(crate) struct Reply {
    /// HTTP status.
    pub(crate) status: StatusCode,
    /// How long it asks to wait.
    pub(crate) retry_after: Option<Duration>,
    /// The JSON document; `None` if the answer is empty.
    pub(crate) json: Option<Value>,
}

impl Reply {
    /// The `errors` of a refusal.
    pub(crate) fn errors(&self) -> Vec<&str> {
        let errors = self.json.as_ref().and_then(|json| json.get("errors")?.as_array());
        errors.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// The vault's id of the request, under which its audit log has it.
    pub(crate) fn request_id(&self) -> Option<&str> {
        self.json.as_ref()?.get("request_id")?.as_str().filter(|id| !id.is_empty())
    }
}

/// Why there is no answer of the vault's.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No connection: refused, no such host, reset.
    Unreachable(String),
    /// TLS was refused by either side; another attempt changes nothing.
    Untrusted(String),
    /// Nothing came in time.
    Slow,
    /// The answer broke off.
    Cut(String),
    /// The answer is larger than any of the vault's.
    TooLarge,
    /// The answer is no JSON: somebody else answered.
    NotJson(StatusCode),
    /// It sends us elsewhere, and not for the first time or not safely.
    Redirected(String),
}

/// A connection pool to one vault.
pub(crate) struct Client {
    http: reqwest::Client,
    address: Url,
    namespace: Option<HeaderValue>,
}

impl Client {
    /// Reads the TLS files; connects to nothing yet.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` naming the file that is unfit.
    pub(crate) fn new(config: &ConnectionConfig) -> Result<Self, Error> {
        let builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIME_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            // Whoever is redirected to would get the token in a header that reqwest does not know to be secret.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("notation-vault/", env!("CARGO_PKG_VERSION")));
        let (builder, address) = tls::apply(builder, config)?;
        let http = builder.build().map_err(|e| {
            Error::internal(format!(
                "no TLS client can be set up from the system's trust store: {}",
                reasons(&e)
            ))
        })?;
        let namespace = config.namespace.as_deref().map(HeaderValue::from_str).transpose();
        let namespace =
            namespace.map_err(|_| Error::validation("the namespace holds characters no header may have"))?;
        Ok(Self { http, address, namespace })
    }

    /// Makes a call once; follows one redirect, as a standby may send to the active node.
    pub(crate) async fn call(
        &self,
        call: &Call,
        token: Option<&str>,
        until: Instant,
    ) -> Result<Reply, Failure> {
        let time = until.saturating_duration_since(Instant::now()).min(ATTEMPT_TIME_MAX);
        let answered = tokio::time::timeout(time, self.follow(call, token)).await;
        answered.unwrap_or(Err(Failure::Slow))
    }

    async fn follow(&self, call: &Call, token: Option<&str>) -> Result<Reply, Failure> {
        let mut url = self.address.clone();
        url.set_path(&format!("{}v1/{}", self.address.path(), call.path));
        url.set_query((call.verb == Verb::List).then_some("list=true"));
        let response = self.send(call, token, url.clone()).await?;
        if !response.status().is_redirection() {
            return read(response).await;
        }
        let response = self.send(call, token, target(&url, &response)?).await?;
        if response.status().is_redirection() {
            return Err(Failure::Redirected("the node it sends to sends elsewhere again".to_owned()));
        }
        read(response).await
    }

    async fn send(&self, call: &Call, token: Option<&str>, url: Url) -> Result<reqwest::Response, Failure> {
        let method = if call.body.is_some() { Method::POST } else { Method::GET };
        let mut request = self.http.request(method, url).header(REQUEST, "true");
        if let Some(namespace) = &self.namespace {
            request = request.header(NAMESPACE, namespace.clone());
        }
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(token).map_err(|_| {
                Failure::Untrusted("the token holds characters no header may have".to_owned())
            })?;
            value.set_sensitive(true);
            request = request.header(TOKEN, value);
        }
        if let Some(Body(json)) = &call.body {
            request = request.header(reqwest::header::CONTENT_TYPE, "application/json").body(json.to_vec());
        }
        request.send().await.map_err(|e| failure(&e))
    }
}

/// Where a redirect leads: never from https to http, and only where this vault's paths lead.
fn target(from: &Url, response: &reqwest::Response) -> Result<Url, Failure> {
    let location = response.headers().get(LOCATION).and_then(|l| l.to_str().ok()).unwrap_or_default();
    let to =
        from.join(location).map_err(|_| Failure::Redirected(format!("to {location:?}, which is no URL")))?;
    if from.scheme() == "https" && to.scheme() != "https" {
        return Err(Failure::Redirected(format!("from https to {}", to.scheme())));
    }
    if to.path() != from.path() || !matches!(to.scheme(), "http" | "https") {
        return Err(Failure::Redirected(format!("to {:?}, another path than was asked for", to.path())));
    }
    Ok(to)
}

async fn read(mut response: reqwest::Response) -> Result<Reply, Failure> {
    let status = response.status();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok());
    let retry_after = retry_after.and_then(|v| v.trim().parse().ok()).map(Duration::from_secs);
    let mut body = Zeroizing::new(Vec::new());
    while let Some(part) = response.chunk().await.map_err(|e| failure(&e))? {
        if body.len() + part.len() > ANSWER_BYTES_MAX {
            return Err(Failure::TooLarge);
        }
        body.extend_from_slice(&part);
    }
    let json = match serde_json::from_slice(&body) {
        Ok(json) => Some(json),
        Err(_) if body.is_empty() => None,
        // What stands in front of a vault answers in HTML; its status says enough.
        Err(_) if !status.is_success() => None,
        Err(_) => return Err(Failure::NotJson(status)),
    };
    Ok(Reply { status, retry_after, json })
}

fn failure(error: &reqwest::Error) -> Failure {
    let reasons = reasons(error);
    if error.is_timeout() {
        return Failure::Slow;
    }
    if tls::is_refusal(error) {
        return Failure::Untrusted(reasons);
    }
    if error.is_connect() || error.is_request() {
        Failure::Unreachable(reasons)
    } else {
        Failure::Cut(reasons)
    }
}

/// The innermost reasons, which say more than "error sending request".
fn reasons(error: &dyn std::error::Error) -> String {
    let mut reasons = Vec::new();
    let mut next = error.source();
    while let Some(reason) = next {
        reasons.push(reason.to_string());
        next = reason.source();
    }
    match reasons.as_slice() {
        [.., last] => last.clone(),
        [] => error.to_string(),
    }
}
