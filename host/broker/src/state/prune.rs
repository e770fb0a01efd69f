//! What nobody will ask for any more is removed, a bounded step at a time.

use std::time::Duration;

use jiff::Timestamp;

use super::counts::{DAY_MS, HOUR_MS, MINUTE_MS, begin};
use super::error::StateError;
use super::session::{Arg, Durability, Operation, Session};
use super::store::Store;
use crate::limits::{ANSWER_TTL_MAX_S, PRUNED_ROWS_MAX};

/// What one step removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Answers and claims that were expired.
    pub claims: u64,
    /// Buckets that are in no window.
    pub buckets: u64,
    /// Whether another step would find more.
    pub more: bool,
}

impl Store {
    /// One step. Call it each minute, and again as long as there is more. Any replica may, also at the same time.
    ///
    /// # Errors
    /// [`StateError`]; then some are removed, or none.
    pub async fn prune(&self, now: Timestamp) -> Result<Pruned, StateError> {
        self.run(Prune { now_ms: now.as_millisecond() }).await
    }
}

struct Prune {
    now_ms: i64,
}

impl Operation for Prune {
    type Output = Pruned;
    const DURABILITY: Durability = Durability::Hint;
    const TRANSACTION: bool = true;

    async fn perform(&self, session: &mut Session) -> Result<Pruned, StateError> {
        let many = Arg::Int(PRUNED_ROWS_MAX);
        let sql =
            "DELETE FROM claims WHERE scope IN (SELECT scope FROM claims WHERE expires_at <= $1 LIMIT $2)";
        let claims = session.execute(sql, &[Arg::Int(self.now_ms), many]).await?;
        self.shorten(session).await?;
        let mut pruned = Pruned { claims, buckets: 0, more: claims >= PRUNED_ROWS_MAX.unsigned_abs() };
        for (span, window) in [(MINUTE_MS, HOUR_MS), (HOUR_MS, DAY_MS)] {
            // Twice the window: a clock that jumps back a little finds what it needs.
            let sql = "DELETE FROM counts WHERE (subject, span, bucket) IN \
                       (SELECT subject, span, bucket FROM counts WHERE span = $1 AND bucket < $2 LIMIT $3)";
            let oldest = Arg::Int(self.now_ms.saturating_sub(2 * window));
            let removed = session.execute(sql, &[Arg::Int(span), oldest, many]).await?;
            let moved = self.bring_back(session, span).await?;
            pruned.buckets += removed;
            pruned.more |= removed.max(moved) >= PRUNED_ROWS_MAX.unsigned_abs();
        }
        Ok(pruned)
    }
}

impl Prune {
    /// After a clock jumped back: no answer is kept for longer than there is a time to live.
    async fn shorten(&self, session: &mut Session) -> Result<(), StateError> {
        let ttl_ms = i64::try_from(Duration::from_secs(ANSWER_TTL_MAX_S).as_millis()).unwrap_or(i64::MAX);
        let sql = "UPDATE claims SET expires_at = $1 WHERE scope IN \
                   (SELECT scope FROM claims WHERE expires_at > $1 LIMIT $2)";
        let latest = Arg::Int(self.now_ms.saturating_add(ttl_ms));
        session.execute(sql, &[latest, Arg::Int(PRUNED_ROWS_MAX)]).await.map(|_| ())
    }

    /// After a clock jumped back by more than an hour: what was counted ahead of now counts as now, and ends with its
    /// window instead of standing in it until that day comes.
    async fn bring_back(&self, session: &mut Session, span: i64) -> Result<u64, StateError> {
        let sql = "DELETE FROM counts WHERE (subject, span, bucket) IN \
                   (SELECT subject, span, bucket FROM counts WHERE span = $1 AND bucket > $2 LIMIT $3) \
                   RETURNING n, subject";
        let latest = Arg::Int(self.now_ms.saturating_add(HOUR_MS));
        let rows = session.rows(sql, &[Arg::Int(span), latest, Arg::Int(PRUNED_ROWS_MAX)]).await?;
        let mut ahead = Vec::with_capacity(rows.len());
        for row in &rows {
            ahead.push((row.bytes(1)?, row.int(0)?));
        }
        ahead.sort_unstable();
        for (subject, n) in &ahead {
            let sql = "INSERT INTO counts (subject, span, bucket, n) VALUES ($1, $2, $3, $4) \
                       ON CONFLICT (subject, span, bucket) DO UPDATE SET n = counts.n + excluded.n";
            let args =
                [Arg::Bytes(subject), Arg::Int(span), Arg::Int(begin(self.now_ms, span)), Arg::Int(*n)];
            session.execute(sql, &args).await?;
        }
        Ok(ahead.len() as u64)
    }
}
