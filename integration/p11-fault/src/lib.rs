//! A PKCS#11 module that forwards to a real one and breaks what a file tells it to break.
//!
//! `PROKURA_PLUGIN_P11_FAULT` names a directory with these files:
//!
//! | file | content |
//! |---|---|
//! | `module` | path of the real module; on a second line, optionally, the string it is initialised with (`pReserved`) |
//! | `faults` | one rule a line, see [`fault`]; read anew at each call, so that a test can change it while a plugin runs |
//! | `stats.PID` | written by this module: how often each function was called, how many sessions are open, see [`record`] |
//! | `fired.N` | made by this module: rule N was applied |
//! | `tally.N` | written by this module: how often rule N has matched, in all processes together |
//!
//! Functions that no test needs to break are the real module's own.

#![allow(non_snake_case, reason = "the names of the standard")]

mod fault;
mod functions;
mod record;
mod state;
mod token;

use cryptoki_sys::{CK_FUNCTION_LIST, CK_FUNCTION_LIST_PTR_PTR, CK_RV, CKR_ARGUMENTS_BAD, CKR_OK};

use crate::state::State;

/// PKCS#11 v2.40 section 5.4: the one symbol an application looks for.
///
/// # Safety
/// `list` points to a place for a pointer, or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: CK_FUNCTION_LIST_PTR_PTR) -> CK_RV {
    if list.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    match State::get() {
        Ok(state) => {
            // SAFETY: not null; the list lives as long as the process.
            unsafe { *list = std::ptr::from_ref(&state.list).cast_mut() };
            CKR_OK
        }
        Err(rv) => rv,
    }
}

/// The real list with our functions in the place of those that can be broken.
fn with_faults(real: &CK_FUNCTION_LIST) -> CK_FUNCTION_LIST {
    let mut list = *real;
    list.C_GetFunctionList = Some(C_GetFunctionList);
    functions::install(&mut list);
    token::install(&mut list);
    list
}
