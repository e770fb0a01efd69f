//! Repeats a call that the vault throttled or timed out: at most three times, with growing pauses, within the deadline.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use prokura_plugin::ErrorCode;
use tokio::time::Instant;

use crate::error::Error;
use crate::limits::{RETRIES_MAX, RETRY_PAUSE};

/// Calls until there is an answer, an error that no retry helps, or no time for another pause. `call` is told how much
/// time is left. A retry that the deadline cuts off says nothing new: then the last refusal is the error.
pub(crate) async fn with_retries<T, F>(
    deadline: Instant,
    mut call: impl FnMut(Duration) -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut retries = 0;
    let mut refusal = None;
    loop {
        let error = match call(deadline.saturating_duration_since(Instant::now())).await {
            Err(late) if is_cut_off(&late, deadline) => return Err(refusal.unwrap_or(late)),
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
        refusal = Some(error);
        tokio::time::sleep(pause).await;
    }
}

/// Whether this is no more than that time is up: the host gave up waiting, or the plugin did a moment before it.
fn is_cut_off(error: &Error, deadline: Instant) -> bool {
    match error {
        Error::TooSlow { .. } => true,
        Error::Refused { code: ErrorCode::Timeout, hints, .. } => {
            hints.vault_code.is_none() && Instant::now() + RETRY_PAUSE >= deadline
        }
        _ => false,
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

    fn too_slow() -> Error {
        Error::TooSlow { plugin: "x".parse().unwrap(), call: "SignDigest", limit: Duration::from_secs(1) }
    }

    /// What is told after one refusal and a second try that ends like this at the deadline.
    async fn told(end: Error) -> Error {
        let deadline = Instant::now() + Duration::from_millis(900);
        let mut ends = vec![end, refused(ErrorCode::Throttled)];
        let attempts = |left: Duration| {
            let end = ends.pop().unwrap();
            let lasts = if ends.is_empty() { left } else { Duration::ZERO };
            async move {
                tokio::time::sleep(lasts).await;
                Err(end)
            }
        };
        let result: Result<(), Error> = with_retries(deadline, attempts).await;
        result.unwrap_err()
    }

    #[tokio::test]
    async fn a_retry_that_is_cut_off_does_not_hide_the_refusal() {
        for end in [too_slow(), refused(ErrorCode::Timeout)] {
            let error = told(end).await;
            assert!(matches!(error, Error::Refused { code: ErrorCode::Throttled, .. }), "{error}");
        }
        let other = told(refused(ErrorCode::AccessDenied)).await;
        assert!(matches!(other, Error::Refused { code: ErrorCode::AccessDenied, .. }), "{other}");
        let first: Result<(), Error> =
            with_retries(Instant::now() + Duration::from_secs(1), |_| async { Err(too_slow()) }).await;
        assert!(matches!(first, Err(Error::TooSlow { .. })));
    }

    #[test]
    fn pauses_grow_and_differ() {
        assert_eq!(pause(0, 0), RETRY_PAUSE / 2);
        assert!(pause(0, 1023) < RETRY_PAUSE && pause(0, 1023) > pause(0, 5));
        assert_eq!(pause(2, 0), RETRY_PAUSE * 2);
    }
}
