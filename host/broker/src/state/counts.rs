//! How many signatures a peer got, a key made, and a peer got of a key, in the last hour and the last day.
//!
//! Kept in buckets of a minute and of an hour. The oldest bucket of a window counts as a whole: a count may be too
//! high by what happened in one bucket's width before the window, and is never too low.

use jiff::Timestamp;

use super::error::StateError;
use super::names::{Caller, Name, name};
use super::session::{Arg, Durability, Operation, Session};
use super::store::Store;

/// A minute, in milliseconds: buckets of the hour.
pub(super) const MINUTE_MS: i64 = 60 * 1000;
/// An hour, in milliseconds: buckets of the day, and a window.
pub(super) const HOUR_MS: i64 = 60 * MINUTE_MS;
/// A day, in milliseconds.
pub(super) const DAY_MS: i64 = 24 * HOUR_MS;

/// Who signed with what.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// The peer.
    pub caller: Caller<'a>,
    /// The name under which the operator offers the key.
    pub key_name: &'a str,
}

impl Signed<'_> {
    /// Peer, key, and both.
    pub(super) fn subjects(self) -> [Name; 3] {
        let (kind, id) = (self.caller.kind.as_str(), self.caller.id);
        [
            name("peer", &[kind, id]),
            name("key", &[self.key_name]),
            name("peer and key", &[kind, id, self.key_name]),
        ]
    }
}

/// Signatures in the last hour and the last day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    /// In the last 60 to 61 minutes.
    pub hour: u64,
    /// In the last 24 to 25 hours.
    pub day: u64,
}

/// Signatures so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Those of the peer, whatever the key.
    pub peer: Windows,
    /// Those of the key, whoever asked.
    pub key: Windows,
    /// Those of the peer with the key.
    pub peer_and_key: Windows,
}

impl Store {
    /// Counts a signature that had no idempotency key; with one it is counted by [`Store::finish`].
    ///
    /// # Errors
    /// [`StateError`]; then it may be counted or not.
    pub async fn count(&self, signed: Signed<'_>, now: Timestamp) -> Result<(), StateError> {
        self.run(Count { subjects: signed.subjects(), now_ms: now.as_millisecond() }).await
    }

    /// How many signatures there were.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn usage(&self, signed: Signed<'_>, now: Timestamp) -> Result<Usage, StateError> {
        self.run(Look { subjects: signed.subjects(), now_ms: now.as_millisecond() }).await
    }
}

/// Adds one to the six buckets of now, always in the same order: then no two wait for each other.
pub(super) async fn add(session: &mut Session, subjects: &[Name; 3], now_ms: i64) -> Result<(), StateError> {
    let sql = "INSERT INTO counts (subject, span, bucket, n) VALUES \
               ($1, $4, $6, 1), ($1, $5, $7, 1), ($2, $4, $6, 1), ($2, $5, $7, 1), ($3, $4, $6, 1), ($3, $5, $7, 1) \
               ON CONFLICT (subject, span, bucket) DO UPDATE SET n = counts.n + 1";
    let mut subjects = *subjects;
    subjects.sort_unstable();
    let [a, b, c] = &subjects;
    let args = [
        Arg::Bytes(a),
        Arg::Bytes(b),
        Arg::Bytes(c),
        Arg::Int(MINUTE_MS),
        Arg::Int(HOUR_MS),
        Arg::Int(begin(now_ms, MINUTE_MS)),
        Arg::Int(begin(now_ms, HOUR_MS)),
    ];
    session.execute(sql, &args).await.map(|_| ())
}

/// The begin of the bucket that `time_ms` is in.
pub(super) const fn begin(time_ms: i64, width_ms: i64) -> i64 {
    time_ms - time_ms.rem_euclid(width_ms)
}

struct Count {
    subjects: [Name; 3],
    now_ms: i64,
}

impl Operation for Count {
    type Output = ();
    const DURABILITY: Durability = Durability::Hint;

    async fn perform(&self, session: &mut Session) -> Result<(), StateError> {
        add(session, &self.subjects, self.now_ms).await
    }
}

struct Look {
    subjects: [Name; 3],
    now_ms: i64,
}

impl Operation for Look {
    type Output = Usage;
    const DURABILITY: Durability = Durability::Hint;
    const READ_ONLY: bool = true;

    async fn perform(&self, session: &mut Session) -> Result<Usage, StateError> {
        // Buckets ahead of now count too: they are of a clock that jumped back, or of a replica's that is ahead.
        let sql = "SELECT span, CAST(SUM(n) AS BIGINT), subject FROM counts WHERE subject IN ($1, $2, $3) AND \
                   ((span = $4 AND bucket > $6) OR (span = $5 AND bucket > $7)) GROUP BY subject, span";
        let [peer, key, both] = &self.subjects;
        let args = [
            Arg::Bytes(peer),
            Arg::Bytes(key),
            Arg::Bytes(both),
            Arg::Int(MINUTE_MS),
            Arg::Int(HOUR_MS),
            Arg::Int(self.now_ms - HOUR_MS - MINUTE_MS),
            Arg::Int(self.now_ms - DAY_MS - HOUR_MS),
        ];
        let mut usage = Usage::default();
        for row in session.rows(sql, &args).await? {
            let subject = row.bytes(2)?;
            let windows = match subject.as_slice() {
                found if found == peer => &mut usage.peer,
                found if found == key => &mut usage.key,
                _ => &mut usage.peer_and_key,
            };
            let n = u64::try_from(row.int(1)?).unwrap_or_default();
            if row.int(0)? == MINUTE_MS { windows.hour = n } else { windows.day = n }
        }
        Ok(usage)
    }
}
