//! The `SignDigests` call: many signatures with one key, answered in any order (SPEC section 5.5).

use std::time::Duration;

use prokura_plugin::{Digest, KeySpec};
use prokura_proto::plugin::v1 as wire;
use prokura_proto::plugin::v1::sign_digests_response::Outcome;
use tokio::time::Instant;

use super::{Serving, check_size, reference, status, timed};
use crate::error::{Error, Violation};
use crate::plugin::KeyReference;
use crate::sign::DigestSignature;

const SIGN_DIGESTS: &str = "SignDigests";

impl Serving {
    /// Asks for a signature over each digest, at most [`crate::limits::BATCH_MAX`], and fills in what is answered, at
    /// the same places.
    ///
    /// # Errors
    /// Why the call ended before all were answered.
    pub(crate) async fn sign_digests(
        &self,
        key: &KeyReference,
        spec: KeySpec,
        digests: &[Digest],
        limit: Duration,
        answers: &mut [Option<Result<DigestSignature, Error>>],
    ) -> Result<(), Error> {
        let until = Instant::now() + limit;
        let request = wire::SignDigestRequest {
            key: Some(reference(key)),
            key_spec: spec.as_str().to_owned(),
            hash_algorithm: spec.hash_algorithm().as_str().to_owned(),
            digest: vec![0; spec.hash_algorithm().digest_len()],
            // A batch is of digests alone.
            to_be_signed: Vec::new(),
        };
        check_size(&request)?;
        let bytes: Vec<Vec<u8>> = digests.iter().map(|digest| digest.bytes().to_vec()).collect();
        // Made one by one as they are sent: the plugin config in each may be large.
        let requests = bytes.into_iter().zip(0..).map(move |(digest, id)| wire::SignDigestsRequest {
            id,
            request: Some(wire::SignDigestRequest { digest, ..request.clone() }),
        });
        let mut client = self.client.clone();
        let opening = async move { client.sign_digests(timed(tokio_stream::iter(requests), limit)).await };
        let mut stream = self.call(SIGN_DIGESTS, limit, opening).await?;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let next = async { stream.message().await.map(tonic::Response::new) };
            let Some(wire::SignDigestsResponse { id, outcome }) = self.call(SIGN_DIGESTS, left, next).await?
            else {
                break;
            };
            let place = open_place(answers, id)
                .ok_or_else(|| self.broke(format!("the answer with id {id} is to no open request")))?;
            *place = Some(match outcome {
                Some(Outcome::Signed(answer)) => self.judged(answer, key, spec, SIGN_DIGESTS),
                Some(Outcome::Error(error)) => {
                    Err(status::refused_in_stream(&self.plugin, SIGN_DIGESTS, error))
                }
                None => Err(self.broke("an answer is neither a signature nor an error".to_owned())),
            });
        }
        match answers.iter().filter(|answer| answer.is_none()).count() {
            0 => Ok(()),
            missing => Err(self.broke(format!("{missing} of {} requests were not answered", answers.len()))),
        }
    }

    fn broke(&self, message: String) -> Error {
        Violation::new("STREAM-1", message).by(&self.plugin, SIGN_DIGESTS)
    }
}

/// Where the answer to a request belongs: none for an id that was not asked, or is answered already.
fn open_place<T>(answers: &mut [Option<T>], id: u64) -> Option<&mut Option<T>> {
    let place = answers.get_mut(usize::try_from(id).ok()?)?;
    place.is_none().then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_answered_once_and_nothing_else_is() {
        let mut answers = [None, Some(1)];
        assert!(open_place(&mut answers, 0).is_some());
        assert!(open_place(&mut answers, 1).is_none(), "answered already");
        assert!(open_place(&mut answers, 2).is_none(), "never asked");
        assert!(open_place(&mut answers, u64::MAX).is_none());
    }
}
