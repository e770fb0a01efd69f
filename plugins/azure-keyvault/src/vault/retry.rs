//! How long to wait before a request is made again, and when to give up.

use std::time::Duration;

use crate::error::Again;
use crate::limits::{ATTEMPTS_AFTER_FAILURE, ATTEMPTS_WHEN_THROTTLED, FIRST_PAUSE, PAUSE_MAX};

/// The pause after attempt number `attempts`; `None` to give up. `chance` is from 0 to 1.
///
/// A pause the vault asks for is kept and lengthened by up to a quarter, so that those who were refused together do not
/// come back together. Else the pause doubles each time, and its second half is left to chance.
pub(crate) fn pause(again: Again, attempts: u32, chance: f64) -> Option<Duration> {
    let doubled = FIRST_PAUSE.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(PAUSE_MAX);
    let by_chance = doubled.mul_f64(0.5 + chance / 2.0);
    match again {
        Again::No => None,
        Again::AfterFailure => (attempts < ATTEMPTS_AFTER_FAILURE).then_some(by_chance),
        Again::WhenThrottled(_) if attempts >= ATTEMPTS_WHEN_THROTTLED => None,
        Again::WhenThrottled(None) => Some(by_chance),
        Again::WhenThrottled(Some(asked)) => Some(asked.mul_f64(1.0 + chance / 4.0)),
    }
}

/// A number from 0 to 1.
pub(crate) fn chance() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness pauses are all alike, which is no reason to fail.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_stay_within_limits_and_differ() {
        for attempts in 1..ATTEMPTS_WHEN_THROTTLED {
            let (least, most) = (
                pause(Again::WhenThrottled(None), attempts, 0.0),
                pause(Again::WhenThrottled(None), attempts, 1.0),
            );
            let (least, most) = (least.unwrap(), most.unwrap());
            assert!(least * 2 == most && most <= PAUSE_MAX, "{attempts}: {least:?} {most:?}");
        }
        assert_eq!(pause(Again::AfterFailure, ATTEMPTS_AFTER_FAILURE, 0.5), None);
        assert_eq!(pause(Again::WhenThrottled(None), ATTEMPTS_WHEN_THROTTLED, 0.5), None);
        assert_eq!(pause(Again::No, 1, 0.5), None);
    }

    #[test]
    fn the_vaults_own_hint_is_never_undercut() {
        let asked = Duration::from_secs(3);
        assert_eq!(pause(Again::WhenThrottled(Some(asked)), 1, 0.0), Some(asked));
        assert!(pause(Again::WhenThrottled(Some(asked)), 9, 1.0).unwrap() <= asked * 5 / 4);
    }
}
