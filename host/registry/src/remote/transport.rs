//! Requests to one registry: credentials for its own origin only, redirects by hand, retries of what may be repeated.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{
    AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;

use super::auth::{Access, Auth};
use super::challenge;
use super::options::Retry;
use crate::error::is_transient;
use crate::limits::{ERROR_BYTES_MAX, REDIRECTS_MAX, RETRY_AFTER_MAX};
use crate::{Error, text};

/// One request, complete enough to be sent again.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) access: Access,
    /// Whether sending it twice does no harm. Writes of a manifest are, steps of an upload are not.
    pub(crate) idempotent: bool,
}

impl Call {
    pub(crate) fn new(method: Method, url: Url, access: Access) -> Self {
        let idempotent = method != Method::POST;
        Self { method, url, headers: HeaderMap::new(), body: Bytes::new(), access, idempotent }
    }

    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Result<Self, Error> {
        let value = HeaderValue::from_str(value).map_err(|_| Error::Configuration {
            what: format!("the value of the header {name}"),
            reason: "it has characters that no HTTP header can carry".into(),
        })?;
        self.headers.insert(name, value);
        Ok(self)
    }

    /// Method and path, without the query: upload addresses carry signed state in theirs.
    fn shown(&self, url: &Url) -> String {
        format!("{} {}", self.method, text::printable(url.path()))
    }
}

/// Sends requests and repeats those that may be; knows nothing of redirects or credentials.
pub(crate) struct Wire {
    client: reqwest::Client,
    retry: Retry,
}

/// An answer whose body was not read yet.
pub(crate) struct Answer {
    response: Response,
    pub(crate) url: Url,
    pub(crate) request: String,
    /// A `Retry-After` too long to wait for.
    wait_asked: Option<u64>,
}

/// A registry: its address and its credentials.
pub(crate) struct Transport {
    wire: Wire,
    pub(crate) base: Url,
    auth: Auth,
}

impl Transport {
    pub(crate) fn new(client: reqwest::Client, retry: Retry, base: Url, auth: Auth) -> Self {
        Self { wire: Wire { client, retry }, base, auth }
    }

    /// Sends a request, answers one challenge of the registry, follows up to five redirects.
    pub(crate) async fn send(&self, call: &Call) -> Result<Answer, Error> {
        let mut url = call.url.clone();
        let mut at_home = same_origin(&url, &self.base);
        for _ in 0..=REDIRECTS_MAX {
            let (answer, carried) = self.send_with_credentials(call, url, at_home).await?;
            if !is_redirect(answer.status()) {
                return Ok(answer);
            }
            url = redirect_target(call, &answer, carried)?;
            // Once another host was asked, whatever it points back to gets no credentials either.
            at_home = at_home && same_origin(&url, &self.base);
        }
        Err(Error::Redirect {
            from: origin_text(&self.base),
            request: call.shown(&call.url),
            to: origin_text(&url),
            reason: "it is one redirect too many, 5 are followed",
        })
    }

    /// One hop. Credentials go to the registry's own origin and nowhere else. Says whether any were sent.
    async fn send_with_credentials(
        &self,
        call: &Call,
        url: Url,
        at_home: bool,
    ) -> Result<(Answer, bool), Error> {
        if !at_home {
            return Ok((self.wire.send(call, url, None).await?, false));
        }
        let known = self.auth.known(call.access).await?;
        let refused = known.is_some();
        let answer = self.wire.send(call, url.clone(), known).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok((answer, refused));
        }
        let challenges = answer.challenges();
        let header = self.auth.answer(&self.wire, &challenges, call.access, refused).await?;
        let answer = self.wire.send(call, url, Some(header)).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            let detail = answer.error_detail().await;
            return Err(self.auth.unauthorized("the login was not accepted", &detail));
        }
        Ok((answer, true))
    }
}

impl Wire {
    pub(crate) async fn send(
        &self,
        call: &Call,
        url: Url,
        login: Option<HeaderValue>,
    ) -> Result<Answer, Error> {
        let mut attempt = 1;
        loop {
            let is_last = !call.idempotent || attempt >= self.retry.attempts;
            let sent = self.client.execute(request(call, &url, login.as_ref())).await;
            let pause = match &sent {
                Ok(response) if is_transient(response.status().as_u16()) => retry_after(response),
                Err(error) if error.is_connect() => None,
                _ => return finish(call, url, sent, None),
            };
            let too_long = pause.filter(|pause| *pause > RETRY_AFTER_MAX);
            if is_last || too_long.is_some() {
                return finish(call, url, sent, too_long);
            }
            tokio::time::sleep(pause.unwrap_or_else(|| self.back_off(attempt))).await;
            attempt += 1;
        }
    }

    fn back_off(&self, attempt: u32) -> Duration {
        spread(self.retry.first_pause.saturating_mul(1 << (attempt - 1).min(6))).min(RETRY_AFTER_MAX)
    }
}

impl Answer {
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// A header's value, when it is there once and is plain text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    pub(crate) fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.response.headers().get_all(name).iter().filter_map(|v| v.to_str().ok())
    }

    /// The media type of the body, without parameters.
    pub(crate) fn content_type(&self) -> Option<String> {
        let value = self.header(CONTENT_TYPE.as_str())?.split(';').next()?.trim();
        Some(value.to_ascii_lowercase()).filter(|v| !v.is_empty())
    }

    /// Reads the body, at most `limit_bytes` of it, whatever its announced length; `what` names it in errors.
    pub(crate) async fn body(mut self, limit_bytes: u64, what: &str) -> Result<Bytes, Error> {
        let too_large = |found| Error::TooLarge { what: text::printable(what), found, limit_bytes };
        if let Some(announced) = self.response.content_length().filter(|length| *length > limit_bytes) {
            return Err(too_large(Some(announced)));
        }
        let mut body = BytesMut::new();
        loop {
            match self.response.chunk().await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Ok(body.freeze()),
                Err(error) => {
                    let cut =
                        format!("{what} was cut off after {} bytes: {}", body.len(), chain_text(&error));
                    return Err(self.network(cut));
                }
            }
            if body.len() as u64 > limit_bytes {
                return Err(too_large(None));
            }
        }
    }

    /// The error for a status that was not expected, with the registry's own words.
    pub(crate) async fn refuse(self) -> Error {
        let (origin, status) = (origin_text(&self.url), self.status().as_u16());
        let (request, wait_asked) = (self.request.clone(), self.wait_asked);
        let mut detail = self.error_detail().await;
        if let Some(seconds) = wait_asked {
            let asked = format!(
                "it asks to wait {seconds} s, the most that is waited is {} s",
                RETRY_AFTER_MAX.as_secs()
            );
            detail = if detail.is_empty() { asked } else { format!("{detail}; {asked}") };
        }
        Error::Refused { origin, status, request, detail }
    }

    /// The registry's words for an error, made safe; empty when it has none.
    pub(crate) async fn error_detail(mut self) -> String {
        let mut body = BytesMut::new();
        while (body.len() as u64) < ERROR_BYTES_MAX {
            match self.response.chunk().await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                _ => break,
            }
        }
        error_words(&body)
    }

    pub(crate) fn protocol(&self, reason: impl Into<String>) -> Error {
        let (origin, request) = (origin_text(&self.url), self.request.clone());
        Error::Protocol { origin, request, reason: reason.into() }
    }

    /// An address the registry named, relative to the one asked; never from https to another scheme.
    pub(crate) fn target(&self, address: &str) -> Result<Url, Error> {
        let redirect = |to: String, reason| {
            let (from, request) = (origin_text(&self.url), self.request.clone());
            Error::Redirect { from, request, to, reason }
        };
        let next = self.url.join(address);
        let next = next.map_err(|_| redirect(text::printable(address), "it is not an address"))?;
        let reason = match next.scheme() {
            "https" => None,
            "http" if self.url.scheme() == "http" => None,
            "http" => Some("it leads from https to plain http"),
            _ => Some("it is neither http nor https"),
        };
        if let Some(reason) = reason {
            return Err(redirect(origin_text(&next), reason));
        }
        if !next.username().is_empty() || next.password().is_some() {
            return Err(redirect(origin_text(&next), "it has a user name or password in it"));
        }
        Ok(next)
    }

    fn challenges(&self) -> Vec<challenge::Challenge> {
        self.headers(WWW_AUTHENTICATE.as_str()).flat_map(challenge::parse).collect()
    }

    fn network(&self, reason: String) -> Error {
        Error::Network { origin: origin_text(&self.url), request: self.request.clone(), reason }
    }
}

fn request(call: &Call, url: &Url, login: Option<&HeaderValue>) -> reqwest::Request {
    let mut request = reqwest::Request::new(call.method.clone(), url.clone());
    *request.headers_mut() = call.headers.clone();
    if let Some(login) = login {
        request.headers_mut().insert(AUTHORIZATION, login.clone());
    }
    if !matches!(call.method, Method::GET | Method::HEAD | Method::DELETE) {
        *request.body_mut() = Some(call.body.clone().into());
    }
    request
}

fn finish(
    call: &Call,
    url: Url,
    sent: Result<Response, reqwest::Error>,
    wait_asked: Option<Duration>,
) -> Result<Answer, Error> {
    let request = call.shown(&url);
    match sent {
        Ok(response) => Ok(Answer { response, url, request, wait_asked: wait_asked.map(|w| w.as_secs()) }),
        Err(error) => {
            let (origin, reason) = (origin_text(&url), chain_text(&error));
            if reason.contains("invalid peer certificate") {
                return Err(Error::Tls { origin, reason });
            }
            Err(Error::Network { origin, request, reason })
        }
    }
}

fn redirect_target(call: &Call, answer: &Answer, carried: bool) -> Result<Url, Error> {
    let location = answer.header(LOCATION.as_str());
    let location = location.ok_or_else(|| answer.protocol("a redirect without a Location"))?;
    let next = answer.target(location)?;
    let is_read = matches!(call.method, Method::GET | Method::HEAD);
    let keeps_method = matches!(answer.status().as_u16(), 307 | 308);
    let reason = match () {
        () if is_read => return Ok(next),
        () if carried && !same_origin(&answer.url, &next) => {
            "a write with credentials is not sent to another host"
        }
        () if !keeps_method => "a write is only repeated elsewhere after 307 or 308",
        () => return Ok(next),
    };
    let (from, request) = (origin_text(&answer.url), answer.request.clone());
    Err(Error::Redirect { from, request, to: origin_text(&next), reason })
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

pub(crate) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme() && a.host() == b.host() && a.port_or_known_default() == b.port_or_known_default()
}

/// Scheme, host and port: what may be shown of an address that can carry secrets in its query.
pub(crate) fn origin_text(url: &Url) -> String {
    let port = url.port().map(|p| format!(":{p}")).unwrap_or_default();
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
}

/// Only the form in seconds is understood; a date would need the time of day.
fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}

/// `pause`, shortened or lengthened by up to half at random, so that clients that failed together part.
pub(crate) fn spread(pause: Duration) -> Duration {
    let mut random = [0_u8; 1];
    // Without randomness the pause is merely not spread.
    let _ = aws_lc_rs::rand::fill(&mut random);
    pause.mul_f64(0.5 + f64::from(random[0]) / 255.0)
}

/// The error and what caused it, without addresses: their queries may carry secrets.
pub(crate) fn chain_text(error: &reqwest::Error) -> String {
    let mut parts = Vec::new();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let part = text::printable(&error.to_string());
        if parts.last() != Some(&part) {
            parts.push(part);
        }
        source = error.source();
    }
    if parts.is_empty() { "the request could not be made".to_owned() } else { parts.join(": ") }
}

/// `{"errors":[{"code":..,"message":..}]}` of the distribution specification, or of a token service.
fn error_words(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Words {
        #[serde(default)]
        errors: Vec<Word>,
        #[serde(default)]
        details: Option<String>,
    }
    #[derive(Deserialize)]
    struct Word {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let Ok(words) = serde_json::from_slice::<Words>(body) else {
        return String::new();
    };
    let each = words.errors.iter().map(|w| format!("{}: {}", w.code, w.message));
    let all: Vec<String> = each.chain(words.details).take(4).collect();
    text::printable(&all.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let url = |s: &str| Url::parse(s).unwrap();
        assert!(same_origin(&url("https://r.example/a"), &url("https://r.example:443/b")));
        for other in
            ["http://r.example/", "https://r.example:444/", "https://r.example.evil/", "https://x.r.example/"]
        {
            assert!(!same_origin(&url("https://r.example/"), &url(other)), "{other}");
        }
        assert_eq!(origin_text(&url("https://r.example:5000/a?token=secret#x")), "https://r.example:5000");
    }

    #[test]
    fn the_registrys_words_are_made_safe() {
        let body = "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"no \\u001b[2J way\"}]}";
        assert_eq!(error_words(body.as_bytes()), "DENIED: no  [2J way");
        assert_eq!(error_words(b"<html>"), "");
    }

    #[test]
    fn pauses_are_spread_by_half_at_most() {
        for _ in 0..50 {
            let pause = spread(Duration::from_millis(100));
            assert!((Duration::from_millis(50)..=Duration::from_millis(150)).contains(&pause), "{pause:?}");
        }
    }
}
