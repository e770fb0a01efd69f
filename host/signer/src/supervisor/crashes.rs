//! When a process that ended may be started anew: at once if it had been of use, with growing pauses if not, and after
//! too many in a row not for a while.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use prokura_plugin::PluginName;
use tokio::time::Instant;

use crate::error::Error;
use crate::limits::{CRASHES_MAX, GIVEN_UP_REST, RESTART_PAUSE};

/// Processes that ended before they were of use, one after the other.
#[derive(Default)]
pub(super) struct Crashes {
    count: u32,
    last: Option<(Error, Instant)>,
}

impl Crashes {
    /// Another one, and how it ended.
    pub(super) fn add(&mut self, end: Error, now: Instant) {
        self.count = self.count.saturating_add(1);
        self.last = Some((end, now));
    }

    /// A process was of use.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// How long to wait before the next start.
    ///
    /// # Errors
    /// [`Error::GivenUp`] after [`CRASHES_MAX`] in a row, for [`GIVEN_UP_REST`]; then there is one start at a time.
    pub(super) fn pause_before_start(&self, plugin: &PluginName, now: Instant) -> Result<Duration, Error> {
        let Some((last, at)) = &self.last else { return Ok(Duration::ZERO) };
        if self.count < CRASHES_MAX {
            return Ok(pause(self.count, RandomState::new().hash_one(self.count)));
        }
        if now.saturating_duration_since(*at) >= GIVEN_UP_REST {
            return Ok(Duration::ZERO);
        }
        Err(Error::GivenUp { plugin: plugin.clone(), processes: self.count, last: Box::new(last.clone()) })
    }
}

/// Doubles with each crash; between half and all of it, so that many hosts do not come back at the same moment.
fn pause(crashes: u32, random: u64) -> Duration {
    let whole = RESTART_PAUSE * 2_u32.pow(crashes.clamp(1, CRASHES_MAX) - 1);
    let half = whole / 2;
    half + half.mul_f64((random % 1024) as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin() -> PluginName {
        "x".parse().unwrap()
    }

    fn end(stderr: &str) -> Error {
        Error::Died {
            plugin: plugin(),
            call: "serve",
            status: "signal 6 (SIGABRT)".to_owned(),
            stderr: stderr.to_owned(),
        }
    }

    #[test]
    fn the_first_start_and_the_one_after_a_useful_life_do_not_wait() {
        let now = Instant::now();
        let mut crashes = Crashes::default();
        assert_eq!(crashes.pause_before_start(&plugin(), now).unwrap(), Duration::ZERO);
        crashes.add(end("a"), now);
        assert!(crashes.pause_before_start(&plugin(), now).unwrap() >= RESTART_PAUSE / 2);
        crashes.clear();
        assert_eq!(crashes.pause_before_start(&plugin(), now).unwrap(), Duration::ZERO);
    }

    #[test]
    fn too_many_in_a_row_are_given_up_for_a_while_with_the_last_end() {
        let now = Instant::now();
        let mut crashes = Crashes::default();
        for n in 1..=CRASHES_MAX {
            assert!(crashes.pause_before_start(&plugin(), now).is_ok(), "{n}");
            crashes.add(end(&format!("number {n}")), now);
        }
        let error = crashes.pause_before_start(&plugin(), now).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("5 times") && text.contains("number 5") && text.contains("SIGABRT"), "{text}");
        // Then one start; if that fails too, the rest begins anew.
        let later = now + GIVEN_UP_REST;
        assert_eq!(crashes.pause_before_start(&plugin(), later).unwrap(), Duration::ZERO);
        crashes.add(end("again"), later);
        assert!(crashes.pause_before_start(&plugin(), later).is_err());
    }

    #[test]
    fn pauses_grow_and_differ() {
        assert_eq!(pause(1, 0), RESTART_PAUSE / 2);
        assert!(pause(1, 1023) < RESTART_PAUSE && pause(1, 1023) > pause(1, 5));
        assert_eq!(pause(4, 0), RESTART_PAUSE * 4);
        assert_eq!(pause(u32::MAX, 0), pause(CRASHES_MAX, 0));
    }
}
