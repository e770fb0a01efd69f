//! Functions on the module, its slots and tokens.

use std::ffi::c_void;
use std::sync::{Mutex, PoisonError};

use cryptoki_sys::*;

use crate::fault::{Action, Info};
use crate::state::{State, is_removed, leave, real};

/// Puts the functions of this room into the list.
pub(crate) fn install(list: &mut CK_FUNCTION_LIST) {
    list.C_Initialize = Some(C_Initialize);
    list.C_Finalize = Some(C_Finalize);
    list.C_GetInfo = Some(C_GetInfo);
    list.C_GetSlotList = Some(C_GetSlotList);
    list.C_GetSlotInfo = Some(C_GetSlotInfo);
    list.C_GetTokenInfo = Some(C_GetTokenInfo);
    list.C_GetMechanismList = Some(C_GetMechanismList);
    list.C_GetMechanismInfo = Some(C_GetMechanismInfo);
    list.C_OpenSession = Some(C_OpenSession);
    list.C_CloseAllSessions = Some(C_CloseAllSessions);
}

fn around(function: &'static str, call: impl FnOnce(&State, &[Action]) -> CK_RV) -> CK_RV {
    let entered = State::get().and_then(|state| Ok((state, state.enter(function)?)));
    match entered {
        Ok((state, actions)) => {
            let _call = state.among_others();
            leave(&actions, call(state, &actions))
        }
        Err(rv) => rv,
    }
}

/// As [`around`], for functions that need a token in their slot and name the slot by the number we show.
fn around_slot(
    function: &'static str,
    slot: CK_SLOT_ID,
    call: impl FnOnce(&State, &[Action], CK_SLOT_ID) -> CK_RV,
) -> CK_RV {
    around(function, |state, actions| {
        if is_removed(actions) {
            return CKR_TOKEN_NOT_PRESENT;
        }
        match slot.checked_sub(offset(actions)) {
            Some(slot) => call(state, actions, slot),
            None => CKR_SLOT_ID_INVALID,
        }
    })
}

fn offset(actions: &[Action]) -> CK_SLOT_ID {
    let found = actions.iter().find_map(|action| match action {
        Action::Slots(offset) => Some(*offset),
        _ => None,
    });
    found.unwrap_or(0)
}

unsafe extern "C" fn C_Initialize(arguments: *mut c_void) -> CK_RV {
    around("C_Initialize", |state, _| {
        let Some(reserved) = &state.reserved else { return real!(C_Initialize(arguments)) };
        // SAFETY: null, or the standard's structure.
        let given = unsafe { arguments.cast::<CK_C_INITIALIZE_ARGS>().as_ref() };
        let mut ours = CK_C_INITIALIZE_ARGS { flags: CKF_OS_LOCKING_OK, ..Default::default() };
        ours = given.copied().unwrap_or(ours);
        ours.pReserved = reserved.as_ptr().cast_mut().cast();
        real!(C_Initialize((&raw mut ours).cast()))
    })
}

unsafe extern "C" fn C_Finalize(reserved: *mut c_void) -> CK_RV {
    around("C_Finalize", |state, _| {
        let rv = real!(C_Finalize(reserved));
        if rv == CKR_OK {
            state.forget_sessions();
        }
        rv
    })
}

unsafe extern "C" fn C_GetInfo(info: *mut CK_INFO) -> CK_RV {
    around("C_GetInfo", |_, _| real!(C_GetInfo(info)))
}

unsafe extern "C" fn C_GetSlotList(
    with_token: CK_BBOOL,
    slots: *mut CK_SLOT_ID,
    count: *mut CK_ULONG,
) -> CK_RV {
    around("C_GetSlotList", |_, actions| {
        if is_removed(actions) && with_token != CK_FALSE && !count.is_null() {
            // SAFETY: not null.
            unsafe { *count = 0 };
            return CKR_OK;
        }
        let rv = real!(C_GetSlotList(with_token, slots, count));
        if rv == CKR_OK && !slots.is_null() {
            // SAFETY: the real module has just written `*count` numbers there.
            let slots = unsafe { std::slice::from_raw_parts_mut(slots, *count as usize) };
            slots.iter_mut().for_each(|slot| *slot += offset(actions));
        }
        rv
    })
}

unsafe extern "C" fn C_GetSlotInfo(slot: CK_SLOT_ID, info: *mut CK_SLOT_INFO) -> CK_RV {
    around("C_GetSlotInfo", |_, actions| {
        let Some(slot) = slot.checked_sub(offset(actions)) else { return CKR_SLOT_ID_INVALID };
        let rv = real!(C_GetSlotInfo(slot, info));
        if rv == CKR_OK && is_removed(actions) {
            // SAFETY: the real module has just filled it.
            unsafe { (*info).flags &= !CKF_TOKEN_PRESENT };
        }
        rv
    })
}

unsafe extern "C" fn C_GetTokenInfo(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) -> CK_RV {
    around_slot("C_GetTokenInfo", slot, |_, actions, slot| {
        let rv = real!(C_GetTokenInfo(slot, info));
        if rv != CKR_OK {
            return rv;
        }
        // SAFETY: the real module has just filled it.
        let info = unsafe { &mut *info };
        for action in actions {
            match action {
                Action::Info(Info::Flags(flags)) => info.flags |= flags,
                Action::Info(Info::MaxSessions(most)) => {
                    (info.ulMaxSessionCount, info.ulMaxRwSessionCount) = (*most, *most);
                }
                Action::Info(Info::Serial(text)) => fill(&mut info.serialNumber, text),
                Action::Info(Info::Label(text)) => fill(&mut info.label, text),
                _ => {}
            }
        }
        rv
    })
}

/// Texts of PKCS#11 are padded with blanks.
fn fill(place: &mut [u8], text: &str) {
    place.fill(b' ');
    place.iter_mut().zip(text.bytes()).for_each(|(byte, new)| *byte = new);
}

unsafe extern "C" fn C_GetMechanismList(
    slot: CK_SLOT_ID,
    mechanisms: *mut CK_MECHANISM_TYPE,
    count: *mut CK_ULONG,
) -> CK_RV {
    around_slot("C_GetMechanismList", slot, |_, actions, slot| {
        let rv = real!(C_GetMechanismList(slot, mechanisms, count));
        if rv != CKR_OK || mechanisms.is_null() {
            return rv;
        }
        // SAFETY: the real module has just written `*count` numbers there.
        let list = unsafe { std::slice::from_raw_parts_mut(mechanisms, *count as usize) };
        let shown: Vec<CK_MECHANISM_TYPE> =
            list.iter().copied().filter(|m| !is_hidden(actions, *m)).collect();
        list.iter_mut().zip(&shown).for_each(|(place, mechanism)| *place = *mechanism);
        // SAFETY: as above.
        unsafe { *count = shown.len() as CK_ULONG };
        rv
    })
}

unsafe extern "C" fn C_GetMechanismInfo(
    slot: CK_SLOT_ID,
    mechanism: CK_MECHANISM_TYPE,
    info: *mut CK_MECHANISM_INFO,
) -> CK_RV {
    around_slot("C_GetMechanismInfo", slot, |_, actions, slot| {
        if is_hidden(actions, mechanism) {
            return CKR_MECHANISM_INVALID;
        }
        real!(C_GetMechanismInfo(slot, mechanism, info))
    })
}

fn is_hidden(actions: &[Action], mechanism: CK_MECHANISM_TYPE) -> bool {
    actions.iter().any(|action| matches!(action, Action::Hide(hidden) if hidden.contains(&mechanism)))
}

static OPENING: Mutex<()> = Mutex::new(());

unsafe extern "C" fn C_OpenSession(
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    application: *mut c_void,
    notify: CK_NOTIFY,
    session: *mut CK_SESSION_HANDLE,
) -> CK_RV {
    around_slot("C_OpenSession", slot, |state, actions, slot| {
        // One at a time, or a limit would let in as many as look at it at once.
        let _alone = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full =
            |action: &Action| matches!(action, Action::Limit(most) if state.open_sessions() >= *most);
        if actions.iter().any(is_full) {
            return CKR_SESSION_COUNT;
        }
        let rv = real!(C_OpenSession(slot, flags, application, notify, session));
        if rv == CKR_OK {
            // SAFETY: the real module has just written it.
            state.opened(unsafe { *session }, slot);
        }
        rv
    })
}

unsafe extern "C" fn C_CloseAllSessions(slot: CK_SLOT_ID) -> CK_RV {
    around_slot("C_CloseAllSessions", slot, |state, _, slot| {
        let rv = real!(C_CloseAllSessions(slot));
        if rv == CKR_OK {
            state.closed(|_, of| of == slot);
        }
        rv
    })
}
