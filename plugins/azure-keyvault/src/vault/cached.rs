//! Tokens kept until shortly before they expire: the credentials of command line tools keep none themselves.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::time::{Duration, OffsetDateTime};
use tokio::sync::Mutex;

/// How long before its end a token is renewed: as the SDK's own credentials do.
const EARLY: Duration = Duration::minutes(5);

/// A credential with a memory. One caller asks, the others wait for its answer.
#[derive(Debug)]
pub(crate) struct Cached {
    inner: Arc<dyn TokenCredential>,
    tokens: Mutex<HashMap<String, AccessToken>>,
}

impl Cached {
    pub(crate) fn new(inner: Arc<dyn TokenCredential>) -> Self {
        Self { inner, tokens: Mutex::default() }
    }
}

#[async_trait]
impl TokenCredential for Cached {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let name = scopes.join(" ");
        let mut tokens = self.tokens.lock().await;
        if let Some(token) = tokens.get(&name).filter(|t| t.expires_on > OffsetDateTime::now_utc() + EARLY) {
            return Ok(token.clone());
        }
        let token = self.inner.get_token(scopes, options).await?;
        tokens.insert(name, token.clone());
        Ok(token)
    }
}
