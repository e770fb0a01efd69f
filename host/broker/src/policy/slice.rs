//! The policies that may matter to one request, found without evaluating the others.
//!
//! A policy whose scope does not match can neither permit nor forbid nor fail, so leaving it out changes no decision.

use std::collections::HashMap;

use cedar_policy::{Entities, EntityUid, Policy, PolicySet};

use super::entities::Asked;
use super::scope::Scope;

/// The policies of one action.
#[derive(Debug)]
pub(super) struct Slice {
    policies: Vec<(Scope, Policy)>,
    /// Places of those that name a key or a group of keys in their scope, by that name.
    by_resource: HashMap<EntityUid, Vec<usize>>,
    /// Places of the others.
    for_any_resource: Vec<usize>,
}

impl Slice {
    pub(super) fn new(policies: Vec<Policy>) -> Self {
        let policies: Vec<_> = policies.into_iter().map(|policy| (Scope::of(&policy), policy)).collect();
        let (mut by_resource, mut for_any_resource) = (HashMap::<_, Vec<usize>>::new(), Vec::new());
        for (at, (scope, _)) in policies.iter().enumerate() {
            match scope.named_resource() {
                Some(uid) => by_resource.entry(uid.clone()).or_default().push(at),
                None => for_any_resource.push(at),
            }
        }
        Self { policies, by_resource, for_any_resource }
    }

    pub(super) fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.policies.iter().map(|(_, policy)| policy)
    }

    /// Policies whose scope matches principal and resource.
    pub(super) fn meant_for(&self, asked: &Asked) -> impl Iterator<Item = &(Scope, Policy)> {
        let named = resource_names(&asked.resource, &asked.entities);
        let named = named.into_iter().filter_map(|uid| self.by_resource.get(uid)).flatten();
        let places = self.for_any_resource.iter().chain(named);
        let candidates = places.filter_map(|at| self.policies.get(*at));
        candidates.filter(|(scope, _)| {
            scope.has_principal(&asked.principal, &asked.entities)
                && scope.has_resource(&asked.resource, &asked.entities)
        })
    }

    /// The same as a set that Cedar evaluates.
    ///
    /// # Errors
    /// The text of Cedar's error, if two policies have one name; they were told apart at load.
    pub(super) fn set_for(&self, asked: &Asked) -> Result<PolicySet, String> {
        let meant = self.meant_for(asked).map(|(_, policy)| policy.clone());
        PolicySet::from_policies(meant).map_err(|e| e.to_string())
    }
}

/// The key and every group it is in.
fn resource_names<'a>(resource: &'a EntityUid, entities: &'a Entities) -> Vec<&'a EntityUid> {
    let groups = entities.ancestors(resource).into_iter().flatten();
    std::iter::once(resource).chain(groups).collect()
}
