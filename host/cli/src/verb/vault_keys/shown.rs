//! A key in a vault as people and programs are shown it.

use std::collections::BTreeMap;
use std::io::{self, Write};

use jiff::Timestamp;
use prokura_envelope::certificate::Certificate;
use prokura_plugin::KeyDetails;
use prokura_signer::VaultKey;
use serde::Serialize;

use crate::output::table;

/// A KEY in JSON: `{id, exactId?, keySpec, version?, state?, label?, subject?, issuer?, notAfter?, pinPolicy?,
/// touchPolicy?, exportable?, attributes: {name: value}, attested}`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown {
    pub(super) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    exact_id: Option<String>,
    pub(super) key_spec: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pin_policy: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    touch_policy: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exportable: Option<bool>,
    attributes: BTreeMap<String, String>,
    attested: bool,
}

impl Shown {
    /// What is shown of a key.
    pub(super) fn of(key: VaultKey) -> Self {
        let VaultKey { reference, description } = key;
        let leaf = description.chain.as_ref().and_then(|chain| chain.certificates().first());
        let leaf = leaf.and_then(|der| Certificate::from_der(der).ok());
        let id = reference.key_id().to_string();
        let KeyDetails {
            version,
            state,
            pin_policy,
            touch_policy,
            exportable,
            label,
            exact_key_id,
            attributes,
            attestation,
        } = description.details;
        Self {
            exact_id: exact_key_id.map(|exact| exact.to_string()).filter(|exact| *exact != id),
            id,
            key_spec: description.key_spec.as_str(),
            version,
            state: state.map(|state| state.as_str()),
            label,
            subject: leaf.as_ref().map(Certificate::subject),
            issuer: leaf.as_ref().map(Certificate::issuer),
            not_after: leaf.as_ref().map(Certificate::not_after),
            pin_policy: pin_policy.map(|policy| policy.as_str()),
            touch_policy: touch_policy.map(|policy| policy.as_str()),
            exportable,
            attributes,
            attested: !attestation.is_empty(),
        }
    }
}

impl Shown {
    fn row(&self) -> Row {
        let text = |text: Option<&str>| text.map(str::to_owned);
        let always = |text: Option<String>| Some(text.unwrap_or_else(|| table::NOTHING.to_owned()));
        [
            Some(self.id.clone()),
            text(self.label.as_deref()),
            text(self.version.as_deref()),
            Some(self.key_spec.to_owned()),
            text(self.state),
            always(self.subject.clone()),
            always(self.not_after.map(|at| at.strftime("%Y-%m-%d").to_string())),
            text(self.pin_policy),
            text(self.touch_policy),
            self.exportable.map(|may| if may { "YES" } else { "NO" }.to_owned()),
        ]
    }
}

const HEAD: [&str; 10] = [
    "KEY ID",
    "LABEL",
    "VERSION",
    "KEY SPEC",
    "STATE",
    "CERTIFICATE SUBJECT",
    "EXPIRES",
    "PIN",
    "TOUCH",
    "EXPORTABLE",
];

/// Places in [`HEAD`].
const LABEL: usize = 1;
const VERSION: usize = 2;

type Row = [Option<String>; HEAD.len()];

/// Whether `id` ends with `part` as a part of its own: `transit/release` with `release`, `release@v3` with `v3`.
fn is_end_of(id: Option<&Option<String>>, part: Option<&Option<String>>) -> bool {
    let (Some(Some(id)), Some(Some(part))) = (id, part) else { return true };
    id.strip_suffix(part.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with(['/', ':', '=', '@']))
}

/// Writes a row per key. Columns of which this vault says nothing are left out.
pub(super) fn write_table(out: &mut dyn Write, keys: &[Shown]) -> io::Result<()> {
    let mut rows: Vec<_> = keys.iter().map(Shown::row).collect();
    // Many vaults name a key by its label or version (an ARN): then it is not said twice.
    for column in [LABEL, VERSION] {
        let said = |row: &Row| is_end_of(row.first(), row.get(column));
        if rows.iter().all(said) {
            rows.iter_mut().filter_map(|row| row.get_mut(column)).for_each(|cell| *cell = None);
        }
    }
    table::write_filled(out, HEAD, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prokura_plugin::{KeySpec, KeyState, PinPolicy};
    use prokura_signer::{KeyDescription, KeyReference};

    fn shown(id: &str, details: KeyDetails) -> Shown {
        let description = KeyDescription { key_spec: KeySpec::Ec256, public_key: None, chain: None, details };
        Shown::of(VaultKey { reference: KeyReference::new(id, Default::default()).unwrap(), description })
    }

    fn table(keys: &[Shown]) -> Vec<String> {
        let mut out = Vec::new();
        write_table(&mut out, keys).unwrap();
        String::from_utf8(out).unwrap().lines().map(|line| line.trim_end().to_owned()).collect()
    }

    #[test]
    fn a_column_is_there_when_a_key_has_something_to_say_in_it() {
        let plain = || shown("a", KeyDetails { label: Some("a".to_owned()), ..KeyDetails::default() });
        assert_eq!(
            table(&[plain()]),
            [
                "KEY ID   KEY SPEC   CERTIFICATE SUBJECT   EXPIRES",
                "a        EC-256     -                     -"
            ]
        );
        let named = |id: &str, label: &str, version: &str| {
            let (label, version) = (Some(label.to_owned()), Some(version.to_owned()));
            shown(id, KeyDetails { label, version, ..KeyDetails::default() })
        };
        assert_eq!(
            table(&[named("transit/release", "release", "3"), named("arn:x:y", "y", "arn:x:y")]),
            [
                "KEY ID            VERSION   KEY SPEC   CERTIFICATE SUBJECT   EXPIRES",
                "transit/release   3         EC-256     -                     -",
                "arn:x:y           arn:x:y   EC-256     -                     -",
            ]
        );
        assert_eq!(
            table(&[named("https://v/k/7", "k", "7")])[1],
            "https://v/k/7   k       EC-256     -                     -"
        );
        assert!(table(&[named("prerelease", "release", "7")])[1].starts_with("prerelease   release   7  "));
        let told = KeyDetails {
            label: Some("release".to_owned()),
            version: Some("7".to_owned()),
            state: Some(KeyState::PendingDeletion),
            exportable: Some(false),
            pin_policy: Some(PinPolicy::Once),
            ..KeyDetails::default()
        };
        assert_eq!(
            table(&[plain(), shown("b", told)]),
            [
                "KEY ID   LABEL     VERSION   KEY SPEC   STATE              CERTIFICATE SUBJECT   EXPIRES   PIN    EXPORTABLE",
                "a        a         -         EC-256     -                  -                     -         -      -",
                "b        release   7         EC-256     PENDING_DELETION   -                     -         ONCE   NO",
            ]
        );
    }
}
