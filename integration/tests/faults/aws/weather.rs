//! Throttling, outages and slow networks: what passes is waited out, what does not is named before the deadline.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use prokura_plugin::KeySpec;
use serde_json::{Value, json};

use super::stage::{Stage, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("weather::bursts_are_waited_out", bursts_are_waited_out),
        trial("weather::throttled_to_the_deadline", throttled_to_the_deadline),
        trial("weather::failing_to_the_deadline", failing_to_the_deadline),
        trial("weather::stalled_to_the_deadline", stalled_to_the_deadline),
        trial("weather::reset_for_good", reset_for_good),
        trial("weather::unreachable", unreachable),
        trial("weather::one_call_per_warm_signature", one_call_per_warm_signature),
    ]
}

fn throttled() -> Value {
    let message = "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.";
    json!({"kind": "error", "code": "ThrottlingException", "message": message})
}

fn times(mut fault: Value, times: u32) -> Value {
    if let Some(fault) = fault.as_object_mut() {
        fault.insert("times".to_owned(), times.into());
    }
    fault
}

fn failing() -> Value {
    json!({"kind": "error", "code": "KMSInternalException", "message": "internal", "status": 500})
}

fn bursts_are_waited_out(stage: &'static Stage) -> Result<()> {
    for fault in [throttled(), failing(), json!({"kind": "reset"})] {
        for operation in ["kms:GetPublicKey", "kms:Sign"] {
            let key = stage.key(KeySpec::Ec256)?;
            stage.kms.api().fault(operation, &key.id, times(fault.clone(), 3))?;
            let attempt = stage.attempt(&key.arn, &key)?;
            // Without a host, which would ask again by itself.
            let answer = attempt.alone()?;
            ensure!(answer.contains("signature"), "{answer}");
            let calls = stage.kms.api().calls(&key.id)?;
            let asked = calls.iter().filter(|c| c.operation == operation && c.caller.is_some()).count();
            ensure!(asked >= 4, "{operation} was asked {asked} times: {calls:?}");
        }
    }
    Ok(())
}

fn throttled_to_the_deadline(stage: &'static Stage) -> Result<()> {
    let key = stage.key(KeySpec::Ec256)?;
    stage.kms.api().fault("kms:Sign", &key.id, times(throttled(), 1000))?;
    let words = ["the deadline passed while kms:Sign answered ThrottlingException"];
    let attempt = stage.attempt(&key.arn, &key)?.within(4);
    attempt.refused("throttled beyond the deadline", 3, &words)?;
    let asked = stage.kms.api().calls(&key.id)?.iter().filter(|c| c.operation == "kms:Sign").count();
    ensure!((3..40).contains(&asked), "KMS was asked {asked} times in four seconds");
    Ok(())
}

fn failing_to_the_deadline(stage: &'static Stage) -> Result<()> {
    let key = stage.key(KeySpec::Ec256)?;
    stage.kms.api().fault("kms:Sign", &key.id, times(failing(), 1000))?;
    let words = ["KMSInternalException"];
    stage.attempt(&key.arn, &key)?.within(4).refused("500 beyond the deadline", 3, &words)
}

fn stalled_to_the_deadline(stage: &'static Stage) -> Result<()> {
    let key = stage.key(KeySpec::Ec256)?;
    stage.kms.api().fault("kms:Sign", &key.id, json!({"kind": "stall", "seconds": 30, "times": 1000}))?;
    let started = Instant::now();
    let words = ["AWS did not answer kms:Sign before the deadline"];
    stage.attempt(&key.arn, &key)?.within(3).refused("KMS stalls", 3, &words)?;
    ensure!(started.elapsed() < Duration::from_secs(7), "{:?}", started.elapsed());
    Ok(())
}

fn reset_for_good(stage: &'static Stage) -> Result<()> {
    let key = stage.key(KeySpec::Ec256)?;
    stage.kms.api().fault("kms:Sign", &key.id, json!({"kind": "reset", "times": 1000}))?;
    let words = ["kms:Sign", "deadline (", "times so far"];
    stage.attempt(&key.arn, &key)?.within(3).refused("connection reset each time", 3, &words)
}

fn unreachable(stage: &'static Stage) -> Result<()> {
    let key = stage.kms.kms_key(KeySpec::Ec256)?;
    // Port 9 (discard): nobody listens there.
    let attempt = stage.attempt(&key.arn, key)?.with("endpoint", "http://127.0.0.1:9").within(3);
    attempt.refused("nobody listens at the endpoint", 3, &["kms:GetPublicKey", "Connection refused"])
}

fn one_call_per_warm_signature(stage: &'static Stage) -> Result<()> {
    const SIGNATURES: usize = 8;
    let key = stage.key(KeySpec::Rsa2048)?;
    stage.attempt(&key.arn, &key)?.warm(SIGNATURES)?;
    let calls = stage.kms.api().calls(&key.id)?;
    let ours: Vec<&str> =
        calls.iter().filter(|c| c.key.as_deref() == Some(&key.arn)).map(|c| c.operation.as_str()).collect();
    let signs = ours.iter().filter(|o| **o == "kms:Sign").count();
    ensure!(signs == SIGNATURES, "{signs} calls of Sign for {SIGNATURES} signatures");
    // One by the test that made the key, one by the plugin when it opened it.
    ensure!(ours.len() == SIGNATURES + 2, "{ours:?}");
    Ok(())
}
