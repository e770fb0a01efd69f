//! A watch on calls into modules: one that does not come back has to be noticed by somebody else.
//!
//! A thread that hangs in foreign code cannot be ended, and a module that hangs once is not to be trusted again. The
//! SDK answers the caller at its deadline; the process as a whole is replaced by its host after what is reported here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Why this process is of no use any more: a sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// A call into a module does not come back, and whoever made it will never answer.
    Hang(String),
    /// A module cannot be started anew here. All calls are answered.
    Module(String),
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Hang(why) | Self::Module(why)) = self;
        f.write_str(why)
    }
}

/// What is told of a loss.
pub type OnLoss = dyn Fn(&Loss) + Send + Sync;

/// Knows all calls that are under way.
pub struct Watch(Arc<Shared>);

struct Shared {
    calls: Mutex<Calls>,
    changed: Condvar,
    on_loss: Box<OnLoss>,
    is_told: AtomicBool,
}

#[derive(Default)]
struct Calls {
    under_way: BTreeMap<u64, UnderWay>,
    next: u64,
    /// When the thread looks again by itself; it sleeps until somebody wakes it if there is no such time.
    looks_at: Option<Instant>,
    closed: bool,
}

struct UnderWay {
    what: &'static str,
    longest: Duration,
    late_at: Instant,
}

/// A call under way; over when dropped.
pub struct Call<'a> {
    watch: &'a Shared,
    number: u64,
}

impl Watch {
    /// Starts watching. `on_loss` is called once: from a thread of its own for the first call that hangs, or by whoever
    /// could not start a module anew.
    pub fn new(on_loss: impl Fn(&Loss) + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared {
            calls: Mutex::default(),
            changed: Condvar::new(),
            on_loss: Box::new(on_loss),
            is_told: AtomicBool::new(false),
        });
        let watched = Arc::clone(&shared);
        // Without this thread nothing is watched, and everything else works.
        let _ = std::thread::Builder::new().name("watch".to_owned()).spawn(move || watched.keep());
        Self(shared)
    }

    /// Notes that a call begins which may last as long as `longest`; `what` says what is called for.
    pub fn begin(&self, what: &'static str, longest: Duration) -> Call<'_> {
        let mut calls = self.0.locked();
        let (number, late_at) = (calls.next, Instant::now() + longest);
        calls.next += 1;
        calls.under_way.insert(number, UnderWay { what, longest, late_at });
        if calls.looks_at.is_none_or(|at| late_at < at) {
            self.0.changed.notify_one();
        }
        Call { watch: &self.0, number }
    }

    /// Tells that a module could not be started anew.
    pub fn module_is_lost(&self) {
        let why = "the PKCS#11 module could not be started anew; this process ends, so that its host starts another one";
        self.0.tell(&Loss::Module(why.to_owned()));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.locked().closed = true;
        self.0.changed.notify_one();
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        // The thread is not woken: it looks when this call would have been late, and finds it gone.
        self.watch.locked().under_way.remove(&self.number);
    }
}

impl Shared {
    fn keep(&self) {
        let mut calls = self.locked();
        while !calls.closed {
            let Some(next) = calls.under_way.values().map(|call| call.late_at).min() else {
                calls.looks_at = None;
                calls = self.changed.wait(calls).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            calls.looks_at = Some(next);
            let left = next.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                calls = self.changed.wait_timeout(calls, left).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let late = calls.under_way.values().find(|call| call.late_at == next);
            let report = late.map(|UnderWay { what, longest, .. }| {
                format!(
                    "the PKCS#11 module has not come back for {} s (asked to {what}; plugin config call-timeout sets \
                     the limit); it counts as lost and this process ends, so that its host starts another one",
                    longest.as_secs()
                )
            });
            drop(calls);
            if let Some(report) = report {
                self.tell(&Loss::Hang(report));
            }
            return;
        }
    }

    fn tell(&self, loss: &Loss) {
        if !self.is_told.swap(true, Ordering::Relaxed) {
            (self.on_loss)(loss);
        }
    }

    fn locked(&self) -> MutexGuard<'_, Calls> {
        // Nothing panics while the lock is held.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn only_a_call_that_lasts_too_long_is_reported() {
        let (sender, reports) = mpsc::channel();
        let watch = Watch::new(move |loss| sender.send(loss.clone()).unwrap());
        drop(watch.begin("list tokens", Duration::from_millis(20)));
        let _patient = watch.begin("wait for a person", Duration::from_secs(600));
        assert!(reports.recv_timeout(Duration::from_millis(100)).is_err());
        let hanging = watch.begin("sign", Duration::from_millis(20));
        let report = reports.recv_timeout(Duration::from_secs(5)).unwrap();
        assert!(matches!(&report, Loss::Hang(why) if why.contains("asked to sign")), "{report}");
        watch.module_is_lost();
        assert!(reports.recv_timeout(Duration::from_millis(50)).is_err(), "one end is enough");
        drop(hanging);
    }

    #[test]
    fn the_thread_ends_with_the_watch() {
        let (sender, reports) = mpsc::channel::<()>();
        let watch = Watch::new(move |_| sender.send(()).unwrap());
        drop(watch.begin("sign", Duration::from_millis(1)));
        drop(watch);
        assert_eq!(reports.recv_timeout(Duration::from_secs(5)), Err(mpsc::RecvTimeoutError::Disconnected));
    }
}
