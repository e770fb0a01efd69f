//! Each code of the broker is one of the contract's, with what a build log needs.

use super::*;
use crate::config::{Address, TokenFrom};

fn config() -> ConnectionConfig {
    let address = Address::Https { host: "broker.example".to_owned(), port: 443, ca: "/ca".into() };
    ConnectionConfig {
        address,
        identity: Some(("/id.pem".into(), "/id.pem".into())),
        token: TokenFrom::Nowhere,
    }
}

fn told(refusal: &Refusal) -> Error {
    let status = Status::with_details(Code::PermissionDenied, "", status::details(refusal).into());
    failed("sign with key release", &Failure::of(&status), &config(), Timestamp::UNIX_EPOCH)
}

fn refusal(code: &str) -> Refusal {
    Refusal {
        code: code.to_owned(),
        message: "why".to_owned(),
        request_id: "r-1".to_owned(),
        ..Refusal::default()
    }
}

#[test]
fn every_code_has_a_row_and_retry_is_the_brokers_word() {
    for (code, expected) in [
        ("UNAUTHENTICATED", ErrorCode::AccessDenied),
        ("DENIED", ErrorCode::AccessDenied),
        ("INVALID", ErrorCode::ValidationError),
        ("NO_SUCH_KEY", ErrorCode::ValidationError),
        ("KEY_CHANGED", ErrorCode::ValidationError),
        ("OUT_OF_QUOTA", ErrorCode::Throttled),
        ("TOO_LATE", ErrorCode::Timeout),
        ("VAULT", ErrorCode::Error),
        ("LOG", ErrorCode::Error),
        ("INTERNAL", ErrorCode::Error),
        ("FROM_THE_FUTURE", ErrorCode::Error),
    ] {
        for retryable in [true, false] {
            let error = told(&Refusal { retryable, ..refusal(code) });
            assert_eq!((error.code, error.may_retry()), (expected, retryable), "{code}");
            assert_eq!(error.vault_code.as_deref(), Some(code));
            assert_eq!(error.request_id.as_deref(), Some("r-1"));
            assert!(error.message.contains("broker https://broker.example:443"), "{error}");
        }
    }
}

#[test]
fn a_denial_names_its_policies() {
    let policies = vec!["release-branch-only".to_owned(), "office-hours".to_owned()];
    let error = told(&Refusal { policies, ..refusal("DENIED") });
    assert!(error.message.contains("denied by policy release-branch-only, office-hours"), "{error}");
    assert!(told(&refusal("DENIED")).message.contains("no policy permits it"));
    assert!(told(&refusal("UNAUTHENTICATED")).message.contains("the certificate in /id.pem and no token"));
}

#[test]
fn a_quota_says_until_when() {
    let error = told(&Refusal { retryable: true, retry_after_ms: 12_300, ..refusal("OUT_OF_QUOTA") });
    assert!(error.message.contains("not before 1970-01-01T00:00:12Z, in 12.3 s"), "{error}");
    assert_eq!(error.retry_after, Some(Duration::from_millis(12_300)));
    let endless = told(&Refusal { retry_after_ms: u64::MAX, ..refusal("OUT_OF_QUOTA") });
    assert!(endless.message.contains("s from now"), "{endless}");
}

#[test]
fn foreign_words_are_cut_and_cleaned() {
    let message = format!("\u{1b}[31mred\n{}", "x".repeat(5000));
    let error = told(&Refusal { message, ..refusal("VAULT") });
    assert!(!error.message.contains('\u{1b}') && !error.message.contains('\n'));
    assert!(error.message.len() < 1200, "{}", error.message.len());
}

#[test]
fn statuses_without_a_refusal_are_judged_by_their_code() {
    let told = |code| {
        failed("sign", &Failure::of(&Status::new(code, "no details")), &config(), Timestamp::UNIX_EPOCH)
    };
    assert_eq!((told(Code::Unavailable).code, told(Code::Unavailable).may_retry()), (ErrorCode::Error, true));
    assert_eq!(told(Code::DeadlineExceeded).code, ErrorCode::Timeout);
    assert!(told(Code::Unimplemented).message.contains("none of a broker's"));
    assert!(!told(Code::Unimplemented).may_retry());
}
