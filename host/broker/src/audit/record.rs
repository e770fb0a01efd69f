//! What an entry says: an intent before the vault is called, an outcome after. JSON, written once.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::key::hex;
use super::tree::sha256;
use crate::limits::{
    AUDIT_ARTIFACT_BYTES_MAX, AUDIT_CLAIMS_MAX, AUDIT_ENTRY_BYTES_MAX, AUDIT_ERROR_BYTES_MAX,
    AUDIT_POLICIES_MAX, AUDIT_TEXT_BYTES_MAX, PEER_CLAIM_BYTES_MAX,
};
use crate::peer::Peer;

/// A log entry, read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Record {
    /// Something is about to be signed.
    Intent(Intent),
    /// What came of it.
    Outcome(OutcomeRecord),
}

/// Something is about to be signed. Texts are empty where nothing is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// The broker's own id of the request.
    pub request_id: String,
    /// When the broker decided.
    #[serde(serialize_with = "write_time", deserialize_with = "read_time")]
    pub time: Timestamp,
    /// Who asked.
    pub peer: PeerRecord,
    /// The key that will sign.
    pub key: KeyRecord,
    /// The signing algorithm, in the Notary plugin contract's words.
    pub algorithm: String,
    /// What will be signed.
    pub content: ContentRecord,
    /// Where the caller says the artifact is stored; nothing proves it.
    pub claimed_reference: String,
    /// Why it may be signed.
    pub decision: DecisionRecord,
}

/// Who asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerRecord {
    /// [`crate::peer::PeerKind`] as text.
    pub kind: String,
    /// Its name, unique within the kind.
    pub id: String,
    /// By what it was known.
    pub evidence: String,
    /// Those of its claims that the operator chose to record.
    pub claims: BTreeMap<String, Value>,
}

/// A key, in its version of that moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// The name under which the operator offers it.
    pub name: String,
    /// Hex SHA-256 of its SubjectPublicKeyInfo.
    pub fingerprint: String,
    /// The vault's own name of the version.
    pub version: String,
}

/// What will be signed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContentRecord {
    /// `notary-jws`, `notary-cose` or `digest`.
    #[serde(rename = "type")]
    pub content_type: String,
    /// Hex digest of the to-be-signed bytes, by the hash of the signing algorithm.
    pub digest: String,
    /// The target artifact that was read in them; null for a bare digest.
    pub artifact: Value,
}

/// Why it may be signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionRecord {
    /// The policies that permitted it.
    pub policies: Vec<String>,
    /// Hex SHA-256 of the policy set they are from.
    pub policy_set: String,
}

/// What came of an intent, as the caller knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// When it was known.
    pub time: Timestamp,
    /// Signature or error.
    pub ending: Ending,
    /// The vault's own name of the version that signed; empty: as in the intent.
    pub key_version: String,
    /// The vault's id of its call, by which its own log names it.
    pub vault_request_id: String,
    /// Microseconds spent waiting for a turn.
    pub queue_us: u64,
    /// Microseconds spent in the vault, all attempts together.
    pub vault_us: u64,
    /// How often a vault was asked.
    pub attempts: u32,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With this raw signature.
    Signed(Vec<u8>),
    /// Without one, for this reason. Cut if it is long.
    Failed(String),
}

/// What came of an intent, as the log has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomeRecord {
    /// Index of the intent in the log.
    pub intent: u64,
    /// As in the intent.
    pub request_id: String,
    /// When it was known.
    #[serde(serialize_with = "write_time", deserialize_with = "read_time")]
    pub time: Timestamp,
    /// As in the intent, but for the version that signed.
    pub key: KeyRecord,
    /// As in the intent.
    pub algorithm: String,
    /// Hex digest of the to-be-signed bytes, as in the intent.
    pub digest: String,
    /// Hex SHA-256 of the raw signature; empty if there is none.
    pub signature: String,
    /// The vault's id of its call.
    pub vault_request_id: String,
    /// Microseconds spent waiting for a turn.
    pub queue_us: u64,
    /// Microseconds spent in the vault.
    pub vault_us: u64,
    /// How often a vault was asked.
    pub attempts: u32,
    /// Why there is no signature; empty if there is one.
    pub error: String,
}

/// An intent holds more than the log takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} of the request has {found} bytes or members, the audit log takes at most {limit}: the caller must ask for less"
)]
pub struct TooLarge {
    what: &'static str,
    found: usize,
    limit: usize,
}

impl PeerRecord {
    /// The peer with those of its claims that are named.
    pub fn new(peer: &Peer, claims: &[String]) -> Self {
        let chosen = claims.iter().filter_map(|name| peer.claims().get_key_value(name));
        Self {
            kind: peer.kind().as_str().to_owned(),
            id: peer.id().to_owned(),
            evidence: peer.evidence().to_owned(),
            claims: chosen.map(|(name, value)| (name.clone(), value.clone())).collect(),
        }
    }
}

impl Intent {
    fn check(&self) -> Result<(), TooLarge> {
        let texts = [
            ("the id", &self.request_id),
            ("the peer's id", &self.peer.id),
            ("the peer's evidence", &self.peer.evidence),
            ("the key's name", &self.key.name),
            ("the key's fingerprint", &self.key.fingerprint),
            ("the key's version", &self.key.version),
            ("the digest", &self.content.digest),
            ("the claimed reference", &self.claimed_reference),
        ];
        for (what, text) in texts {
            within(what, text.len(), AUDIT_TEXT_BYTES_MAX)?;
        }
        within("the list of recorded claims", self.peer.claims.len(), AUDIT_CLAIMS_MAX)?;
        for value in self.peer.claims.values() {
            within("a recorded claim", value.to_string().len(), PEER_CLAIM_BYTES_MAX)?;
        }
        within("the artifact", self.content.artifact.to_string().len(), AUDIT_ARTIFACT_BYTES_MAX)?;
        within("the list of policies", self.decision.policies.len(), AUDIT_POLICIES_MAX)
    }

    /// The bytes of the entry.
    pub(super) fn encode(self) -> Result<Vec<u8>, TooLarge> {
        self.check()?;
        encode(&Record::Intent(self))
    }
}

impl OutcomeRecord {
    /// The bytes of the entry. Long texts were cut, so that it fits.
    pub(super) fn encode(self) -> Result<Vec<u8>, TooLarge> {
        encode(&Record::Outcome(self))
    }
}

impl Record {
    /// Reads an entry.
    ///
    /// # Errors
    /// serde's, if it is not a record of this version.
    pub fn parse(entry: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(entry)
    }
}

fn encode(record: &Record) -> Result<Vec<u8>, TooLarge> {
    // Serialising these types cannot fail: no map has keys other than text, no value refuses.
    let bytes = serde_json::to_vec(record).unwrap_or_default();
    within("the whole record", bytes.len(), AUDIT_ENTRY_BYTES_MAX)?;
    Ok(bytes)
}

const fn within(what: &'static str, found: usize, limit: usize) -> Result<(), TooLarge> {
    if found <= limit { Ok(()) } else { Err(TooLarge { what, found, limit }) }
}

/// The hex SHA-256 of a signature and no error, or the other way round.
pub(super) fn ending(ending: &Ending) -> (String, String) {
    match ending {
        Ending::Signed(signature) => (hex(&sha256(&[signature])), String::new()),
        Ending::Failed(error) if error.is_empty() => (String::new(), "failed without a reason".to_owned()),
        Ending::Failed(error) => (String::new(), cut(error, AUDIT_ERROR_BYTES_MAX)),
    }
}

/// The beginning of a text, at most `limit` bytes, whole characters only.
pub(super) fn cut(text: &str, limit: usize) -> String {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

fn write_time<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

fn read_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::audit) fn intent(n: u64) -> Intent {
        let claims = BTreeMap::from([("ref".to_owned(), Value::from("refs/heads/main"))]);
        Intent {
            request_id: format!("r{n}"),
            time: Timestamp::from_second(1_790_000_000).unwrap(),
            peer: PeerRecord {
                kind: "OIDC".to_owned(),
                id: "https://issuer.example|repo:a/b".to_owned(),
                evidence: "jti 1".to_owned(),
                claims,
            },
            key: KeyRecord {
                name: "release".to_owned(),
                fingerprint: hex(&[7; 32]),
                version: "1".to_owned(),
            },
            algorithm: "ECDSA-SHA-256".to_owned(),
            content: ContentRecord {
                content_type: "notary-jws".to_owned(),
                digest: hex(&sha256(&[&n.to_be_bytes()])),
                artifact: serde_json::json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 7}),
            },
            claimed_reference: "registry.example/a@sha256:00".to_owned(),
            decision: DecisionRecord {
                policies: vec!["release-branch".to_owned()],
                policy_set: hex(&[1; 32]),
            },
        }
    }

    pub(in crate::audit) fn signed(n: u64) -> Outcome {
        Outcome {
            time: Timestamp::from_second(1_790_000_001).unwrap(),
            ending: Ending::Signed(n.to_be_bytes().to_vec()),
            key_version: String::new(),
            vault_request_id: format!("v{n}"),
            queue_us: 5,
            vault_us: 900,
            attempts: 1,
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let entry = intent(3).encode().unwrap();
        assert!(entry.starts_with(br#"{"kind":"intent","request_id":"r3","time":"2026-09-21T"#), "{entry:?}");
        assert_eq!(Record::parse(&entry).unwrap(), Record::Intent(intent(3)));
        let unknown = String::from_utf8(entry).unwrap().replacen("\"time\"", "\"tide\":1,\"time\"", 1);
        assert!(Record::parse(unknown.as_bytes()).is_err());
    }

    #[test]
    fn a_record_is_bounded() {
        let mut large = intent(0);
        large.content.artifact = Value::from("x".repeat(AUDIT_ARTIFACT_BYTES_MAX));
        assert!(large.encode().unwrap_err().to_string().starts_with("the artifact"));
        let mut large = intent(0);
        large.claimed_reference = "x".repeat(AUDIT_TEXT_BYTES_MAX + 1);
        assert!(large.encode().is_err());
        let mut large = intent(0);
        large.peer.claims = (0..5).map(|n| (n.to_string(), Value::from("x".repeat(8000)))).collect();
        assert!(large.encode().unwrap_err().to_string().starts_with("the whole record"));
    }

    #[test]
    fn a_long_error_is_cut_between_characters() {
        assert_eq!(cut("aä", 2), "a");
        let (signature, error) = ending(&Ending::Failed("ä".repeat(AUDIT_ERROR_BYTES_MAX)));
        assert_eq!((signature.len(), error.len()), (0, AUDIT_ERROR_BYTES_MAX));
        assert_ne!(ending(&Ending::Failed(String::new())).1, "");
    }
}
