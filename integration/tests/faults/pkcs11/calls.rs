//! Calls that fail, hang, crash or lie, each in a `prokura sign` of its own.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;

use super::scene::Stages;
use super::told;

/// What becomes of the signature.
enum End {
    /// It is made all the same, and verifies.
    Signed,
    /// There is none; the error holds these words.
    Refused(&'static [&'static str]),
}
use End::{Refused, Signed};

struct Case {
    name: &'static str,
    key: &'static str,
    rules: &'static [&'static str],
    end: End,
    /// Most calls of a function that are allowed.
    at_most: Option<(&'static str, u64)>,
}

const fn case(name: &'static str, rules: &'static [&'static str], end: End) -> Case {
    Case { name, key: "ec-256", rules, end, at_most: None }
}

const fn rsa(name: &'static str, rules: &'static [&'static str], end: End) -> Case {
    Case { name, key: "rsa-2048", rules, end, at_most: None }
}

const fn counted(
    name: &'static str,
    rules: &'static [&'static str],
    end: End,
    function: &'static str,
    most: u64,
) -> Case {
    Case { name, key: "ec-256", rules, end, at_most: Some((function, most)) }
}

const DOES_NOT_VERIFY: &[&str] = &["does not verify"];

#[rustfmt::skip]
const CASES: &[Case] = &[
    // The session, the login or the handle is gone: signed all the same.
    case("session_handle_invalid::once", &["C_Sign 1 1 return CKR_SESSION_HANDLE_INVALID"], Signed),
    case("session_closed::once", &["C_SignInit 1 1 return CKR_SESSION_CLOSED"], Signed),
    case("key_handle_invalid::once", &["C_SignInit 1 1 return CKR_KEY_HANDLE_INVALID"], Signed),
    case("object_handle_invalid::once", &["C_SignInit 1 1 return CKR_OBJECT_HANDLE_INVALID"], Signed),
    case("user_not_logged_in::once", &["C_SignInit 1 1 return CKR_USER_NOT_LOGGED_IN"], Signed),
    case("operation_not_initialized::once", &["C_Sign 1 1 return CKR_OPERATION_NOT_INITIALIZED"], Signed),
    case("sessions_lost_before_signing", &["C_SignInit 1 1 lose-sessions"], Signed),
    case("sessions_lost_while_signing", &["C_Sign 1 1 lose-sessions"], Signed),
    case("login_lost", &["C_SignInit 1 1 lose-login"], Signed),
    case("module_lost", &["C_SignInit 1 1 lose-module"], Signed),
    case("cryptoki_not_initialized::once", &["C_SignInit 1 1 return CKR_CRYPTOKI_NOT_INITIALIZED"], Signed),
    case("device_removed::once", &["C_Sign 1 1 return CKR_DEVICE_REMOVED"], Signed),
    case("token_not_present::once", &["C_OpenSession 1 1 return CKR_TOKEN_NOT_PRESENT"], Signed),
    case("device_error::once", &["C_Sign 1 1 return CKR_DEVICE_ERROR"], Signed),
    case("device_memory::once", &["C_SignInit 1 1 return CKR_DEVICE_MEMORY"], Signed),
    case("general_error::once", &["C_Sign 1 1 return CKR_GENERAL_ERROR"], Signed),
    case("function_failed::once", &["C_Sign 1 1 return CKR_FUNCTION_FAILED"], Signed),
    case("answer_lost::once", &["C_Sign 1 1 return-after CKR_DEVICE_ERROR"], Signed),

    // For ever: an end comes soon, with the vault's own code and who must act.
    case("session_handle_invalid", &["C_Sign 1 0 return CKR_SESSION_HANDLE_INVALID"], Refused(&["CKR_SESSION_HANDLE_INVALID"])),
    case("key_handle_invalid", &["C_SignInit 1 0 return CKR_KEY_HANDLE_INVALID"], Refused(&["CKR_KEY_HANDLE_INVALID", "no longer in the token"])),
    counted("user_not_logged_in", &["C_SignInit 1 0 return CKR_USER_NOT_LOGGED_IN"], Refused(&["CKR_USER_NOT_LOGGED_IN"]), "C_Login", 12),
    case("device_error", &["C_Sign 1 0 return CKR_DEVICE_ERROR"], Refused(&["CKR_DEVICE_ERROR", "its own log"])),
    case("device_memory", &["C_SignInit 1 0 return CKR_DEVICE_MEMORY"], Refused(&["CKR_DEVICE_MEMORY", "memory"])),
    case("general_error", &["C_Sign 1 0 return CKR_GENERAL_ERROR"], Refused(&["CKR_GENERAL_ERROR"])),
    case("function_failed", &["C_Sign 1 0 return CKR_FUNCTION_FAILED"], Refused(&["CKR_FUNCTION_FAILED"])),
    case("a_vendors_own_error", &["C_Sign 1 0 return 0x80000042"], Refused(&["CKR_VENDOR_DEFINED", "0x42"])),
    case("device_removed", &["C_Sign 1 0 return CKR_DEVICE_REMOVED"], Refused(&["CKR_DEVICE_REMOVED", "not there"])),
    case("token_not_present", &["C_OpenSession 1 0 return CKR_TOKEN_NOT_PRESENT"], Refused(&["CKR_TOKEN_NOT_PRESENT", "not there"])),
    case("token_removed", &["* 1 0 remove"], Refused(&["token", "connect"])),
    case("token_removed_while_signing", &["C_Sign 1 0 remove", "C_OpenSession 2 0 remove", "C_GetSlotList 4 0 remove"], Refused(&[])),
    case("token_not_recognized", &["C_GetTokenInfo 1 0 return CKR_TOKEN_NOT_RECOGNIZED"], Refused(&["token"])),
    case("module_does_not_start", &["C_Initialize 1 0 return CKR_GENERAL_ERROR"], Refused(&["CKR_GENERAL_ERROR", "initialise"])),
    case("module_finds_no_service", &["C_Initialize 1 0 return CKR_HOST_MEMORY"], Refused(&["CKR_HOST_MEMORY", "service"])),
    case("session_count", &["C_OpenSession 1 0 return CKR_SESSION_COUNT"], Refused(&["CKR_SESSION_COUNT", "no session left"])),
    case("session_count::at_first", &["C_OpenSession 1 2 return CKR_SESSION_COUNT"], Signed),
    case("one_session_only", &["C_OpenSession 1 0 limit 1"], Signed),

    // No permission, and PINs. No try is ever spent twice.
    case("key_function_not_permitted", &["C_SignInit 1 0 return CKR_KEY_FUNCTION_NOT_PERMITTED"], Refused(&["CKR_KEY_FUNCTION_NOT_PERMITTED", "does not let this key sign"])),
    case("function_rejected", &["C_Sign 1 0 return CKR_FUNCTION_REJECTED"], Refused(&["CKR_FUNCTION_REJECTED", "refused"])),
    counted("pin_incorrect", &["C_Login 1 0 return CKR_PIN_INCORRECT"], Refused(&["CKR_PIN_INCORRECT"]), "C_Login", 1),
    counted("pin_locked", &["C_Login 1 0 return CKR_PIN_LOCKED"], Refused(&["CKR_PIN_LOCKED", "unlock"]), "C_Login", 1),
    counted("pin_expired", &["C_Login 1 0 return CKR_PIN_EXPIRED"], Refused(&["CKR_PIN_EXPIRED"]), "C_Login", 1),
    counted("pin_not_initialized", &["C_Login 1 0 return CKR_USER_PIN_NOT_INITIALIZED"], Refused(&["CKR_USER_PIN_NOT_INITIALIZED", "security officer"]), "C_Login", 1),
    counted("pin_final_try", &["C_GetTokenInfo 1 0 flags 131072"], Refused(&["last try"]), "C_Login", 0),
    counted("pin_flagged_as_locked", &["C_GetTokenInfo 1 0 flags 262144"], Refused(&["locked"]), "C_Login", 0),
    counted("pin_count_low", &["C_GetTokenInfo 1 0 flags 65536"], Signed, "C_Login", 1),
    case("user_already_logged_in", &["C_Login 1 1 return-after CKR_USER_ALREADY_LOGGED_IN"], Signed),
    case("another_user_logged_in", &["C_Login 1 0 return CKR_USER_ANOTHER_ALREADY_LOGGED_IN"], Refused(&["CKR_USER_ANOTHER_ALREADY_LOGGED_IN", "another user"])),

    // Mechanisms.
    rsa("no_pss::padded_by_us", &["* 1 0 hide CKM_RSA_PKCS_PSS"], Signed),
    rsa("no_pss_no_raw_rsa", &["* 1 0 hide CKM_RSA_PKCS_PSS,CKM_RSA_X_509"], Refused(&["CKM_RSA_PKCS_PSS", "lacks"])),
    case("no_ecdsa", &["* 1 0 hide CKM_ECDSA"], Refused(&["CKM_ECDSA", "lacks"])),
    rsa("mechanism_param_invalid", &["C_SignInit 1 0 return CKR_MECHANISM_PARAM_INVALID"], Refused(&["CKR_MECHANISM_PARAM_INVALID"])),
    case("raw_ec_point", &["C_GetAttributeValue 1 0 raw-point"], Signed),
    case("malformed_ec_point", &["C_GetAttributeValue 1 0 attribute 385 0405"], Refused(&["point"])),
    case("malformed_ec_params", &["C_GetAttributeValue 1 0 attribute 384 3003"], Refused(&["explicit parameters"])),
    rsa("modulus_of_another_key", &["C_GetAttributeValue 1 0 attribute 288 C0FFEE"], Refused(&["RSA"])),

    // Signatures that are none.
    case("flipped_bit", &["C_Sign 1 0 flip 77"], Refused(DOES_NOT_VERIFY)),
    rsa("rsa_flipped_bit", &["C_Sign 1 0 flip 77"], Refused(DOES_NOT_VERIFY)),
    case("by_another_key", &["C_SignInit 1 0 key other-ec-256"], Refused(DOES_NOT_VERIFY)),
    rsa("rsa_by_another_key", &["C_SignInit 1 0 key other-rsa-2048"], Refused(DOES_NOT_VERIFY)),
    case("too_short", &["C_Sign 1 0 truncate 1"], Refused(&["63", "64"])),
    case("empty", &["C_Sign 1 0 truncate 64"], Refused(&["found 0", "64"])),
    rsa("rsa_too_short", &["C_Sign 1 0 truncate 1"], Refused(DOES_NOT_VERIFY)),

    // Slow and dead.
    case("slow", &["C_Sign 1 0 delay 700", "C_Login 1 0 delay 300"], Signed),
    case("aborts_once", &["C_Sign 1 1 abort"], Signed),
    case("aborts", &["C_Sign 1 0 abort"], Refused(&["SIGABRT"])),
    case("aborts_at_login", &["C_Login 1 0 abort"], Refused(&["SIGABRT"])),
    case("aborts_at_start", &["C_Initialize 1 0 abort"], Refused(&["SIGABRT"])),
];

pub(super) fn trials(stages: &Stages) -> Vec<Trial> {
    let mut trials: Vec<Trial> = CASES
        .iter()
        .map(|case| told(stages, &format!("call::{}", case.name), |stages| run(stages, case)))
        .collect();
    for (name, function) in
        [("hangs_in_sign", "C_Sign"), ("hangs_in_login", "C_Login"), ("hangs_at_start", "C_Initialize")]
    {
        trials.push(told(stages, &format!("call::{name}"), move |stages| {
            let mut scene = stages.broken(&[&format!("{function} 1 0 hang")])?;
            scene.deadline = "4s";
            scene.refuses("ec-256", &["4 s"])
        }));
    }
    trials.push(told(stages, "call::hangs_once::watchdog", |stages| {
        let scene = stages.broken(&["C_Sign 1 1 hang"])?;
        scene.sign(&scene.id("ec-256")?, &["--plugin-config", "call-timeout=2"])?.ok()?;
        Ok("signed".to_owned())
    }));
    trials.push(told(stages, "call::hangs::watchdog", |stages| {
        let scene = stages.broken(&["C_Sign 1 0 hang"])?;
        let run = scene.sign(&scene.id("ec-256")?, &["--plugin-config", "call-timeout=2"])?;
        let line = super::scene::error_line(&run)?;
        ensure!(line.contains("call-timeout") || line.contains("C_Sign"), "what hung is not named: {line}");
        Ok(line)
    }));
    trials
}

fn run(stages: &Stages, case: &Case) -> Result<String> {
    let scene = stages.broken(case.rules)?;
    let line = match &case.end {
        Signed => {
            let line = scene.signs(case.key)?;
            let unused = scene.faults.unused();
            ensure!(unused.is_empty(), "signed, but these never happened: {unused:?}");
            line
        }
        Refused(words) => scene.refuses(case.key, words)?,
    };
    if let Some((function, most)) = case.at_most {
        let calls = scene.faults.calls(function)?;
        ensure!(calls <= most, "{calls} calls of {function}, at most {most} are allowed: {line}");
    }
    Ok(line)
}
