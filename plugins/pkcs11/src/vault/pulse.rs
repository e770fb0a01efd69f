//! A thread that keeps idle sessions alive: tokens and firewalls drop what is not used for a while.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::token::Token;

/// Beats for every token that was entered, until it is dropped. Starts its thread with the first token.
#[derive(Default)]
pub struct Pulse {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    beats: Mutex<Beats>,
    changed: Condvar,
}

#[derive(Default)]
struct Beats {
    all: Vec<Beat>,
    stopped: bool,
}

struct Beat {
    token: Weak<Token>,
    every: Duration,
    longest: Duration,
    next: Instant,
}

impl Pulse {
    /// Keeps the sessions of a token alive; of several intervals the shortest counts.
    pub fn enter(&self, token: &Arc<Token>, every: Duration, longest: Duration) {
        let mut beats = lock(&self.shared.beats);
        beats.all.retain(|beat| beat.token.strong_count() > 0);
        let next = Instant::now() + every;
        match beats.all.iter_mut().find(|beat| std::ptr::eq(beat.token.as_ptr(), Arc::as_ptr(token))) {
            Some(known) if known.every <= every => return,
            Some(known) => (known.every, known.next) = (every, next),
            None => beats.all.push(Beat { token: Arc::downgrade(token), every, longest, next }),
        }
        drop(beats);
        self.shared.changed.notify_one();
        let mut thread = lock(&self.thread);
        if thread.is_none() {
            let shared = Arc::clone(&self.shared);
            // Without the thread sessions may be dropped by the token, which is mended when they are used.
            *thread = std::thread::Builder::new().name("pulse".to_owned()).spawn(move || shared.beat()).ok();
        }
    }
}

impl Shared {
    fn beat(&self) {
        let mut beats = lock(&self.beats);
        while !beats.stopped {
            let now = Instant::now();
            let due: Vec<(Arc<Token>, Duration)> = beats
                .all
                .iter_mut()
                .filter(|beat| beat.next <= now)
                .filter_map(|beat| {
                    beat.next = now + beat.every;
                    Some((beat.token.upgrade()?, beat.longest))
                })
                .collect();
            if !due.is_empty() {
                drop(beats);
                for (token, longest) in &due {
                    token.keep_alive(*longest);
                }
                drop(due);
                beats = lock(&self.beats);
                continue;
            }
            let next = beats.all.iter().map(|beat| beat.next).min().unwrap_or(now + Duration::from_secs(60));
            let left = next.saturating_duration_since(now);
            beats = self.changed.wait_timeout(beats, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Pulse {
    /// Waits for the thread: no call may be under way when a library is unloaded.
    fn drop(&mut self) {
        lock(&self.shared.beats).stopped = true;
        self.shared.changed.notify_one();
        if let Some(thread) = lock(&self.thread).take() {
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
