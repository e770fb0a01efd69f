//! Plugin config and key ids, parsed into types at the door.

pub mod locator;
pub mod modules;
pub mod pin;
pub mod settings;
pub mod uri;

/// Plugin config: file name of the PKCS#11 library.
pub const MODULE_PATH: &str = "module-path";
/// Plugin config: name of the PKCS#11 library, as p11-kit or its file name has it.
pub const MODULE_NAME: &str = "module-name";
/// Plugin config: directory of p11-kit module files that is read instead of the standard ones.
pub const MODULES_DIR: &str = "modules-dir";
/// Plugin config: string a library is initialised with (`pReserved`), which NSS needs.
pub const INIT_ARGS: &str = "init-args";
/// Plugin config: label of the token.
pub const TOKEN: &str = "token";
/// Plugin config: serial number of the token.
pub const SERIAL: &str = "serial";
/// Plugin config: decimal number of the slot.
pub const SLOT_ID: &str = "slot-id";
/// Plugin config: where the PIN is.
pub const PIN_SOURCE: &str = "pin-source";
/// Plugin config: the PIN itself. Works with a warning.
pub const PIN: &str = "pin";
/// Plugin config: how long one call into the module may last, in seconds.
pub const CALL_TIMEOUT: &str = "call-timeout";
/// Plugin config: how often idle sessions are kept alive, in seconds.
pub const KEEP_ALIVE: &str = "keep-alive";
/// Plugin config: most sessions with one token.
pub const MAX_SESSIONS: &str = "max-sessions";

/// All of them.
pub const NAMES: &[&str] = &[
    MODULE_PATH,
    MODULE_NAME,
    MODULES_DIR,
    INIT_ARGS,
    TOKEN,
    SERIAL,
    SLOT_ID,
    PIN_SOURCE,
    CALL_TIMEOUT,
    KEEP_ALIVE,
    MAX_SESSIONS,
];
/// Those that should be another one.
pub const NAMES_OF_SECRETS: &[&str] = &[PIN];
