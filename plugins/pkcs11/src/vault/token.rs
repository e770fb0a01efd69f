//! One token: one login per process, sessions that are kept and shared, and what is done when they are lost.

use std::cell::Cell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cryptoki::mechanism::MechanismType;
use cryptoki::session::{Session, SessionState};
use cryptoki::slot::Slot;
use prokura_plugin::{Deadline, Error, Scope};

use super::login::{Attempt, Login};
use super::module::{InUse, Module, Present};
use super::sessions::{Place, Sessions};
use super::token_info::{Identity, TokenInfo};
use super::turn::Turn;
use super::watch::Watch;
use crate::config::pin::PinReader;
use crate::config::settings::Settings;
use crate::error::{Failure, Recovery, Refusal, failure, recovery};
use crate::key::mechanism::SIGNING;
use crate::limits::{PERSON_SECONDS_MAX, SESSION_WAIT_SECONDS, SESSIONS_GONE_SECONDS};

/// A token in use. Sessions are closed with it, and with the last session the login ends.
pub struct Token {
    sessions: Sessions,
    login: Mutex<Login>,
    located: Mutex<Located>,
    identity: Identity,
    mechanisms: Mutex<Option<Arc<[MechanismType]>>>,
    module: Arc<Module>,
    watch: Arc<Watch>,
}

/// Where the token was when it was last looked for.
struct Located {
    slot: Slot,
    generation: u64,
}

/// On whose behalf, and until when, a token is used.
#[derive(Clone, Copy)]
pub struct Access<'a> {
    /// Until when.
    pub deadline: Deadline,
    /// Where the PIN comes from.
    pub pin: &'a PinReader,
    /// How long a call may last.
    pub settings: &'a Settings,
    /// Whether the caller has a turn with the module already, see [`Turn`].
    pub in_turn: bool,
}

/// A session on loan. It goes back when dropped, unless a call in it failed.
struct Lease<'a> {
    token: &'a Token,
    session: Option<Session>,
    generation: u64,
    in_use: InUse<'a>,
}

/// Calls that failed, and in which session.
struct Lost {
    failure: Failure,
    generation: u64,
    epoch: u64,
}

/// What calls in a session have at hand.
pub struct Inside<'a> {
    /// The session, logged in where the token asks for it.
    pub session: &'a Session,
    /// Changes when handles found earlier have become void.
    pub generation: u64,
    token: &'a Token,
    access: Access<'a>,
    /// An operation may be stuck in the session.
    spoiled: Cell<bool>,
}

/// Calls in a session.
pub type Calls<'a, T> = &'a dyn Fn(&Inside<'_>) -> Result<T, Refusal>;

impl Token {
    /// Prepares for sessions; opens none yet.
    pub fn new(module: Arc<Module>, present: &Present, settings: &Settings, watch: Arc<Watch>) -> Self {
        let most = [present.info.sessions_max, module.quirks().sessions_max].into_iter().flatten().min();
        Self {
            sessions: Sessions::new(most, settings.sessions),
            login: Mutex::new(Login::default()),
            located: Mutex::new(Located { slot: present.slot, generation: 0 }),
            identity: present.info.identity.clone(),
            mechanisms: Mutex::default(),
            module,
            watch,
        }
    }

    /// Which token this is.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The library that reaches it.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// The slot it was last seen in.
    pub fn slot(&self) -> Slot {
        lock(&self.located).slot
    }

    /// How many sessions are open, and how many of them are idle.
    pub fn session_counts(&self) -> (usize, usize) {
        self.sessions.counts()
    }

    /// The mechanisms the token can sign with, of those this plugin knows; asked once.
    ///
    /// # Errors
    /// The token's refusal.
    pub fn signing_mechanisms(&self, access: Access<'_>) -> Result<Arc<[MechanismType]>, Failure> {
        let mut known = lock(&self.mechanisms);
        if let Some(known) = known.as_ref() {
            return Ok(Arc::clone(known));
        }
        let _in_use = self.module.enter();
        let _call = self.watch.begin("list the token's mechanisms", access.settings.call);
        let (context, slot) = (self.module.context(), self.slot());
        let list =
            context.get_mechanism_list(slot).map_err(|e| failure("list the token's mechanisms", &e))?;
        // A token that says nothing of a mechanism in its list is believed to have it.
        let denies = |m: &MechanismType| context.get_mechanism_info(slot, *m).is_ok_and(|info| !info.sign());
        let list = list.into_iter().filter(|m| SIGNING.contains(m) && !denies(m)).collect();
        Ok(Arc::clone(known.insert(list)))
    }

    /// Whether this process has logged in to it.
    pub fn has_logged_in(&self) -> bool {
        lock(&self.login).has_logged_in()
    }

    /// Checks that a key's own PIN is that of the login there is, and logs in if nobody has.
    ///
    /// # Errors
    /// `ACCESS_DENIED` if the PIN is wrong, another one or missing; otherwise as [`Token::with_session`].
    pub fn admit(&self, access: Access<'_>) -> Result<(), Error> {
        lock(&self.login).admit(access.pin)?;
        // A pooled session may stem from a key that needed no login.
        self.with_session("log in", access, &|inside| {
            let state = inside.session.get_session_info();
            let state = state.map_err(Refusal::of("ask for the state of the session"))?;
            if is_logged_in(state.session_state()) {
                return Ok(());
            }
            self.log_in(inside.session, access).map_err(|failed| Refusal::Final(failed.into()))
        })
    }

    /// Makes calls in a session, logged in where the token asks for it; `what` says what for. If session, login,
    /// handle, token or module were lost and so nothing was done, each loss is mended once and the calls made again.
    ///
    /// # Errors
    /// `TIMEOUT` or `THROTTLED` if no session came free; the token's refusal; what `calls` return.
    pub fn with_session<T>(
        &self,
        what: &'static str,
        access: Access<'_>,
        calls: Calls<'_, T>,
    ) -> Result<T, Error> {
        let mut tried = Recovery::GiveUp;
        loop {
            let Lost { failure, generation, epoch } = match self.once(what, access, calls) {
                Ok(done) => return Ok(done),
                Err(lost) => lost,
            };
            let remedy = failure.recovery.after(tried);
            match remedy {
                Recovery::GiveUp | Recovery::Wait => return Err(failure.into()),
                Recovery::NewSession | Recovery::FindToken => self.sessions.renew(generation),
                Recovery::Reinitialise => {
                    self.sessions.renew(generation);
                    let must = failure.recovery == Recovery::Reinitialise;
                    let _call = self.watch.begin("start anew", access.settings.call);
                    let again = self.module.reinitialise(epoch, must);
                    again.map_err(|failed| self.given_up(failed))?;
                }
                Recovery::Restart => return Err(self.given_up(failure)),
            }
            if access.deadline.check().is_err() {
                return Err(failure.into());
            }
            tried = remedy;
        }
    }

    /// Opens a read-write session of its own, outside the pool, for calls that write to the token.
    ///
    /// # Errors
    /// As [`Token::with_session`]; nothing is repeated.
    pub fn write<T>(
        &self,
        what: &'static str,
        longest: Duration,
        access: Access<'_>,
        calls: Calls<'_, T>,
    ) -> Result<T, Error> {
        let in_use = self.module.enter();
        let call = self.watch.begin(what, longest);
        let session = self
            .module
            .context()
            .open_rw_session(self.slot())
            .map_err(Refusal::of("open a session to write"))?;
        drop(call);
        self.log_in_if_needed(&session, access).map_err(Error::from)?;
        let _call = self.watch.begin(what, longest);
        let inside =
            Inside { session: &session, generation: 0, token: self, access, spoiled: Cell::new(false) };
        let done = calls(&inside).map_err(Error::from);
        drop(session);
        drop(in_use);
        done
    }

    /// Uses every idle session for nothing, and closes those that are lost.
    pub fn keep_alive(&self, longest: Duration) {
        let in_use = self.module.enter();
        let (idle, generation) = self.sessions.take_idle(in_use.epoch());
        for session in idle {
            let _call = self.watch.begin("keep a session alive", longest);
            match session.get_session_info() {
                Ok(_) => self.sessions.give_back(session, generation),
                Err(_) => self.sessions.close(session),
            }
        }
    }

    fn once<T>(&self, what: &'static str, access: Access<'_>, calls: Calls<'_, T>) -> Result<T, Lost> {
        let mut lease = self.session(access)?;
        let (generation, epoch) = (lease.generation, lease.in_use.epoch());
        lease.run(what, access, calls).map_err(|failure| Lost { failure, generation, epoch })
    }

    /// Lends a session, opening one while the token has room and waiting for one otherwise.
    fn session(&self, access: Access<'_>) -> Result<Lease<'_>, Lost> {
        let begun = Instant::now();
        let mut give_up = begun + patience(access.deadline);
        let mut refusal = None;
        loop {
            let in_use = self.module.enter();
            match self.sessions.place(in_use.epoch()) {
                Place::Idle(session, generation) => {
                    return Ok(Lease { token: self, session: Some(session), generation, in_use });
                }
                Place::New(generation, first) => match self.open(generation, first, access) {
                    Ok(session) => {
                        return Ok(Lease { token: self, session: Some(session), generation, in_use });
                    }
                    Err(failure) => {
                        self.sessions.free();
                        if failure.recovery != Recovery::Wait {
                            return Err(Lost { failure, generation, epoch: in_use.epoch() });
                        }
                        self.sessions.shrink();
                        // With no session of ours to wait for, it is others who must close theirs.
                        if self.sessions.counts().0 == 0 {
                            give_up = give_up.min(begun + Duration::from_secs(SESSIONS_GONE_SECONDS));
                        }
                        refusal = Some(failure);
                    }
                },
                Place::None => {}
            }
            drop(in_use);
            if !self.sessions.wait(give_up) {
                let refused = refusal.filter(|_| self.sessions.counts().0 == 0);
                let failure = refused.unwrap_or_else(|| self.no_session(access.deadline).into());
                return Err(Lost { failure, generation: 0, epoch: 0 });
            }
        }
    }

    fn open(&self, generation: u64, first: bool, access: Access<'_>) -> Result<Session, Failure> {
        let call = self.watch.begin("open a session", access.settings.call);
        let slot = self.locate(generation, first)?;
        let context = self.module.context();
        let opened = if self.module.quirks().only_read_write {
            context.open_rw_session_no_drop(slot)
        } else {
            context.open_ro_session_no_drop(slot)
        };
        let session = opened
            .map_err(|e| failure(&format!("open a session with token {:?}", self.identity.label), &e))?;
        drop(call);
        match self.log_in_if_needed(&session, access) {
            Ok(()) => Ok(session),
            Err(failed) => {
                let _ = session.close();
                Err(failed)
            }
        }
    }

    /// Makes sure that it is still the same token before a PIN is sent to it.
    fn locate(&self, generation: u64, first: bool) -> Result<Slot, Failure> {
        let mut located = lock(&self.located);
        if !first && located.generation == generation {
            return Ok(located.slot);
        }
        if self.module.token_info(located.slot).is_ok_and(|info| info.identity == self.identity) {
            located.generation = generation;
            return Ok(located.slot);
        }
        let found = self.module.slot_of(&self.identity)?.ok_or_else(|| {
            let Identity { label, serial, .. } = &self.identity;
            let gone = Error::internal(format!(
                "token {label:?} with serial {serial:?} is not there any more; the operator must connect it"
            ));
            Failure::new(gone.with_scope(Scope::Vault).retryable(true), Recovery::FindToken)
        })?;
        *located = Located { slot: found, generation };
        Ok(found)
    }

    fn log_in_if_needed(&self, session: &Session, access: Access<'_>) -> Result<(), Failure> {
        let call = self.watch.begin("ask for the state of a session", access.settings.call);
        let state = session.get_session_info();
        let state = state.map_err(|e| failure("ask for the state of the session", &e))?;
        drop(call);
        if is_logged_in(state.session_state()) {
            return Ok(());
        }
        self.log_in(session, access)
    }

    fn log_in(&self, session: &Session, access: Access<'_>) -> Result<(), Failure> {
        let _turn = self.turn(access);
        let mut login = lock(&self.login);
        // Another thread may have been here while this one waited.
        if session.get_session_info().is_ok_and(|info| is_logged_in(info.session_state())) {
            return Ok(());
        }
        // A person may be typing, here or at the token's own keypad.
        let _call =
            self.watch.begin("log in", access.settings.call + Duration::from_secs(PERSON_SECONDS_MAX));
        login.log_in(&self.attempt(session, access, &|| self.info()))
    }

    /// Before the lock of the login, as everywhere: who holds a turn may be waiting for that lock.
    fn turn(&self, access: Access<'_>) -> Option<Turn> {
        (!access.in_turn).then(|| Turn::wait(self.module.path(), access.deadline))
    }

    fn attempt<'a>(
        &'a self,
        session: &'a Session,
        access: Access<'a>,
        info: &'a dyn Fn() -> Result<TokenInfo, Failure>,
    ) -> Attempt<'a> {
        Attempt { session, identity: &self.identity, info, pin: access.pin, deadline: access.deadline }
    }

    fn info(&self) -> Result<TokenInfo, Failure> {
        let info = self.module.token_info(self.slot());
        info.map_err(|e| failure("read what the token says of itself", &e))
    }

    /// Tokens that were logged out answer with all kinds of codes, CKR_GENERAL_ERROR among them; the session knows.
    fn has_lost_login(&self, session: &Session) -> bool {
        lock(&self.login).has_logged_in()
            && !session.get_session_info().is_ok_and(|i| is_logged_in(i.session_state()))
    }

    /// Nothing is left to try in this process.
    fn given_up(&self, failed: Failure) -> Error {
        if failed.recovery == Recovery::Restart {
            self.watch.report("the PKCS#11 module could not be started anew; this process ends, so that its host starts another one");
        }
        failed.into()
    }

    fn no_session(&self, deadline: Deadline) -> Error {
        let message =
            format!("all {} sessions with the token were busy until the wait ended", self.sessions.limit());
        if deadline.remaining().is_some() { Error::timeout(message) } else { Error::throttled(message) }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        let in_use = self.module.enter();
        self.sessions.end(in_use.epoch());
    }
}

impl Inside<'_> {
    /// The token the session is with.
    pub const fn token(&self) -> &Token {
        self.token
    }

    /// Authenticates for the signature that was begun in the session.
    ///
    /// # Errors
    /// As [`Login::confirm`].
    pub fn confirm(&self) -> Result<(), Refusal> {
        let _turn = self.token.turn(self.access);
        let mut login = lock(&self.token.login);
        let _call = self
            .token
            .watch
            .begin("log in", self.access.settings.call + Duration::from_secs(PERSON_SECONDS_MAX));
        let info = || self.token.info();
        let attempt = self.token.attempt(self.session, self.access, &info);
        login.confirm(&attempt).map_err(|failed| {
            self.spoiled.set(true);
            Refusal::Final(failed.into())
        })
    }
}

impl Lease<'_> {
    /// Makes calls in the session. After one that failed the session is closed: an operation may be stuck in it.
    fn run<T>(&mut self, what: &'static str, access: Access<'_>, calls: Calls<'_, T>) -> Result<T, Failure> {
        let Some(session) = &self.session else {
            return Err(Error::internal("a session was used after it was closed").into());
        };
        let call = self.token.watch.begin(what, access.settings.call);
        let inside = Inside {
            session,
            generation: self.generation,
            token: self.token,
            access,
            spoiled: Cell::new(false),
        };
        let result = calls(&inside);
        drop(call);
        let Err(refusal) = result else { return result.map_err(Failure::from) };
        let is_spoiled = matches!(&refusal, Refusal::Token { .. }) || inside.spoiled.get();
        let lost_login = matches!(&refusal, Refusal::Token { error, .. } if recovery(error) < Recovery::NewSession)
            && self.token.has_lost_login(session);
        if is_spoiled && let Some(session) = self.session.take() {
            self.token.sessions.close(session);
        }
        let mut failed = Failure::from(refusal);
        if lost_login {
            failed.recovery = Recovery::NewSession;
        }
        Err(failed)
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.token.sessions.give_back(session, self.generation);
        }
    }
}

/// How long a session is waited for: a little less than the deadline, so that the caller learns why it was in vain.
fn patience(deadline: Deadline) -> Duration {
    let left = deadline.remaining().unwrap_or(Duration::from_secs(SESSION_WAIT_SECONDS));
    left.saturating_sub((left / 8).min(Duration::from_millis(500)))
}

const fn is_logged_in(state: SessionState) -> bool {
    matches!(state, SessionState::RoUser | SessionState::RwUser)
}

/// A thread that panicked leaves counts that are still true.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
