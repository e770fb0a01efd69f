//! How long a call may go on, and how long it rests between attempts.

use std::hash::{BuildHasher as _, Hasher as _};
use std::time::{Duration, Instant};

use prokura_plugin::Deadline;

use crate::limits::{ANSWER_TIME, CALL_TIME_MAX, PAUSE_FIRST};

/// Until when a call may go on: a little less than the deadline, so that its error still reaches the host.
pub(super) fn until(deadline: Deadline) -> Instant {
    let left = deadline.remaining().unwrap_or(CALL_TIME_MAX);
    Instant::now() + left - (left / 10).min(ANSWER_TIME)
}

/// 100 ms, 200 ms, 400 ms …, less a random part of up to half, so that many signers do not come back together.
pub(super) fn back_off(attempt: u32) -> Duration {
    let longest = PAUSE_FIRST.saturating_mul(1 << attempt.saturating_sub(1).min(8));
    // A hasher's random keys are jitter enough; no need for a crate.
    let random = std::hash::RandomState::new().build_hasher().finish();
    let half = u64::try_from(longest.as_micros() / 2).unwrap_or(u64::MAX).max(1);
    longest - Duration::from_micros(random % half)
}
