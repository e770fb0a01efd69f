//! Who calls: from the evidence of a connection, and a token if one was sent, to a [`Peer`], or to a [`Refusal`] that
//! says what was found, what was expected and who must act.
//!
//! | evidence of the connection | token | the peer |
//! |---|---|---|
//! | client certificate | none | what the certificate names ([`certificate`]), or its pinned key ([`pinned`]) |
//! | UNIX socket | none | the uid ([`unix`]) |
//! | none | yes | `issuer\|subject` ([`token`]) |
//! | any | yes | the token's; the certificate must be acceptable too, and is kept as evidence |
//! | none | none | refused |

mod algorithm;
pub mod certificate;
mod claims;
mod fetch;
mod issuer;
mod jwks;
pub mod pinned;
mod refusal;
mod spiffe;
mod strict_json;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod token;
mod trust;
pub mod unix;

use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;

pub use algorithm::Algorithm;
pub use issuer::{IssuerConfig, IssuerError};
pub use refusal::{Refusal, RefusalKind};
pub use trust::{ClientChain, Trust, TrustError};

use crate::peer::{Peer, PeerKind};
use token::{BearerToken, Issuers};

/// What a connection proves about the other side.
#[derive(Clone, Debug)]
pub enum Evidence {
    /// A client certificate whose key signed the handshake.
    Certificate(Arc<ClientChain>),
    /// The credentials of the process that connected to the UNIX socket.
    Unix(Arc<unix::Credentials>),
    /// TLS without a client certificate.
    Nothing,
}

/// Makes peers. One for the daemon; its rules are replaced at a reload.
pub struct Identifier(RwLock<Arc<Rules>>);

struct Rules {
    trust: Arc<Trust>,
    issuers: Arc<Issuers>,
}

impl Identifier {
    /// Accepts certificates by `trust` and tokens by `issuers`. UNIX credentials are always accepted: who may connect
    /// is for the socket's mode, who may sign is for policy.
    pub fn new(trust: Arc<Trust>, issuers: Arc<Issuers>) -> Self {
        Self(RwLock::new(Arc::new(Rules { trust, issuers })))
    }

    /// Judges every request from now on by other rules, on open connections too.
    pub fn reload(&self, trust: Arc<Trust>, issuers: Arc<Issuers>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Rules { trust, issuers });
    }

    /// The issuers in force, whose keys the next ones take over.
    pub fn issuers(&self) -> Arc<Issuers> {
        Arc::clone(&self.rules().issuers)
    }

    /// The caller of one request. May wait for the keys of a token's issuer, bounded in time.
    ///
    /// # Errors
    /// [`Refusal`]; its text is fit for the caller.
    pub async fn identify(
        &self,
        evidence: &Evidence,
        token: Option<&BearerToken>,
        now: Timestamp,
    ) -> Result<Peer, Refusal> {
        let rules = self.rules();
        let connected = match evidence {
            Evidence::Certificate(chain) => Some(chain.peer(&rules.trust, now)?),
            Evidence::Unix(credentials) => Some(credentials.peer()?),
            Evidence::Nothing => None,
        };
        match (token, connected) {
            (Some(token), connected) => by_token(&rules.issuers, token, connected, now).await,
            (None, Some(peer)) => Ok(peer),
            (None, None) => Err(nobody(&rules)),
        }
    }

    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn by_token(
    issuers: &Issuers,
    token: &BearerToken,
    connected: Option<Peer>,
    now: Timestamp,
) -> Result<Peer, Refusal> {
    let token::Verified { id, claims, mut evidence, mut expires_at } = issuers.verify(token, now).await?;
    if let Some(connected) = connected {
        evidence = format!("{evidence}; over {}", connected.evidence());
        expires_at = connected.expires_at().map_or(expires_at, |end| end.min(expires_at));
    }
    Peer::new(PeerKind::Oidc, id, claims, evidence, Some(expires_at)).map_err(|e| {
        token::refused(e.to_string(), "a token within the limits", "ask for a token with fewer claims")
    })
}

fn nobody(rules: &Rules) -> Refusal {
    let mut expected = Vec::new();
    if !rules.trust.is_empty() {
        expected.push("a client certificate");
    }
    if !rules.issuers.is_empty() {
        expected.push("`authorization: Bearer <token>`");
    }
    let remedy = "configure an identity on the calling machine";
    Refusal::new(
        RefusalKind::NoEvidence,
        "neither a client certificate nor a token",
        expected.join(" or "),
        remedy,
    )
}
