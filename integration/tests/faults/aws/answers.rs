//! Answers that are no signature of this key, or no answer at all.

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libtest_mimic::Trial;
use prokura_plugin::KeySpec;
use serde_json::{Value, json};

use super::stage::{Stage, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("answers::another_keys_signature", another_keys_signature),
        trial("answers::another_keys_name", another_keys_name),
        trial("answers::another_algorithm", another_algorithm),
        trial("answers::malformed_ecdsa", malformed_ecdsa),
        trial("answers::malformed_rsa", malformed_rsa),
        trial("answers::that_verifies_nothing", that_verifies_nothing),
        trial("answers::cut_short", cut_short),
    ]
}

/// One signature by a fresh key whose `Sign` is answered with a fault.
fn broken(stage: &Stage, spec: KeySpec, what: &str, fault: Value, words: &[&str]) -> Result<()> {
    let key = stage.key(spec)?;
    stage.kms.api().fault("kms:Sign", &key.id, fault)?;
    stage.attempt(&key.arn, &key)?.refused(what, 1, words)
}

fn another_keys_signature(stage: &'static Stage) -> Result<()> {
    let other = stage.key(KeySpec::Ec256)?;
    let fault = json!({"kind": "other-key", "by": other.id, "region": "eu-central-1"});
    let words = ["the signature does not verify under the leaf certificate"];
    broken(stage, KeySpec::Ec256, "another key's signature under this key's name", fault, &words)
}

fn another_keys_name(stage: &'static Stage) -> Result<()> {
    let other = stage.key(KeySpec::Ec256)?;
    let fault = json!({"kind": "other-key", "by": other.id, "region": "eu-central-1", "honest": true});
    let words = ["answer of KMS to Sign", &other.arn];
    broken(stage, KeySpec::Ec256, "another key signed and says so", fault, &words)
}

fn another_algorithm(stage: &'static Stage) -> Result<()> {
    let fault = json!({"kind": "member", "value": {"SigningAlgorithm": "RSASSA_PKCS1_V1_5_SHA_256"}});
    let words = ["SigningAlgorithm RSASSA_PKCS1_V1_5_SHA_256", "asked for RSASSA_PSS_SHA_256"];
    broken(stage, KeySpec::Rsa2048, "answer names another algorithm", fault, &words)
}

/// A DER `ECDSA-Sig-Value` whose numbers have `width` bytes, and `tail` behind it.
fn der(width: u8, first: u8, tail: &[u8]) -> Vec<u8> {
    let number = [&[0x02, width, first][..], &vec![0x11; usize::from(width) - 1]].concat();
    [&[0x30, 2 * (width + 2)][..], &number, &number, tail].concat()
}

fn malformed_ecdsa(stage: &'static Stage) -> Result<()> {
    for (what, bytes) in [
        ("ECDSA signature with a byte behind it", der(32, 0x11, &[0])),
        ("ECDSA signature with a negative number", der(32, 0x91, &[])),
        ("ECDSA signature wider than the curve", der(40, 0x11, &[])),
        ("ECDSA signature as r||s, no DER", vec![0x11; 64]),
        ("ECDSA signature of no bytes", Vec::new()),
    ] {
        let fault = json!({"kind": "signature", "value": STANDARD.encode(bytes)});
        let words = ["not a DER ECDSA-Sig-Value"];
        broken(stage, KeySpec::Ec256, what, fault, &words)?;
    }
    Ok(())
}

fn malformed_rsa(stage: &'static Stage) -> Result<()> {
    for (what, len) in [("RSA signature a byte short", 255), ("RSA signature of another size", 384)] {
        let fault = json!({"kind": "signature", "value": STANDARD.encode(vec![1; len])});
        let found = format!("has 256 bytes, found {len}");
        broken(stage, KeySpec::Rsa2048, what, fault, &[&found])?;
    }
    Ok(())
}

fn that_verifies_nothing(stage: &'static Stage) -> Result<()> {
    let fault = json!({"kind": "signature", "value": STANDARD.encode(vec![1; 256])});
    broken(
        stage,
        KeySpec::Rsa2048,
        "RSA signature that verifies nothing",
        fault,
        &["the signature does not verify under the leaf certificate"],
    )?;
    let fault = json!({"kind": "signature", "value": STANDARD.encode(der(32, 0x11, &[]))});
    broken(
        stage,
        KeySpec::Ec256,
        "ECDSA signature that verifies nothing",
        fault,
        &["the signature does not verify under the leaf certificate"],
    )
}

fn cut_short(stage: &'static Stage) -> Result<()> {
    let fault = json!({"kind": "truncate", "times": 1000});
    let words = ["AWS's answer cannot be read", "a retry may help"];
    let key = stage.key(KeySpec::Ec256)?;
    stage.kms.api().fault("kms:Sign", &key.id, fault)?;
    stage.attempt(&key.arn, &key)?.refused("truncated JSON", 3, &words)
}
