//! `Sign`: decided, recorded, signed, verified, recorded; and one line in the log of the process.

use std::sync::Arc;
use std::time::Instant;

use prokura_proto::broker::v1;
use serde_json::{Value, json};

use super::answers::Turn;
use super::refusal::{Refusal, RefusalCode};
use super::request::check_idempotency_key;
use super::signing::{self, Order, Signed, micros};
use super::{Broker, Caller, Rules, UnderWay, hex, within};
use crate::audit::{ContentRecord, DecisionRecord, Intent, KeyRecord, PeerRecord, Receipt};
use crate::content::{Artifact, Content};
use crate::policy::Permit;

/// The target of the one line that each signing call writes.
pub(super) const LINE: &str = "prokura_broker::signing";

impl Broker {
    /// One request to sign, and its line.
    pub(super) async fn answer(
        &self,
        caller: &Caller,
        request: v1::SignRequest,
        request_id: String,
    ) -> Result<v1::SignResponse, Refusal> {
        let begun = Instant::now();
        let key = request.key_name.chars().take(128).collect::<String>();
        let under_way = UnderWay::of(self);
        let answer = self.sign_one(caller, request, &request_id, under_way).await;
        let (peer_kind, peer, total_us) = (caller.peer.kind().as_str(), caller.peer.id(), micros(begun));
        match &answer {
            Ok(signed) => {
                let index = signed.receipt.as_ref().map_or(0, |receipt| receipt.index);
                tracing::info!(
                    target: LINE, request_id, peer_kind, peer, key, index, key_version = signed.key_version,
                    recorded_as = signed.request_id, vault_us = signed.vault_us, queue_us = signed.queue_us,
                    attempts = signed.attempts, total_us, code = "SIGNED", "signed"
                );
            }
            Err(refusal) => tracing::warn!(
                target: LINE, request_id, peer_kind, peer, key, total_us, code = refusal.code().as_str(),
                policies = refusal.policies.join(","), message = refusal.message(), "refused"
            ),
        }
        answer
    }

    async fn sign_one(
        &self,
        caller: &Caller,
        request: v1::SignRequest,
        request_id: &str,
        under_way: UnderWay,
    ) -> Result<v1::SignResponse, Refusal> {
        check_idempotency_key(&request.idempotency_key)?;
        let turn = self.0.answers.turn(&caller.peer, &request.idempotency_key, &request, self.now());
        let turn = within(caller.until, turn).await?.map_err(|_| {
            let message =
                "the idempotency key was used for another request; choose a new one for each request";
            Refusal::new(RefusalCode::Invalid, message)
        })?;
        if let Some(given) = turn.given() {
            return Ok(given);
        }
        let rules = self.rules();
        let asked = self.asked(&rules, caller, &request).await?;
        let permit = rules.policies.decide(&self.wanted(caller, &asked))?;
        let order = Order {
            peer: caller.peer.clone(),
            key: asked.key,
            described: asked.described,
            content: asked.content,
        };
        let place = Arc::clone(&self.0.in_flight).try_acquire_owned().map_err(|_| {
            Refusal::new(RefusalCode::OutOfQuota, "the broker has as many requests as it bears; ask again")
                .retryable()
        })?;
        if Instant::now() >= caller.until {
            return Err(Refusal::too_late());
        }
        let intent = intent(&rules, &order, &permit, &request.claimed_reference, request_id);
        let broker = self.clone();
        let id = request_id.to_owned();
        // Runs to its end whoever waits for it, so that an intent has its outcome.
        let signing = tokio::spawn(async move {
            let _held = (under_way, place);
            broker.record_and_sign(order, permit, intent, turn, id).await
        });
        within(caller.until, signing).await?.unwrap_or_else(|_| {
            Err(Refusal::new(RefusalCode::Internal, "the request ended unexpectedly, a defect of the broker"))
        })
    }

    async fn record_and_sign(
        &self,
        order: Order,
        permit: Permit,
        intent: Intent,
        turn: Turn,
        request_id: String,
    ) -> Result<v1::SignResponse, Refusal> {
        let log = &self.0.log;
        let recorded = log.append(intent).await?;
        let signed = signing::sign(&order, permit, recorded, log, &self.0.clock).await?;
        let answer = response(&order, signed, request_id);
        turn.keep(&answer);
        Ok(answer)
    }
}

fn intent(
    rules: &Rules,
    order: &Order,
    permit: &Permit,
    claimed_reference: &str,
    request_id: &str,
) -> Intent {
    let Order { peer, described, content, .. } = order;
    Intent {
        request_id: request_id.to_owned(),
        time: permit.at(),
        peer: PeerRecord::new(peer, &rules.recorded_claims),
        key: KeyRecord {
            name: described.facts().name.clone(),
            fingerprint: described.fingerprint().to_owned(),
            version: described.version().to_owned(),
        },
        algorithm: described.spec().signing_algorithm().as_str().to_owned(),
        content: content_record(content),
        claimed_reference: claimed_reference.to_owned(),
        decision: DecisionRecord {
            policies: permit.policies().to_vec(),
            policy_set: hex(permit.policy_set()),
        },
    }
}

fn content_record(content: &Content) -> ContentRecord {
    ContentRecord {
        content_type: content.content_type().as_str().to_owned(),
        digest: hex(content.digest().bytes()),
        artifact: content.artifact().map_or(Value::Null, artifact),
    }
}

fn artifact(artifact: &Artifact) -> Value {
    json!({
        "mediaType": artifact.media_type,
        "digest": artifact.digest,
        "size": artifact.size,
        "annotations": artifact.annotations,
        "signingScheme": artifact.signing_scheme.as_str(),
        "signingTime": artifact.signing_time.to_string(),
        "expiry": artifact.expiry.map(|expiry| expiry.to_string()),
        "attributes": artifact.attributes,
    })
}

fn response(order: &Order, signed: Signed, request_id: String) -> v1::SignResponse {
    let Signed { made, receipt, vault_us } = signed;
    v1::SignResponse {
        signature: made.signature.bytes().to_vec(),
        signing_algorithm: order.described.spec().signing_algorithm().as_str().to_owned(),
        certificate_chain: order.described.chain().certificates().to_vec(),
        key_version: made.version,
        receipt: Some(wire_receipt(receipt)),
        queue_us: 0,
        vault_us,
        attempts: 1,
        request_id,
    }
}

fn wire_receipt(receipt: Receipt) -> v1::Receipt {
    let Receipt { index, entry, proof, checkpoint } = receipt;
    v1::Receipt { index, entry, proof: proof.iter().map(|hash| hash.as_ref().to_vec()).collect(), checkpoint }
}
