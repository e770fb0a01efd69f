//! Tests of the rooms above: what is asked is made as the broker makes it, from real to-be-signed bytes.

mod cost;
mod deciding;
mod examples;
mod loading;

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::Offset;
use prokura_envelope::{Attributes, Descriptor, EnvelopeFormat, Payload, SigningScheme, Unsigned};
use prokura_plugin::KeySpec;
use prokura_proto::broker::v1;
use serde_json::{Value, json};

use super::*;
use crate::content::Content;
use crate::peer::{Peer, PeerKind};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// A Monday, 9:30 in UTC.
const NOW: &str = "2026-03-02T09:30:00Z";

/// A request that a test changes where it matters.
struct Case {
    kind: PeerKind,
    id: String,
    claims: Value,
    key: KeyFacts,
    format: EnvelopeFormat,
    digest_only: bool,
    media_type: String,
    size: u64,
    annotations: BTreeMap<String, String>,
    lifetime_s: Option<i64>,
    reference: String,
    said: BTreeMap<String, String>,
    counts: Counts,
    now: Timestamp,
}

impl Case {
    fn new(kind: PeerKind, id: &str, claims: Value, key: &str) -> Self {
        let key = KeyFacts {
            name: key.to_owned(),
            spec: KeySpec::Ec256,
            groups: Vec::new(),
            labels: BTreeMap::new(),
        };
        Self {
            kind,
            id: id.to_owned(),
            claims,
            key,
            format: EnvelopeFormat::Jws,
            digest_only: false,
            media_type: MANIFEST.to_owned(),
            size: 7143,
            annotations: BTreeMap::new(),
            lifetime_s: Some(86_400),
            reference: String::new(),
            said: BTreeMap::new(),
            counts: Counts::default(),
            now: NOW.parse().unwrap(),
        }
    }

    fn group(mut self, group: &str) -> Self {
        self.key.groups.push(group.to_owned());
        self
    }

    fn label(mut self, name: &str, value: &str) -> Self {
        self.key.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With one claim replaced, or removed if the value is null.
    fn claim(mut self, name: &str, value: Value) -> Self {
        if value.is_null() {
            self.claims.as_object_mut().unwrap().remove(name);
        } else {
            self.claims[name] = value;
        }
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn peer(&self) -> Peer {
        let claims: BTreeMap<String, Value> = serde_json::from_value(self.claims.clone()).unwrap();
        Peer::new(self.kind, self.id.clone(), claims, "a test".to_owned(), None).unwrap()
    }

    fn content(&self) -> Content {
        let content = if self.digest_only {
            v1::content::Content::Digest(vec![7; 32])
        } else {
            let target = Descriptor {
                media_type: self.media_type.clone(),
                digest: format!("sha256:{}", "ab".repeat(32)),
                size: self.size,
                annotations: self.annotations.clone(),
            };
            let attributes = Attributes {
                scheme: SigningScheme::X509,
                signing_time: self.now,
                expiry: self.lifetime_s.map(|s| self.now + jiff::SignedDuration::from_secs(s)),
                extended: Vec::new(),
                signing_agent: None,
            };
            let payload = Payload::new(target, BTreeMap::new()).unwrap();
            let unsigned = Unsigned::new(self.format, &payload, attributes, self.key.spec).unwrap();
            let bytes = unsigned.to_be_signed().to_vec();
            match self.format {
                EnvelopeFormat::Jws => v1::content::Content::NotaryJws(bytes),
                EnvelopeFormat::Cose => v1::content::Content::NotaryCose(bytes),
            }
        };
        Content::read(Some(&v1::Content { content: Some(content) }), self.key.spec, self.now).unwrap()
    }

    fn ask<T>(&self, set: &PolicySet, question: impl FnOnce(&PolicySet, &Wanted<'_>) -> T) -> T {
        let (peer, content) = (self.peer(), self.content());
        let claimed = Claimed::new(&self.reference, self.said.clone()).unwrap();
        let wanted = Wanted {
            peer: &peer,
            key: &self.key,
            content: &content,
            claimed: &claimed,
            counts: self.counts,
            now: self.now,
        };
        question(set, &wanted)
    }

    fn decide(&self, set: &PolicySet) -> Result<Permit, Denial> {
        self.ask(set, |set, wanted| set.decide(wanted))
    }

    /// The names of the permitting policies.
    #[track_caller]
    fn permitted(&self, set: &PolicySet) -> Vec<String> {
        self.decide(set).unwrap_or_else(|denial| panic!("{denial}")).policies().to_vec()
    }

    /// The denial, which must say this.
    #[track_caller]
    fn denied(&self, set: &PolicySet, says: &str) -> Denial {
        let denial = self.decide(set).unwrap_err();
        assert!(denial.to_string().contains(says), "{denial}");
        denial
    }
}

fn text(file: &str, text: &str) -> PolicyText {
    PolicyText { file: file.to_owned(), text: text.to_owned() }
}

#[track_caller]
fn load(policies: &str) -> PolicySet {
    PolicySet::load(&[text("test.cedar", policies)], Offset::UTC).unwrap_or_else(|e| panic!("{e}"))
}

/// Claims of a GitHub Actions token, as documented ("OpenID Connect reference").
fn github() -> Value {
    json!({
        "iss": "https://token.actions.githubusercontent.com",
        "sub": "repo:acme/rocket:ref:refs/heads/release/1.2",
        "aud": "prokura.acme.example",
        "repository": "acme/rocket",
        "repository_owner": "acme",
        "repository_id": "74",
        "ref": "refs/heads/release/1.2",
        "ref_type": "branch",
        "event_name": "push",
        "workflow_ref": "acme/rocket/.github/workflows/ship.yml@refs/heads/release/1.2",
        "job_workflow_ref": "acme/workflows/.github/workflows/release.yml@refs/heads/main",
        "run_attempt": "1",
        "runner_environment": "github-hosted",
    })
}

fn by_github(key: &str) -> Case {
    Case::new(PeerKind::Oidc, "https://token.actions.githubusercontent.com|repo:acme/rocket", github(), key)
}
