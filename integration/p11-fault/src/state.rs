//! What the process keeps: the real module, its open sessions, and what every call has to go through.

use std::collections::HashMap;
use std::ffi::CString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use cryptoki_sys::*;

use crate::fault::{Action, actions};
use crate::record::Record;

/// How often a hanging call looks whether its rule is gone.
const HANG_POLL: Duration = Duration::from_millis(10);

/// Everything this module knows.
pub(crate) struct State {
    pub(crate) list: CK_FUNCTION_LIST,
    pub(crate) real: CK_FUNCTION_LIST,
    pub(crate) reserved: Option<CString>,
    pub(crate) record: Record,
    directory: PathBuf,
    /// Open sessions and the real number of their slot.
    sessions: Mutex<HashMap<CK_SESSION_HANDLE, CK_SLOT_ID>>,
    is_removed: AtomicBool,
    /// Held for reading by every call in the real module, for writing by what takes its sessions away: SoftHSM loses
    /// its token for good if sessions are closed while others are in use.
    traffic: RwLock<()>,
}

/// Calls the function of the real module, if it has it.
macro_rules! real {
    ($function:ident($($argument:expr),*)) => {
        match $crate::state::State::get() {
            Ok(state) => match state.real.$function {
                // SAFETY: the arguments are those the application passed, or places of our own as large.
                Some(function) => unsafe { function($($argument),*) },
                None => cryptoki_sys::CKR_FUNCTION_NOT_SUPPORTED,
            },
            Err(rv) => rv,
        }
    };
}
pub(crate) use real;

impl State {
    /// The one state, with the real module loaded.
    pub(crate) fn get() -> Result<&'static Self, CK_RV> {
        static STATE: OnceLock<Option<State>> = OnceLock::new();
        STATE.get_or_init(Self::load).as_ref().ok_or(CKR_GENERAL_ERROR)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a PKCS#11 module has no other way to learn its configuration"
    )]
    fn load() -> Option<Self> {
        let directory = PathBuf::from(std::env::var_os("PROKURA_PLUGIN_P11_FAULT")?);
        let text = std::fs::read_to_string(directory.join("module")).ok()?;
        let mut lines = text.lines();
        let path = lines.next()?;
        let reserved = lines.next().and_then(|line| CString::new(line).ok());
        // SAFETY: a PKCS#11 module that the test named; it stays loaded.
        let real = unsafe {
            let library = Box::leak(Box::new(libloading::Library::new(path).ok()?));
            let entry: libloading::Symbol<'_, unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV> =
                library.get(b"C_GetFunctionList\0").ok()?;
            let mut list = std::ptr::null_mut();
            if entry(&raw mut list) != CKR_OK || list.is_null() {
                return None;
            }
            *list
        };
        Some(Self {
            list: crate::with_faults(&real),
            real,
            reserved,
            record: Record::new(&directory),
            directory,
            sessions: Mutex::default(),
            is_removed: AtomicBool::new(false),
            traffic: RwLock::default(),
        })
    }

    /// The actions a call of `function` has to take itself, after all those that are the same for every function.
    /// `Err` is what the function returns without being forwarded.
    pub(crate) fn enter(&self, function: &'static str) -> Result<Vec<Action>, CK_RV> {
        self.record.called(function);
        let mut actions = actions(&self.directory, function)?;
        if actions.contains(&Action::Hang) {
            actions = self.hang(function)?;
        }
        let is_removed = actions.contains(&Action::Remove);
        let was_removed = self.is_removed.swap(is_removed, Ordering::Relaxed);
        if is_removed && !was_removed {
            self.lose_sessions();
        }
        for action in &actions {
            match action {
                Action::Delay(ms) => std::thread::sleep(Duration::from_millis(*ms)),
                Action::Abort => std::process::abort(),
                Action::LoseSessions => self.lose_sessions(),
                Action::LoseLogin => self.lose_login(),
                Action::LoseModule => {
                    let _alone = self.alone();
                    let _ = real!(C_Finalize(std::ptr::null_mut()));
                    self.forget_sessions();
                }
                Action::Return(rv) => return Err(*rv),
                _ => {}
            }
        }
        Ok(actions)
    }

    fn hang(&self, function: &'static str) -> Result<Vec<Action>, CK_RV> {
        loop {
            std::thread::sleep(HANG_POLL);
            let text = std::fs::read_to_string(self.directory.join("faults")).unwrap_or_default();
            // Not by `actions`, which would count these looks.
            if !text.lines().any(|line| line.ends_with(" hang")) {
                return actions(&self.directory, function);
            }
        }
    }

    /// Notes a new session; refuses it where there are as many as a rule allows.
    pub(crate) fn opened(&self, session: CK_SESSION_HANDLE, slot: CK_SLOT_ID) {
        let mut sessions = self.sessions();
        sessions.insert(session, slot);
        self.record.sessions(sessions.len());
    }

    /// Forgets sessions that were closed.
    pub(crate) fn closed(&self, is_closed: impl Fn(CK_SESSION_HANDLE, CK_SLOT_ID) -> bool) {
        let mut sessions = self.sessions();
        sessions.retain(|session, slot| !is_closed(*session, *slot));
        self.record.sessions(sessions.len());
    }

    pub(crate) fn forget_sessions(&self) {
        self.closed(|_, _| true);
    }

    pub(crate) fn open_sessions(&self) -> usize {
        self.sessions().len()
    }

    /// To be held while the real module is called.
    pub(crate) fn among_others(&self) -> RwLockReadGuard<'_, ()> {
        self.traffic.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.traffic.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn lose_sessions(&self) {
        let _alone = self.alone();
        let slots: Vec<CK_SLOT_ID> = self.sessions().values().copied().collect();
        for slot in slots {
            let _ = real!(C_CloseAllSessions(slot));
        }
        self.forget_sessions();
    }

    fn lose_login(&self) {
        let _alone = self.alone();
        let one = self.sessions().keys().next().copied();
        if let Some(session) = one {
            let _ = real!(C_Logout(session));
        }
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<CK_SESSION_HANDLE, CK_SLOT_ID>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a call that was forwarded returns in the end.
pub(crate) fn leave(actions: &[Action], rv: CK_RV) -> CK_RV {
    actions
        .iter()
        .find_map(|action| match action {
            Action::ReturnAfter(other) => Some(*other),
            _ => None,
        })
        .unwrap_or(rv)
}

/// Whether a removed token is what a rule asks for.
pub(crate) fn is_removed(actions: &[Action]) -> bool {
    actions.contains(&Action::Remove)
}
