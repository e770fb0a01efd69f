//! Sessions of a token on loan: opened where the token is now, logged in, and closed once a call in them has failed.

use std::cell::Cell;
use std::time::{Duration, Instant};

use cryptoki::session::{Session, SessionState};
use cryptoki::slot::Slot;
use prokura_plugin::{Deadline, Error};

use super::{Access, Calls, Located, Lost, Token, lock};
use crate::error::{Failure, Recovery, Refusal, away, failure, recovery};
use crate::limits::{PERSON_SECONDS_MAX, SESSION_WAIT_SECONDS, SESSIONS_GONE_SECONDS};
use crate::vault::login::Attempt;
use crate::vault::module::InUse;
use crate::vault::sessions::Place;
use crate::vault::token_info::{Identity, TokenInfo};
use crate::vault::turn::Turn;

/// A session on loan. It goes back when dropped, unless a call in it failed.
pub(super) struct Lease<'a> {
    token: &'a Token,
    session: Option<Session>,
    pub(super) generation: u64,
    pub(super) in_use: InUse<'a>,
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

impl Token {
    /// Lends a session, opening one while the token has room and waiting for one otherwise.
    pub(super) fn session(&self, access: Access<'_>) -> Result<Lease<'_>, Lost> {
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
                "token {label:?} with serial {serial:?} is not there any more; whoever operates it must connect it, or make its HSM reachable"
            ));
            Failure::new(away(gone), Recovery::FindToken)
        })?;
        *located = Located { slot: found, generation };
        Ok(found)
    }

    pub(super) fn log_in_if_needed(&self, session: &Session, access: Access<'_>) -> Result<(), Failure> {
        let call = self.watch.begin("ask for the state of a session", access.settings.call);
        let state = session.get_session_info();
        let state = state.map_err(|e| failure("ask for the state of the session", &e))?;
        drop(call);
        if is_logged_in(state.session_state()) {
            return Ok(());
        }
        self.log_in(session, access)
    }

    pub(super) fn log_in(&self, session: &Session, access: Access<'_>) -> Result<(), Failure> {
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

    fn no_session(&self, deadline: Deadline) -> Error {
        let message =
            format!("all {} sessions with the token were busy until the wait ended", self.sessions.limit());
        if deadline.remaining().is_some() { Error::timeout(message) } else { Error::throttled(message) }
    }
}

impl<'a> Inside<'a> {
    /// A session outside the pool, or inside it.
    pub(super) const fn new(
        session: &'a Session,
        generation: u64,
        token: &'a Token,
        access: Access<'a>,
    ) -> Self {
        Self { session, generation, token, access, spoiled: Cell::new(false) }
    }

    /// The token the session is with.
    pub const fn token(&self) -> &Token {
        self.token
    }

    /// Authenticates for the signature that was begun in the session.
    ///
    /// # Errors
    /// As `Login::confirm`.
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
    pub(super) fn run<T>(
        &mut self,
        what: &'static str,
        access: Access<'_>,
        calls: Calls<'_, T>,
    ) -> Result<T, Failure> {
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

pub(super) const fn is_logged_in(state: SessionState) -> bool {
    matches!(state, SessionState::RoUser | SessionState::RwUser)
}
