//! The scope of a policy: for whom, what and which key it is meant, apart from its conditions.

use cedar_policy::{
    ActionConstraint, Effect, Entities, EntityUid, Policy, PrincipalConstraint, ResourceConstraint,
};

/// The scope of one policy.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub(super) effect: Effect,
    principal: PrincipalConstraint,
    action: ActionConstraint,
    resource: ResourceConstraint,
}

impl Scope {
    pub(super) fn of(policy: &Policy) -> Self {
        Self {
            effect: policy.effect(),
            principal: policy.principal_constraint(),
            action: policy.action_constraint(),
            resource: policy.resource_constraint(),
        }
    }

    /// Whether it is meant for this action.
    pub(super) fn has_action(&self, action: &EntityUid, entities: &Entities) -> bool {
        match &self.action {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(uid) => uid == action,
            ActionConstraint::In(uids) => uids.iter().any(|uid| is_in(action, uid, entities)),
        }
    }

    /// The key or group of keys it names, if it names one.
    pub(super) const fn named_resource(&self) -> Option<&EntityUid> {
        match &self.resource {
            ResourceConstraint::Any | ResourceConstraint::Is(_) => None,
            ResourceConstraint::Eq(uid) | ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid) => {
                Some(uid)
            }
        }
    }

    /// Whether it is meant for this caller.
    pub(super) fn has_principal(&self, principal: &EntityUid, entities: &Entities) -> bool {
        match &self.principal {
            PrincipalConstraint::Any => true,
            PrincipalConstraint::Eq(uid) => uid == principal,
            PrincipalConstraint::In(uid) => is_in(principal, uid, entities),
            PrincipalConstraint::Is(name) => principal.type_name() == name,
            PrincipalConstraint::IsIn(name, uid) => {
                principal.type_name() == name && is_in(principal, uid, entities)
            }
        }
    }

    /// Whether it is meant for this key.
    pub(super) fn has_resource(&self, resource: &EntityUid, entities: &Entities) -> bool {
        match &self.resource {
            ResourceConstraint::Any => true,
            ResourceConstraint::Eq(uid) => uid == resource,
            ResourceConstraint::In(uid) => is_in(resource, uid, entities),
            ResourceConstraint::Is(name) => resource.type_name() == name,
            ResourceConstraint::IsIn(name, uid) => {
                resource.type_name() == name && is_in(resource, uid, entities)
            }
        }
    }
}

fn is_in(inner: &EntityUid, outer: &EntityUid, entities: &Entities) -> bool {
    inner == outer || entities.is_ancestor_of(outer, inner)
}
