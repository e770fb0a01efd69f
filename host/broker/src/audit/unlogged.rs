//! Finds signatures that were made past the broker: by a key of its, and not in its log.

use std::collections::BTreeMap;

use super::reader::{Entry, ReaderError};
use super::record::{OutcomeRecord, Record};

/// A signature somebody found, in a registry for instance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignatureSeen {
    /// Hex SHA-256 of the SubjectPublicKeyInfo of the key that made it.
    pub key_fingerprint: String,
    /// Hex digest of the bytes it covers, by the hash of its algorithm.
    pub digest: String,
    /// Hex SHA-256 of the raw signature; if it is known, exactly this signature must be in the log.
    pub signature: Option<String>,
}

/// Those of the signatures for which the log has no outcome with a signature. Reads the log once; holds the given
/// list in memory.
///
/// # Errors
/// The log's, if it cannot be read to its end. An entry that is no record counts for nothing.
pub fn unlogged(
    log: impl Iterator<Item = Result<Entry, ReaderError>>,
    seen: impl IntoIterator<Item = SignatureSeen>,
) -> Result<Vec<SignatureSeen>, ReaderError> {
    let mut open: BTreeMap<(String, String), Vec<SignatureSeen>> = BTreeMap::new();
    for signature in seen {
        let names = (signature.key_fingerprint.clone(), signature.digest.clone());
        open.entry(names).or_default().push(signature);
    }
    for entry in log {
        let Ok(Record::Outcome(outcome)) = Record::parse(&entry?.bytes) else { continue };
        let OutcomeRecord { key, digest, signature, .. } = outcome;
        if signature.is_empty() {
            continue;
        }
        if let Some(waiting) = open.get_mut(&(key.fingerprint, digest)) {
            waiting.retain(|seen| seen.signature.as_ref().is_some_and(|wanted| *wanted != signature));
        }
    }
    Ok(open.into_values().flatten().collect())
}
