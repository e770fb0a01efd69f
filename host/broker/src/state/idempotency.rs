//! One signature for one idempotency key: the first to come makes it, the others get its answer.

use std::time::Duration;

use jiff::Timestamp;

use super::counts::{Signed, add};
use super::error::StateError;
use super::names::{Caller, Name, Nonce, name, nonce};
use super::session::{Arg, Durability, Operation, Session};
use super::store::Store;
use crate::limits::{ANSWER_BYTES_MAX, ANSWER_TTL_MAX_S, CLAIM_LEASE_MAX_S, IDEMPOTENCY_KEY_BYTES_MAX};

/// The right to make the answer, until the lease ends. Given back with [`Store::finish`] or [`Store::abandon`].
#[derive(Debug)]
pub struct Claim {
    scope: Name,
    owner: Nonce,
    ttl_ms: i64,
}

/// What became of [`Store::begin`].
#[derive(Debug)]
pub enum Begun {
    /// Nobody asked before, or whoever did is gone: make the answer.
    New(Claim),
    /// Somebody is making the answer; if it dies, it may be taken over after this many milliseconds.
    InProgress {
        /// What remains of its lease.
        remaining_ms: u64,
    },
    /// This is the answer.
    Done(Vec<u8>),
    /// The key was used with other content.
    Conflict,
}

/// What became of [`Store::finish`].
#[derive(Debug, PartialEq, Eq)]
pub enum Finished {
    /// The answer is recorded.
    Recorded,
    /// The lease had ended and another took over; its answer counts, if it is there already. Counts are added all the
    /// same, for the signature exists.
    Overtaken(Option<Vec<u8>>),
}

impl Store {
    /// Asks for the right to make the answer. `content` is the hash of everything that must be equal; `lease` is at
    /// least as long as making it may take; `ttl` is how long an answer is kept.
    ///
    /// # Errors
    /// [`StateError`]; [`super::Trouble::Invalid`] for an idempotency key that is empty or too long.
    pub async fn begin(
        &self,
        caller: Caller<'_>,
        idempotency_key: &str,
        content: [u8; 32],
        now: Timestamp,
        lease: Duration,
        ttl: Duration,
    ) -> Result<Begun, StateError> {
        if !(1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&idempotency_key.len()) {
            let found = idempotency_key.len();
            return Err(StateError::invalid(format!(
                "the idempotency key has {found} bytes, expected 1 to {IDEMPOTENCY_KEY_BYTES_MAX}"
            )));
        }
        let lease_ms = millis(lease.min(Duration::from_secs(CLAIM_LEASE_MAX_S)));
        self.run(Begin {
            scope: name("claim", &[caller.kind.as_str(), caller.id, idempotency_key]),
            content,
            owner: nonce()?,
            now_ms: now.as_millisecond(),
            lease_ms,
            ttl_ms: millis(ttl.min(Duration::from_secs(ANSWER_TTL_MAX_S))).max(lease_ms),
        })
        .await
    }

    /// Records the answer, and in the same transaction what it counts for. May be repeated after an error.
    ///
    /// # Errors
    /// [`StateError`]; then it is recorded as a whole or not at all.
    pub async fn finish(
        &self,
        claim: &Claim,
        answer: Vec<u8>,
        signed: Option<Signed<'_>>,
        now: Timestamp,
    ) -> Result<Finished, StateError> {
        if answer.len() > ANSWER_BYTES_MAX {
            let found = answer.len();
            return Err(StateError::invalid(format!(
                "the answer has {found} bytes, at most {ANSWER_BYTES_MAX} are kept"
            )));
        }
        let now_ms = now.as_millisecond();
        self.run(Finish {
            scope: claim.scope,
            owner: claim.owner,
            answer,
            expires_at: now_ms.saturating_add(claim.ttl_ms),
            subjects: signed.map(Signed::subjects),
            now_ms,
        })
        .await
    }

    /// Gives the claim back: nothing was signed, and the next who asks may try.
    ///
    /// # Errors
    /// [`StateError`]; then the claim ends with its lease.
    pub async fn abandon(&self, claim: &Claim) -> Result<(), StateError> {
        self.run(Abandon { scope: claim.scope, owner: claim.owner }).await
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

struct Begin {
    scope: Name,
    content: [u8; 32],
    owner: Nonce,
    now_ms: i64,
    lease_ms: i64,
    ttl_ms: i64,
}

/// A claim may vanish between two statements; three times in a row it does not.
const LOOKS_MAX: usize = 3;

impl Operation for Begin {
    type Output = Begun;
    const DURABILITY: Durability = Durability::Claim;

    async fn perform(&self, session: &mut Session) -> Result<Begun, StateError> {
        for _ in 0..LOOKS_MAX {
            if self.claim(session).await? {
                return Ok(Begun::New(Claim { scope: self.scope, owner: self.owner, ttl_ms: self.ttl_ms }));
            }
            if let Some(begun) = self.look(session).await? {
                return Ok(begun);
            }
        }
        Ok(Begun::InProgress { remaining_ms: 0 })
    }
}

impl Begin {
    /// One statement, so that of any number at once one wins. It wins again when it is repeated.
    async fn claim(&self, session: &mut Session) -> Result<bool, StateError> {
        let sql = "INSERT INTO claims (scope, content, owner, lease_until, expires_at) VALUES ($1, $2, $3, $4, $5) \
                   ON CONFLICT (scope) DO UPDATE SET content = excluded.content, owner = excluded.owner, \
                   lease_until = excluded.lease_until, expires_at = excluded.expires_at, answer = NULL \
                   WHERE claims.expires_at <= $6 OR (claims.answer IS NULL AND (claims.owner = excluded.owner \
                   OR (claims.lease_until <= $6 AND claims.content = excluded.content)))";
        let args = [
            Arg::Bytes(&self.scope),
            Arg::Bytes(&self.content),
            Arg::Bytes(&self.owner),
            Arg::Int(self.now_ms.saturating_add(self.lease_ms)),
            Arg::Int(self.now_ms.saturating_add(self.ttl_ms)),
            Arg::Int(self.now_ms),
        ];
        Ok(session.execute(sql, &args).await? > 0)
    }

    async fn look(&self, session: &mut Session) -> Result<Option<Begun>, StateError> {
        let sql = "SELECT lease_until, content, answer FROM claims WHERE scope = $1";
        let rows = session.rows(sql, &[Arg::Bytes(&self.scope)]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        if row.bytes(1)? != self.content {
            return Ok(Some(Begun::Conflict));
        }
        if let Some(answer) = row.optional_bytes(2)? {
            return Ok(Some(Begun::Done(answer)));
        }
        let mut lease_until = row.int(0)?;
        let longest = self.now_ms.saturating_add(millis(Duration::from_secs(CLAIM_LEASE_MAX_S)));
        if lease_until > longest {
            // The clock jumped back. Its holder may live and keeps the longest lease there is, from now.
            let sql =
                "UPDATE claims SET lease_until = $2 WHERE scope = $1 AND answer IS NULL AND lease_until > $2";
            session.execute(sql, &[Arg::Bytes(&self.scope), Arg::Int(longest)]).await?;
            lease_until = longest;
        }
        let remaining_ms = u64::try_from(lease_until.saturating_sub(self.now_ms)).unwrap_or_default();
        Ok(Some(Begun::InProgress { remaining_ms }))
    }
}

struct Finish {
    scope: Name,
    owner: Nonce,
    answer: Vec<u8>,
    expires_at: i64,
    subjects: Option<[Name; 3]>,
    now_ms: i64,
}

impl Operation for Finish {
    type Output = Finished;
    const DURABILITY: Durability = Durability::Answer;
    const TRANSACTION: bool = true;

    async fn perform(&self, session: &mut Session) -> Result<Finished, StateError> {
        let sql = "UPDATE claims SET answer = $3, expires_at = $4 WHERE scope = $1 AND owner = $2 AND answer IS NULL";
        let args = [
            Arg::Bytes(&self.scope),
            Arg::Bytes(&self.owner),
            Arg::Bytes(&self.answer),
            Arg::Int(self.expires_at),
        ];
        let recorded = session.execute(sql, &args).await? > 0;
        let finished = if recorded { Finished::Recorded } else { self.look(session).await? };
        // Recorded without having changed anything: this is a repetition, and it was counted then.
        if let Some(subjects) = &self.subjects
            && (recorded || finished != Finished::Recorded)
        {
            add(session, subjects, self.now_ms).await?;
        }
        Ok(finished)
    }
}

impl Finish {
    async fn look(&self, session: &mut Session) -> Result<Finished, StateError> {
        let rows = session
            .rows("SELECT owner, answer FROM claims WHERE scope = $1", &[Arg::Bytes(&self.scope)])
            .await?;
        let Some(row) = rows.first() else { return Ok(Finished::Overtaken(None)) };
        if row.bytes(0)? == self.owner {
            return Ok(Finished::Recorded);
        }
        Ok(Finished::Overtaken(row.optional_bytes(1)?))
    }
}

struct Abandon {
    scope: Name,
    owner: Nonce,
}

impl Operation for Abandon {
    type Output = ();
    const DURABILITY: Durability = Durability::Claim;

    async fn perform(&self, session: &mut Session) -> Result<(), StateError> {
        let sql = "DELETE FROM claims WHERE scope = $1 AND owner = $2 AND answer IS NULL";
        session.execute(sql, &[Arg::Bytes(&self.scope), Arg::Bytes(&self.owner)]).await.map(|_| ())
    }
}
