//! What the benchmark's ladder is made of: CPU time of processes, and loops that keep a number of requests in flight.

pub mod aws;
pub mod azure;
pub mod direct;
pub mod openbao;
pub mod pkcs11;
pub mod yubikey;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use prokura_plugin::KeySpec;

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

/// One line of the table that compares a vault's plugin with the bare calls to that vault.
#[derive(Clone, Debug)]
pub struct Row {
    /// The backend, such as `softhsm`.
    pub vault: String,
    /// The key spec.
    pub key: String,
    /// How many signatures were asked for at the same time.
    pub in_flight: usize,
    /// What signed: the bare loop, the plugin, or the programs of others.
    pub path: String,
    /// Signatures per second.
    pub rate: f64,
    /// The same as a share of the bare loop's.
    pub of_bare: f64,
    /// How much longer one signature takes than in the bare loop.
    pub added: Duration,
    /// Calls to the vault per warm signature, where they were counted.
    pub calls: Option<f64>,
    /// From nothing to the first signature.
    pub cold: Option<Duration>,
    /// Which calls, or what else is to be known.
    pub note: String,
}

impl Row {
    /// The heading of the columns.
    pub const HEADING: &'static str = "backend     key       in flight  path          sign/s   of bare   added us   calls/sign   cold ms  note";

    /// Compares a loop with the bare one that was measured beside it.
    pub fn new(
        vault: &str,
        spec: KeySpec,
        in_flight: usize,
        path: &str,
        measured: &Measured,
        bare: &Measured,
    ) -> Self {
        let each = |measured: &Measured| in_flight as f64 / measured.rate();
        Self {
            vault: vault.to_owned(),
            key: spec.as_str().to_owned(),
            in_flight,
            path: path.to_owned(),
            rate: measured.rate(),
            of_bare: measured.rate() / bare.rate(),
            added: Duration::from_secs_f64((each(measured) - each(bare)).max(0.0)),
            calls: None,
            cold: None,
            note: String::new(),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number =
            |value: Option<f64>, digits| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.digits$}"));
        write!(
            f,
            "{:<11} {:<9} {:>9}  {:<12} {:>7.0}   {:>7.2}   {:>8.0}   {:>10}   {:>7}  {}",
            self.vault,
            self.key,
            self.in_flight,
            self.path,
            self.rate,
            self.of_bare,
            self.added.as_secs_f64() * 1e6,
            number(self.calls, 2),
            number(self.cold.map(|cold| cold.as_secs_f64() * 1e3), 0),
            self.note
        )
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
