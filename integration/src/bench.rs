//! What the benchmark's ladder is made of: CPU time of processes, and loops that keep a number of requests in flight.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Clock ticks per second in `/proc/PID/stat`: USER_HZ, 100 on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// One measured loop.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub struct Measured {
    /// How many signatures were made.
    pub signatures: u64,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// CPU seconds of all processes that took part, user and system.
    pub cpu_seconds: f64,
}

impl Measured {
    /// Signatures per second.
    pub fn rate(&self) -> f64 {
        self.signatures as f64 / self.seconds
    }

    /// CPU microseconds per signature.
    pub fn cpu_micros(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.signatures as f64
    }
}

/// CPU seconds, user and system, that a process and its threads have used.
///
/// # Errors
/// If there is no such process.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the name in parentheses, which may hold spaces.
    let fields: Vec<&str> =
        stat.rsplit_once(')').context("a stat line has a name")?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|f| f.parse::<f64>().ok());
    let used = ticks(11).zip(ticks(12)).context("a stat line has utime and stime")?;
    Ok((used.0 + used.1) / TICKS_PER_SECOND)
}

/// CPU seconds of ended children that were waited for.
///
/// # Errors
/// If `/proc` is not there.
pub fn children_cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> =
        stat.rsplit_once(')').context("a stat line has a name")?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|f| f.parse::<f64>().ok());
    let used = ticks(13).zip(ticks(14)).context("a stat line has cutime and cstime")?;
    Ok((used.0 + used.1) / TICKS_PER_SECOND)
}

/// Runs `sign` on `in_flight` threads for `duration`, each with its own state made by `start`.
///
/// # Errors
/// The first error of any thread.
pub fn on_threads<S>(
    in_flight: usize,
    duration: Duration,
    start: impl Fn() -> Result<S> + Sync,
    sign: impl Fn(&mut S) -> Result<()> + Sync,
) -> Result<Measured> {
    let signatures = AtomicU64::new(0);
    let barrier = std::sync::Barrier::new(in_flight + 1);
    let pid = std::process::id();
    let (elapsed, cpu) = std::thread::scope(|scope| -> Result<(Duration, f64)> {
        let threads: Vec<_> = (0..in_flight)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    let state = start();
                    barrier.wait();
                    let mut state = state?;
                    let until = Instant::now() + duration;
                    while Instant::now() < until {
                        sign(&mut state)?;
                        signatures.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        barrier.wait();
        let (begun, cpu) = (Instant::now(), cpu_seconds(pid)?);
        for thread in threads {
            thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        Ok((begun.elapsed(), cpu_seconds(pid)? - cpu))
    })?;
    Ok(Measured { signatures: signatures.into_inner(), seconds: elapsed.as_secs_f64(), cpu_seconds: cpu })
}
