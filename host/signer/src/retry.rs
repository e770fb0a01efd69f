//! Repeats a call that the vault throttled or timed out: at most three times, with growing pauses, within the deadline.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::Error;
use crate::limits::{RETRIES_MAX, RETRY_PAUSE};

/// Calls until there is an answer, an error that no retry helps, or no time for another pause. `call` is told how much
/// time is left.
pub(crate) async fn with_retries<T, F>(
    deadline: Instant,
    mut call: impl FnMut(Duration) -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut retries = 0;
    loop {
        let error = match call(deadline.saturating_duration_since(Instant::now())).await {
            Err(error) if matches!(&error, Error::Refused { .. }) && error.may_retry() => error,
            done => return done,
        };
        // SPEC ERR-8: the vault's own hint is the least.
        let pause = pause(retries, RandomState::new().hash_one(retries)).max(asked_for(&error));
        if retries == RETRIES_MAX || Instant::now() + pause >= deadline {
            return Err(error);
        }
        retries += 1;
        tracing::info!(retry = retries, pause_ms = pause.as_millis(), %error, "the call is repeated");
        tokio::time::sleep(pause).await;
    }
}

fn asked_for(error: &Error) -> Duration {
    match error {
        Error::Refused { hints, .. } => hints.retry_after.unwrap_or_default(),
        _ => Duration::ZERO,
    }
}

/// Doubles with each retry; between half and all of it, so that many hosts do not come back at the same moment.
fn pause(retries: u32, random: u64) -> Duration {
    let whole = RETRY_PAUSE * 2_u32.pow(retries);
    let half = whole / 2;
    half + half.mul_f64((random % 1024) as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prokura_plugin::ErrorCode;

    fn refused(code: ErrorCode) -> Error {
        Error::Refused {
            plugin: "x".parse().unwrap(),
            call: "describe-key",
            code,
            vendor_code: None,
            message: String::new(),
            metadata: std::collections::BTreeMap::new(),
            hints: Box::default(),
        }
    }

    async fn calls(code: ErrorCode, deadline: Duration) -> u32 {
        let mut calls = 0;
        let result: Result<(), Error> = with_retries(Instant::now() + deadline, |_| {
            calls += 1;
            async move { Err(refused(code)) }
        })
        .await;
        assert!(result.is_err());
        calls
    }

    #[tokio::test]
    async fn only_throttled_and_timeout_are_repeated() {
        for code in ErrorCode::ALL {
            let repeated = calls(code, Duration::from_secs(600)).await;
            assert_eq!(repeated, if code.may_retry() { RETRIES_MAX + 1 } else { 1 }, "{code}");
        }
    }

    #[tokio::test]
    async fn there_is_no_retry_behind_the_deadline() {
        assert_eq!(calls(ErrorCode::Throttled, Duration::from_millis(50)).await, 1);
    }

    #[test]
    fn pauses_grow_and_differ() {
        assert_eq!(pause(0, 0), RETRY_PAUSE / 2);
        assert!(pause(0, 1023) < RETRY_PAUSE && pause(0, 1023) > pause(0, 5));
        assert_eq!(pause(2, 0), RETRY_PAUSE * 2);
    }
}
