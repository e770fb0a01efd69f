//! Answers kept for callers who ask again: same peer, same idempotency key, same content, same answer.
//!
//! Kept in memory: after a restart, or when more than [`ANSWERS_MAX`] were given, the request is signed anew. A store that
//! outlives the process takes this type's place behind the same two calls.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use prokura_proto::broker::v1;
use tokio::sync::OwnedMutexGuard;

use crate::limits::{ANSWERS_MAX, ANSWERS_S};
use crate::peer::{Peer, PeerKind};

/// Who asked, under which key.
type Name = (PeerKind, String, String);

#[derive(Clone)]
struct Slot {
    request: [u8; 32],
    since: Timestamp,
    answer: Arc<tokio::sync::Mutex<Option<v1::SignResponse>>>,
}

#[derive(Default)]
pub(super) struct Answers(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    slots: HashMap<Name, Slot>,
    order: VecDeque<(Timestamp, Name)>,
}

/// A turn to answer a request: nobody else answers it meanwhile.
pub(super) struct Turn(Option<OwnedMutexGuard<Option<v1::SignResponse>>>);

/// The key was used for another request.
pub(super) struct OtherRequest;

impl Answers {
    /// Waits until nobody else is answering the same request.
    pub(super) async fn turn(
        &self,
        peer: &Peer,
        idempotency_key: &str,
        request: &v1::SignRequest,
        now: Timestamp,
    ) -> Result<Turn, OtherRequest> {
        if idempotency_key.is_empty() {
            return Ok(Turn(None));
        }
        let name = (peer.kind(), peer.id().to_owned(), idempotency_key.to_owned());
        let digest = fingerprint(request);
        let slot = self.slot(name, digest, now);
        if slot.request != digest {
            return Err(OtherRequest);
        }
        Ok(Turn(Some(slot.answer.lock_owned().await)))
    }

    fn slot(&self, name: Name, request: [u8; 32], now: Timestamp) -> Slot {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.forget(now);
        if let Some(slot) = kept.slots.get(&name) {
            return slot.clone();
        }
        let slot = Slot { request, since: now, answer: Arc::default() };
        kept.order.push_back((now, name.clone()));
        kept.slots.insert(name, slot.clone());
        slot
    }
}

impl Kept {
    fn forget(&mut self, now: Timestamp) {
        let old = now.checked_sub(SignedDuration::from_secs(ANSWERS_S)).unwrap_or(Timestamp::MIN);
        while self.order.len() >= ANSWERS_MAX || self.order.front().is_some_and(|(since, _)| *since < old) {
            let Some((since, name)) = self.order.pop_front() else { return };
            if self.slots.get(&name).is_some_and(|slot| slot.since == since) {
                self.slots.remove(&name);
            }
        }
    }
}

impl Turn {
    /// The answer given before; no vault was asked for it now.
    pub(super) fn given(&self) -> Option<v1::SignResponse> {
        let answer = self.0.as_ref()?.as_ref()?;
        Some(v1::SignResponse { attempts: 0, queue_us: 0, vault_us: 0, ..answer.clone() })
    }

    /// Keeps the answer for whoever asks again.
    pub(super) fn keep(self, answer: &v1::SignResponse) {
        if let Some(mut kept) = self.0 {
            *kept = Some(answer.clone());
        }
    }
}

/// SHA-256 over the request without its idempotency key, claims in order.
fn fingerprint(request: &v1::SignRequest) -> [u8; 32] {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut add = |bytes: &[u8]| {
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    };
    add(request.key_name.as_bytes());
    add(request.expected_key.as_bytes());
    add(request.claimed_reference.as_bytes());
    let mut claims: Vec<_> = request.claims.iter().collect();
    claims.sort();
    for (name, value) in claims {
        add(name.as_bytes());
        add(value.as_bytes());
    }
    add(&request.content.as_ref().map(prost::Message::encode_to_vec).unwrap_or_default());
    context.finish().as_ref().try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(id: &str) -> Peer {
        Peer::new(PeerKind::Unix, id.to_owned(), Default::default(), String::new(), None).unwrap()
    }

    fn request(name: &str) -> v1::SignRequest {
        v1::SignRequest { key_name: name.to_owned(), ..Default::default() }
    }

    fn answer() -> v1::SignResponse {
        v1::SignResponse { attempts: 2, request_id: "first".to_owned(), ..Default::default() }
    }

    #[tokio::test]
    async fn the_same_request_has_the_same_answer_and_another_is_refused() {
        let (answers, now) = (Answers::default(), Timestamp::UNIX_EPOCH);
        let turn = answers.turn(&peer("a"), "k", &request("x"), now).await.ok().unwrap();
        assert!(turn.given().is_none());
        turn.keep(&answer());
        let again = answers.turn(&peer("a"), "k", &request("x"), now).await.ok().unwrap().given().unwrap();
        assert_eq!((again.request_id.as_str(), again.attempts), ("first", 0));
        assert!(answers.turn(&peer("a"), "k", &request("y"), now).await.is_err());
        assert!(answers.turn(&peer("b"), "k", &request("y"), now).await.ok().unwrap().given().is_none());
        let later = now + SignedDuration::from_secs(ANSWERS_S + 1);
        assert!(answers.turn(&peer("a"), "k", &request("y"), later).await.is_ok());
    }

    #[tokio::test]
    async fn a_request_that_failed_may_be_asked_again_and_memory_is_bounded() {
        let (answers, now) = (Answers::default(), Timestamp::UNIX_EPOCH);
        drop(answers.turn(&peer("a"), "k", &request("x"), now).await.ok());
        assert!(answers.turn(&peer("a"), "k", &request("x"), now).await.ok().unwrap().given().is_none());
        for n in 0..ANSWERS_MAX + 10 {
            drop(answers.turn(&peer("a"), &n.to_string(), &request("x"), now).await.ok());
        }
        let kept = answers.0.lock().unwrap();
        assert!(kept.slots.len() <= ANSWERS_MAX && kept.order.len() <= ANSWERS_MAX);
    }

    #[test]
    fn members_do_not_run_into_each_other() {
        let of = |key: &str, expected: &str| {
            fingerprint(&v1::SignRequest { expected_key: expected.to_owned(), ..request(key) })
        };
        assert_ne!(of("ab", ""), of("a", "b"));
    }
}
