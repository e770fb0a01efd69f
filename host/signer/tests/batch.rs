//! Many signatures over one call, with the real SDK at the other end (`examples/asking.rs`).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use prokura_plugin::{Digest, ErrorCode, HashAlgorithm, KeySpec};
use prokura_signer::{
    DigestSignature, Error, KeyReference, Plugin, PluginDirectory, PluginOptions, Preference,
};

type Outcomes = Vec<Result<DigestSignature, Error>>;

fn digests(count: u32) -> Vec<Digest> {
    (0..count).map(|n| Digest::of(HashAlgorithm::Sha256, &n.to_be_bytes())).collect()
}

fn first_byte(digest: &Digest) -> u8 {
    digest.bytes()[0]
}

/// Each signature is of its own digest.
fn is_of(signed: &DigestSignature, digest: &Digest) -> bool {
    signed.signature.bytes() == digest.bytes().repeat(2)
}

/// Signs `count` digests with the example; the plugin as it is then.
async fn sign(key: &str, count: u32) -> (Result<Outcomes, Error>, Vec<Digest>, prokura_signer::Supervision) {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("plugins/asking");
    fs::create_dir_all(&directory).unwrap();
    for made in [home.path().join("plugins"), directory.clone()] {
        fs::set_permissions(made, fs::Permissions::from_mode(0o755)).unwrap();
    }
    // `cargo test -p prokura-signer` builds it, `--test batch` alone does not.
    let example = std::env::current_exe().unwrap().with_file_name("../examples/asking");
    fs::copy(example, directory.join("notation-asking")).unwrap();
    let found =
        PluginDirectory::new(home.path().join("plugins"), None).find(&"asking".parse().unwrap()).unwrap();
    let (transport, deadline) = (Preference::Grpc, Duration::from_secs(20));
    let options = PluginOptions { transport, deadline, ..PluginOptions::default() };
    let plugin = Plugin::start(found, &Default::default(), options).await.unwrap();
    let mark = home.path().join("mark").display().to_string();
    let key = KeyReference::new(key, [("mark".to_owned(), mark)].into_iter().collect()).unwrap();
    let digests = digests(count);
    let outcomes = plugin.sign_digests(&key, KeySpec::Ec256, &digests).await;
    let report = plugin.supervision();
    plugin.close().await;
    (outcomes, digests, report)
}

#[tokio::test]
async fn a_thousand_signatures_come_back_in_order() {
    let begun = Instant::now();
    let (outcomes, digests, _) = sign("nobody", 1000).await;
    let outcomes = outcomes.unwrap();
    assert_eq!(outcomes.len(), 1000);
    for (outcome, digest) in outcomes.iter().zip(&digests) {
        assert!(is_of(outcome.as_ref().unwrap(), digest));
    }
    println!("1000 signatures in {:?}", begun.elapsed());
    assert!(sign("nobody", 0).await.0.unwrap().is_empty());
}

#[tokio::test]
async fn one_that_is_refused_spoils_no_other() {
    let (outcomes, digests, _) = sign("picky", 100).await;
    let mut refused = 0;
    for (outcome, digest) in outcomes.unwrap().iter().zip(&digests) {
        match outcome {
            Ok(signed) => assert!(is_of(signed, digest) && !first_byte(digest).is_multiple_of(3)),
            Err(Error::Refused { code: ErrorCode::ValidationError, .. }) => {
                assert_eq!(first_byte(digest) % 3, 0);
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 10, "{refused}");
}

#[tokio::test]
async fn what_a_busy_vault_puts_off_is_asked_for_again() {
    let (outcomes, digests, _) = sign("busy", 3).await;
    for (outcome, digest) in outcomes.unwrap().iter().zip(&digests) {
        assert!(is_of(outcome.as_ref().unwrap(), digest));
    }
}

#[tokio::test]
async fn what_a_process_took_along_is_asked_for_once_more() {
    let (outcomes, digests, report) = sign("frail", 200).await;
    for (outcome, digest) in outcomes.unwrap().iter().zip(&digests) {
        assert!(is_of(outcome.as_ref().unwrap(), digest));
    }
    assert_eq!((report.generation, report.restarts), (2, 1));
}

#[tokio::test]
async fn a_key_that_is_not_there_fails_each_or_all() {
    let (outcomes, ..) = sign("unknown", 3).await;
    for outcome in outcomes.unwrap() {
        assert!(
            matches!(outcome, Err(Error::Refused { code: ErrorCode::ValidationError, .. })),
            "{outcome:?}"
        );
    }
}
