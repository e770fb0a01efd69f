//! Signing for minutes while the vault is made to fail: what went wrong, how long it took, and what was left behind.

pub mod card;
pub mod inventory;
pub mod kms;
pub mod pkcs11;
pub mod steady;

use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;

/// How many different errors a report keeps.
const ERRORS_MAX: usize = 10;

/// What a soak found. Nothing may have failed and nothing may be left.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Plugin and backend.
    pub name: String,
    /// Signatures asked for.
    pub requests: u64,
    /// Signatures not made within their deadline.
    pub failed: u64,
    /// Half of the signatures took no longer.
    pub p50: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
    /// Sessions with the vault that nobody uses any more.
    pub leaked_sessions: u64,
    /// Descriptors that host or plugin have more than when all was warm.
    pub leaked_descriptors: u64,
    /// Processes that outlived their use.
    pub leaked_processes: u64,
    /// How often the plugin's process was replaced.
    pub restarts: u64,
    /// What was done to the vault, and how often.
    pub disturbances: Vec<(String, u64)>,
    /// Whose the descriptors and processes are that were left, and what they are.
    pub left: Vec<String>,
    /// The first different errors.
    pub errors: Vec<String>,
}

impl Report {
    /// Whether nothing failed and nothing is left.
    pub fn is_clean(&self) -> bool {
        self.requests > 0
            && self.failed + self.leaked_sessions + self.leaked_descriptors + self.leaked_processes == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disturbances: Vec<String> =
            self.disturbances.iter().map(|(what, times)| format!("{times} x {what}")).collect();
        write!(
            f,
            "{}: {} requests, {} failed; p50 {:.1} ms, p99 {:.1} ms, longest {:.1} s; left behind: {} sessions, {} \
             descriptors, {} processes; plugin restarted {} times; {}",
            self.name,
            self.requests,
            self.failed,
            self.p50.as_secs_f64() * 1e3,
            self.p99.as_secs_f64() * 1e3,
            self.max.as_secs_f64(),
            self.leaked_sessions,
            self.leaked_descriptors,
            self.leaked_processes,
            self.restarts,
            disturbances.join(", ")
        )?;
        for line in &self.left {
            write!(f, "\n  left behind by {line}")?;
        }
        for error in &self.errors {
            write!(f, "\n  {error}")?;
        }
        Ok(())
    }
}

/// Outcomes of requests, collected by many tasks.
#[derive(Default)]
pub struct Outcomes(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    took: Vec<Duration>,
    failed: u64,
    errors: Vec<String>,
}

impl Outcomes {
    /// Notes one request.
    pub fn note(&self, took: Duration, outcome: Result<()>) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.took.push(took);
        if let Err(error) = outcome {
            inner.failed += 1;
            let error = format!("{error:#}");
            if inner.errors.len() < ERRORS_MAX && !inner.errors.contains(&error) {
                inner.errors.push(error);
            }
        }
    }

    /// A report of them; the rest is still to be filled in.
    pub fn report(self, name: &str) -> Report {
        let Inner { mut took, failed, errors } = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        took.sort_unstable();
        let at = |share: usize| took.get((took.len() * share / 100).min(took.len().saturating_sub(1)));
        let at = |share| at(share).copied().unwrap_or_default();
        let requests = took.len() as u64;
        Report {
            name: name.to_owned(),
            requests,
            failed,
            p50: at(50),
            p99: at(99),
            max: took.last().copied().unwrap_or_default(),
            errors,
            ..Report::default()
        }
    }
}

/// Numbers that look random and are the same for the same seed (xorshift64*).
pub struct Chance(u64);

impl Chance {
    /// Any seed but 0.
    pub const fn new(seed: u64) -> Self {
        Self(if seed == 0 { 1 } else { seed })
    }

    /// A number below `bound`.
    pub const fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }

    /// A time from `least` to `most` milliseconds.
    pub const fn milliseconds(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.below(most - least + 1))
    }
}

/// The living processes of this executable, except zombies.
pub fn processes(executable: &Path) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == executable))
        .collect()
}
