//! One token: one login per process, and several sessions that are kept and shared.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cryptoki::mechanism::MechanismType;
use cryptoki::session::{Session, SessionState};
use cryptoki::slot::{Limit, Slot};
use prokura_plugin::{Deadline, Error, Pin};

use crate::error::{Recovery, Refusal, recovery, refused};
use crate::limits::{SESSION_WAIT_SECONDS, SESSIONS_MAX};
use crate::vault::login::Login;
use crate::vault::module::{Identity, Module, Present};

/// A token in use. Sessions are closed with it, and with the last session the login ends.
pub struct Token {
    pool: Mutex<Pool>,
    freed: Condvar,
    login: Mutex<Login>,
    slot: Mutex<Slot>,
    identity: Identity,
    module: Arc<Module>,
}

struct Pool {
    idle: Vec<Session>,
    open: usize,
    max: usize,
    /// Counts up when handles and logins may have become void.
    generation: u64,
}

/// A session on loan. It goes back when dropped, unless a call in it failed.
struct Lease<'a> {
    token: &'a Token,
    session: Option<Session>,
    generation: u64,
    /// The session, its login or the handle was gone before the calls did anything.
    void: bool,
}

/// Calls in a session. The number changes when handles found earlier have become void.
pub type Calls<'a, T> = &'a dyn Fn(&Session, u64) -> Result<T, Refusal>;

/// How a new session that finds the token logged out gets the PIN.
pub type ReadPin<'a> = &'a dyn Fn() -> Result<Option<Pin>, Error>;

impl Token {
    /// Prepares for sessions; opens none yet.
    ///
    /// # Errors
    /// `ERROR` if the token does not answer.
    pub fn new(module: Arc<Module>, present: Present) -> Result<Self, Error> {
        let info = module.token_info(present.slot)?;
        let max = match info.max_session_count() {
            Limit::Max(count) => usize::try_from(count).unwrap_or(SESSIONS_MAX).clamp(1, SESSIONS_MAX),
            Limit::Unavailable | Limit::Infinite => SESSIONS_MAX,
        };
        Ok(Self {
            pool: Mutex::new(Pool { idle: Vec::new(), open: 0, max, generation: 0 }),
            freed: Condvar::new(),
            login: Mutex::new(Login::default()),
            slot: Mutex::new(present.slot),
            identity: present.identity,
            module,
        })
    }

    /// Which token this is.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The mechanisms the token has.
    ///
    /// # Errors
    /// `ERROR` if the token does not answer.
    pub fn mechanisms(&self) -> Result<Vec<MechanismType>, Error> {
        let slot = *lock(&self.slot);
        self.module.context().get_mechanism_list(slot).map_err(|e| refused("list the token's mechanisms", &e))
    }

    /// Checks that a key's own PIN is that of the login there is, and logs in if nobody has.
    ///
    /// # Errors
    /// `ACCESS_DENIED` if the PIN is wrong, another one or missing; otherwise as [`Token::with_session`].
    pub fn admit(&self, deadline: Deadline, pin: ReadPin<'_>) -> Result<(), Error> {
        lock(&self.login).admit(pin()?.as_ref())?;
        // A pooled session may stem from a key that needed no login.
        self.with_session(deadline, pin, &|session, _| Ok(self.log_in(session, pin)?))
    }

    /// Makes calls in a session, logged in where the token asks for it. They are made a second time, in a new
    /// session, if the token has dropped the session, the login or the handle and so has done nothing.
    ///
    /// # Errors
    /// `TIMEOUT` or `THROTTLED` if no session came free; the token's refusal; what `calls` return.
    pub fn with_session<T>(
        &self,
        deadline: Deadline,
        pin: ReadPin<'_>,
        calls: Calls<'_, T>,
    ) -> Result<T, Error> {
        let mut lease = self.session(deadline, pin)?;
        let result = lease.run(calls);
        if !lease.void {
            return Ok(result?);
        }
        let generation = lease.generation;
        drop(lease);
        self.renew(generation);
        deadline.check()?;
        Ok(self.session(deadline, pin)?.run(calls)?)
    }

    /// Lends a session, opening one while the token has room and waiting for one otherwise.
    fn session(&self, deadline: Deadline, pin: ReadPin<'_>) -> Result<Lease<'_>, Error> {
        let give_up =
            Instant::now() + deadline.remaining().unwrap_or(Duration::from_secs(SESSION_WAIT_SECONDS));
        let mut pool = lock(&self.pool);
        loop {
            if let Some(session) = pool.idle.pop() {
                return Ok(Lease {
                    token: self,
                    session: Some(session),
                    generation: pool.generation,
                    void: false,
                });
            }
            if pool.open < pool.max {
                pool.open += 1;
                let first = pool.open == 1;
                let generation = pool.generation;
                drop(pool);
                match self.open(first, pin) {
                    Ok(session) => {
                        return Ok(Lease { token: self, session: Some(session), generation, void: false });
                    }
                    Err(failed) => pool = self.not_opened(failed)?,
                }
                continue;
            }
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(no_session(pool.max, deadline));
            }
            pool = self.freed.wait_timeout(pool, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Closes idle sessions and distrusts those on loan: after a removed token all of them are void.
    fn renew(&self, generation: u64) {
        let mut pool = lock(&self.pool);
        if pool.generation != generation {
            return; // Another thread has done it.
        }
        pool.generation += 1;
        pool.open -= pool.idle.len().min(pool.open);
        let void = std::mem::take(&mut pool.idle);
        drop(pool);
        drop(void);
        self.freed.notify_all();
    }

    fn open(&self, first: bool, pin: ReadPin<'_>) -> Result<Session, NotOpened> {
        let slot = if first { self.locate()? } else { *lock(&self.slot) };
        let session = self.module.context().open_ro_session(slot).map_err(|e| NotOpened {
            out_of_sessions: recovery(&e) == Recovery::Wait,
            error: refused(&format!("open a session with token {:?}", self.identity.label), &e),
        })?;
        self.log_in(&session, pin)?;
        Ok(session)
    }

    /// Makes sure that it is still the same token before a PIN is sent to it.
    fn locate(&self) -> Result<Slot, Error> {
        let known = *lock(&self.slot);
        let info = self.module.context().get_token_info(known);
        if info.is_ok_and(|i| Identity::of(&i) == self.identity) {
            return Ok(known);
        }
        let found = self.module.slot_of(&self.identity)?.ok_or_else(|| {
            let Identity { label, serial, .. } = &self.identity;
            Error::internal(format!(
                "token {label:?} with serial {serial:?} is not there any more; the operator must connect it"
            ))
        })?;
        *lock(&self.slot) = found;
        Ok(found)
    }

    fn log_in(&self, session: &Session, pin: ReadPin<'_>) -> Result<(), Error> {
        let mut login = lock(&self.login);
        let state =
            session.get_session_info().map_err(|e| refused("ask for the state of the session", &e))?;
        if is_logged_in(state.session_state()) {
            return Ok(());
        }
        let read_info = || self.module.token_info(*lock(&self.slot));
        login.log_in(session, &self.identity, pin()?, &read_info)
    }

    /// Tokens that were logged out answer with all kinds of codes, CKR_GENERAL_ERROR among them; the session knows.
    fn has_lost_login(&self, session: &Session) -> bool {
        lock(&self.login).has_logged_in()
            && !session.get_session_info().is_ok_and(|i| is_logged_in(i.session_state()))
    }

    /// Gives the place back; waits for a session of ours if the token has no more.
    fn not_opened(&self, failed: NotOpened) -> Result<MutexGuard<'_, Pool>, Error> {
        let mut pool = lock(&self.pool);
        pool.forget_one();
        self.freed.notify_one();
        if failed.out_of_sessions && pool.open > 0 {
            pool.max = pool.open;
            return Ok(pool);
        }
        Err(failed.error)
    }
}

impl Pool {
    fn forget_one(&mut self) {
        self.open = self.open.saturating_sub(1);
        if self.open == 0 {
            // With its last session an application's login and handles end (PKCS#11 v3.1 section 5.6.1).
            self.generation += 1;
        }
    }
}

impl Lease<'_> {
    /// Makes calls in the session. After one that failed the session is closed: an operation may be stuck in it.
    fn run<T>(&mut self, calls: Calls<'_, T>) -> Result<T, Refusal> {
        let Some(session) = &self.session else {
            return Err(Refusal::Final(Error::internal("a session was used after it was closed")));
        };
        let result = calls(session, self.generation);
        if let Err(Refusal::Token { error, .. }) = &result {
            self.void = recovery(error) == Recovery::Renew || self.token.has_lost_login(session);
            self.close();
        }
        result
    }

    fn close(&mut self) {
        let Some(session) = self.session.take() else { return };
        drop(session);
        lock(&self.token.pool).forget_one();
        self.token.freed.notify_one();
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut pool = lock(&self.token.pool);
        if pool.generation != self.generation {
            drop(pool);
            return self.close();
        }
        pool.idle.extend(self.session.take());
        drop(pool);
        self.token.freed.notify_one();
    }
}

struct NotOpened {
    out_of_sessions: bool,
    error: Error,
}

impl From<Error> for NotOpened {
    fn from(error: Error) -> Self {
        Self { out_of_sessions: false, error }
    }
}

const fn is_logged_in(state: SessionState) -> bool {
    matches!(state, SessionState::RoUser | SessionState::RwUser)
}

fn no_session(max: usize, deadline: Deadline) -> Error {
    let message = format!("all {max} sessions with the token were busy until the wait ended");
    if deadline.remaining().is_some() { Error::timeout(message) } else { Error::throttled(message) }
}

/// A thread that panicked leaves counts that are still true.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
