//! Answering a registry's challenge: basic authentication, or a token from its token service.
//!
//! Source: distribution project, "Token Authentication Specification" and "OAuth2 Token Authentication".

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use tokio::sync::{Mutex, OnceCell};
use zeroize::Zeroizing;

use super::challenge::Challenge;
use super::transport::{Call, Wire};
use crate::credentials::Login;
use crate::limits::TOKEN_BYTES_MAX;
use crate::{CredentialStores, Credentials, Error, Secret, text};

/// The OAuth2 client id that token services see.
const CLIENT_ID: &str = "prokura";

/// Scopes asked for at once; more would be a registry's attempt to collect tokens.
const SCOPES_MAX: usize = 8;

/// What a request needs to be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Access {
    /// Nothing in particular: the check of a login.
    Ping,
    /// Read from the repository.
    Pull,
    /// Read and write.
    Push,
    /// Delete a manifest.
    Delete,
}

impl Access {
    fn actions(self) -> &'static [&'static str] {
        match self {
            Self::Ping => &[],
            Self::Pull => &["pull"],
            Self::Push => &["pull", "push"],
            Self::Delete => &["delete", "pull"],
        }
    }
}

/// The credentials of one registry and the tokens got with them, kept for the life of the process.
pub(crate) struct Auth {
    registry: String,
    repository: Option<String>,
    plain_http: bool,
    stores: Option<CredentialStores>,
    login: OnceCell<Login>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    basic: bool,
    tokens: BTreeMap<Access, HeaderValue>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<Secret>,
    #[serde(default)]
    access_token: Option<Secret>,
}

impl Auth {
    pub(crate) fn new(
        registry: &str,
        repository: Option<&str>,
        plain_http: bool,
        credentials: Credentials,
    ) -> Self {
        let (login, stores) = match credentials {
            Credentials::Anonymous => (Some(Login::Anonymous), None),
            Credentials::Basic { username, password } => (Some(Login::Basic { username, password }), None),
            Credentials::IdentityToken(token) => (Some(Login::IdentityToken(token)), None),
            Credentials::Stores(stores) => (None, Some(stores)),
        };
        Self {
            registry: registry.to_owned(),
            repository: repository.map(ToOwned::to_owned),
            plain_http,
            stores,
            login: OnceCell::new_with(login),
            state: Mutex::default(),
        }
    }

    /// What worked before for this access, if anything did.
    pub(crate) async fn known(&self, access: Access) -> Result<Option<HeaderValue>, Error> {
        let state = self.state.lock().await;
        if state.basic {
            drop(state);
            return self.basic().await;
        }
        let wider = (access == Access::Pull).then_some(Access::Push);
        let token = state.tokens.get(&access).or_else(|| state.tokens.get(&wider?));
        Ok(token.cloned())
    }

    /// Answers the challenges of a 401. `refused` says that credentials were sent with the request already.
    pub(crate) async fn answer(
        &self,
        wire: &Wire,
        challenges: &[Challenge],
        access: Access,
        refused: bool,
    ) -> Result<HeaderValue, Error> {
        let bearer = challenges.iter().find_map(|c| match c {
            Challenge::Bearer { realm, service, scope } => Some((realm, service, scope)),
            Challenge::Basic => None,
        });
        if let Some((realm, service, scope)) = bearer {
            let header =
                self.token(wire, realm, service.as_deref(), &self.scopes(access, scope.as_deref())).await?;
            self.state.lock().await.tokens.insert(access, header.clone());
            return Ok(header);
        }
        if challenges.is_empty() {
            return Err(self.challenge("it names neither the scheme Basic nor Bearer with a realm".into()));
        }
        match self.basic().await? {
            Some(_) if refused => Err(self.unauthorized("the user name or password was not accepted", "")),
            Some(header) => {
                self.state.lock().await.basic = true;
                Ok(header)
            }
            None => Err(self.unauthorized(self.missing().await?, "")),
        }
    }

    /// The error for credentials that were sent and not accepted.
    pub(crate) fn unauthorized(&self, reason: &str, detail: &str) -> Error {
        let (registry, reason) = (self.registry.clone(), reason.to_owned());
        Error::Unauthorized { registry, reason, detail: detail.to_owned() }
    }

    async fn login(&self) -> Result<&Login, Error> {
        let look_up = async {
            match &self.stores {
                Some(stores) => stores.look_up(&self.registry).await,
                None => Ok(Login::Anonymous),
            }
        };
        self.login.get_or_try_init(|| look_up).await
    }

    async fn missing(&self) -> Result<&'static str, Error> {
        Ok(match self.login().await? {
            Login::Anonymous => "it wants a login and none is configured; log in first",
            _ => "it wants a user name and password, and only a token is configured",
        })
    }

    async fn basic(&self) -> Result<Option<HeaderValue>, Error> {
        match self.login().await? {
            Login::Basic { username, password } => Ok(Some(basic_header(username, password)?)),
            _ => Ok(None),
        }
    }

    /// What is asked of the token service: what this request needs, and what the challenge names beside.
    fn scopes(&self, access: Access, challenged: Option<&str>) -> Vec<String> {
        let own = self.repository.as_ref().map(|name| format!("repository:{name}:"));
        let mut actions: BTreeSet<&str> = access.actions().iter().copied().collect();
        let mut scopes = Vec::new();
        for scope in challenged.unwrap_or_default().split(' ').filter(|s| !s.is_empty()).take(SCOPES_MAX) {
            match own.as_ref().and_then(|own| scope.strip_prefix(own.as_str())) {
                Some(more) => actions.extend(more.split(',')),
                None => scopes.push(scope.to_owned()),
            }
        }
        if let Some(own) = own.filter(|_| !actions.is_empty()) {
            scopes.insert(0, own + &actions.into_iter().collect::<Vec<_>>().join(","));
        }
        scopes
    }

    async fn token(
        &self,
        wire: &Wire,
        realm: &str,
        service: Option<&str>,
        scopes: &[String],
    ) -> Result<HeaderValue, Error> {
        let realm = self.checked_realm(realm)?;
        let call = match self.login().await? {
            Login::RegistryToken(token) => return bearer_header(token),
            Login::IdentityToken(token) => refresh_call(realm, service, scopes, token),
            Login::Basic { username, password } => {
                let header = basic_header(username, password)?;
                token_call(realm, service, scopes, Some(header))
            }
            Login::Anonymous => token_call(realm, service, scopes, None),
        };
        let answer = wire.send(&call, call.url.clone(), None).await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let detail = answer.error_detail().await;
                return Err(self.unauthorized("its token service did not accept the login", &detail));
            }
            _ => return Err(answer.refuse().await),
        }
        let body =
            Zeroizing::new(answer.body(TOKEN_BYTES_MAX, "the answer of the token service").await?.to_vec());
        // The parser's own words could repeat a piece of the token.
        let parsed: TokenAnswer = serde_json::from_slice(&body)
            .map_err(|_| self.challenge("its token service did not send the JSON expected".into()))?;
        let token =
            [parsed.token, parsed.access_token].into_iter().flatten().find(|t| !t.expose().is_empty());
        let token = token.ok_or_else(|| self.challenge("its token service sent no token".into()))?;
        bearer_header(&token)
    }

    /// Credentials travel to the token service, so it must be reached at least as safely as the registry.
    fn checked_realm(&self, realm: &str) -> Result<Url, Error> {
        let shown = text::printable(realm);
        let url =
            Url::parse(realm).map_err(|_| self.challenge(format!("its realm {shown:?} is not a URL")))?;
        let safe = url.scheme() == "https" || (url.scheme() == "http" && self.plain_http);
        if !safe {
            let reason = format!("its token service {shown:?} is not reached by https, but the registry is");
            return Err(self.challenge(reason));
        }
        if !url.username().is_empty() || url.password().is_some() || url.host_str().is_none() {
            return Err(self.challenge("its token service's address has a user or no host in it".into()));
        }
        Ok(url)
    }

    fn challenge(&self, reason: String) -> Error {
        Error::Challenge { registry: self.registry.clone(), reason }
    }
}

fn token_call(mut url: Url, service: Option<&str>, scopes: &[String], login: Option<HeaderValue>) -> Call {
    {
        let mut query = url.query_pairs_mut();
        if let Some(service) = service {
            query.append_pair("service", service);
        }
        for scope in scopes {
            query.append_pair("scope", scope);
        }
    }
    if url.query() == Some("") {
        url.set_query(None);
    }
    let mut call = Call::new(Method::GET, url, Access::Ping);
    call.headers.extend(login.map(|header| (AUTHORIZATION, header)));
    call
}

fn refresh_call(url: Url, service: Option<&str>, scopes: &[String], token: &Secret) -> Call {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "refresh_token")
        .append_pair("service", service.unwrap_or_default())
        .append_pair("client_id", CLIENT_ID)
        .append_pair("scope", &scopes.join(" "))
        .append_pair("refresh_token", token.expose());
    let mut call = Call::new(Method::POST, url, Access::Ping);
    call.body = form.finish().into_bytes().into();
    let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
    call.headers = HeaderMap::from_iter([(CONTENT_TYPE, form_type)]);
    call
}

fn basic_header(username: &str, password: &Secret) -> Result<HeaderValue, Error> {
    let pair = Zeroizing::new(format!("{username}:{}", password.expose()));
    let encoded = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    secret_header(&encoded)
}

fn bearer_header(token: &Secret) -> Result<HeaderValue, Error> {
    secret_header(&Zeroizing::new(format!("Bearer {}", token.expose())))
}

fn secret_header(value: &str) -> Result<HeaderValue, Error> {
    let mut header = HeaderValue::from_str(value).map_err(|_| Error::Configuration {
        what: "the token for the registry".into(),
        reason: "it has characters that no HTTP header can carry".into(),
    })?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(plain_http: bool) -> Auth {
        Auth::new("r.example", Some("a/b"), plain_http, Credentials::Anonymous)
    }

    #[test]
    fn scopes_of_the_challenge_and_of_the_request_are_joined() {
        let challenged = Some("repository:a/b:pull,x registry:catalog:*");
        assert_eq!(auth(false).scopes(Access::Push, None), ["repository:a/b:pull,push"]);
        assert_eq!(
            auth(false).scopes(Access::Push, challenged),
            ["repository:a/b:pull,push,x", "registry:catalog:*"]
        );
        assert_eq!(Auth::new("r", None, false, Credentials::Anonymous).scopes(Access::Ping, None), [""; 0]);
    }

    #[test]
    fn a_token_service_must_be_as_safe_as_the_registry() {
        assert!(auth(false).checked_realm("https://auth.example/token").is_ok());
        assert!(auth(true).checked_realm("http://auth.example/token").is_ok());
        let error = auth(false).checked_realm("http://auth.example/token").unwrap_err();
        assert!(error.to_string().contains("is not reached by https"), "{error}");
        for bad in ["file:///etc/passwd", "/token", "https://u:p@auth.example/"] {
            assert!(matches!(auth(true).checked_realm(bad), Err(Error::Challenge { .. })), "{bad}");
        }
    }
}
