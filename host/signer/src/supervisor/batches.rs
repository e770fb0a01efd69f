//! Many signatures over few calls. What a call leaves unanswered, because its process ended or its vault was busy, is
//! asked for one by one.

use std::time::Duration;

use prokura_plugin::{Digest, KeySpec};
use tokio::time::Instant;

use super::calls::suspect;
use super::{Order, Patience, Supervisor};
use crate::error::Error;
use crate::limits::BATCH_MAX;
use crate::plugin::KeyReference;
use crate::sign::DigestSignature;

type Outcome = Result<DigestSignature, Error>;

impl Supervisor {
    /// The outcome of each, in the order of `digests`. `limit` is for each [`BATCH_MAX`] of them.
    ///
    /// # Errors
    /// If no process can be had, or it has another key.
    pub(crate) async fn sign_digests(
        &self,
        key: &KeyReference,
        spec: KeySpec,
        digests: &[Digest],
        limit: Duration,
    ) -> Result<Vec<Outcome>, Error> {
        let mut outcomes = Vec::with_capacity(digests.len());
        for batch in digests.chunks(BATCH_MAX) {
            outcomes.extend(self.sign_batch(key, spec, batch, Instant::now() + limit).await?);
        }
        Ok(outcomes)
    }

    async fn sign_batch(
        &self,
        key: &KeyReference,
        spec: KeySpec,
        digests: &[Digest],
        until: Instant,
    ) -> Result<Vec<Outcome>, Error> {
        let left = || until.saturating_duration_since(Instant::now());
        let may_repeat = self.may_repeat(key, until).await?;
        let serving = self.serving(until, Patience::Several).await?;
        self.check_same_key(&serving, key, None, left()).await?;
        let mut answers: Vec<Option<Outcome>> = digests.iter().map(|_| None).collect();
        let ended = serving.sign_digests(key, spec, digests, left(), &mut answers).await;
        if let Err(error @ Error::TooSlow { .. }) = &ended {
            suspect(&serving, key, error);
        }
        if answers.iter().any(Option::is_some) {
            serving.answered(key);
        }
        let is_lost = ended.as_ref().is_err_and(|error| serving.is_lost_with(error));
        let mut outcomes = Vec::with_capacity(digests.len());
        for (digest, answer) in digests.iter().zip(answers) {
            // A process that ended took the unanswered ones along: that was the one time they may be lost.
            let is_repetition = answer.is_none();
            let shall_repeat = may_repeat
                && match &answer {
                    None => is_lost,
                    Some(Err(error)) => matches!(error, Error::Refused { .. }) && error.may_retry(),
                    Some(Ok(_)) => false,
                };
            outcomes.push(match (answer, &ended) {
                _ if shall_repeat => {
                    let order =
                        Order { key, spec, digest, to_be_signed: None, described: None, is_repetition };
                    self.sign_digest(&order, until).await
                }
                (Some(outcome), _) => outcome,
                (None, Err(error)) => Err(error.clone()),
                (None, Ok(())) => continue, // there is none: the call ends well only with all answers
            });
        }
        Ok(outcomes)
    }
}
