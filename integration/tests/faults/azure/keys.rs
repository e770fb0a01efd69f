//! Keys and certificates that are absent, of the wrong kind, out of use or another's.

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use prokura_integration::backend::azure::{Desk, Kind};
use prokura_plugin::KeySpec;
use serde_json::json;

use super::{desk, holds, refused, told};

pub(crate) fn trials() -> Vec<Trial> {
    let broken =
        |name: &str, break_it: fn(&Desk) -> Result<()>, config: &'static [&str], parts: &'static [&str]| {
            told(name, move || {
                let desk = desk(Kind::Vault)?;
                break_it(&desk)?;
                refused(&desk, &[&[desk.above().as_str()], config].concat(), parts)
            })
        };
    let without_bundle =
        |name: &str, break_it: fn(&Desk) -> Result<()>, config: &'static [&str], parts: &'static [&str]| {
            told(name, move || {
                let desk = desk(Kind::Vault)?;
                break_it(&desk)?;
                refused(&desk, config, parts)
            })
        };
    vec![
        told("key_that_does_not_exist", || {
            named("absent", &["KeyNotFound", "az keyvault key list", "request id"])
        }),
        told("version_that_does_not_exist", || {
            named("ec-256/00000000000000000000000000000000", &["KeyNotFound"])
        }),
        broken(
            "key_deleted_softly",
            |d| {
                d.vault.delete("ec-256");
                Ok(())
            },
            &[],
            &["KeyNotFound", "az keyvault key recover"],
        ),
        broken(
            "key_disabled",
            |d| d.vault.set_enabled("ec-256", false),
            &[],
            &["KeyDisabled", "--enabled true"],
        ),
        broken(
            "key_not_yet_valid",
            |d| d.vault.set_validity("ec-256", Some(4_000_000_000), None),
            &[],
            &["KeyNotYetValid", "activation date"],
        ),
        broken(
            "key_past_its_time",
            |d| d.vault.set_validity("ec-256", None, Some(1)),
            &[],
            &["KeyExpired", "expiration date"],
        ),
        broken(
            "key_for_encryption_only",
            |d| d.vault.set_operations("ec-256", &["wrapKey", "unwrapKey"]),
            &[],
            &["it may not sign", "wrapKey, unwrapKey", "--ops sign"],
        ),
        broken(
            "key_that_is_symmetric",
            |d| d.vault.set_type("ec-256", "oct-HSM"),
            &[],
            &["its kty is oct-HSM"],
        ),
        broken(
            "certificate_of_another_key",
            |d| {
                d.vault.swap_certificate("ec-256", "rsa-2048");
                Ok(())
            },
            &[],
            &["no certificate"],
        ),
        broken(
            "no_certificate_in_vault_or_bundle",
            |d| {
                d.vault.remove_certificate("ec-256");
                Ok(())
            },
            &[],
            &["certificate"],
        ),
        without_bundle("nothing_above_the_leaf", |_| Ok(()), &[], &["Azure test intermediate"]),
        without_bundle(
            "chain_from_the_secret_of_an_exportable_key",
            |d| {
                d.vault.set_policy("ec-256", true, "application/x-pem-file");
                Ok(())
            },
            &["chain_from=secret"],
            &["not exportable", "never fetched"],
        ),
        without_bundle(
            "chain_from_a_secret_in_pkcs12",
            |d| {
                d.vault.set_policy("ec-256", false, "application/x-pkcs12");
                Ok(())
            },
            &["chain_from=secret"],
            &["application/x-pkcs12", "application/x-pem-file"],
        ),
        broken(
            "self_signed_and_ca_certs_together",
            |_| Ok(()),
            &["self_signed=true"],
            &["both self_signed=true and ca_certs"],
        ),
        told("the_secret_of_an_exportable_key_is_never_asked_for", exportable),
        told("rotated_to_another_kind_between_describe_and_sign", rotated),
        told("managed_hsm_and_a_certificate_id", managed_hsm),
    ]
}

fn named(name: &str, parts: &[&str]) -> Result<String> {
    let desk = desk(Kind::Vault)?;
    let id = format!("{}/keys/{name}", desk.vault.url());
    holds(desk.sign(&id, &[&desk.above()], &desk.vault.variables())?.refused(1)?, parts)
}

fn exportable() -> Result<String> {
    let desk = desk(Kind::Vault)?;
    desk.vault.set_policy("ec-256", true, "application/x-pem-file");
    desk.vault.take_calls();
    let said = refused(&desk, &["chain_from=secret"], &["never fetched"])?;
    let calls = desk.vault.take_calls();
    ensure!(!calls.iter().any(|call| call == "secrets/get"), "{calls:?}");
    Ok(said)
}

/// Over stdio each command is a process of its own, so that only the key spec shows that the key is another one.
fn rotated() -> Result<String> {
    let desk = desk(Kind::Vault)?;
    let id = desk.id(KeySpec::Ec256);
    let variables = desk.vault.variables();
    let describe = json!({"contractVersion": "1.0", "keyId": id});
    let described = desk.command("describe-key", &describe, &variables)?.ok()?;
    ensure!(described.contains("EC-256"), "{described}");
    desk.vault.rotate("ec-256", KeySpec::Rsa2048)?;
    let sign = json!({
        "contractVersion": "1.0", "keyId": id, "keySpec": "EC-256", "hashAlgorithm": "SHA-256", "payload": "eA==",
    });
    let run = desk.command("generate-signature", &sign, &variables)?;
    let error: serde_json::Value = serde_json::from_str(&run.stderr).context("one JSON object on stderr")?;
    holds(error.to_string(), &["the key changed since it was described", "RSA-2048"])
}

fn managed_hsm() -> Result<String> {
    let desk = desk(Kind::ManagedHsm)?;
    let id = format!("{}/certificates/ec-256", desk.vault.url());
    holds(desk.sign(&id, &[], &desk.vault.variables())?.refused(1)?, &["a Managed HSM keeps no certificates"])
}
