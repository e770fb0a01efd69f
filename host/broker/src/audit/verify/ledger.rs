//! What the records say, taken together: each outcome belongs to an intent, once.

use std::collections::BTreeMap;

use super::super::record::{Intent, OutcomeRecord, Record};

/// An intent without an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenIntent {
    /// Its place in the log.
    pub index: u64,
    /// The broker's id of the request.
    pub request_id: String,
    /// The key's name.
    pub key_name: String,
    /// Hex SHA-256 of the key's SubjectPublicKeyInfo.
    pub key_fingerprint: String,
    /// Hex digest of the to-be-signed bytes.
    pub digest: String,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    intents: u64,
    outcomes: u64,
    open: BTreeMap<u64, OpenIntent>,
}

impl Ledger {
    /// Takes the next entry; says what is wrong with it.
    pub(super) fn enter(&mut self, index: u64, entry: &[u8]) -> Result<(), String> {
        match Record::parse(entry) {
            Ok(Record::Intent(intent)) => {
                self.intents += 1;
                self.open.insert(index, open(index, intent));
                Ok(())
            }
            Ok(Record::Outcome(outcome)) => {
                self.outcomes += 1;
                self.match_up(index, &outcome)
            }
            Err(error) => Err(format!("entry {index} is no record: {error}")),
        }
    }

    fn match_up(&mut self, index: u64, outcome: &OutcomeRecord) -> Result<(), String> {
        let at = outcome.intent;
        let Some(intent) = self.open.remove(&at) else {
            return Err(format!(
                "entry {index} is the outcome of entry {at}, which is no intent or had one before"
            ));
        };
        let same = intent.request_id == outcome.request_id
            && intent.key_fingerprint == outcome.key.fingerprint
            && intent.digest == outcome.digest;
        if same { Ok(()) } else { Err(format!("entry {index} is not about the request of its intent {at}")) }
    }

    pub(super) fn close(self) -> (u64, u64, Vec<OpenIntent>) {
        (self.intents, self.outcomes, self.open.into_values().collect())
    }
}

fn open(index: u64, intent: Intent) -> OpenIntent {
    OpenIntent {
        index,
        request_id: intent.request_id,
        key_name: intent.key.name,
        key_fingerprint: intent.key.fingerprint,
        digest: intent.content.digest,
    }
}
