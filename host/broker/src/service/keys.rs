//! What callers may know: who they are, which keys there are for them, what a policy would say.

use prokura_proto::broker::v1;
use serde_json::Value;

use super::{Broker, Caller, Refusal};
use crate::peer::Peer;
use crate::policy::Look;

impl Broker {
    /// Keys that a policy lets the caller list. One that was never described is not among them: its spec is not known.
    pub(super) fn list(&self, caller: &Caller) -> Vec<v1::ListKeysResponse> {
        let (rules, now) = (self.rules(), self.now());
        let known = rules.vaults.keys().filter_map(|key| key.known());
        known
            .filter(|key| rules.policies.may_look(Look::List, &caller.peer, key.facts(), now).is_ok())
            .map(|key| v1::ListKeysResponse {
                key_name: key.facts().name.clone(),
                key_spec: key.spec().as_str().to_owned(),
            })
            .collect()
    }

    pub(super) async fn describe(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<v1::DescribeKeyResponse, Refusal> {
        let rules = self.rules();
        let (_, described) = self.key(&rules, caller, name).await?;
        rules.policies.may_look(Look::Describe, &caller.peer, described.facts(), self.now())?;
        Ok(v1::DescribeKeyResponse {
            key_name: described.facts().name.clone(),
            key_spec: described.spec().as_str().to_owned(),
            public_key: described.public_key().spki_der().to_vec(),
            certificate_chain: described.chain().certificates().to_vec(),
            key_version: described.version().to_owned(),
        })
    }

    pub(super) async fn tell(
        &self,
        caller: &Caller,
        request: v1::SignRequest,
    ) -> Result<v1::ExplainResponse, Refusal> {
        let rules = self.rules();
        let asked = self.asked(&rules, caller, &request).await?;
        let told = rules.policies.explain(&self.wanted(caller, &asked));
        Ok(v1::ExplainResponse {
            permitted: told.permitted,
            policies: told.policies,
            seen: told.seen.to_string(),
            message: told.message,
        })
    }
}

pub(super) fn peer(peer: &Peer) -> v1::Peer {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    v1::Peer {
        kind: peer.kind().as_str().to_owned(),
        id: peer.id().to_owned(),
        claims: peer.claims().iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        expires_at: peer.expires_at().map_or(0, jiff::Timestamp::as_second),
    }
}
