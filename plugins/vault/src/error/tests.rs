//! The table: what the vault says, and what becomes of it.

use reqwest::StatusCode;
use serde_json::json;

use super::*;

fn reply(status: u16, words: &[&str]) -> Reply {
    let json = Some(json!({"errors": words}));
    Reply { status: StatusCode::from_u16(status).unwrap(), retry_after: None, json }
}

fn call(verb: Verb, path: &str) -> Call {
    Call {
        verb,
        path: path.to_owned(),
        body: None,
        doing: "sign with key transit/release version 2".to_owned(),
    }
}

fn error_of(status: u16, words: &[&str]) -> Error {
    refused(&call(Verb::Update, "transit/sign/release"), &reply(status, words))
}

#[test]
fn codes_say_who_acts_and_whether_a_retry_may_help() {
    use ErrorCode::{AccessDenied, Error as Other, Throttled, Timeout, ValidationError};
    for (status, words, code, retry) in [
        (400, "signing key not found", ValidationError, false),
        (400, "1 error occurred:\n\t* refusing to use soft-deleted key\n\n", ValidationError, false),
        (
            400,
            "requested version for signing is less than the minimum encryption key version",
            ValidationError,
            false,
        ),
        (500, "refusing to use soft-deleted key", ValidationError, false),
        (400, "anything else", ValidationError, false),
        (401, "", AccessDenied, false),
        (403, "permission denied", AccessDenied, false),
        (404, "", ValidationError, false),
        (405, "1 error occurred:\n\t* unsupported operation\n\n", ValidationError, false),
        (412, "required index state not present", Timeout, true),
        (429, "rate limit quota exceeded", Throttled, true),
        (472, "", Other, false),
        (473, "", Other, true),
        (500, "internal error", Other, true),
        (501, "", Other, false),
        (502, "", Other, true),
        (503, "Vault is sealed", Other, false),
        (503, "", Other, true),
        (504, "", Timeout, true),
        (418, "", Other, false),
    ] {
        let error = error_of(status, &[words]);
        assert_eq!((error.code, error.may_retry()), (code, retry), "{status} {words}: {error}");
        assert_eq!(standing(&reply(status, &[words])) == Standing::Passing, retry, "{status} {words}");
        assert_eq!(error.vault_code, Some(format!("HTTP {status}")));
        assert!(
            error.message.starts_with("cannot sign with key transit/release version 2: HTTP "),
            "{error}"
        );
    }
}

#[test]
fn advice_names_mount_and_key() {
    let error = error_of(400, &["refusing to use soft-deleted key"]);
    assert!(error.message.contains("bao write -f transit/keys/release/soft-delete-restore"), "{error}");
    let call = call(Verb::Update, "teams/a/transit/keys/release/set-certificate");
    let error = refused(&call, &reply(404, &["no handler for route"]));
    assert!(error.message.contains("-path=teams/a/transit transit"), "{error}");
    let error = refused(&call, &reply(404, &[]));
    assert!(error.message.contains("the engine at teams/a/transit has no key release"), "{error}");
    assert!(error.message.contains("`bao list teams/a/transit/keys`"), "{error}");
}

#[test]
fn what_is_no_key_is_not_taken_for_one() {
    for (path, words, advice) in [
        ("secret/data/release", "", "correct plugin config certificates"),
        ("secret/data/release", "no handler for route", "correct plugin config certificates"),
        ("auth/approle/login", "no handler for route", "correct plugin config auth-mount"),
    ] {
        let error = refused(&call(Verb::Update, path), &reply(404, &[words]));
        assert!(error.message.contains(advice), "{error}");
        assert!(!error.message.contains("transit engine") && !error.message.contains("no key"), "{error}");
        assert!(!error.message.contains(['{', '}']), "{error}");
    }
}

#[test]
fn the_vaults_words_stay_on_one_line_and_short() {
    let error = error_of(400, &["1 error occurred:\n\t* so\u{1b}[2J\n\n", &"x".repeat(9000)]);
    assert!(!error.message.contains(char::is_control), "{error}");
    assert!(error.message.len() < 600, "{}", error.message.len());
}

#[test]
fn no_row_is_hidden_by_one_above_it() {
    for (index, row) in TABLE.iter().enumerate() {
        for status in row.statuses {
            let first = TABLE.iter().position(|r| r.statuses.contains(status) && row.words.contains(r.words));
            assert_eq!(first, Some(index), "{status} {:?}", row.words);
        }
    }
}

#[test]
fn what_is_late_may_be_tried_again_and_throttling_stays_throttling() {
    assert_eq!(too_late(error_of(500, &[""])).code, ErrorCode::Timeout);
    assert_eq!(too_late(error_of(429, &[""])).code, ErrorCode::Throttled);
}
