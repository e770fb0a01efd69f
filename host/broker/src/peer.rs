//! An authenticated caller: whom policy judges and the log names.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde_json::Value;

use crate::limits::{PEER_CLAIM_BYTES_MAX, PEER_CLAIMS_MAX, PEER_ID_BYTES_MAX};

/// How a peer was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerKind {
    /// A client certificate of a configured CA, by a SAN of type URI or DNS. Never by its CN.
    Certificate,
    /// A client certificate that is an X.509-SVID, by its SPIFFE ID.
    Spiffe,
    /// A client certificate of any issuer whose public key the operator pinned.
    PinnedKey,
    /// An OIDC token.
    Oidc,
    /// The other end of a UNIX socket, as the kernel knows it.
    Unix,
}

impl PeerKind {
    /// As it is written in the protocol, in policies and in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "CERTIFICATE",
            Self::Spiffe => "SPIFFE",
            Self::PinnedKey => "PINNED_KEY",
            Self::Oidc => "OIDC",
            Self::Unix => "UNIX",
        }
    }
}

impl fmt::Display for PeerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A caller whose identity was proven. Made where callers are identified, and nowhere else.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    kind: PeerKind,
    id: String,
    claims: BTreeMap<String, Value>,
    evidence: String,
    expires_at: Option<Timestamp>,
}

/// The evidence names more than a peer may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} has {found}, at most {limit} are allowed")]
pub struct TooMuch {
    what: String,
    found: usize,
    limit: usize,
}

impl Peer {
    /// `evidence` says in one line by what it was known, without anything secret: serial and issuer of the
    /// certificate, `jti` of the token, process id.
    ///
    /// # Errors
    /// [`TooMuch`] if a limit of [`crate::limits`] is exceeded.
    pub(crate) fn new(
        kind: PeerKind,
        id: String,
        claims: BTreeMap<String, Value>,
        evidence: String,
        expires_at: Option<Timestamp>,
    ) -> Result<Self, TooMuch> {
        within("the id of the caller", id.len(), PEER_ID_BYTES_MAX)?;
        within("the list of claims", claims.len(), PEER_CLAIMS_MAX)?;
        for (name, value) in &claims {
            within(&format!("claim {name:?}"), value.to_string().len(), PEER_CLAIM_BYTES_MAX)?;
        }
        Ok(Self { kind, id, claims, evidence, expires_at })
    }

    /// How it was known.
    pub const fn kind(&self) -> PeerKind {
        self.kind
    }

    /// Its name, unique within the kind: a SAN, a SPIFFE ID, the hex SHA-256 of a SubjectPublicKeyInfo,
    /// `issuer|subject`, or `uid:1000`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Further facts that the evidence holds, by name.
    pub const fn claims(&self) -> &BTreeMap<String, Value> {
        &self.claims
    }

    /// By what it was known, in one line.
    pub fn evidence(&self) -> &str {
        &self.evidence
    }

    /// When the evidence ends. A connection outlives it, a request does not.
    pub const fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }
}

fn within(what: &str, found: usize, limit: usize) -> Result<(), TooMuch> {
    if found <= limit { Ok(()) } else { Err(TooMuch { what: what.to_owned(), found, limit }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(id: usize, claims: usize, bytes: usize) -> Result<Peer, TooMuch> {
        let claims = (0..claims).map(|n| (n.to_string(), Value::String("x".repeat(bytes)))).collect();
        Peer::new(PeerKind::Oidc, "i".repeat(id), claims, String::new(), None)
    }

    #[test]
    fn a_peer_is_bounded() {
        assert!(peer(PEER_ID_BYTES_MAX, PEER_CLAIMS_MAX, 10).is_ok());
        assert!(peer(PEER_ID_BYTES_MAX + 1, 0, 0).is_err());
        assert!(peer(1, PEER_CLAIMS_MAX + 1, 0).is_err());
        assert!(peer(1, 1, PEER_CLAIM_BYTES_MAX - 2).is_ok());
        assert!(peer(1, 1, PEER_CLAIM_BYTES_MAX - 1).is_err(), "the quotes count");
    }
}
