//! The PKCS#11 entry point of the test token: hands out kryoptic's function list.
//!
//! PKCS#11 v2.40 section 5.4: an application loads the module and looks up `C_GetFunctionList`; every other function
//! is reached through the list. `KRYOPTIC_CONF` names the TOML file that describes the slots:
//!
//! ```toml
//! [[slots]]
//! slot = 42
//! dbtype = "sqlite"
//! dbargs = "/path/of/token.sql"
//! mechanisms = ["DENY", "CKM_RSA_PKCS_PSS"] # optional: a slot that lacks these
//! ```
//!
//! This crate is outside the workspace lints because that export needs an unsafe attribute; it contains no other
//! unsafe code.

use kryoptic_lib::fns::general::fn_get_function_list;
use kryoptic_lib::pkcs11::{CK_FUNCTION_LIST_PTR_PTR, CK_RV};

/// Writes the address of the function list of PKCS#11 2.40 to `list`.
#[unsafe(no_mangle)]
pub extern "C" fn C_GetFunctionList(list: CK_FUNCTION_LIST_PTR_PTR) -> CK_RV {
    fn_get_function_list(list)
}
