//! The journal that replicas share: entries of the audit log, numbered without gaps in the order of their commits.

use super::error::{StateError, Trouble};
use super::leases::Lease;
use super::session::{Arg, Durability, Operation, Session};
use super::store::Store;
use crate::limits::{JOURNAL_STEP_BYTES_MAX, JOURNAL_STEP_ENTRIES_MAX, PRUNED_ROWS_MAX};

impl Store {
    /// Makes entries durable behind all others, in this order: all or none. Returns the place of the first. With a
    /// lease, only as long as it was not handed over.
    ///
    /// # Errors
    /// [`StateError`]; the entries may then be there or not. [`Trouble::Fenced`]: they are not.
    pub async fn append(&self, entries: Vec<Vec<u8>>, lease: Option<&Lease>) -> Result<u64, StateError> {
        let bytes: usize = entries.iter().map(Vec::len).sum();
        if entries.len() > JOURNAL_STEP_ENTRIES_MAX || bytes > JOURNAL_STEP_BYTES_MAX {
            let found = entries.len();
            return Err(StateError::invalid(format!(
                "{found} entries of {bytes} bytes at once, at most {JOURNAL_STEP_ENTRIES_MAX} of \
                 {JOURNAL_STEP_BYTES_MAX} bytes are appended"
            )));
        }
        self.run(Append { entries, lease: lease.cloned() }).await
    }

    /// Entries from place `from` on, as many as one step takes; empty if there is none yet.
    ///
    /// # Errors
    /// [`StateError`]; [`Trouble::Damaged`] if an entry is missing, [`Trouble::Invalid`] if it was released.
    pub async fn read(&self, from: u64) -> Result<Vec<Vec<u8>>, StateError> {
        self.run(Read { from: position(from)? }).await
    }

    /// Entries below `before` are kept elsewhere and are removed here.
    ///
    /// # Errors
    /// [`StateError`]; then some are removed, or none.
    pub async fn release_entries(&self, before: u64) -> Result<(), StateError> {
        let before = position(before)?;
        while self.run(ReleaseEntries { before }).await? {}
        Ok(())
    }
}

fn position(index: u64) -> Result<i64, StateError> {
    i64::try_from(index).map_err(|_| StateError::invalid(format!("there is no place {index} in the journal")))
}

fn index(position: i64) -> u64 {
    u64::try_from(position).unwrap_or_default()
}

struct Append {
    entries: Vec<Vec<u8>>,
    lease: Option<Lease>,
}

impl Operation for Append {
    type Output = u64;
    const DURABILITY: Durability = Durability::Answer;
    const TRANSACTION: bool = true;
    const REPEATABLE: bool = false;

    async fn perform(&self, session: &mut Session) -> Result<u64, StateError> {
        if let Some(lease) = &self.lease
            && !lease.holds(session).await?
        {
            let found =
                format!("the lease with token {} was handed over; nothing was appended", lease.token());
            return Err(StateError::new(Trouble::Fenced, "the journal", found));
        }
        let many = i64::try_from(self.entries.len()).unwrap_or(i64::MAX);
        // The row is locked until the commit: places are given in the order of commits, and a rollback leaves no gap.
        let sql = "UPDATE journal_head SET next = next + $1 WHERE id = 1 RETURNING next";
        let rows = session.rows(sql, &[Arg::Int(many)]).await?;
        let Some(row) = rows.first() else { return Err(no_head()) };
        let first = row.int(0)? - many;
        session.insert_entries(first, &self.entries).await?;
        Ok(index(first))
    }
}

struct Read {
    from: i64,
}

impl Operation for Read {
    type Output = Vec<Vec<u8>>;
    const DURABILITY: Durability = Durability::Claim;
    const READ_ONLY: bool = true;

    async fn perform(&self, session: &mut Session) -> Result<Vec<Vec<u8>>, StateError> {
        let head = session.rows("SELECT next, released FROM journal_head WHERE id = 1", &[]).await?;
        let Some(head) = head.first() else { return Err(no_head()) };
        let (next, released) = (head.int(0)?, head.int(1)?);
        let missing = |found: String| Err(StateError::damaged("the journal", found));
        if self.from < released {
            let found = format!(
                "place {} of the journal was asked for, those below {released} were released",
                self.from
            );
            return Err(StateError::invalid(found));
        }
        let sql = "SELECT place, entry FROM journal WHERE place >= $1 AND place < $2 ORDER BY place LIMIT $3";
        let limit = i64::try_from(JOURNAL_STEP_ENTRIES_MAX).unwrap_or(i64::MAX);
        let rows = session.rows(sql, &[Arg::Int(self.from), Arg::Int(next), Arg::Int(limit)]).await?;
        if rows.is_empty() && self.from < next {
            return missing(format!("the entry at place {} is missing, there should be {next}", self.from));
        }
        let mut entries = Vec::with_capacity(rows.len());
        for (expected, row) in (self.from..).zip(&rows) {
            let found = row.int(0)?;
            if found != expected {
                return missing(format!("the entry at place {expected} is missing, the next is at {found}"));
            }
            entries.push(row.bytes(1)?);
        }
        Ok(entries)
    }
}

struct ReleaseEntries {
    before: i64,
}

impl Operation for ReleaseEntries {
    /// Whether there may be more.
    type Output = bool;
    const DURABILITY: Durability = Durability::Hint;
    const TRANSACTION: bool = true;

    async fn perform(&self, session: &mut Session) -> Result<bool, StateError> {
        // First the head, as when appending: then no two wait for each other.
        let sql = "UPDATE journal_head SET released = CASE WHEN next < $1 THEN next ELSE $1 END \
                   WHERE id = 1 AND released < $1";
        session.execute(sql, &[Arg::Int(self.before)]).await?;
        let sql = "DELETE FROM journal WHERE place IN (SELECT place FROM journal WHERE place < $1 \
                   AND place < (SELECT released FROM journal_head WHERE id = 1) ORDER BY place LIMIT $2)";
        let removed = session.execute(sql, &[Arg::Int(self.before), Arg::Int(PRUNED_ROWS_MAX)]).await?;
        Ok(removed >= PRUNED_ROWS_MAX.unsigned_abs())
    }
}

fn no_head() -> StateError {
    StateError::damaged("the journal", "the row that says how long it is is gone".to_owned())
}
