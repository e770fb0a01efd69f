//! What a registry answered: its body within limits, its words made safe, the addresses it names checked.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;

use super::challenge;
use crate::limits::{ERROR_BYTES_MAX, RETRY_AFTER_MAX};
use crate::{Error, text};

/// An answer whose body was not read yet.
pub(crate) struct Answer {
    response: Response,
    pub(crate) url: Url,
    pub(crate) request: String,
    /// A `Retry-After` too long to wait for.
    wait_asked: Option<Duration>,
}

impl Answer {
    pub(super) fn new(response: Response, url: Url, request: String, wait_asked: Option<Duration>) -> Self {
        Self { response, url, request, wait_asked }
    }

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
        if let Some(seconds) = wait_asked.map(|wait| wait.as_secs()) {
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

    pub(super) fn challenges(&self) -> Vec<challenge::Challenge> {
        self.headers(WWW_AUTHENTICATE.as_str()).flat_map(challenge::parse).collect()
    }

    fn network(&self, reason: String) -> Error {
        Error::Network { origin: origin_text(&self.url), request: self.request.clone(), reason }
    }
}

/// Scheme, host and port: what may be shown of an address that can carry secrets in its query.
pub(crate) fn origin_text(url: &Url) -> String {
    let port = url.port().map(|p| format!(":{p}")).unwrap_or_default();
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
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
    fn an_origin_is_shown_without_what_may_be_secret() {
        let url = Url::parse("https://r.example:5000/a?token=secret#x").unwrap();
        assert_eq!(origin_text(&url), "https://r.example:5000");
    }

    #[test]
    fn the_registrys_words_are_made_safe() {
        let body = "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"no \\u001b[2J way\"}]}";
        assert_eq!(error_words(body.as_bytes()), "DENIED: no  [2J way");
        assert_eq!(error_words(b"<html>"), "");
    }
}
