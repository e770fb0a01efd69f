//! Requests to one registry: credentials for its own origin only, redirects by hand, retries of what may be repeated.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, Url};

use super::answer::{Answer, chain_text, origin_text};
use super::auth::{Access, Auth};
use super::options::Retry;
use crate::error::is_transient;
use crate::limits::{REDIRECTS_MAX, RETRY_AFTER_MAX};
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
            let begun = Instant::now();
            let sent = self.client.execute(request(call, &url, login.as_ref())).await;
            log(call, &url, attempt, begun.elapsed(), &sent);
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

/// For `--debug`: no headers and no query, in which credentials are.
fn log(call: &Call, url: &Url, attempt: u32, took: Duration, sent: &Result<Response, reqwest::Error>) {
    let (origin, request, took_ms) = (origin_text(url), call.shown(url), took.as_millis());
    match sent {
        Ok(response) => {
            let status = response.status().as_u16();
            tracing::debug!(%origin, %request, status, attempt, took_ms, "registry request");
        }
        Err(error) => {
            tracing::debug!(%origin, %request, error = chain_text(error), attempt, took_ms, "registry request");
        }
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
        Ok(response) => Ok(Answer::new(response, url, request, wait_asked)),
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
    }

    #[test]
    fn pauses_are_spread_by_half_at_most() {
        for _ in 0..50 {
            let pause = spread(Duration::from_millis(100));
            assert!((Duration::from_millis(50)..=Duration::from_millis(150)).contains(&pause), "{pause:?}");
        }
    }
}
