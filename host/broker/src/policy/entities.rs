//! Facts as Cedar sees them: entities and the context of one request.

use std::collections::{BTreeMap, HashSet};

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression, Schema,
};
use jiff::Timestamp;
use jiff::tz::Offset;
use serde_json::Value;

use super::claimed::{Claimed, Reference};
use super::facts::{Act, Counts, KeyFacts, Wanted};
use crate::content::Artifact;
use crate::peer::{Peer, PeerKind};

/// Type names and actions of the schema, parsed once.
#[derive(Debug)]
pub(super) struct Names {
    /// Every action with the groups it is in.
    actions: Vec<Entity>,
    action: EntityTypeName,
    artifact: EntityTypeName,
    claimed: EntityTypeName,
    key: EntityTypeName,
    key_group: EntityTypeName,
    key_spec: EntityTypeName,
    peer: EntityTypeName,
    peer_kind: EntityTypeName,
    scheme: EntityTypeName,
}

/// A request with all it speaks of.
pub(super) struct Asked {
    pub(super) act: Act,
    pub(super) request: Request,
    pub(super) entities: Entities,
    pub(super) principal: EntityUid,
    pub(super) resource: EntityUid,
}

/// Facts do not fit the schema; a defect of the broker. Nothing is permitted.
#[derive(Debug)]
pub(super) struct Unfit(pub(super) String);

type Attributes = Vec<(String, RestrictedExpression)>;

impl Names {
    pub(super) fn parse(schema: &Schema) -> Result<Self, String> {
        let name = |text: &str| text.parse::<EntityTypeName>().map_err(|e| e.to_string());
        Ok(Self {
            actions: schema.action_entities().map_err(|e| e.to_string())?.into_iter().collect(),
            action: name("Action")?,
            artifact: name("Artifact")?,
            claimed: name("Claimed")?,
            key: name("Key")?,
            key_group: name("KeyGroup")?,
            key_spec: name("KeySpec")?,
            peer: name("Peer")?,
            peer_kind: name("PeerKind")?,
            scheme: name("SigningScheme")?,
        })
    }

    pub(super) fn act(&self, act: Act) -> EntityUid {
        uid(&self.action, act.as_str())
    }

    pub(super) fn groups_and_keys(&self) -> (&EntityTypeName, &EntityTypeName) {
        (&self.key_group, &self.key)
    }

    pub(super) fn signature(
        &self,
        schema: &Schema,
        offset: Offset,
        wanted: &Wanted<'_>,
    ) -> Result<Asked, Unfit> {
        let act = Act::from(wanted.content.content_type());
        let mut context = vec![
            ("time".to_owned(), time(wanted.now, offset)?),
            ("counts".to_owned(), counts(wanted.counts)?),
        ];
        let claimed = self.claimed(wanted.claimed)?;
        context.push(("claimed".to_owned(), RestrictedExpression::new_entity_uid(claimed.uid())));
        let mut entities = vec![claimed];
        if let Some(artifact) = wanted.content.artifact() {
            let artifact = self.artifact(artifact)?;
            context.push(("artifact".to_owned(), RestrictedExpression::new_entity_uid(artifact.uid())));
            entities.push(artifact);
        }
        self.asked(schema, act, wanted.peer, wanted.key, context, entities)
    }

    pub(super) fn look(
        &self,
        schema: &Schema,
        act: Act,
        (peer, key): (&Peer, &KeyFacts),
        (now, offset): (Timestamp, Offset),
    ) -> Result<Asked, Unfit> {
        let context = vec![("time".to_owned(), time(now, offset)?)];
        self.asked(schema, act, peer, key, context, Vec::new())
    }

    fn asked(
        &self,
        schema: &Schema,
        act: Act,
        peer: &Peer,
        key: &KeyFacts,
        context: Attributes,
        mut entities: Vec<Entity>,
    ) -> Result<Asked, Unfit> {
        let (peer, key) = (self.peer(peer)?, self.key(key)?);
        let (principal, resource) = (peer.uid(), key.uid());
        entities.extend([peer, key]);
        let context = Context::from_pairs(context).map_err(unfit)?;
        let action = self.act(act);
        // Facts fit the schema by the way they are made, and to ask costs more than to decide: builds for tests ask.
        if cfg!(debug_assertions) {
            Entities::from_entities(entities.clone(), Some(schema)).map_err(unfit)?;
            let context = context.clone();
            Request::new(principal.clone(), action.clone(), resource.clone(), context, Some(schema))
                .map_err(unfit)?;
        }
        entities.extend(self.actions.iter().cloned());
        let entities = Entities::from_entities(entities, None).map_err(unfit)?;
        let request =
            Request::new(principal.clone(), action, resource.clone(), context, None).map_err(unfit)?;
        Ok(Asked { act, request, entities, principal, resource })
    }

    fn peer(&self, peer: &Peer) -> Result<Entity, Unfit> {
        let id = uid(&self.peer, &format!("{}:{}", peer.kind(), peer.id()));
        let mut attributes =
            vec![("id".to_owned(), text(peer.id())), ("claims".to_owned(), record(typed_claims(peer)?)?)];
        let issuer = if peer.kind() == PeerKind::Oidc { "iss" } else { "issuer" };
        let issuer = peer.claims().get(issuer).and_then(Value::as_str);
        attributes.extend(issuer.map(|issuer| ("issuer".to_owned(), text(issuer))));
        let tags =
            tags(peer).into_iter().map(|(name, value)| (name, RestrictedExpression::new_string(value)));
        let parents = HashSet::from([uid(&self.peer_kind, peer.kind().as_str())]);
        Entity::new_with_tags(id, attributes, parents, tags).map_err(unfit)
    }

    fn key(&self, key: &KeyFacts) -> Result<Entity, Unfit> {
        let attributes = [
            ("name".to_owned(), text(&key.name)),
            ("spec".to_owned(), RestrictedExpression::new_entity_uid(uid(&self.key_spec, key.spec.as_str()))),
        ];
        let parents = key.groups.iter().map(|group| uid(&self.key_group, group));
        Entity::new_with_tags(uid(&self.key, &key.name), attributes, parents, texts(&key.labels))
            .map_err(unfit)
    }

    fn artifact(&self, artifact: &Artifact) -> Result<Entity, Unfit> {
        let scheme = uid(&self.scheme, artifact.signing_scheme.as_str());
        let size = i64::try_from(artifact.size).map_err(unfit)?;
        let mut attributes = vec![
            ("digest".to_owned(), text(&artifact.digest)),
            ("mediaType".to_owned(), text(&artifact.media_type)),
            ("size".to_owned(), RestrictedExpression::new_long(size)),
            ("scheme".to_owned(), RestrictedExpression::new_entity_uid(scheme)),
            ("signingTime".to_owned(), RestrictedExpression::new_long(artifact.signing_time.as_second())),
            ("attributes".to_owned(), set(artifact.attributes.iter().map(String::as_str))),
        ];
        let expiry = artifact.expiry.map(|expiry| RestrictedExpression::new_long(expiry.as_second()));
        attributes.extend(expiry.map(|expiry| ("expiry".to_owned(), expiry)));
        let id = uid(&self.artifact, &artifact.digest);
        Entity::new_with_tags(id, attributes, [], texts(&artifact.annotations)).map_err(unfit)
    }

    fn claimed(&self, claimed: &Claimed) -> Result<Entity, Unfit> {
        let reference = claimed.reference().map(reference).transpose()?;
        let attributes = reference.map(|reference| ("reference".to_owned(), reference));
        Entity::new_with_tags(uid(&self.claimed, "claimed"), attributes, [], texts(claimed.claims()))
            .map_err(unfit)
    }
}

/// Claims of OIDC tokens that the schema types as text.
const OIDC_TEXTS: &[&str] = &[
    "sub",
    "email",
    "environment",
    "ref",
    "ref_type",
    "ref_protected",
    "runner_environment",
    "sha",
    "actor",
    "actor_id",
    "base_ref",
    "enterprise",
    "event_name",
    "head_ref",
    "job_workflow_ref",
    "job_workflow_sha",
    "repository",
    "repository_id",
    "repository_owner",
    "repository_owner_id",
    "repository_visibility",
    "run_attempt",
    "run_id",
    "run_number",
    "workflow",
    "workflow_ref",
    "workflow_sha",
    "ci_config_ref_uri",
    "ci_config_sha",
    "deployment_tier",
    "environment_protected",
    "job_id",
    "namespace_id",
    "namespace_path",
    "pipeline_id",
    "pipeline_source",
    "project_id",
    "project_path",
    "project_visibility",
    "ref_path",
    "runner_id",
    "user_email",
    "user_id",
    "user_login",
];

fn typed_claims(peer: &Peer) -> Result<Attributes, Unfit> {
    let claims = peer.claims();
    let texts = |names: &[&str]| -> Attributes {
        let found = names.iter().filter_map(|name| Some((*name, scalar(claims.get(*name)?)?)));
        found.map(|(name, value)| (name.to_owned(), RestrictedExpression::new_string(value))).collect()
    };
    let sets = |names: &[&str]| -> Attributes {
        let found = names.iter().filter_map(|name| Some((*name, members(claims.get(*name)?)?)));
        found.map(|(name, value)| (name.to_owned(), set(value.into_iter()))).collect()
    };
    let longs = |names: &[&str]| -> Attributes {
        let found = names.iter().filter_map(|name| Some((*name, claims.get(*name)?.as_i64()?)));
        found.map(|(name, value)| (name.to_owned(), RestrictedExpression::new_long(value))).collect()
    };
    let mut attributes = match peer.kind() {
        PeerKind::Oidc => [texts(OIDC_TEXTS), sets(&["aud", "groups"])].concat(),
        PeerKind::Certificate | PeerKind::Spiffe => {
            [texts(&["serial", "trust_domain"]), sets(&["uris", "dns_names"])].concat()
        }
        PeerKind::PinnedKey => texts(&["serial"]),
        PeerKind::Unix => [longs(&["uid", "gid", "pid"]), texts(&["user"])].concat(),
    };
    if let (PeerKind::Oidc, Some(Value::Object(claim))) = (peer.kind(), claims.get("kubernetes.io")) {
        attributes.push(("kubernetes".to_owned(), record(kubernetes(claim))?));
    }
    Ok(attributes)
}

/// Members of the claim `kubernetes.io` of a projected token of a service account.
fn kubernetes(claim: &serde_json::Map<String, Value>) -> Attributes {
    let member = |outer: &str, inner: &str| claim.get(outer).and_then(|outer| outer.get(inner));
    let found = [
        ("namespace", claim.get("namespace")),
        ("service_account", member("serviceaccount", "name")),
        ("service_account_uid", member("serviceaccount", "uid")),
        ("pod", member("pod", "name")),
        ("node", member("node", "name")),
    ];
    let texts = found.into_iter().filter_map(|(name, value)| Some((name.to_owned(), text(value?.as_str()?))));
    texts.collect()
}

/// A text as it is; numbers and booleans as JSON writes them.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The texts of an array, or the one text; nothing if something else is among them.
fn members(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(text) => Some(vec![text]),
        Value::Array(items) => items.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

/// Tags of one claim. Objects nest as deep as the reader of the token lets them.
fn tag(name: &str, value: &Value, tags: &mut BTreeMap<String, String>) {
    match value {
        Value::Null => {}
        Value::Object(object) => {
            for (inner, value) in object {
                tag(&format!("{name}/{inner}"), value, tags);
            }
        }
        other => {
            let text = scalar(other).unwrap_or_else(|| other.to_string());
            tags.entry(name.to_owned()).or_insert(text);
        }
    }
}

/// Claims of their own come before members of objects that spell the same name.
fn tags(peer: &Peer) -> BTreeMap<String, String> {
    let mut tags = BTreeMap::new();
    let (nested, own): (Vec<_>, Vec<_>) = peer.claims().iter().partition(|(_, value)| value.is_object());
    for (name, value) in own.into_iter().chain(nested) {
        tag(name, value, &mut tags);
    }
    tags
}

fn reference(reference: &Reference) -> Result<RestrictedExpression, Unfit> {
    let optional = |name: &str, value: &Option<String>| value.as_ref().map(|v| (name.to_owned(), text(v)));
    let mut attributes = vec![
        ("registry".to_owned(), text(&reference.registry)),
        ("repository".to_owned(), text(&reference.repository)),
    ];
    attributes.extend(optional("tag", &reference.tag));
    attributes.extend(optional("digest", &reference.digest));
    record(attributes)
}

fn time(now: Timestamp, offset: Offset) -> Result<RestrictedExpression, Unfit> {
    record(vec![
        ("unix".to_owned(), RestrictedExpression::new_long(now.as_second())),
        ("utc".to_owned(), clock(now, Offset::UTC)?),
        ("local".to_owned(), clock(now, offset)?),
    ])
}

fn clock(now: Timestamp, offset: Offset) -> Result<RestrictedExpression, Unfit> {
    let at = offset.to_datetime(now);
    let facts = [
        ("hour", i64::from(at.hour())),
        ("minute", i64::from(at.minute())),
        ("weekday", i64::from(at.weekday().to_monday_one_offset())),
        ("day", i64::from(at.day())),
        ("month", i64::from(at.month())),
        ("year", i64::from(at.year())),
    ];
    record(facts.map(|(name, value)| (name.to_owned(), RestrictedExpression::new_long(value))).to_vec())
}

fn counts(counts: Counts) -> Result<RestrictedExpression, Unfit> {
    let facts = [
        ("peerLastHour", counts.peer_last_hour),
        ("peerLastDay", counts.peer_last_day),
        ("keyLastHour", counts.key_last_hour),
        ("keyLastDay", counts.key_last_day),
    ];
    let long = |count| RestrictedExpression::new_long(i64::try_from(count).unwrap_or(i64::MAX));
    record(facts.map(|(name, count)| (name.to_owned(), long(count))).to_vec())
}

fn record(attributes: Attributes) -> Result<RestrictedExpression, Unfit> {
    RestrictedExpression::new_record(attributes).map_err(unfit)
}

fn texts(map: &BTreeMap<String, String>) -> impl Iterator<Item = (String, RestrictedExpression)> {
    map.iter().map(|(name, value)| (name.clone(), text(value)))
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

fn set<'a>(values: impl Iterator<Item = &'a str>) -> RestrictedExpression {
    RestrictedExpression::new_set(values.map(text))
}

fn uid(name: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(name.clone(), EntityId::new(id))
}

fn unfit(problem: impl std::fmt::Display) -> Unfit {
    Unfit(problem.to_string())
}
