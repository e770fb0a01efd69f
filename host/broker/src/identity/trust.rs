//! Which client certificates are accepted: chains to the configured CAs, and pinned keys.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::certificate;
use super::pinned::{self, PinnedKeys};
use super::refusal::{Refusal, RefusalKind, quoted};
use crate::limits::{CLIENT_CAS_MAX, CLIENT_CHAIN_BYTES_MAX, CLIENT_CHAIN_MAX};
use crate::peer::Peer;

/// The CAs and pins in force. Replaced as a whole at a reload; chains are then judged anew.
pub struct Trust {
    authorities: Option<Arc<dyn ClientCertVerifier>>,
    pins: PinnedKeys,
}

/// CAs that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// One of them is no CA certificate.
    #[error(
        "client CA number {position} cannot be used: {reason}; expected an X.509 CA certificate; correct the file of client CAs"
    )]
    Unusable {
        /// Counted from 1.
        position: usize,
        /// What rustls found.
        reason: String,
    },
    /// More than any operator maintains.
    #[error(
        "found {found} client CAs; expected at most {CLIENT_CAS_MAX}; remove those that issue no client certificates"
    )]
    TooMany {
        /// How many.
        found: usize,
    },
}

impl Trust {
    /// Trusts chains to `authorities` and the keys of `pins`. Either may be empty.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn new(authorities: Vec<CertificateDer<'static>>, pins: PinnedKeys) -> Result<Self, TrustError> {
        if authorities.len() > CLIENT_CAS_MAX {
            return Err(TrustError::TooMany { found: authorities.len() });
        }
        let mut roots = RootCertStore::empty();
        for (index, authority) in authorities.into_iter().enumerate() {
            let unusable = |e: rustls::Error| TrustError::Unusable {
                position: index + 1,
                reason: quoted(&e.to_string()),
            };
            roots.add(authority).map_err(unusable)?;
        }
        Ok(Self { authorities: verifier(roots)?, pins })
    }

    /// Whether any client certificate could be accepted.
    pub fn is_empty(&self) -> bool {
        self.authorities.is_none() && self.pins.is_empty()
    }

    pub(crate) fn authorities(&self) -> Option<&Arc<dyn ClientCertVerifier>> {
        self.authorities.as_ref()
    }

    pub(crate) fn has_pins(&self) -> bool {
        !self.pins.is_empty()
    }

    /// The pin of the leaf, if its key is pinned; else the chain was verified to a CA. A pin comes before a CA, so that
    /// a key keeps its name if its certificate is from a CA, too.
    ///
    /// # Errors
    /// [`Refusal`] if neither holds, or the leaf is not valid at `now`.
    pub(crate) fn check(
        &self,
        chain: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<Option<String>, Refusal> {
        let (leaf, intermediates) = chain.split_first().ok_or_else(no_certificate)?;
        check_size(chain)?;
        if let Some(pin) = self.pins.matching(leaf) {
            certificate::check_validity(&certificate::read(leaf)?, now)?;
            return Ok(Some(pin));
        }
        let Some(authorities) = &self.authorities else {
            let expected = "one whose key is pinned (no client CA is configured)";
            return Err(untrusted("a client certificate whose key is not pinned", expected));
        };
        authorities.verify_client_cert(leaf, intermediates, unix_time(now)).map(|_| None).map_err(|e| {
            let found = format!("a client certificate that does not verify: {}", quoted(&e.to_string()));
            untrusted(
                found,
                "a client certificate (not a CA, for clientAuth, valid now) of a configured client CA",
            )
        })
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("authorities", &self.authorities.is_some())
            .field("pins", &self.pins)
            .finish()
    }
}

/// Certificates are verified by webpki: validity, no CA as leaf, and clientAuth if the leaf has an extended key usage
/// (RFC 5280, section 4.2.1.12: a leaf without one may be used for anything).
fn verifier(roots: RootCertStore) -> Result<Option<Arc<dyn ClientCertVerifier>>, TrustError> {
    if roots.is_empty() {
        return Ok(None);
    }
    let provider = Arc::new(provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map(Some)
        .map_err(|e| TrustError::Unusable { position: 0, reason: e.to_string() })
}

/// The one crypto provider.
pub(crate) fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

fn check_size(chain: &[CertificateDer<'_>]) -> Result<(), Refusal> {
    let bytes: usize = chain.iter().map(|certificate| certificate.len()).sum();
    if chain.len() <= CLIENT_CHAIN_MAX && bytes <= CLIENT_CHAIN_BYTES_MAX {
        return Ok(());
    }
    let found = format!("a client chain of {} certificates and {bytes} bytes", chain.len());
    let expected = format!("at most {CLIENT_CHAIN_MAX} certificates and {CLIENT_CHAIN_BYTES_MAX} bytes");
    Err(untrusted(found, &expected))
}

fn unix_time(now: Timestamp) -> UnixTime {
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
}

fn no_certificate() -> Refusal {
    untrusted("no client certificate", "one of a configured client CA, or one whose key is pinned")
}

fn untrusted(found: impl Into<String>, expected: &str) -> Refusal {
    let remedy =
        "give the caller a certificate of such a CA, or let the broker's operator add the CA or pin the key";
    Refusal::new(RefusalKind::Certificate, found, expected, remedy)
}

/// What a TLS client presented, leaf first. Its peer is worked out once for each [`Trust`] and remembered.
pub struct ClientChain {
    chain: Vec<CertificateDer<'static>>,
    known: Mutex<Option<(Arc<Trust>, Peer)>>,
}

impl ClientChain {
    /// The chain of a finished handshake, leaf first.
    pub fn new(chain: Vec<CertificateDer<'static>>) -> Self {
        Self { chain, known: Mutex::new(None) }
    }

    /// The peer, judged by `trust`, which may be another than at the handshake: a CA that was removed ends what it
    /// vouched for on open connections too.
    ///
    /// # Errors
    /// [`Refusal`], also once the certificate has expired.
    pub(crate) fn peer(&self, trust: &Arc<Trust>, now: Timestamp) -> Result<Peer, Refusal> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((judge, peer)) = known
            && Arc::ptr_eq(&judge, trust)
            && peer.expires_at().is_none_or(|end| now <= end)
        {
            return Ok(peer);
        }
        let leaf = self.chain.first().ok_or_else(no_certificate)?;
        let peer = match trust.check(&self.chain, now)? {
            Some(pin) => pinned::peer_of(pin, leaf)?,
            None => certificate::peer_of(leaf)?,
        };
        let known = Some((Arc::clone(trust), peer.clone()));
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(peer)
    }
}

impl fmt::Debug for ClientChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientChain of {} certificates", self.chain.len())
    }
}
