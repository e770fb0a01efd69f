//! A watch on calls into modules: one that does not come back has to be noticed by somebody else.
//!
//! A thread that hangs in foreign code cannot be ended, and a module that hangs once is not to be trusted again. The
//! SDK answers the caller at its deadline; the process as a whole is replaced by its host after what is reported here.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What is told when a call hangs: a sentence for the operator.
pub type OnHang = dyn Fn(&str) + Send + Sync;

/// Knows all calls that are under way.
pub struct Watch(Arc<Shared>);

struct Shared {
    calls: Mutex<Calls>,
    changed: Condvar,
    on_hang: Box<OnHang>,
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
    /// Starts watching. `on_hang` is called from a thread of its own, for the first call that hangs.
    pub fn new(on_hang: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let shared =
            Arc::new(Shared { calls: Mutex::default(), changed: Condvar::new(), on_hang: Box::new(on_hang) });
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

    /// Tells that the process is of no use any more, for another reason than a call that hangs.
    pub fn report(&self, why: &str) {
        (self.0.on_hang)(why);
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
                (self.on_hang)(&report);
            }
            return;
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
        let watch = Watch::new(move |report| sender.send(report.to_owned()).unwrap());
        drop(watch.begin("list tokens", Duration::from_millis(20)));
        let _patient = watch.begin("wait for a person", Duration::from_secs(600));
        assert!(reports.recv_timeout(Duration::from_millis(100)).is_err());
        let hanging = watch.begin("sign", Duration::from_millis(20));
        let report = reports.recv_timeout(Duration::from_secs(5)).unwrap();
        assert!(report.contains("asked to sign"), "{report}");
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
