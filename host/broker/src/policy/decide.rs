//! The decision, and the only maker of [`Permit`].

use std::collections::BTreeSet;
use std::fmt;

use cedar_policy::{AuthorizationError, Authorizer, Decision, Effect};
use jiff::Timestamp;
use prokura_plugin::Digest;
use serde_json::{Value, json};

use super::entities::{Asked, Unfit};
use super::facts::{Act, KeyFacts, Look, Wanted};
use super::nearest::{self, Nearest};
use super::set::PolicySet;
use crate::content::{Content, ContentType};
use crate::peer::{Peer, PeerKind};

/// Leave for one peer to have one signature. Made by [`PolicySet::decide`] alone, and given away when it is used.
#[derive(Debug)]
pub struct Permit {
    peer: (PeerKind, String),
    key_name: String,
    content_type: ContentType,
    digest: Digest,
    policies: Vec<String>,
    policy_set: [u8; 32],
    at: Timestamp,
}

/// Why a peer may not. For the caller and for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Denial {
    asked: String,
    forbidden_by: Vec<String>,
    failed: Vec<String>,
    nearest: Box<[Nearest]>,
    policy_set: [u8; 32],
}

/// A decision told without making it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What it would be.
    pub permitted: bool,
    /// Names of the policies that permit or forbid; empty if none permits.
    pub policies: Vec<String>,
    /// What the policies saw: principal, action, resource, context.
    pub seen: Value,
    /// For people.
    pub message: String,
}

/// What the policies of one action say.
struct Verdict {
    permitted_by: Vec<String>,
    denial: Option<Denial>,
}

impl PolicySet {
    /// Decides whether a peer may have a signature.
    ///
    /// # Errors
    /// [`Denial`] that names the forbidding policies, or those that came nearest to permitting.
    pub fn decide(&self, wanted: &Wanted<'_>) -> Result<Permit, Denial> {
        let asked = self.asked(wanted)?;
        let verdict = self.judge(&asked);
        match verdict.denial {
            Some(denial) => Err(denial),
            None => Ok(Permit {
                peer: (wanted.peer.kind(), wanted.peer.id().to_owned()),
                key_name: wanted.key.name.clone(),
                content_type: wanted.content.content_type(),
                digest: wanted.content.digest().clone(),
                policies: verdict.permitted_by,
                policy_set: *self.hash(),
                at: wanted.now,
            }),
        }
    }

    /// Decides whether a peer may look at a key, and names the policies that let it.
    ///
    /// # Errors
    /// [`Denial`], as for a signature.
    pub fn may_look(
        &self,
        look: Look,
        peer: &Peer,
        key: &KeyFacts,
        now: Timestamp,
    ) -> Result<Vec<String>, Denial> {
        let act = Act::from(look);
        let asked = self.entity_names.look(&self.schema, act, (peer, key), (now, self.offset));
        let verdict = self.judge(&asked.map_err(|unfit| self.unfit(act, &unfit))?);
        match verdict.denial {
            Some(denial) => Err(denial),
            None => Ok(verdict.permitted_by),
        }
    }

    /// Tells what [`PolicySet::decide`] would decide, and what it would see. Signs and counts nothing.
    pub fn explain(&self, wanted: &Wanted<'_>) -> Explanation {
        let asked = match self.asked(wanted) {
            Ok(asked) => asked,
            Err(denial) => return Explanation::denied(denial, Value::Null),
        };
        let (seen, verdict) = (seen(&asked), self.judge(&asked));
        match verdict.denial {
            Some(denial) => Explanation::denied(denial, seen),
            None => Explanation {
                permitted: true,
                message: format!("permitted by {}", quoted(&verdict.permitted_by)),
                policies: verdict.permitted_by,
                seen,
            },
        }
    }

    fn asked(&self, wanted: &Wanted<'_>) -> Result<Asked, Denial> {
        let asked = self.entity_names.signature(&self.schema, self.offset, wanted);
        asked.map_err(|unfit| self.unfit(Act::from(wanted.content.content_type()), &unfit))
    }

    fn judge(&self, asked: &Asked) -> Verdict {
        let slice = self.slices.get(&asked.act).map_or_else(|| Ok(Default::default()), |s| s.set_for(asked));
        let slice = match slice {
            Ok(slice) => slice,
            Err(problem) => {
                let denial = Denial { failed: vec![problem], ..self.denial(asked) };
                return Verdict { permitted_by: Vec::new(), denial: Some(denial) };
            }
        };
        let response = Authorizer::new().is_authorized(&asked.request, &slice, &asked.entities);
        let reasons: BTreeSet<String> =
            response.diagnostics().reason().map(|id| AsRef::<str>::as_ref(id).to_owned()).collect();
        let reasons: Vec<String> = reasons.into_iter().collect();
        let failed = self.failed(response.diagnostics().errors());
        match response.decision() {
            Decision::Allow if failed.is_empty() => Verdict { permitted_by: reasons, denial: None },
            Decision::Allow => {
                let denial = Denial { failed, ..self.denial(asked) };
                Verdict { permitted_by: Vec::new(), denial: Some(denial) }
            }
            Decision::Deny => {
                let nearest = if reasons.is_empty() { nearest::of(self, asked) } else { Box::default() };
                let denial = Denial { forbidden_by: reasons, failed, nearest, ..self.denial(asked) };
                Verdict { permitted_by: Vec::new(), denial: Some(denial) }
            }
        }
    }

    /// Forbidding policies that could not be evaluated, each with its error. Permitting ones are found by `nearest`.
    fn failed<'a>(&self, errors: impl Iterator<Item = &'a AuthorizationError>) -> Vec<String> {
        let forbids = |name: &str| self.policies.get(name).is_none_or(|(_, s)| s.effect == Effect::Forbid);
        let mut failed: Vec<String> = errors
            .filter(|AuthorizationError::PolicyEvaluationError(e)| forbids(e.policy_id().as_ref()))
            .map(|AuthorizationError::PolicyEvaluationError(e)| {
                format!("{:?}: {}", AsRef::<str>::as_ref(e.policy_id()), e.inner())
            })
            .collect();
        failed.sort();
        failed
    }

    fn denial(&self, asked: &Asked) -> Denial {
        let principal = asked.principal.id().unescaped();
        let (act, key) = (asked.act.as_str(), asked.resource.id().unescaped());
        Denial {
            asked: format!("{principal} may not {act} with key {key:?}"),
            forbidden_by: Vec::new(),
            failed: Vec::new(),
            nearest: Box::default(),
            policy_set: *self.hash(),
        }
    }

    fn unfit(&self, act: Act, unfit: &Unfit) -> Denial {
        Denial {
            asked: format!("{} is not decided", act.as_str()),
            forbidden_by: Vec::new(),
            failed: vec![format!("the facts do not fit the schema, a defect of the broker: {}", unfit.0)],
            nearest: Box::default(),
            policy_set: *self.hash(),
        }
    }
}

impl Permit {
    /// Whether it is for this peer, key and content.
    pub fn covers(&self, peer: &Peer, key_name: &str, content: &Content) -> bool {
        self.peer.0 == peer.kind()
            && self.peer.1 == peer.id()
            && self.key_name == key_name
            && self.content_type == content.content_type()
            && &self.digest == content.digest()
    }

    /// The name of the key that may sign.
    pub fn key_name(&self) -> &str {
        &self.key_name
    }

    /// What may be signed.
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The names of the policies that permit, in order.
    pub fn policies(&self) -> &[String] {
        &self.policies
    }

    /// The hash of the policy set that decided.
    pub const fn policy_set(&self) -> &[u8; 32] {
        &self.policy_set
    }

    /// When it was decided.
    pub const fn at(&self) -> Timestamp {
        self.at
    }
}

impl Denial {
    /// The names of the policies that forbid, in order; empty if it is denied because none permits.
    pub fn forbidden_by(&self) -> &[String] {
        &self.forbidden_by
    }

    /// The policies that permit this to this peer with this key, if only their conditions held.
    pub fn nearest(&self) -> &[Nearest] {
        &self.nearest
    }

    /// The hash of the policy set that decided.
    pub const fn policy_set(&self) -> &[u8; 32] {
        &self.policy_set
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.asked)?;
        match (self.forbidden_by.as_slice(), self.failed.as_slice()) {
            ([], []) => f.write_str("no policy permits it")?,
            (forbids @ [_, ..], _) => write!(f, "forbidden by {}", quoted(forbids))?,
            ([], failed) => write!(f, "a policy cannot be evaluated, {}", failed.join(", "))?,
        }
        for (at, nearest) in self.nearest.iter().enumerate() {
            write!(f, "{}{nearest}", if at == 0 { "; nearest: " } else { ", " })?;
        }
        Ok(())
    }
}

impl Explanation {
    fn denied(denial: Denial, seen: Value) -> Self {
        Self { permitted: false, message: denial.to_string(), policies: denial.forbidden_by, seen }
    }
}

/// The request as JSON: entities with their tags, the context with what it refers to.
fn seen(asked: &Asked) -> Value {
    let entity = |id: &cedar_policy::EntityUid| {
        let json = asked.entities.get(id).and_then(|entity| entity.to_json_value().ok());
        json.unwrap_or(Value::Null)
    };
    let mut context = asked.request.context().and_then(|c| c.to_json_value().ok()).unwrap_or(Value::Null);
    for other in asked.entities.iter() {
        let name = other.uid().type_name().to_string().to_lowercase();
        if let Some(place) = context.get_mut(&name) {
            *place = entity(&other.uid());
        }
    }
    json!({
        "principal": entity(&asked.principal),
        "action": asked.act.as_str(),
        "resource": entity(&asked.resource),
        "context": context,
    })
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}
