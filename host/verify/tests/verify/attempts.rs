//! Several signatures of one artifact.

use std::collections::BTreeMap;

use prokura_verify::{AllRefused, Outcome, TrustStore, VerifyInput, verify_all, verify_signature};

use crate::minting::{NOW, Order, fill_store, statement, target, time, wabbit};

const REFERENCE: &str = "registry.example/app@sha256:abab";

/// Verifies signatures by a trusted and an untrusted signer; `None` could not be fetched.
fn evaluate(trusted: &[Option<bool>], limit: usize) -> (Result<(String, usize), AllRefused>, usize) {
    let (ours, theirs) = (wabbit(), wabbit());
    let store = tempfile::tempdir().unwrap();
    fill_store(store.path(), "ca/wabbit", &[("root.pem", ours.root_pem.as_bytes())]);
    let statement = statement(r#"{"level":"strict"}"#, &["ca:wabbit"], &["*"]);
    let signatures = trusted.iter().enumerate().map(|(index, trusted)| {
        let signer = trusted.map(|t| if t { &ours } else { &theirs });
        (format!("sha256:{index}"), signer.map(|s| s.sign(&Order::default())).ok_or("connection reset"))
    });
    let mut verified = 0;
    let verify = |envelope: &Vec<u8>| -> Outcome {
        verified += 1;
        verify_signature(&VerifyInput {
            media_type: "application/jose+json",
            envelope,
            statement: &statement,
            store: &TrustStore::new(store.path()),
            now: time(NOW),
            target: &target(),
            required_metadata: &BTreeMap::new(),
        })
    };
    let result = verify_all(REFERENCE, limit, signatures, verify);
    (result.map(|(signature, refused)| (signature.digest, refused.len())), verified)
}

#[test]
fn the_first_signature_that_verifies_wins() {
    let (result, verified) = evaluate(&[Some(false), None, Some(true), Some(true)], 100);
    assert_eq!((result.unwrap(), verified), (("sha256:2".to_owned(), 2), 2));
}

#[test]
fn the_reasons_of_all_refused_signatures_are_kept() {
    let (result, _) = evaluate(&[Some(false), None], 100);
    let text = result.unwrap_err().to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[0],
        format!("signature verification failed for all the signatures associated with {REFERENCE}")
    );
    assert!(
        lines[1].starts_with("  sha256:0: authenticity: the signature's certificate chain does not contain"),
        "{text}"
    );
    assert_eq!(lines[2], "  sha256:1: not fetched: connection reset");
    assert_eq!(lines.len(), 3);
}

#[test]
fn no_signature_and_too_many_signatures_are_told_apart() {
    let text = evaluate(&[], 100).0.unwrap_err().to_string();
    assert!(
        text.contains("no signature is associated with") && text.contains("was signed successfully"),
        "{text}"
    );
    let exactly = evaluate(&[Some(false), Some(false)], 2).0.unwrap_err();
    assert_eq!(exactly.limit_reached, None);
    let (result, verified) = evaluate(&[Some(false), Some(false), Some(true)], 2);
    let text = result.unwrap_err().to_string();
    assert!(text.contains("signature evaluation stopped. The configured limit of 2 signatures to verify per artifact exceeded"), "{text}");
    assert_eq!(verified, 2);
}
