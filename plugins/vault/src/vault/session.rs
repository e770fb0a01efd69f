//! The token in use: got once, shared by all signatures, renewed before it ends, replaced when the vault refuses it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prokura_plugin::{Error, ErrorCode};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::config::{Auth, Environment};
use crate::error::refused;
use crate::limits::TOKEN_MARGIN;
use crate::vault::client::{Call, Client, Reply, Verb};
use crate::vault::credentials::{Readers, secret, token};
use crate::vault::patience::{self, Until};

/// A token of the vault.
pub(crate) struct Token {
    value: Zeroizing<String>,
    /// Where it comes from, for messages: `VAULT_TOKEN`, or the login.
    pub(crate) from: String,
    /// When to renew or replace it; `None` if it does not end or nobody knows.
    renew_at: Option<Instant>,
    renewable: bool,
}

impl Token {
    /// The token itself.
    pub(crate) fn value(&self) -> &str {
        &self.value
    }

    fn is_due(&self) -> bool {
        self.renew_at.is_some_and(|at| at <= Instant::now())
    }
}

/// What became of a token that the vault refused.
pub(crate) enum AfterRefusal {
    /// There is another: try with it.
    Replaced(Arc<Token>),
    /// The token is good; it is the permission that lacks.
    Good,
    /// The token is no good, and there is no other.
    Spent,
}

/// How this process is logged in to one vault.
pub(crate) struct Session {
    auth: Auth,
    environment: Environment,
    /// Whether this process lives long enough to see a token end.
    long_lived: bool,
    token: Mutex<Option<Arc<Token>>>,
}

impl Session {
    pub(crate) fn new(auth: Auth, environment: Environment, long_lived: bool) -> Self {
        Self { auth, environment, long_lived, token: Mutex::new(None) }
    }

    /// The token to use, got or renewed now if need be. Those who come meanwhile wait and share it.
    ///
    /// # Errors
    /// `ACCESS_DENIED` if there is none or the login is refused.
    pub(crate) async fn token(&self, client: &Client, until: Until) -> Result<Arc<Token>, Error> {
        let mut held = self.token.lock().await;
        if let Some(token) = held.as_ref().filter(|token| !token.is_due()) {
            return Ok(Arc::clone(token));
        }
        let renewed = match held.as_ref().filter(|token| token.renewable) {
            Some(token) => self.renewed(token, client, until).await,
            None => None,
        };
        let token = match renewed {
            Some(token) => Arc::new(token),
            None => Arc::new(self.obtain(client, until).await?),
        };
        *held = Some(Arc::clone(&token));
        Ok(token)
    }

    /// Finds out what a 403 means: a token that is spent, or one without permission.
    ///
    /// # Errors
    /// If logging in again fails.
    pub(crate) async fn after_refusal(
        &self,
        refused: &Arc<Token>,
        client: &Client,
        until: Until,
    ) -> Result<AfterRefusal, Error> {
        let mut held = self.token.lock().await;
        if let Some(token) = held.as_ref().filter(|token| !Arc::ptr_eq(token, refused)) {
            return Ok(AfterRefusal::Replaced(Arc::clone(token)));
        }
        if self.lookup(refused.value(), client, until).await.is_some() {
            return Ok(AfterRefusal::Good);
        }
        *held = None;
        let fresh = self.obtain(client, until).await?;
        if fresh.value == refused.value {
            return Ok(AfterRefusal::Spent);
        }
        let fresh = Arc::new(fresh);
        *held = Some(Arc::clone(&fresh));
        Ok(AfterRefusal::Replaced(fresh))
    }

    async fn obtain(&self, client: &Client, until: Until) -> Result<Token, Error> {
        match &self.auth {
            Auth::Token { file } => {
                let found = token(file.as_deref(), &self.environment)?;
                let looked_up =
                    if self.long_lived { self.lookup(&found.secret, client, until).await } else { None };
                let (lifetime, renewable) = looked_up.unwrap_or_default();
                Ok(Token { value: found.secret, from: found.from, renew_at: renew_at(lifetime), renewable })
            }
            Auth::AppRole { mount, role_id, secret_id } => {
                let found = secret(secret_id, "secret id", Readers::Few, &self.environment)?;
                let body = json!({"role_id": role_id, "secret_id": found.secret.as_str()});
                self.login(mount, &Wiped(body), &found.from, client, until).await
            }
            Auth::Jwt { mount, role, jwt, .. } => {
                let found = secret(jwt, "JWT", Readers::Any, &self.environment)?;
                let mut body = json!({"jwt": found.secret.as_str()});
                if let (Some(role), Some(fields)) = (role, body.as_object_mut()) {
                    fields.insert("role".to_owned(), json!(role));
                }
                self.login(mount, &Wiped(body), &found.from, client, until).await
            }
        }
    }

    async fn login(
        &self,
        mount: &str,
        body: &Wiped,
        from: &str,
        client: &Client,
        until: Until,
    ) -> Result<Token, Error> {
        let described = self.auth.described();
        let doing = format!("log in by {described} with the secret from {from}");
        let call = Call::write(Verb::Update, format!("auth/{mount}/login"), &body.0, doing)?;
        let mut reply = patience::call(client, &call, None, until).await?;
        if !reply.status.is_success() {
            return Err(login_refused(&call, &reply));
        }
        let from = format!("{described}, secret from {from}");
        let auth = reply.json.as_mut().and_then(|json| json.get_mut("auth"));
        auth.and_then(|auth| issued(auth, from)).ok_or_else(|| {
            Error::internal(format!(
                "cannot {}: the vault answered without a token; it may ask for a second factor",
                call.doing
            ))
        })
    }

    /// `renew-self`; `None` if the vault says no, so that a login takes its place.
    async fn renewed(&self, token: &Token, client: &Client, until: Until) -> Option<Token> {
        let call = Call::write(Verb::Update, "auth/token/renew-self", &json!({}), "renew the token").ok()?;
        let mut reply = patience::call(client, &call, Some(token.value()), until).await.ok()?;
        if !reply.status.is_success() {
            return None;
        }
        let fresh = issued(reply.json.as_mut()?.get_mut("auth")?, token.from.clone())?;
        // A token at the end of its longest life is "renewed" for less and less: then a login is better.
        fresh.renew_at.is_none_or(|at| at > Instant::now() + TOKEN_MARGIN).then_some(fresh)
    }

    /// How long a token lives (zero: without end) and whether it can be renewed; `None` if the vault does not know it.
    async fn lookup(&self, token: &str, client: &Client, until: Until) -> Option<(Duration, bool)> {
        let call = Call::read("auth/token/lookup-self", "look up the token");
        let reply = patience::call(client, &call, Some(token), until).await.ok()?;
        let data = reply.json.as_ref().filter(|_| reply.status.is_success())?.get("data")?;
        let lifetime = data.get("ttl").and_then(Value::as_u64).unwrap_or_default();
        let renewable = data.get("renewable").and_then(Value::as_bool).unwrap_or_default();
        Some((Duration::from_secs(lifetime), renewable))
    }
}

/// A login's JSON, wiped when dropped.
struct Wiped(Value);

impl Drop for Wiped {
    fn drop(&mut self) {
        for name in ["secret_id", "jwt"] {
            wiped_out(self.0.get_mut(name));
        }
    }
}

/// Takes a text out of JSON, so that no copy stays behind.
fn wiped_out(value: Option<&mut Value>) -> Option<Zeroizing<String>> {
    match value.map(Value::take) {
        Some(Value::String(text)) => Some(Zeroizing::new(text)),
        _ => None,
    }
}

fn issued(auth: &mut Value, from: String) -> Option<Token> {
    let value = wiped_out(auth.get_mut("client_token")).filter(|token| !token.is_empty())?;
    let lifetime = auth.get("lease_duration").and_then(Value::as_u64).unwrap_or_default();
    let renewable = auth.get("renewable").and_then(Value::as_bool).unwrap_or_default();
    Some(Token { value, from, renew_at: renew_at(Duration::from_secs(lifetime)), renewable })
}

/// After two thirds of its life, and in time before its end; never for one that does not end.
fn renew_at(lifetime: Duration) -> Option<Instant> {
    // Not before a second: a token about to end must not cost a call per signature.
    let early = (lifetime * 2 / 3).min(lifetime.saturating_sub(TOKEN_MARGIN)).max(Duration::from_secs(1));
    (!lifetime.is_zero()).then(|| Instant::now() + early)
}

fn login_refused(call: &Call, reply: &Reply) -> Error {
    let error = refused(call, reply);
    match error.code {
        // A login has no policy: what is wrong is the secret or the role.
        ErrorCode::ValidationError | ErrorCode::AccessDenied => {
            let said = crate::error::said(reply);
            let error = Error::access_denied(format!(
                "cannot {}: HTTP {}, {said}; whoever keeps the role must check role, secret, its time to live and the \
                 addresses it is bound to",
                call.doing,
                reply.status.as_u16()
            ));
            error.vault_code(format!("HTTP {}", reply.status.as_u16()))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_renewed_before_they_end() {
        assert!(renew_at(Duration::ZERO).is_none());
        let in_seconds =
            |lifetime| renew_at(Duration::from_secs(lifetime)).unwrap().duration_since(Instant::now());
        assert!(in_seconds(3600).as_secs_f64().round() == 2400.0);
        assert!(in_seconds(20).as_secs_f64().round() == 10.0);
        assert!(in_seconds(5).as_secs_f64().round() == 1.0);
    }

    #[test]
    fn the_token_leaves_the_answer() {
        let mut auth = json!({"client_token": "s.x", "lease_duration": 60, "renewable": true});
        let token = issued(&mut auth, "here".to_owned()).unwrap();
        assert_eq!((token.value(), token.renewable), ("s.x", true));
        assert!(!auth.to_string().contains("s.x"));
        for unfit in [json!(null), json!({}), json!({"client_token": ""}), json!({"client_token": 7})] {
            assert!(issued(&mut unfit.clone(), String::new()).is_none(), "{unfit}");
        }
    }
}
