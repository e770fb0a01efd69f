//! Many signatures of one artifact: the first that verifies wins, the reasons of all others are kept.

use std::fmt;

use serde::Serialize;

use crate::outcome::Outcome;

/// Signatures tried so far. For callers that fetch one signature after the other: ask [`Attempts::wants_next`], then
/// record what came of it.
#[derive(Debug)]
pub struct Attempts {
    limit: usize,
    limit_reached: bool,
    verified: Option<VerifiedSignature>,
    refused: Vec<Refused>,
}

/// The signature that was accepted.
#[derive(Clone, Debug, Serialize)]
pub struct VerifiedSignature {
    /// Digest of its signature manifest.
    pub digest: String,
    /// Every check, including those that failed but are only logged.
    pub outcome: Outcome,
}

/// A signature that was not accepted.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// Digest of its signature manifest.
    pub digest: String,
    /// Why.
    #[serde(flatten)]
    pub because: RefusedBecause,
}

/// Why a signature was not accepted.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RefusedBecause {
    /// It could not be fetched; the text says why.
    NotFetched(String),
    /// An enforced check failed.
    Outcome(Box<Outcome>),
}

/// No signature was accepted. The display text has one line per signature.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AllRefused {
    /// What was to be verified.
    pub reference: String,
    /// Every signature that was tried.
    pub refused: Vec<Refused>,
    /// How many signatures were to be tried at most, if there were more.
    pub limit_reached: Option<usize>,
}

impl Attempts {
    /// Tries at most `limit` signatures.
    pub const fn new(limit: usize) -> Self {
        Self { limit, limit_reached: false, verified: None, refused: Vec::new() }
    }

    /// Whether a further signature, which there is, should be tried. Not after one was accepted, nor beyond the limit.
    pub const fn wants_next(&mut self) -> bool {
        if self.verified.is_some() {
            return false;
        }
        self.limit_reached = self.refused.len() >= self.limit;
        !self.limit_reached
    }

    /// Records the outcome of verifying the signature with this manifest digest.
    pub fn record(&mut self, digest: String, outcome: Outcome) {
        if outcome.is_verified() {
            self.verified.get_or_insert(VerifiedSignature { digest, outcome });
        } else {
            self.refused.push(Refused { digest, because: RefusedBecause::Outcome(Box::new(outcome)) });
        }
    }

    /// Records that a signature could not be fetched. The next one may still verify.
    pub fn record_not_fetched(&mut self, digest: String, why: &dyn fmt::Display) {
        // What a registry says may hold terminal escapes.
        let why = why.to_string().chars().filter(|c| !c.is_control()).collect();
        self.refused.push(Refused { digest, because: RefusedBecause::NotFetched(why) });
    }

    /// The accepted signature and those refused before it.
    ///
    /// # Errors
    /// [`AllRefused`] if none was accepted, also if there was none.
    pub fn finish(self, reference: &str) -> Result<(VerifiedSignature, Vec<Refused>), AllRefused> {
        match self.verified {
            Some(verified) => Ok((verified, self.refused)),
            None => Err(AllRefused {
                reference: reference.to_owned(),
                refused: self.refused,
                limit_reached: self.limit_reached.then_some(self.limit),
            }),
        }
    }
}

/// Verifies signatures until one is accepted. Each item is a manifest digest and either what `verify` takes or why it
/// could not be fetched. Not for statements of level `skip`: there signatures need not even be listed.
///
/// # Errors
/// [`AllRefused`] if none was accepted, also if there was none.
pub fn verify_all<T, E: fmt::Display>(
    reference: &str,
    limit: usize,
    signatures: impl IntoIterator<Item = (String, Result<T, E>)>,
    mut verify: impl FnMut(&T) -> Outcome,
) -> Result<(VerifiedSignature, Vec<Refused>), AllRefused> {
    let mut attempts = Attempts::new(limit);
    for (digest, fetched) in signatures {
        if !attempts.wants_next() {
            break;
        }
        match fetched {
            Ok(signature) => attempts.record(digest, verify(&signature)),
            Err(why) => attempts.record_not_fetched(digest, &why),
        }
    }
    attempts.finish(reference)
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.digest)?;
        match &self.because {
            RefusedBecause::NotFetched(why) => write!(f, "not fetched: {why}"),
            RefusedBecause::Outcome(outcome) => match outcome.failure() {
                Some(check) => write!(f, "{}: {}", check.check_type, check.explanation()),
                None => f.write_str("not verified"),
            },
        }
    }
}

impl fmt::Display for AllRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reference, refused, limit_reached } = self;
        if refused.is_empty() && limit_reached.is_none() {
            return write!(
                f,
                "no signature is associated with {reference:?}, make sure the artifact was signed successfully"
            );
        }
        write!(f, "signature verification failed for all the signatures associated with {reference}")?;
        for signature in refused {
            write!(f, "\n  {signature}")?;
        }
        if let Some(limit) = limit_reached {
            write!(
                f,
                "\nsignature evaluation stopped. The configured limit of {limit} signatures to verify per artifact exceeded"
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for AllRefused {}
