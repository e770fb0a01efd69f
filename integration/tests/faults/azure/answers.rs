//! Answers that come late, broken, wrong or not at all.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use prokura_integration::backend::azure::{Fault, Kind, key_reference};
use prokura_plugin::{Digest, KeySpec};
use prokura_signer::describe_key;

use super::{desk, holds, told};

/// Oftener than anybody asks.
const ALWAYS: usize = 1000;

pub(crate) fn trials() -> Vec<Trial> {
    let heals = |name: &str, operation: &'static str, fault, times, least: f32| {
        told(name, move || healed(operation, fault, times, Duration::from_secs_f32(least)))
    };
    let fails =
        |name: &str, operation: &'static str, fault, deadline: &'static str, parts: &'static [&str]| {
            told(name, move || failed(operation, fault, deadline, parts))
        };
    vec![
        heals("throttled_three_times", "keys/sign", Fault::Throttled(Some(1)), 3, 3.0),
        heals("throttled_without_a_hint", "keys/sign", Fault::Throttled(None), 3, 0.4),
        heals("token_endpoint_throttled", "token", Fault::Throttled(Some(1)), 1, 1.0),
        fails(
            "throttled_for_longer_than_there_is_time",
            "keys/sign",
            Fault::Throttled(Some(60)),
            "20s",
            &["THROTTLED", "VaultRequestTypeLimitReached", "over its quota", "request id"],
        ),
        heals("server_error_once", "keys/sign", Fault::Broken(500), 1, 0.1),
        heals("service_unavailable_twice", "certificates/get", Fault::Broken(503), 2, 0.3),
        fails(
            "server_error_always",
            "keys/sign",
            Fault::Broken(502),
            "20s",
            &["answered 502", "azure.status.microsoft"],
        ),
        heals("reset_once", "keys/sign", Fault::Reset, 1, 0.1),
        fails("reset_always", "keys/get", Fault::Reset, "20s", &["the connection failed", "HTTPS_PROXY"]),
        heals("cut_off_once", "keys/sign", Fault::CutOff, 1, 0.1),
        fails("cut_off_always", "keys/sign", Fault::CutOff, "20s", &["the connection failed"]),
        fails("half_a_json", "keys/sign", Fault::HalfJson, "20s", &["the answer is none of Key Vault's"]),
        fails(
            "a_gateways_page",
            "keys/get",
            Fault::Garbage,
            "20s",
            &["the answer is none of Key Vault's", "not a proxy"],
        ),
        heals("stall_once", "keys/sign", Fault::Stall, 1, 9.0),
        fails("stall_always", "keys/sign", Fault::Stall, "5s", &["TIMEOUT", "no answer within 4."]),
        fails(
            "signature_by_another_version",
            "keys/sign",
            Fault::OtherVersion,
            "20s",
            &["the answer says that", "signed"],
        ),
        fails("signature_by_another_key", "keys/sign", Fault::OtherKey, "20s", &["does not verify"]),
        fails(
            "signature_one_byte_short",
            "keys/sign",
            Fault::ShortSignature,
            "20s",
            &["no usable signature", "found 63"],
        ),
        fails("signature_in_der", "keys/sign", Fault::DerSignature, "20s", &["no usable signature"]),
        told("nobody_at_the_proxy", proxy),
        told("tls_certificate_of_nobody_known", untrusted),
        told("throttled_among_sixteen", sixteen),
    ]
}

/// Over stdio, where no host asks again.
fn healed(operation: &str, fault: Fault, times: usize, least: Duration) -> Result<String> {
    let desk = desk(Kind::Vault)?;
    desk.vault.fail(operation, fault, times);
    let request = serde_json::json!({
        "contractVersion": "1.0", "keyId": desk.id(KeySpec::Ec256), "keySpec": "EC-256", "hashAlgorithm": "SHA-256",
        "payload": "eA==", "pluginConfig": {"ca_certs": desk.vault.bundle()},
    });
    let begun = Instant::now();
    desk.command("generate-signature", &request, &desk.vault.variables())?.ok()?;
    let took = begun.elapsed();
    ensure!(took >= least, "it took {took:?}, at least {least:?} was to be waited");
    let calls = desk.vault.take_calls().iter().filter(|call| *call == operation).count();
    ensure!(calls == times + 1, "{calls} calls");
    Ok(format!("nobody noticed: {calls} requests in {:.1} s", took.as_secs_f32()))
}

fn failed(operation: &str, fault: Fault, deadline: &str, parts: &[&str]) -> Result<String> {
    let desk = desk(Kind::Vault)?;
    desk.vault.fail(operation, fault, ALWAYS);
    let begun = Instant::now();
    let run =
        desk.sign_within(deadline, &desk.id(KeySpec::Ec256), &[&desk.above()], &desk.vault.variables())?;
    ensure!(begun.elapsed() < Duration::from_secs(60), "it took {:?}", begun.elapsed());
    ensure!(matches!(run.code, Some(1 | 3)), "{run:?}");
    holds(run.stderr, parts)
}

fn proxy() -> Result<String> {
    let desk = desk(Kind::Vault)?;
    let mut variables = desk.vault.variables();
    variables.retain(|(name, _)| *name != "HTTPS_PROXY");
    variables.push(("HTTPS_PROXY", "http://127.0.0.1:1".into()));
    let run = desk.sign(&desk.id(KeySpec::Ec256), &[&desk.above()], &variables)?;
    holds(run.stderr, &["the connection failed", "HTTPS_PROXY"])
}

fn untrusted() -> Result<String> {
    let desk = desk(Kind::Vault)?;
    let mut variables = desk.vault.variables();
    variables.retain(|(name, _)| *name != "SSL_CERT_FILE");
    let run = desk.sign(&desk.id(KeySpec::Ec256), &[&desk.above()], &variables)?;
    ensure!(run.code != Some(0), "{run:?}");
    holds(run.stderr, &["UnknownIssuer", "SSL_CERT_FILE"])
}

/// Sixteen at once against a vault that lets every third through: all are signed, none waits for nothing.
fn sixteen() -> Result<String> {
    let desk = desk(Kind::Vault)?;
    let (runtime, plugin) = desk.plugin(&[], &desk.vault.variables())?;
    let key = key_reference(&desk.id(KeySpec::Ec256), &[])?;
    let digest = Digest::of(KeySpec::Ec256.hash_algorithm(), b"x");
    runtime.block_on(async {
        describe_key(&plugin, &key).await?;
        desk.vault.fail("keys/sign", Fault::Throttled(Some(1)), 32);
        desk.vault.take_calls();
        let begun = Instant::now();
        let calls: Vec<_> = (0..16)
            .map(|_| {
                let (plugin, key, digest) = (plugin.clone(), key.clone(), digest.clone());
                tokio::spawn(async move { plugin.sign_digest(&key, KeySpec::Ec256, &digest).await })
            })
            .collect();
        for call in calls {
            call.await??;
        }
        let requests = desk.vault.take_calls().len();
        ensure!(requests == 48, "{requests} requests");
        plugin.close().await;
        Ok(format!("nobody noticed: 16 signatures, 32 refusals, {:.1} s", begun.elapsed().as_secs_f32()))
    })
}
