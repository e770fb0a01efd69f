//! What callers get: receipts, proofs, lists, exports.

use super::*;
use crate::audit::record::tests::intent;
use crate::audit::{
    AuditError, Checkpoint, Ending, Outcome, Reader, Record, SignatureSeen, leaf_hash, unlogged, verify,
    verify_consistency, verify_receipt,
};

#[tokio::test]
async fn a_signature_leaves_intent_outcome_and_a_receipt_that_verifies_offline() {
    let home = home();
    let log = open(home.path());
    let recorded = log.append(intent(1)).await.unwrap();
    assert_eq!(recorded.index(), 0);
    let receipt = log.finish(recorded, signed(1)).await.unwrap();
    let verifier = verifier(home.path());
    let Ok(Record::Outcome(outcome)) = verify_receipt(&receipt, &verifier) else { panic!("{receipt:?}") };
    assert_eq!((receipt.index, outcome.intent, outcome.request_id.as_str()), (1, 0, "r1"));
    let intent = intent(1);
    assert!(outcome.is_of(&intent.key.fingerprint, &intent.content.digest, &1_u64.to_be_bytes()));
    assert!(!outcome.is_of(&intent.key.fingerprint, &intent.content.digest, b"another"));
    log.close().unwrap();
    let report = verify(&home.path().join("log"), &verifier).unwrap();
    assert_eq!((report.size, report.intents, report.outcomes), (2, 1, 1));
    assert_eq!((report.problems, report.open, report.live), (vec![], vec![], false));
}

#[tokio::test]
async fn an_altered_receipt_proves_nothing() {
    let home = home();
    let log = open(home.path());
    let receipts = sign_all(&log, 0..20).await;
    let receipt = receipts.last().unwrap();
    let verifier = verifier(home.path());
    verify_receipt(receipt, &verifier).unwrap();
    for place in 0..receipt.entry.len() {
        let mut other = receipt.clone();
        other.entry[place] ^= 1;
        assert!(verify_receipt(&other, &verifier).is_err(), "entry byte {place}");
    }
    for place in 0..receipt.proof.len() * 32 {
        let mut other = receipt.clone();
        other.proof[place / 32][place % 32] ^= 1;
        assert!(verify_receipt(&other, &verifier).is_err(), "proof byte {place}");
    }
    let other = Receipt { index: receipt.index ^ 1, ..receipt.clone() };
    assert!(verify_receipt(&other, &verifier).is_err());
    let stranger = LogKey::open(&home.path().join("stranger"), NAME).unwrap();
    assert!(verify_receipt(receipt, stranger.verifier()).is_err());
}

#[tokio::test]
async fn entries_proofs_and_exports_are_read_from_the_directory() {
    let home = home();
    let log = open(home.path());
    sign_all(&log, 0..300).await;
    log.close().unwrap();
    let verifier = verifier(home.path());
    let reader = Reader::open(&home.path().join("log"), &verifier).unwrap();
    let entries: Vec<_> = reader.entries(0).collect::<Result<_, _>>().unwrap();
    assert_eq!(entries.len(), 600);
    for entry in entries.iter().step_by(7).chain(entries.last()) {
        let receipt = reader.prove(entry.index, &verifier).unwrap();
        assert_eq!(receipt.entry, entry.bytes);
        verify_receipt(&receipt, &verifier).unwrap();
        let line: serde_json::Value = serde_json::from_str(&entry.json_line()).unwrap();
        assert_eq!(line["index"], entry.index);
        assert!(line["record"]["request_id"].is_string());
    }
    assert_eq!(reader.entries(598).count(), 2);
    assert!(reader.prove(600, &verifier).unwrap_err().to_string().contains("not among the 600"));
}

#[tokio::test]
async fn each_checkpoint_is_consistent_with_the_later_ones() {
    let home = home();
    let log = open(home.path());
    let verifier = verifier(home.path());
    let mut checkpoints = Vec::new();
    for round in 0..12 {
        let receipts = sign_all(&log, round * 30..round * 30 + 30).await;
        checkpoints
            .extend(receipts.iter().map(|r| Checkpoint::open(r.checkpoint.as_bytes(), &verifier).unwrap()));
    }
    log.close().unwrap();
    let reader = Reader::open(&home.path().join("log"), &verifier).unwrap();
    let last = (reader.checkpoint().size, &reader.checkpoint().root);
    for old in &checkpoints {
        let proof = reader.consistency(old.size).unwrap();
        assert!(verify_consistency((old.size, &old.root), last, &proof), "from {}", old.size);
        assert!(!verify_consistency((old.size, &leaf_hash(b"other")), last, &proof));
    }
}

#[tokio::test]
async fn many_at_once_share_a_commit() {
    let home = home();
    let log = open(home.path());
    let receipts = sign_all(&log, 0..200).await;
    let mut sizes: Vec<u64> = receipts
        .iter()
        .map(|receipt| Checkpoint::open(receipt.checkpoint.as_bytes(), log.verifier()).unwrap().size)
        .collect();
    sizes.sort_unstable();
    sizes.dedup();
    assert!(sizes.len() < 50, "{} commits for 200 outcomes", sizes.len());
    log.close().unwrap();
}

#[tokio::test]
async fn intents_without_outcome_and_failures_are_listed() {
    let home = home();
    let log = open(home.path());
    sign(&log, 0).await;
    let _lost = log.append(intent(1)).await.unwrap();
    let failed = log.append(intent(2)).await.unwrap();
    let ending = Ending::Failed("the token said CKR_DEVICE_ERROR".to_owned());
    let receipt = log.finish(failed, Outcome { ending, ..signed(2) }).await.unwrap();
    assert!(String::from_utf8(receipt.entry).unwrap().contains("CKR_DEVICE_ERROR"));
    let report = loop {
        let report = verify(&home.path().join("log"), log.verifier()).unwrap();
        assert!(report.live && report.problems.is_empty(), "{report:?}");
        if report.size == 5 {
            break report;
        }
    };
    let open: Vec<_> = report.open.iter().map(|intent| (intent.index, intent.request_id.as_str())).collect();
    assert_eq!(open, [(2, "r1")]);
    log.close().unwrap();
}

#[tokio::test]
async fn a_signature_made_past_the_broker_is_found() {
    let home = home();
    let log = open(home.path());
    sign_all(&log, 0..10).await;
    let failed = log.append(intent(10)).await.unwrap();
    let ending = Ending::Failed("out of quota".to_owned());
    log.finish(failed, Outcome { ending, ..signed(10) }).await.unwrap();
    log.close().unwrap();
    let verifier = verifier(home.path());
    let reader = Reader::open(&home.path().join("log"), &verifier).unwrap();
    let seen = |n: u64, signature: Option<&str>| {
        let intent = intent(n);
        SignatureSeen {
            key_fingerprint: intent.key.fingerprint,
            digest: intent.content.digest,
            signature: signature.map(str::to_owned),
        }
    };
    let outcome = reader.entries(0).find_map(|entry| match Record::parse(&entry.unwrap().bytes).unwrap() {
        Record::Outcome(outcome) if outcome.request_id == "r4" => Some(outcome),
        _ => None,
    });
    let logged = outcome.unwrap().signature;
    let list = [
        seen(3, None),
        seen(4, Some(&logged)),
        seen(4, Some("another signature over the same digest")),
        seen(10, None),
        seen(11, None),
        SignatureSeen { key_fingerprint: "another key".to_owned(), ..seen(3, None) },
    ];
    let mut found = unlogged(reader.entries(0), list.clone()).unwrap();
    let mut expected = list[2..].to_vec();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_request_too_large_is_refused_and_leaves_nothing() {
    let home = home();
    let log = open(home.path());
    let mut large = intent(0);
    large.claimed_reference = "x".repeat(10_000);
    assert!(matches!(log.append(large).await, Err(AuditError::TooLarge(_))));
    assert_eq!(log.sizes().0, 0);
    sign(&log, 1).await;
    log.close().unwrap();
}

#[tokio::test]
async fn a_log_has_one_writer() {
    let home = home();
    let log = open(home.path());
    let refused = Log::open(&home.path().join("log"), key(home.path()), SMALL).unwrap_err();
    assert!(refused.to_string().contains("another broker has it open"), "{refused}");
    log.close().unwrap();
    open(home.path()).close().unwrap();
}
