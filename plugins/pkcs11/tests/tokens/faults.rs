//! What no soft token does by itself: each loss is mended within the call, or reported as what it is.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use notation_pkcs11::Vault;
use notation_pkcs11::config::pin::DEFAULTS;
use prokura_plugin::message::PluginConfig;
use prokura_plugin::pin::Surroundings;
use prokura_plugin::{Deadline, Error, ErrorCode, KeyRequest, OpenKey, Scope, SigningKey};

use crate::keys::{sign, verifies};
use crate::login::{alone, open_for};
use crate::world::{PIN, World};

pub(crate) fn trials(world: &'static World) -> Vec<Trial> {
    vec![
        world.trial("losses_are_mended_within_the_call", losses_are_mended_within_the_call),
        world.trial("errors_that_stay_are_reported", errors_that_stay_are_reported),
        world.trial("a_token_in_another_slot_is_found", a_token_in_another_slot_is_found),
        world.trial("a_removed_token_is_named_and_used_again", a_removed_token_is_named_and_used_again),
        world.trial("a_token_short_of_sessions_is_shared", a_token_short_of_sessions_is_shared),
        world.trial("the_last_try_is_never_spent", the_last_try_is_never_spent),
        world.trial("a_login_that_fails_is_sent_once", a_login_that_fails_is_sent_once),
        world.trial("a_person_is_asked_once_for_a_token", a_person_is_asked_once_for_a_token),
        world.trial("a_person_is_asked_for_each_careful_signature", a_person_is_asked_each_time),
        world.trial("a_token_with_a_keypad_asks_there", a_token_with_a_keypad_asks_there),
        world.trial("two_calls_make_a_signature", two_calls_make_a_signature),
        world.trial("bare_points_and_missing_mechanisms", bare_points_and_missing_mechanisms),
        world.trial("a_token_that_refuses_its_own_padding_gets_ours", refused_padding),
        world.trial("a_sign_of_life_reaches_the_token", a_sign_of_life_reaches_the_token),
        world.trial("while_a_module_is_lost_everybody_is_told_why", everybody_is_told_why),
        world.trial("a_hang_is_reported_in_time", a_hang_is_reported_in_time),
    ]
}

/// Breaks things from now on; mends everything when dropped.
struct Broken<'a>(&'a World);

impl<'a> Broken<'a> {
    fn by(world: &'a World, rules: &str) -> Self {
        for tally in 1..9 {
            let _ = std::fs::remove_file(world.directory.join(format!("tally.{tally}")));
        }
        std::fs::write(world.directory.join("faults"), rules).unwrap();
        Self(world)
    }
}

impl Drop for Broken<'_> {
    fn drop(&mut self) {
        std::fs::write(self.0.directory.join("faults"), "").unwrap();
    }
}

/// How often a function was called since the library was loaded: with each vault of its own it is loaded anew.
fn calls(world: &World, function: &str) -> u64 {
    let stats = std::fs::read(world.directory.join(format!("stats.{}", std::process::id()))).unwrap();
    let record = stats.chunks_exact(32).find(|record| {
        let name = record[..24].split(|b| *b == 0).next().unwrap_or_default();
        name == function.as_bytes()
    });
    record.map_or(0, |record| u64::from_le_bytes(record[24..].try_into().unwrap()))
}

fn vault() -> Vault {
    let variable = |name: &str| match name {
        "RIGHT" => Some(PIN.into()),
        "WRONG" => Some("pin-0000".into()),
        _ => None,
    };
    Vault::new(Surroundings::new(DEFAULTS, variable, |_| {}), |why| panic!("{why}"))
}

fn open(vault: &Vault, id: &str, config: &[(&str, &str)]) -> Result<Box<dyn SigningKey>, Error> {
    let config: PluginConfig = config.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    vault.open_key(&KeyRequest::new(id, config, Deadline::NONE).unwrap())
}

fn key(vault: &Vault, world: &World) -> Box<dyn SigningKey> {
    open(vault, &world.uri("token=Build%20Keys;object=EC-256"), &[]).unwrap()
}

fn signed(key: &dyn SigningKey) -> Result<(), Error> {
    let digest = prokura_plugin::Digest::of(prokura_plugin::HashAlgorithm::Sha256, b"m");
    let signature = key.sign_digest(&digest, Deadline::NONE)?;
    assert!(verifies(key, b"m", &signature));
    Ok(())
}

fn losses_are_mended_within_the_call(world: &World) {
    let vault = vault();
    let key = key(&vault, world);
    for rule in [
        "C_Sign 1 1 return CKR_SESSION_HANDLE_INVALID",
        "C_SignInit 1 1 return CKR_SESSION_CLOSED",
        "C_SignInit 1 1 return CKR_KEY_HANDLE_INVALID",
        "C_SignInit 1 1 return CKR_OBJECT_HANDLE_INVALID",
        "C_SignInit 1 1 return CKR_USER_NOT_LOGGED_IN",
        "C_Sign 1 1 return CKR_OPERATION_NOT_INITIALIZED",
        "C_Sign 1 1 return CKR_GENERAL_ERROR",
        "C_Sign 1 1 return CKR_DEVICE_ERROR",
        "C_Sign 1 1 return CKR_DEVICE_REMOVED",
        "C_Sign 1 1 return CKR_TOKEN_NOT_PRESENT",
        "C_Sign 1 1 return-after CKR_DEVICE_ERROR",
        "C_Sign 1 2 return CKR_DEVICE_ERROR",
        "C_SignInit 1 1 lose-sessions",
        "C_SignInit 1 1 lose-login",
        "C_SignInit 1 1 lose-module",
        "C_OpenSession 1 1 return CKR_DEVICE_REMOVED\n2 C_SignInit 1 1 lose-sessions",
    ] {
        let _broken = Broken::by(world, &format!("1 {rule}\n"));
        signed(key.as_ref()).unwrap_or_else(|e| panic!("{rule}: {e}"));
        let (open_now, idle) = vault.session_counts();
        assert!(open_now == idle && open_now <= 2, "{rule}: {open_now} open, {idle} idle");
    }
}

fn errors_that_stay_are_reported(world: &World) {
    let vault = vault();
    let key = key(&vault, world);
    for (ckr, code, scope, retry) in [
        ("CKR_DEVICE_ERROR", ErrorCode::Error, Scope::Vault, true),
        ("CKR_GENERAL_ERROR", ErrorCode::Error, Scope::Vault, true),
        ("CKR_SESSION_HANDLE_INVALID", ErrorCode::Error, Scope::Session, true),
        ("CKR_KEY_FUNCTION_NOT_PERMITTED", ErrorCode::AccessDenied, Scope::Key, false),
        ("CKR_MECHANISM_INVALID", ErrorCode::ValidationError, Scope::Key, false),
        ("CKR_DEVICE_MEMORY", ErrorCode::Throttled, Scope::Vault, true),
    ] {
        let broken = Broken::by(world, &format!("1 C_SignInit 1 0 return {ckr}\n"));
        let error = signed(key.as_ref()).unwrap_err();
        assert_eq!((error.code, error.scope, error.may_retry()), (code, Some(scope), retry), "{error}");
        assert_eq!(error.vault_code.as_deref(), Some(ckr));
        drop(broken);
        signed(key.as_ref()).unwrap_or_else(|e| panic!("after {ckr}: {e}"));
    }
}

fn a_token_in_another_slot_is_found(world: &World) {
    let vault = vault();
    let key = key(&vault, world);
    let _broken = Broken::by(world, "1 * 1 0 slots 100\n2 C_SignInit 1 1 return CKR_DEVICE_REMOVED\n");
    signed(key.as_ref()).unwrap();
}

fn a_removed_token_is_named_and_used_again(world: &World) {
    let vault = vault();
    let key = key(&vault, world);
    let broken = Broken::by(world, "1 * 1 0 remove\n");
    let error = signed(key.as_ref()).unwrap_err();
    assert!(error.may_retry() && error.scope == Some(Scope::Vault), "{error:?}");
    let absent = open(&vault, &world.uri("token=Build%20Keys;object=EC-384"), &[]).err().unwrap();
    assert!(absent.may_retry() && absent.message.contains("is it connected?"), "{absent:?}");
    drop(broken);
    signed(key.as_ref()).unwrap();
}

fn a_token_short_of_sessions_is_shared(world: &World) {
    let vault = vault();
    let key = key(&vault, world);
    let _broken = Broken::by(world, "1 C_OpenSession 1 0 limit 2\n");
    std::thread::scope(|threads| {
        for _ in 0..16 {
            threads.spawn(|| signed(key.as_ref()).unwrap());
        }
    });
    assert!(vault.session_counts().0 <= 2);
}

fn the_last_try_is_never_spent(world: &World) {
    // CKF_TOKEN_INITIALIZED, CKF_USER_PIN_INITIALIZED, CKF_LOGIN_REQUIRED, CKF_RNG; then the flag in question.
    for (flag, words) in [(0x0002_0000, "one last try"), (0x0004_0000, "is locked")] {
        let vault = vault();
        let rule = format!("1 C_GetTokenInfo 1 0 flags {}\n", 0x400 | 0x8 | 0x4 | 0x1 | flag);
        let _broken = Broken::by(world, &rule);
        let id = world.uri_without_pin("token=guarded;object=k");
        let error = open(&vault, &id, &[("pin-source", "env:WRONG")]).err().unwrap();
        assert_eq!(error.code, ErrorCode::AccessDenied);
        assert!(error.message.contains(words), "{error}");
        assert_eq!(calls(world, "C_Login"), 0, "no PIN was sent");
    }
}

fn a_login_that_fails_is_sent_once(world: &World) {
    for ckr in ["CKR_DEVICE_ERROR", "CKR_GENERAL_ERROR", "CKR_FUNCTION_FAILED", "CKR_PIN_INCORRECT"] {
        let vault = vault();
        let _broken = Broken::by(world, &format!("1 C_Login 1 0 return {ckr}\n"));
        let id = world.uri_without_pin("token=guarded;object=k");
        let error = open(&vault, &id, &[("pin-source", "env:RIGHT")]).err().unwrap();
        assert!(!error.may_retry(), "{error:?}");
        assert_eq!(calls(world, "C_Login"), 1, "{ckr}: the token may have counted it");
    }
}

fn a_person_is_asked_once_for_a_token(world: &World) {
    for source in [Some("ask"), None] {
        let (vault, person, asked) = alone(Some(PIN));
        let id = world.uri_without_pin("token=Build%20Keys;object=EC-256");
        let key = open_for(&vault, &person, &id, source).unwrap();
        signed(key.as_ref()).unwrap();
        let broken = Broken::by(world, "1 C_SignInit 1 1 lose-sessions\n");
        signed(key.as_ref()).unwrap();
        drop(broken);
        let other = world.uri_without_pin("token=Build%20Keys;object=EC-384");
        assert!(open_for(&vault, &person, &other, source).is_ok());
        assert_eq!(asked.lock().unwrap().len(), 1, "neither a lost session nor another key asks again");
    }
}

fn a_person_is_asked_each_time(world: &World) {
    let (vault, person, asked) = alone(Some(PIN));
    let id = world.uri_without_pin("token=Build%20Keys;object=careful-ec");
    let key = open_for(&vault, &person, &id, Some("ask")).unwrap();
    for _ in 0..3 {
        signed(key.as_ref()).unwrap();
    }
    assert_eq!(asked.lock().unwrap().len(), 1 + 3, "once for the token, then for each signature");
}

fn a_token_with_a_keypad_asks_there(world: &World) {
    let (vault, person, asked) = alone(Some(PIN));
    // CKF_PROTECTED_AUTHENTICATION_PATH; SoftHSM has no keypad and says so.
    let flags = 0x400 | 0x100 | 0x8 | 0x4 | 0x1;
    let _broken = Broken::by(world, &format!("1 C_GetTokenInfo 1 0 flags {flags}\n"));
    let id = world.uri_without_pin("token=guarded;object=k");
    let error = open_for(&vault, &person, &id, None).err().unwrap();
    assert!(error.message.contains("at its own keypad") && !error.may_retry(), "{error:?}");
    assert_eq!((asked.lock().unwrap().len(), calls(world, "C_Login")), (0, 1));
    // Who names a person means it.
    let error = open_for(&vault, &person, &id, Some("ask"));
    assert!(error.is_ok() && asked.lock().unwrap().len() == 1);
}

fn two_calls_make_a_signature(world: &World) {
    let vault = vault();
    let key = key(&vault, world);
    signed(key.as_ref()).unwrap();
    let counted =
        ["C_SignInit", "C_Sign", "C_OpenSession", "C_Login", "C_GetSessionInfo", "C_FindObjectsInit"];
    let before = counted.map(|function| calls(world, function));
    for _ in 0..10 {
        signed(key.as_ref()).unwrap();
    }
    let after = counted.map(|function| calls(world, function));
    let made: Vec<u64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    assert_eq!(made, [10, 10, 0, 0, 0, 0], "{counted:?}");
}

fn bare_points_and_missing_mechanisms(world: &World) {
    let vault = vault();
    let expected = key(&vault, world).public_key().clone();
    let broken = Broken::by(world, "1 C_GetAttributeValue 1 0 raw-point\n");
    assert_eq!(*key(&vault, world).public_key(), expected);
    drop(broken);
    let vault = self::vault();
    let _broken = Broken::by(world, "1 C_GetMechanismList 1 0 hide CKM_RSA_PKCS_PSS,CKM_ECDSA\n");
    let rsa = open(&vault, &world.uri("token=Build%20Keys;object=RSA-2048"), &[]).unwrap();
    assert!(verifies(rsa.as_ref(), b"m", &sign(rsa.as_ref(), b"m")), "padded here");
    let error = open(&vault, &world.uri("token=Build%20Keys;object=EC-256"), &[]).err().unwrap();
    assert!(error.message.contains("lacks mechanism CKM_ECDSA"), "{error}");
}

/// Once is enough: from then on no try is wasted.
fn refused_padding(world: &World) {
    for ckr in ["CKR_MECHANISM_PARAM_INVALID", "CKR_MECHANISM_INVALID"] {
        let vault = vault();
        let rsa = open(&vault, &world.uri("token=Build%20Keys;object=RSA-2048"), &[]).unwrap();
        let broken = Broken::by(world, &format!("1 C_SignInit 1 1 return {ckr}\n"));
        let before = calls(world, "C_SignInit");
        for _ in 0..3 {
            assert!(verifies(rsa.as_ref(), b"m", &sign(rsa.as_ref(), b"m")), "{ckr}");
        }
        assert_eq!(calls(world, "C_SignInit") - before, 4, "{ckr}");
        drop(broken);
        // One without raw RSA is believed.
        let vault = self::vault();
        let _broken =
            Broken::by(world, &format!("1 * 1 0 hide CKM_RSA_X_509\n2 C_SignInit 1 1 return {ckr}\n"));
        let rsa = open(&vault, &world.uri("token=Build%20Keys;object=RSA-2048"), &[]).unwrap();
        assert_eq!(signed(rsa.as_ref()).unwrap_err().vault_code.as_deref(), Some(ckr));
    }
}

/// And a session that is lost is noticed by it; a token without random numbers is asked for something else.
fn a_sign_of_life_reaches_the_token(world: &World) {
    for (rule, asked, left) in [
        ("", "C_GenerateRandom", 1),
        ("1 C_GenerateRandom 1 0 return 0x121\n", "C_GetSessionInfo", 1), // CKR_RANDOM_NO_RNG
        ("1 C_GenerateRandom 1 0 return CKR_FUNCTION_NOT_SUPPORTED\n", "C_GetSessionInfo", 1),
        ("1 C_GenerateRandom 1 0 return CKR_SESSION_HANDLE_INVALID\n", "C_GenerateRandom", 0),
    ] {
        let vault = vault();
        let id = world.uri("token=Build%20Keys;object=EC-256");
        let key = open(&vault, &id, &[("keep-alive", "1")]).unwrap();
        let _broken = Broken::by(world, rule);
        let before = calls(world, asked);
        let until = Instant::now() + Duration::from_secs(10);
        // The counts are taken while no sign of life is under way.
        let is_over = || calls(world, asked) > before && vault.session_counts() == (left, left);
        while !is_over() {
            assert!(Instant::now() < until, "{rule:?}: {:?}", vault.session_counts());
            std::thread::sleep(Duration::from_millis(20));
        }
        signed(key.as_ref()).unwrap();
    }
}

/// Not only the one whose attempt to initialise it anew failed.
fn everybody_is_told_why(world: &World) {
    let vault = vault();
    let key = key(&vault, world);
    let broken = Broken::by(
        world,
        "1 C_SignInit 1 0 return CKR_CRYPTOKI_NOT_INITIALIZED\n2 C_Initialize 1 0 return CKR_DEVICE_ERROR\n",
    );
    let errors: Vec<Error> = std::thread::scope(|threads| {
        let tries: Vec<_> = (0..4).map(|_| threads.spawn(|| signed(key.as_ref()))).collect();
        tries.into_iter().map(|thread| thread.join().unwrap().unwrap_err()).collect()
    });
    for error in &errors {
        assert_eq!(error.vault_code.as_deref(), Some("CKR_DEVICE_ERROR"), "{error}");
        assert!(error.message.contains("not reachable") && error.message.contains("ask whoever"), "{error}");
        assert!(error.may_retry(), "{error:?}");
    }
    drop(broken);
    // Not before the module may be begun anew.
    let until = Instant::now() + Duration::from_secs(10);
    while signed(key.as_ref()).is_err() {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn a_hang_is_reported_in_time(world: &World) {
    let reports = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&reports);
    let surroundings = Surroundings::new(DEFAULTS, |_| None, |_| {});
    let vault = Vault::new(surroundings, move |why| sink.lock().unwrap().push(why.to_string()));
    let id = world.uri("token=Build%20Keys;object=EC-256");
    let key = open(&vault, &id, &[("call-timeout", "1")]).unwrap();
    let broken = Broken::by(world, "1 C_Sign 1 0 hang\n");
    std::thread::scope(|threads| {
        let hanging = threads.spawn(|| signed(key.as_ref()));
        let until = Instant::now() + Duration::from_secs(10);
        while reports.lock().unwrap().is_empty() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(broken);
        let _ = hanging.join().unwrap();
    });
    let reports = reports.lock().unwrap();
    assert!(reports.len() == 1 && reports[0].contains("asked to sign"), "{reports:?}");
}
