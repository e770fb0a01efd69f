//! One at a time: a named lease with a fencing token, which ends at its time or is given back.

use std::time::Duration;

use jiff::Timestamp;

use super::error::StateError;
use super::names::{Name, Nonce, name};
use super::session::{Arg, Durability, Operation, Session};
use super::store::Store;
use crate::limits::LEASE_TTL_MAX_S;

/// The right to do something alone. It may have been handed over since: what is done with it is fenced by its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    name: Name,
    holder: Nonce,
    token: i64,
}

impl Lease {
    /// Grows with each hand-over. Whoever has the greatest holds the lease.
    pub const fn token(&self) -> i64 {
        self.token
    }

    /// Whether the lease is still the holder's, and holds off any hand-over until the transaction ends. Its time plays
    /// no role: as long as nobody else took it, it is held.
    pub(super) async fn holds(&self, session: &mut Session) -> Result<bool, StateError> {
        let sql = "UPDATE leases SET token = token WHERE name = $1 AND holder = $2 AND token = $3";
        let args = [Arg::Bytes(&self.name), Arg::Bytes(&self.holder), Arg::Int(self.token)];
        Ok(session.execute(sql, &args).await? > 0)
    }
}

impl Store {
    /// Acquires the lease, or prolongs it if this store has it; none if another has it. Prolong it when half of `ttl`
    /// is over. A lease that had run out and was taken by nobody is acquired anew, with a new token.
    ///
    /// # Errors
    /// [`StateError`]; then the lease may run until `ttl` is over.
    pub async fn acquire(
        &self,
        lease_name: &str,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<Option<Lease>, StateError> {
        let ttl = ttl.min(Duration::from_secs(LEASE_TTL_MAX_S));
        self.run(Acquire {
            name: name("lease", &[lease_name]),
            holder: self.holder,
            now_ms: now.as_millisecond(),
            ttl_ms: i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX),
        })
        .await
    }

    /// Gives the lease back, so that another may have it at once.
    ///
    /// # Errors
    /// [`StateError`]; then it ends at its time.
    pub async fn release(&self, lease: &Lease) -> Result<(), StateError> {
        self.run(Release(lease.clone())).await
    }
}

struct Acquire {
    name: Name,
    holder: Nonce,
    now_ms: i64,
    ttl_ms: i64,
}

impl Operation for Acquire {
    type Output = Option<Lease>;
    const DURABILITY: Durability = Durability::Claim;

    async fn perform(&self, session: &mut Session) -> Result<Option<Lease>, StateError> {
        let until = self.now_ms.saturating_add(self.ttl_ms);
        let sql = "INSERT INTO leases (name, holder, token, until) VALUES ($1, $2, 1, $3) \
                   ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until, \
                   token = CASE WHEN leases.holder = excluded.holder AND leases.until > $4 \
                   THEN leases.token ELSE leases.token + 1 END \
                   WHERE leases.holder = excluded.holder OR leases.until <= $4 RETURNING token";
        let args = [Arg::Bytes(&self.name), Arg::Bytes(&self.holder), Arg::Int(until), Arg::Int(self.now_ms)];
        if let Some(row) = session.rows(sql, &args).await?.first() {
            return Ok(Some(Lease { name: self.name, holder: self.holder, token: row.int(0)? }));
        }
        // No lease runs longer than this, but for a clock that jumped back: its holder may live and has until then.
        let longest = self.now_ms.saturating_add(i64::try_from(LEASE_TTL_MAX_S * 1000).unwrap_or(i64::MAX));
        let sql = "UPDATE leases SET until = $2 WHERE name = $1 AND until > $2";
        session.execute(sql, &[Arg::Bytes(&self.name), Arg::Int(longest)]).await?;
        Ok(None)
    }
}

struct Release(Lease);

impl Operation for Release {
    type Output = ();
    const DURABILITY: Durability = Durability::Claim;

    async fn perform(&self, session: &mut Session) -> Result<(), StateError> {
        let sql = "UPDATE leases SET until = 0 WHERE name = $1 AND holder = $2 AND token = $3";
        let args = [Arg::Bytes(&self.0.name), Arg::Bytes(&self.0.holder), Arg::Int(self.0.token)];
        session.execute(sql, &args).await.map(|_| ())
    }
}
