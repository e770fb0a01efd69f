//! Budgets that replicas share: a bucket of tokens for each vault and class of keys, filled as time goes by.

use jiff::Timestamp;

use super::error::StateError;
use super::names::{Name, name};
use super::session::{Arg, Durability, Operation, Session};
use super::store::Store;
use crate::limits::CLOCK_SKEW_MAX_MS;

/// What may be spent: `milli_per_s` thousandths of a token come back each second, up to `burst` tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Thousandths of a token for each second; 300 calls a second are 300,000.
    pub milli_per_s: u32,
    /// What it holds at most, and at first; at least 1.
    pub burst: u32,
}

/// What became of [`Store::take`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// So many tokens may be spent, between 1 and as many as were asked for.
    Granted(u32),
    /// None; there will be one after so many milliseconds, or never if nothing comes back.
    Wait {
        /// How long.
        wait_ms: u64,
    },
}

/// Millionths in a token.
const TOKEN: i64 = 1_000_000;

impl Store {
    /// Takes up to `wanted` tokens out of the bucket `budget_name`, which is full when it is first asked. A replica
    /// takes what it needs for a tenth of a second or so, not one by one.
    ///
    /// # Errors
    /// [`StateError`]; tokens may then be lost, never be made.
    pub async fn take(
        &self,
        budget_name: &str,
        budget: Budget,
        wanted: u32,
        now: Timestamp,
    ) -> Result<Taken, StateError> {
        let name = name("budget", &[budget_name]);
        self.run(Take { name, budget, wanted: wanted.max(1), now_ms: now.as_millisecond() }).await
    }

    /// Empties the bucket: the vault has said that it is overdrawn.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn exhaust(&self, budget_name: &str, now: Timestamp) -> Result<(), StateError> {
        self.run(Exhaust { name: name("budget", &[budget_name]), now_ms: now.as_millisecond() }).await
    }
}

/// A bucket as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Level {
    tokens: i64,
    filled_at: i64,
}

impl Level {
    /// With what has come back until now. A clock that is a little behind changes nothing, for another replica's may
    /// be the right one; one that is far behind was set back, and time begins anew.
    fn filled(self, budget: Budget, now_ms: i64) -> Self {
        let full = i64::from(budget.burst.max(1)) * TOKEN;
        let elapsed_ms = now_ms.saturating_sub(self.filled_at);
        if elapsed_ms < -CLOCK_SKEW_MAX_MS {
            return Self { tokens: self.tokens.min(full), filled_at: now_ms };
        }
        let back = elapsed_ms.max(0).saturating_mul(i64::from(budget.milli_per_s));
        Self { tokens: self.tokens.saturating_add(back).min(full), filled_at: self.filled_at.max(now_ms) }
    }

    fn taken(self, budget: Budget, wanted: u32) -> (Self, Taken) {
        let granted = u32::try_from(self.tokens / TOKEN).unwrap_or_default().min(wanted);
        if granted > 0 {
            let left = self.tokens - i64::from(granted) * TOKEN;
            return (Self { tokens: left, ..self }, Taken::Granted(granted));
        }
        let missing = u64::try_from(TOKEN - self.tokens).unwrap_or_default();
        let wait_ms = match budget.milli_per_s {
            0 => u64::MAX,
            rate => missing.div_ceil(u64::from(rate)),
        };
        (self, Taken::Wait { wait_ms })
    }
}

struct Take {
    name: Name,
    budget: Budget,
    wanted: u32,
    now_ms: i64,
}

/// Somebody else was quicker, so often in a row: then nothing is granted, for the moment.
const SWAPS_MAX: usize = 16;

impl Operation for Take {
    type Output = Taken;
    const DURABILITY: Durability = Durability::Hint;

    async fn perform(&self, session: &mut Session) -> Result<Taken, StateError> {
        for _ in 0..SWAPS_MAX {
            let sql = "SELECT tokens, filled_at, version FROM budgets WHERE name = $1";
            let rows = session.rows(sql, &[Arg::Bytes(&self.name)]).await?;
            let Some(row) = rows.first() else {
                self.create(session).await?;
                continue;
            };
            let level = Level { tokens: row.int(0)?, filled_at: row.int(1)? };
            let (next, taken) = level.filled(self.budget, self.now_ms).taken(self.budget, self.wanted);
            if matches!(taken, Taken::Wait { .. }) && next.filled_at == level.filled_at {
                return Ok(taken);
            }
            if self.swap(session, row.int(2)?, next).await? {
                return Ok(taken);
            }
        }
        Ok(Taken::Wait { wait_ms: 1 })
    }
}

impl Take {
    async fn create(&self, session: &mut Session) -> Result<(), StateError> {
        let sql = "INSERT INTO budgets (name, tokens, filled_at, version) VALUES ($1, $2, $3, 0) \
                   ON CONFLICT (name) DO NOTHING";
        let full = i64::from(self.budget.burst.max(1)) * TOKEN;
        session
            .execute(sql, &[Arg::Bytes(&self.name), Arg::Int(full), Arg::Int(self.now_ms)])
            .await
            .map(|_| ())
    }

    async fn swap(&self, session: &mut Session, version: i64, next: Level) -> Result<bool, StateError> {
        let sql = "UPDATE budgets SET tokens = $3, filled_at = $4, version = version + 1 \
                   WHERE name = $1 AND version = $2";
        let args =
            [Arg::Bytes(&self.name), Arg::Int(version), Arg::Int(next.tokens), Arg::Int(next.filled_at)];
        Ok(session.execute(sql, &args).await? > 0)
    }
}

struct Exhaust {
    name: Name,
    now_ms: i64,
}

impl Operation for Exhaust {
    type Output = ();
    const DURABILITY: Durability = Durability::Hint;

    async fn perform(&self, session: &mut Session) -> Result<(), StateError> {
        let sql = "INSERT INTO budgets (name, tokens, filled_at, version) VALUES ($1, 0, $2, 0) \
                   ON CONFLICT (name) DO UPDATE SET tokens = 0, version = budgets.version + 1, \
                   filled_at = CASE WHEN budgets.filled_at > excluded.filled_at \
                   THEN budgets.filled_at ELSE excluded.filled_at END";
        session.execute(sql, &[Arg::Bytes(&self.name), Arg::Int(self.now_ms)]).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Budget = Budget { milli_per_s: 10_000, burst: 5 };

    #[test]
    fn tokens_come_back_with_time_and_are_never_made() {
        let empty = Level { tokens: 0, filled_at: 1_000_000 };
        assert_eq!(empty.filled(BUDGET, 1_000_100).tokens, TOKEN, "10 a second, a tenth of a second later");
        assert_eq!(empty.filled(BUDGET, 9_000_000).tokens, 5 * TOKEN, "no more than it holds");
        assert_eq!(empty.filled(BUDGET, 999_000), empty, "another replica's clock is a second behind");
        let back = empty.filled(BUDGET, 0);
        assert_eq!(back, Level { tokens: 0, filled_at: 0 }, "the clock was set back");
        assert_eq!(back.filled(BUDGET, 100).tokens, TOKEN, "and time goes on");
        assert_eq!(
            Level { tokens: 9 * TOKEN, filled_at: 0 }.filled(BUDGET, 0).tokens,
            5 * TOKEN,
            "a smaller budget"
        );
    }

    #[test]
    fn what_is_granted_is_gone() {
        let level = Level { tokens: 3 * TOKEN + 1, filled_at: 0 };
        assert_eq!(level.taken(BUDGET, 2), (Level { tokens: TOKEN + 1, filled_at: 0 }, Taken::Granted(2)));
        assert_eq!(level.taken(BUDGET, 9), (Level { tokens: 1, filled_at: 0 }, Taken::Granted(3)));
        let empty = Level { tokens: TOKEN / 2, filled_at: 0 };
        assert_eq!(empty.taken(BUDGET, 1), (empty, Taken::Wait { wait_ms: 50 }));
        let never = Budget { milli_per_s: 0, burst: 1 };
        assert_eq!(empty.taken(never, 1), (empty, Taken::Wait { wait_ms: u64::MAX }));
    }
}
