//! The pool of sessions with one token: as many as the token has, shared, waited for, and never leaked.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cryptoki::session::Session;

use crate::limits::{SESSION_POLL_MILLISECONDS, SESSIONS_MAX, SESSIONS_SHORT_SECONDS};

/// Sessions that are open, and places for more.
pub struct Sessions {
    pool: Mutex<Pool>,
    freed: Condvar,
}

struct Pool {
    idle: Vec<Session>,
    /// Sessions that are open or being opened, idle ones included.
    open: usize,
    /// Most that the token is said to have.
    limit: usize,
    /// Fewer, after the token has refused one more; until when.
    short: Option<(usize, Instant)>,
    /// The token refused the only session: other programs hold them all. When to ask again.
    retry_at: Option<Instant>,
    /// Counts up when handles, logins and sessions may have become void.
    generation: u64,
    /// Under which initialisation of the module the sessions were opened.
    epoch: u64,
}

/// What a caller may do.
pub enum Place {
    /// Use this session.
    Idle(Session, u64),
    /// Open one; a place in the pool is reserved for it. The number is its generation, the flag says whether it is
    /// the only one.
    New(u64, bool),
    /// Wait.
    None,
}

impl Sessions {
    /// No session yet. `said` is what the token says of its limit, `configured` what the operator says.
    pub fn new(said: Option<usize>, configured: Option<usize>) -> Self {
        let limit =
            said.unwrap_or(SESSIONS_MAX).min(configured.unwrap_or(SESSIONS_MAX)).clamp(1, SESSIONS_MAX);
        let pool =
            Pool { idle: Vec::new(), open: 0, limit, short: None, retry_at: None, generation: 0, epoch: 0 };
        Self { pool: Mutex::new(pool), freed: Condvar::new() }
    }

    /// The most that may be open now.
    pub fn limit(&self) -> usize {
        self.locked().limit_now()
    }

    /// How many are open, and how many of them are idle.
    pub fn counts(&self) -> (usize, usize) {
        let pool = self.locked();
        (pool.open, pool.idle.len())
    }

    /// An idle session or a place for a new one. Sessions of an earlier initialisation of the module are forgotten,
    /// not closed: their numbers may be those of new sessions now.
    pub fn place(&self, epoch: u64) -> Place {
        let mut pool = self.locked();
        if pool.epoch != epoch {
            pool.epoch = epoch;
            pool.generation += 1;
            pool.open = 0;
            pool.idle.drain(..).for_each(drop);
        }
        if let Some(session) = pool.idle.pop() {
            return Place::Idle(session, pool.generation);
        }
        if pool.may_open() {
            pool.open += 1;
            return Place::New(pool.generation, pool.open == 1);
        }
        Place::None
    }

    /// Waits for a session or a place; `false` if there was none until `give_up`.
    pub fn wait(&self, give_up: Instant) -> bool {
        let mut pool = self.locked();
        while pool.idle.is_empty() && !pool.may_open() {
            let now = Instant::now();
            if now >= give_up {
                return false;
            }
            let until = pool.retry_at.unwrap_or(give_up).min(give_up);
            let left = until.saturating_duration_since(now).max(Duration::from_millis(1));
            pool = self.freed.wait_timeout(pool, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Takes an idle session back; closes it if the pool has been renewed since `generation`.
    pub fn give_back(&self, session: Session, generation: u64) {
        let mut pool = self.locked();
        if pool.generation != generation {
            drop(pool);
            return self.close(session);
        }
        pool.idle.push(session);
        drop(pool);
        self.freed.notify_one();
    }

    /// Closes all idle sessions of this epoch: nobody will use the pool any more.
    pub fn end(&self, epoch: u64) {
        let mut pool = self.locked();
        let idle = std::mem::take(&mut pool.idle);
        if pool.epoch == epoch {
            for session in idle {
                let _ = session.close();
            }
        }
    }

    /// Takes all idle sessions out, for a look at each.
    pub fn take_idle(&self, epoch: u64) -> (Vec<Session>, u64) {
        let mut pool = self.locked();
        let idle = if pool.epoch == epoch { std::mem::take(&mut pool.idle) } else { Vec::new() };
        (idle, pool.generation)
    }

    /// Closes a session and frees its place.
    pub fn close(&self, session: Session) {
        // The token may have closed it already.
        let _ = session.close();
        self.free();
    }

    /// Frees a place for which no session could be opened.
    pub fn free(&self) {
        self.locked().forget_one();
        self.freed.notify_one();
    }

    /// The token has no session left: make do with what is open, and ask for more later.
    pub fn shrink(&self) {
        let mut pool = self.locked();
        let now = Instant::now();
        pool.short = Some((pool.open.max(1), now + Duration::from_secs(SESSIONS_SHORT_SECONDS)));
        if pool.open == 0 {
            pool.retry_at = Some(now + Duration::from_millis(SESSION_POLL_MILLISECONDS));
        }
    }

    /// Distrusts all sessions, logins and handles of this generation; those on loan are closed when they come back.
    pub fn renew(&self, generation: u64) {
        let mut pool = self.locked();
        if pool.generation != generation {
            return; // Another thread has done it.
        }
        pool.generation += 1;
        let void = std::mem::take(&mut pool.idle);
        pool.open = pool.open.saturating_sub(void.len());
        drop(pool);
        for session in void {
            let _ = session.close();
        }
        self.freed.notify_all();
    }

    fn locked(&self) -> MutexGuard<'_, Pool> {
        // A thread that panicked leaves counts that are still true.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    fn limit_now(&self) -> usize {
        match self.short {
            Some((fewer, until)) if Instant::now() < until => fewer.min(self.limit),
            _ => self.limit,
        }
    }

    fn may_open(&self) -> bool {
        self.open < self.limit_now() && self.retry_at.is_none_or(|at| Instant::now() >= at)
    }

    fn forget_one(&mut self) {
        self.open = self.open.saturating_sub(1);
        if self.open == 0 {
            // With its last session an application's login and handles end (PKCS#11 v3.1 section 5.6.1).
            self.generation += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    #[test]
    fn the_smaller_limit_counts_and_none_is_no_limit_of_ours() {
        for (said, configured, limit) in [
            (None, None, SESSIONS_MAX),
            (Some(4), None, 4),
            (Some(4), Some(2), 2),
            (Some(1000), None, SESSIONS_MAX),
            (Some(0), None, 1),
            (None, Some(3), 3),
        ] {
            assert_eq!(Sessions::new(said, configured).limit(), limit, "{said:?} {configured:?}");
        }
    }

    #[test]
    fn places_are_counted_and_come_back() {
        let sessions = Sessions::new(Some(2), None);
        assert!(matches!(sessions.place(0), Place::New(0, true)));
        assert!(matches!(sessions.place(0), Place::New(0, false)));
        assert!(matches!(sessions.place(0), Place::None));
        assert!(!sessions.wait(soon()));
        sessions.free();
        assert!(sessions.wait(soon()));
        sessions.free();
        assert_eq!(sessions.counts(), (0, 0));
        // With the last session the login ended.
        assert!(matches!(sessions.place(0), Place::New(1, true)));
    }

    #[test]
    fn a_token_short_of_sessions_is_asked_again_later_and_not_in_a_loop() {
        let sessions = Sessions::new(Some(8), None);
        for _ in 0..3 {
            assert!(matches!(sessions.place(0), Place::New(..)));
        }
        sessions.free();
        sessions.shrink();
        assert_eq!(sessions.limit(), 2);
        assert!(matches!(sessions.place(0), Place::None));

        let alone = Sessions::new(None, None);
        assert!(matches!(alone.place(0), Place::New(..)));
        alone.free();
        alone.shrink();
        assert!(matches!(alone.place(0), Place::None), "others hold all sessions: not at once");
        let patient = Instant::now() + Duration::from_secs(5);
        assert!(alone.wait(patient) && Instant::now() < patient);
        assert!(matches!(alone.place(0), Place::New(..)));
    }

    #[test]
    fn a_new_initialisation_of_the_module_begins_with_nothing() {
        let sessions = Sessions::new(Some(1), None);
        assert!(matches!(sessions.place(0), Place::New(0, true)));
        assert!(matches!(sessions.place(1), Place::New(1, true)), "the old session is gone with its epoch");
        assert_eq!(sessions.counts(), (1, 0));
    }
}
