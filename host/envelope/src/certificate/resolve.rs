//! Puts a key's certificates in order: from a heap of candidates to the chain leaf, issuers, root.
//!
//! Names alone do not decide: an issuer counts only if the signature verifies under its key. Duplicates and strangers
//! are left out. Cross-signed and renewed authorities are tried until a root is reached.

use jiff::Timestamp;
use prokura_plugin::PublicKey;

use super::Certificate;
use crate::limits::{CERTIFICATES_MAX, RESOLVE_STEPS_MAX};

/// How far the candidates reach.
#[derive(Clone)]
pub struct Resolved {
    /// Leaf first; at least the leaf.
    pub chain: Vec<Certificate>,
    /// What is missing, if the last is no self-signed root.
    pub missing: Option<MissingIssuer>,
}

/// The certificate that would continue a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingIssuer {
    /// Its subject, as text.
    pub subject: String,
    /// The subject of the certificate it has issued.
    pub issued: String,
    /// Whether a certificate of that subject is there but has another key: a renewed authority, or a namesake.
    pub namesake: bool,
    /// Where the issued certificate says it can be fetched (authority information access, RFC 5280 section 4.2.2.1).
    pub urls: Vec<String>,
}

/// Why there is no chain at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoChain {
    /// Nothing to order.
    #[error("there is no certificate")]
    NoCertificates,
    /// Certificates, but none of the key.
    #[error("none of the {count} certificates is for this key; found {}", found.join("; "))]
    NoLeaf {
        /// How many there are.
        count: usize,
        /// The subjects of the first of them, as text.
        found: Vec<String>,
    },
}

/// Orders `candidates` into the chain of `key`. Of several leaves or issuers, those valid at `at` come first, and of
/// these the one that is valid longest.
///
/// # Errors
/// [`NoChain`] if no candidate holds `key`.
pub fn resolve(key: &PublicKey, candidates: &[Certificate], at: Timestamp) -> Result<Resolved, NoChain> {
    if candidates.is_empty() {
        return Err(NoChain::NoCertificates);
    }
    let leaves = best_first(candidates.iter().filter(|c| c.public_key().is_ok_and(|k| k == *key)), at);
    let mut search = Search { candidates, at, steps: 0, longest: Vec::new() };
    for leaf in leaves {
        if let Some(chain) = search.reach_root(vec![leaf]) {
            return Ok(Resolved { chain: owned(&chain), missing: None });
        }
    }
    let longest = search.longest;
    let Some(last) = longest.last() else {
        let found = candidates.iter().take(CERTIFICATES_MAX).map(Certificate::subject).collect();
        return Err(NoChain::NoLeaf { count: candidates.len(), found });
    };
    Ok(Resolved { missing: Some(missing(last, candidates)), chain: owned(&longest) })
}

struct Search<'a> {
    candidates: &'a [Certificate],
    at: Timestamp,
    steps: usize,
    longest: Vec<&'a Certificate>,
}

impl<'a> Search<'a> {
    fn reach_root(&mut self, chain: Vec<&'a Certificate>) -> Option<Vec<&'a Certificate>> {
        let last = *chain.last()?;
        if last.is_self_signed() {
            return Some(chain);
        }
        if chain.len() > self.longest.len() {
            self.longest.clone_from(&chain);
        }
        if chain.len() == CERTIFICATES_MAX {
            return None;
        }
        for issuer in
            best_first(self.candidates.iter().filter(|c| c.raw_subject() == last.raw_issuer()), self.at)
        {
            self.steps += 1;
            if self.steps > RESOLVE_STEPS_MAX {
                return None;
            }
            let is_new = !chain.iter().any(|c| c.der() == issuer.der());
            if is_new && last.verify_signed_by(issuer).is_ok() {
                let longer = chain.iter().copied().chain([issuer]).collect();
                if let Some(whole) = self.reach_root(longer) {
                    return Some(whole);
                }
            }
        }
        None
    }
}

fn best_first<'a>(
    certificates: impl Iterator<Item = &'a Certificate>,
    at: Timestamp,
) -> Vec<&'a Certificate> {
    let mut found: Vec<&Certificate> = Vec::new();
    for certificate in certificates {
        if !found.iter().any(|c| c.der() == certificate.der()) {
            found.push(certificate);
        }
    }
    let valid = |c: &Certificate| c.not_before() <= at && at <= c.not_after();
    found.sort_by_key(|c| (std::cmp::Reverse(valid(c)), std::cmp::Reverse(c.not_after())));
    found
}

fn missing(last: &Certificate, candidates: &[Certificate]) -> MissingIssuer {
    let namesake = candidates.iter().any(|c| c.raw_subject() == last.raw_issuer() && c.der() != last.der());
    MissingIssuer { subject: last.issuer(), issued: last.subject(), namesake, urls: last.issuer_urls() }
}

fn owned(chain: &[&Certificate]) -> Vec<Certificate> {
    chain.iter().map(|certificate| (*certificate).clone()).collect()
}
