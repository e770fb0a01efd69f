//! The one audited place of this plugin with unsafe code: three calls `cryptoki` does not offer.
//!
//! - `C_Initialize` with a string in `pReserved`, which NSS asks for.
//! - `C_Sign` in one call, into a buffer whose size is known: `cryptoki` asks for the length first, and cannot sign
//!   after a context-specific login.
//! - `C_GetTokenInfo` as it is: `cryptoki` refuses a token whose clock shows no digits.
//!
//! What makes the calls sound: the library stays loaded as long as [`Raw`] lives; every pointer handed over is made
//! from a reference or slice that lives through the call, with its own length; handles are mere numbers, which a
//! module checks. That the library itself is sound nobody can check: it is foreign code, loaded on request.
#![allow(unsafe_code, reason = "a C interface; each block says why it is sound")]

use std::ffi::CString;
use std::path::Path;
use std::ptr::NonNull;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Function, Pkcs11};
use cryptoki::error::{Error as CryptokiError, Rv};
use cryptoki::session::Session;
use cryptoki::slot::Slot;
use cryptoki_sys::{
    CK_FUNCTION_LIST, CK_INTERFACE, CK_RV, CK_SLOT_ID, CK_TOKEN_INFO, CK_ULONG, CK_UNAVAILABLE_INFORMATION,
};

/// The functions of a library beside those of `cryptoki`. It is the same library: loading it again counts only.
pub struct Raw {
    /// None if each caller is given functions of its own, with a state of their own behind them, as p11-kit's client
    /// gives them: those of `cryptoki` alone are initialised then.
    functions: Option<CK_FUNCTION_LIST>,
    /// Keeps the functions in memory.
    _library: cryptoki_sys::Pkcs11,
}

impl Raw {
    /// Finds the functions of a library that `cryptoki` has loaded already.
    ///
    /// # Errors
    /// `MissingSymbol` and `NullFunctionPointer` if it is no PKCS#11 library, or the library's refusal.
    pub fn of(path: &Path) -> Result<Self, CryptokiError> {
        // SAFETY: the library is loaded already, so that its initialisers do not run again.
        let library = unsafe { cryptoki_sys::Pkcs11::new(path) }.map_err(CryptokiError::LibraryLoading)?;
        let list = || interface(&library).map_or_else(|| function_list(&library), Ok);
        let (list, again) = (list()?, list()?);
        // SAFETY: the library answered CKR_OK with this pointer. Function lists of all versions begin with that of
        // 2.40 (PKCS#11 v3.1 section 3.6), and are static (section 5.4.4).
        let functions = (list == again).then(|| unsafe { list.read() });
        Ok(Self { functions, _library: library })
    }

    /// Whether the functions are the very ones `cryptoki` calls.
    pub const fn is_shared(&self) -> bool {
        self.functions.is_some()
    }

    fn functions(&self) -> Result<&CK_FUNCTION_LIST, CryptokiError> {
        self.functions.as_ref().ok_or(CryptokiError::NullFunctionPointer)
    }

    /// Signs in one call, after `C_SignInit` in the same session. `room` is the longest signature expected, in bytes.
    ///
    /// # Errors
    /// The token's refusal; `CKR_BUFFER_TOO_SMALL` for a longer signature.
    pub fn sign(&self, session: &Session, data: &[u8], room: usize) -> Result<Vec<u8>, CryptokiError> {
        let sign = self.functions()?.C_Sign.ok_or(CryptokiError::NullFunctionPointer)?;
        let mut signature = vec![0; room];
        let mut written = length(room);
        // SAFETY: both buffers live through the call and have the lengths that are given. C_Sign does not write to
        // its data; the pointer is mutable because C has it so.
        let code = unsafe {
            let data_pointer = data.as_ptr().cast_mut();
            sign(session.handle(), data_pointer, length(data.len()), signature.as_mut_ptr(), &raw mut written)
        };
        checked(code, Function::Sign)?;
        // A module that claims to have written beyond the buffer has broken this process; what is read is ours.
        signature.truncate(usize::try_from(written).unwrap_or(room));
        Ok(signature)
    }

    /// What a token says of itself, uninterpreted.
    ///
    /// # Errors
    /// The module's refusal.
    pub fn token_info(&self, slot: Slot) -> Result<CK_TOKEN_INFO, CryptokiError> {
        let token_info = self.functions()?.C_GetTokenInfo.ok_or(CryptokiError::NullFunctionPointer)?;
        let mut info = CK_TOKEN_INFO::default();
        // SAFETY: the structure lives through the call and consists of integers and byte arrays only.
        let code = unsafe { token_info(CK_SLOT_ID::from(slot), &raw mut info) };
        checked(code, Function::GetTokenInfo).map(|()| info)
    }
}

/// Initialises the library for use by several threads, with the locks of the operating system. `reserved` becomes
/// `pReserved`: NSS takes its parameters there, as a C string.
///
/// # Errors
/// The library's refusal.
pub fn initialise(context: &Pkcs11, reserved: Option<&CString>) -> Result<(), CryptokiError> {
    let flags = CInitializeFlags::OS_LOCKING_OK;
    let arguments = match reserved.and_then(|text| NonNull::new(text.as_ptr().cast_mut())) {
        None => CInitializeArgs::new(flags),
        // SAFETY: the text ends with a zero byte and outlives the library's use of it: it is kept with the module.
        Some(text) => unsafe { CInitializeArgs::new_with_reserved(flags, text.cast()) },
    };
    context.initialize(arguments)
}

/// The default interface of PKCS#11 3.0 and newer, as `cryptoki` chooses it too.
fn interface(library: &cryptoki_sys::Pkcs11) -> Option<NonNull<CK_FUNCTION_LIST>> {
    let get_interface = library.C_GetInterface.as_ref().ok()?;
    let mut interface: *mut CK_INTERFACE = std::ptr::null_mut();
    // SAFETY: null asks for the default interface (PKCS#11 v3.1 section 5.4.6); the result lives through the call.
    let code = unsafe { get_interface(std::ptr::null_mut(), std::ptr::null_mut(), &raw mut interface, 0) };
    checked(code, Function::GetInterface).ok()?;
    // SAFETY: answered with CKR_OK and not null, it points to a static interface.
    let list = unsafe { interface.as_ref()? }.pFunctionList.cast::<CK_FUNCTION_LIST>();
    let list = NonNull::new(list)?;
    // SAFETY: every function list begins with its version.
    (unsafe { list.as_ref() }.version.major >= 3).then_some(list)
}

fn function_list(library: &cryptoki_sys::Pkcs11) -> Result<NonNull<CK_FUNCTION_LIST>, CryptokiError> {
    const NAME: &str = "C_GetFunctionList";
    let get_list = library.C_GetFunctionList.as_ref().map_err(|_| CryptokiError::MissingSymbol(NAME))?;
    let mut list: *mut CK_FUNCTION_LIST = std::ptr::null_mut();
    // SAFETY: the result lives through the call.
    let code = unsafe { get_list(&raw mut list) };
    checked(code, Function::GetFunctionList)?;
    NonNull::new(list).ok_or(CryptokiError::NullFunctionPointer)
}

fn checked(code: CK_RV, function: Function) -> Result<(), CryptokiError> {
    Rv::from(code).into_result(function)
}

/// Lengths here are those of digests and signatures: they always fit.
fn length(length: usize) -> CK_ULONG {
    CK_ULONG::try_from(length).unwrap_or(CK_UNAVAILABLE_INFORMATION)
}
