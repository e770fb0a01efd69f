//! Bearer tokens at their source: read or asked for when they are needed, kept until shortly before their end, wiped.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use prokura_plugin::{Error, Scope};
use serde::Deserialize;
use tonic::metadata::{Ascii, MetadataValue};
use url::{Host, Url};
use zeroize::Zeroizing;

use super::secret;
use crate::config::{Environment, TokenFrom};
use crate::limits::{TOKEN_BYTES_MAX, TOKEN_MARGIN, TOKEN_TIME_MAX};

const GITHUB_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
const GITHUB_TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";

/// A token. Neither `Debug` nor `Clone`.
pub(super) struct Token(Zeroizing<String>);

impl Token {
    /// The value of the header `authorization`, which logs and Debug leave out.
    ///
    /// # Errors
    /// `ACCESS_DENIED` if it holds what no header may; its value is not told.
    pub(super) fn header(&self) -> Result<MetadataValue<Ascii>, Error> {
        let text = Zeroizing::new(format!("Bearer {}", self.0.as_str()));
        let mut value: MetadataValue<Ascii> = text.parse().map_err(|_| unfit("holds what is no token"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Where tokens come from, and the one in use.
pub(super) struct Tokens {
    source: TokenFrom,
    environment: Environment,
    kept: Mutex<Option<(Arc<Token>, Timestamp)>>,
}

impl Tokens {
    pub(super) fn new(source: TokenFrom, environment: Environment) -> Self {
        Self { source, environment, kept: Mutex::default() }
    }

    /// A token that is good for a while; `None` if none is shown.
    ///
    /// # Errors
    /// `ACCESS_DENIED` naming the source and why it has none.
    pub(super) async fn token(&self) -> Result<Option<Arc<Token>>, Error> {
        match &self.source {
            TokenFrom::Nowhere => Ok(None),
            TokenFrom::File(path) => self.checked(from_file(path)?).map(|(token, _)| Some(token)),
            TokenFrom::Variable(name) => {
                let missing = || {
                    Error::access_denied(format!(
                        "the variable {name}, which should hold the id token, is not set. In GitLab it is declared under \
                         `id_tokens:` of the job; prokura hands on variables that start with PROKURA_PLUGIN_"
                    ))
                };
                let secret = self.environment.secret(name).ok_or_else(missing)?;
                self.checked(secret).map(|(token, _)| Some(token))
            }
            TokenFrom::GitHub { audience } => {
                if let Some(kept) = self.still_good() {
                    return Ok(Some(kept));
                }
                let (token, end) = self.checked(from_github(&self.environment, audience).await?)?;
                *self.locked() = end.map(|end| (Arc::clone(&token), end));
                Ok(Some(token))
            }
        }
    }

    /// Lets go of a token the broker does not take; whether another one can be had now.
    pub(super) fn forget(&self) -> bool {
        self.locked().take().is_some()
    }

    fn still_good(&self) -> Option<Arc<Token>> {
        let kept = self.locked();
        let (token, end) = kept.as_ref()?;
        (self.environment.now() < *end - TOKEN_MARGIN).then(|| Arc::clone(token))
    }

    /// Refuses a token that is over: the broker would say no more than that.
    fn checked(&self, secret: Zeroizing<String>) -> Result<(Arc<Token>, Option<Timestamp>), Error> {
        let (now, from) = (self.environment.now(), self.source.described());
        let end = end_of(&secret);
        match end.filter(|end| *end <= now) {
            Some(end) => Err(Error::access_denied(format!(
                "{from} ended at {end}, and it is {now}; whoever issues it must renew it, or the job must sign sooner"
            ))
            .with_scope(Scope::Session)),
            None => Ok((Arc::new(Token(secret)), end)),
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Option<(Arc<Token>, Timestamp)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a JWT ends, as it says itself; nobody has verified it.
fn end_of(token: &str) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
    }
    let payload = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?);
    let claims: Claims = serde_json::from_slice(&payload).ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "saturates; a time out of range is none")]
    Timestamp::from_second(claims.exp as i64).ok()
}

fn from_file(path: &Path) -> Result<Zeroizing<String>, Error> {
    let shown = path.display();
    let refuse = |why: String| Error::access_denied(format!("token file {shown}: {why}"));
    let is_projected = path.starts_with("/var/run/secrets") || path.starts_with("/run/secrets");
    if !is_projected {
        // Kubernetes mounts its tokens for everybody in the pod, whose own they are.
        secret::check_readers(path)
            .map_err(|why| Error::access_denied(why.replace("{what}", "token file")))?;
    }
    let bytes = secret::bounded(path, TOKEN_BYTES_MAX).map_err(refuse)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| refuse("it holds no text".to_owned()))?.trim();
    if text.is_empty() || text.contains(char::is_whitespace) {
        return Err(refuse("expected one token and nothing else".to_owned()));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

/// Asks the runner for a token (GitHub, "OpenID Connect reference").
async fn from_github(environment: &Environment, audience: &str) -> Result<Zeroizing<String>, Error> {
    let missing = || {
        unfit(
            "cannot be had: ACTIONS_ID_TOKEN_REQUEST_URL and ACTIONS_ID_TOKEN_REQUEST_TOKEN are not set; give the job \
             `permissions: id-token: write`",
        )
    };
    let address = environment.text(GITHUB_URL).ok_or_else(missing)?;
    let secret = environment.secret(GITHUB_TOKEN).ok_or_else(missing)?;
    let mut url =
        Url::parse(&address).map_err(|_| unfit("cannot be had: ACTIONS_ID_TOKEN_REQUEST_URL is no URL"))?;
    let is_local = matches!(url.host(), Some(Host::Ipv4(address)) if address.is_loopback());
    if url.scheme() != "https" && !is_local {
        return Err(unfit("is not asked for: ACTIONS_ID_TOKEN_REQUEST_URL is not https"));
    }
    url.query_pairs_mut().append_pair("audience", audience);
    let failed = |e: reqwest::Error| {
        let why = e.without_url();
        unfit(&format!("cannot be had: {why}")).retryable(true).with_scope(Scope::Session)
    };
    let client = reqwest::Client::builder()
        .timeout(TOKEN_TIME_MAX)
        .redirect(reqwest::redirect::Policy::none())
        .https_only(!is_local);
    let client = if is_local { client.no_proxy() } else { client };
    let client = client.build().map_err(failed)?;
    let mut answer = client.get(url).bearer_auth(secret.as_str()).send().await.map_err(failed)?;
    if !answer.status().is_success() {
        let status = answer.status().as_u16();
        return Err(unfit(&format!("cannot be had: GitHub answered HTTP {status}")).retryable(status >= 500));
    }
    let mut body = Zeroizing::new(Vec::with_capacity(TOKEN_BYTES_MAX as usize + 1));
    while let Some(part) = answer.chunk().await.map_err(failed)? {
        if (body.len() + part.len()) as u64 > TOKEN_BYTES_MAX {
            return Err(unfit("is too large"));
        }
        body.extend_from_slice(&part);
    }
    value(&body).ok_or_else(|| unfit("cannot be had: GitHub's answer has no value"))
}

fn value(body: &[u8]) -> Option<Zeroizing<String>> {
    #[derive(Deserialize)]
    struct Answer {
        value: String,
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    Some(Zeroizing::new(answer.value)).filter(|value| !value.is_empty())
}

fn unfit(why: &str) -> Error {
    Error::access_denied(format!("the token for the broker {why}"))
}

#[cfg(test)]
mod tests;
