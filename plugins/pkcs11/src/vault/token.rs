//! One token: one login per process, sessions that are kept and shared, and what is done when they are lost.

mod lease;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cryptoki::error::{Error as CryptokiError, RvError};
use cryptoki::mechanism::MechanismType;
use cryptoki::session::Session;
use cryptoki::slot::Slot;
use prokura_plugin::{Deadline, Error};

use super::login::Login;
use super::module::{Module, Present};
use super::sessions::Sessions;
use super::token_info::Identity;
use super::watch::Watch;
use crate::config::pin::PinReader;
use crate::config::settings::Settings;
use crate::error::{Failure, Recovery, Refusal, failure};
use crate::key::mechanism::SIGNING;

pub use lease::Inside;
use lease::is_logged_in;

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
    /// Whether the caller has a turn with the module already, see `Turn`.
    pub in_turn: bool,
}

/// Calls that failed, and in which session.
struct Lost {
    failure: Failure,
    generation: u64,
    epoch: u64,
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
        let inside = Inside::new(&session, 0, self, access);
        let done = calls(&inside).map_err(Error::from);
        drop(session);
        drop(in_use);
        done
    }

    /// Uses every idle session for nothing, and closes those that are lost. Many libraries know the state of a session
    /// without asking the token, so that the question has to be for something only the token has: random bytes.
    pub fn keep_alive(&self, longest: Duration) {
        let in_use = self.module.enter();
        let (idle, generation) = self.sessions.take_idle(in_use.epoch());
        for session in idle {
            let _call = self.watch.begin("keep a session alive", longest);
            match sign_of_life(&session) {
                Ok(()) => self.sessions.give_back(session, generation),
                Err(_) => self.sessions.close(session),
            }
        }
    }

    fn once<T>(&self, what: &'static str, access: Access<'_>, calls: Calls<'_, T>) -> Result<T, Lost> {
        let mut lease = self.session(access)?;
        let (generation, epoch) = (lease.generation, lease.in_use.epoch());
        lease.run(what, access, calls).map_err(|failure| Lost { failure, generation, epoch })
    }

    /// Nothing is left to try in this process.
    fn given_up(&self, failed: Failure) -> Error {
        if failed.recovery == Recovery::Restart {
            self.watch.module_is_lost();
        }
        failed.into()
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        let in_use = self.module.enter();
        self.sessions.end(in_use.epoch());
    }
}

/// A byte of random numbers; where the token has none to give, the state of the session.
fn sign_of_life(session: &Session) -> Result<(), CryptokiError> {
    use RvError::{FunctionNotSupported, RandomNoRng};
    match session.generate_random_slice(&mut [0]) {
        Err(CryptokiError::Pkcs11(RandomNoRng | FunctionNotSupported, _)) => {
            session.get_session_info().map(drop)
        }
        answer => answer,
    }
}

/// A thread that panicked leaves counts that are still true.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
