//! Keys by all their names, and keys that cannot sign.

use anyhow::{Context as _, Result};
use libtest_mimic::Trial;
use prokura_integration::backend::aws::{Kms, REGION};
use prokura_integration::suite;
use prokura_plugin::KeySpec;
use serde_json::{Value, json};

use super::stage::{Stage, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("keys::every_spec_signs", every_spec_signs),
        trial("keys::every_name_signs", every_name_signs),
        trial("keys::a_key_of_another_account_signs", a_key_of_another_account_signs),
        trial("keys::grant_tokens_are_sent", grant_tokens_are_sent),
        suite::trial("aws-kms::keys::localstack_refuses_the_same", localstack_refuses_the_same),
        trial("keys::missing", missing),
        trial("keys::out_of_use", out_of_use),
        trial("keys::of_another_kind", of_another_kind),
        trial("keys::in_another_region", in_another_region),
        trial("keys::alias_moved", alias_moved),
    ]
}

fn every_spec_signs(stage: &'static Stage) -> Result<()> {
    for spec in KeySpec::ALL {
        let key = stage.kms.kms_key(spec)?;
        stage.attempt(&key.arn, key)?.signs().with_context(|| spec.to_string())?;
    }
    Ok(())
}

fn every_name_signs(stage: &'static Stage) -> Result<()> {
    let key = stage.kms.create(KeySpec::Ec256, Some("Team/every-name"))?;
    let alias_arn = key.arn.replace(&format!("key/{}", key.id), "alias/Team/every-name");
    for id in [
        key.id.clone(),
        "alias/Team/every-name".to_owned(),
        alias_arn.clone(),
        format!("awskms:///{}", key.id),
        format!("awskms:///{alias_arn}"),
        "awskms:///alias/Team/every-name".to_owned(),
    ] {
        stage.attempt(&id, &key)?.signs().with_context(|| id)?;
    }
    // An ARN names its region; so do the environment and the profile.
    stage.attempt(&alias_arn, &key)?.with("region", "").signs()?;
    stage.attempt(&key.id, &key)?.with("region", "").env("AWS_REGION", REGION).signs()?;
    let attempt = stage.attempt(&key.id, &key)?.with("region", "").with("profile", "there");
    // Its credentials would be taken too.
    let attempt = attempt.with("credentials", "environment");
    let profile = attempt.file("config", &format!("[profile there]\nregion = {REGION}\n"))?;
    attempt.env("AWS_CONFIG_FILE", &profile.display().to_string()).signs()?;
    let multi_region = json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY", "MultiRegion": true});
    let made = stage.kms.adopt(&stage.kms.api().kms("CreateKey", &multi_region)?)?;
    anyhow::ensure!(made.id.starts_with("mrk-"), "{made:?}");
    stage.attempt(&made.id, &made)?.signs()
}

fn a_key_of_another_account_signs(stage: &'static Stage) -> Result<()> {
    let body = json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"});
    let other = stage.kms.api().of_account("999988887777");
    let key = stage.kms.adopt(&other.kms("CreateKey", &body)?)?;
    anyhow::ensure!(key.arn.contains(":999988887777:"), "{key:?}");
    stage.attempt(&key.arn, &key)?.signs()?;
    let words = ["there is no such key", "check key id and region"];
    stage.attempt(&key.id, &key)?.refused("key of another account by its id alone", 1, &words)
}

/// Grants themselves are not enforced here.
fn grant_tokens_are_sent(stage: &'static Stage) -> Result<()> {
    let key = stage.key(KeySpec::Ec256)?;
    stage.attempt(&key.arn, &key)?.with("grant_tokens", "one, two").signs()?;
    let expected = Some(vec!["one".to_owned(), "two".to_owned()]);
    for operation in ["kms:GetPublicKey", "kms:Sign"] {
        let calls = stage.kms.api().calls(&key.id)?;
        let sent = calls.iter().rfind(|c| c.operation == operation).and_then(|c| c.grant_tokens.clone());
        anyhow::ensure!(sent == expected, "{operation} had grant tokens {sent:?}");
    }
    Ok(())
}

/// An emulator we did not correct agrees on what is refused.
fn localstack_refuses_the_same() -> Result<()> {
    let stage = &Stage::around(Kms::localstack()?)?;
    let key = stage.key(KeySpec::Ec256)?;
    let absent = key.arn.replace(&key.id, "00000000-0000-4000-8000-000000000000");
    stage.attempt(&absent, &key)?.refused("missing key (LocalStack)", 1, &["NotFoundException"])?;
    stage.attempt("alias/absent", &key)?.refused("missing alias (LocalStack)", 1, &["NotFoundException"])?;
    stage.kms.api().kms("DisableKey", &json!({"KeyId": key.id}))?;
    let words = ["DisabledException", "aws kms enable-key"];
    stage.attempt(&key.arn, &key)?.refused("disabled key (LocalStack)", 1, &words)?;
    let dying = stage.key(KeySpec::Ec256)?;
    let body = json!({"KeyId": dying.id, "PendingWindowInDays": 7});
    stage.kms.api().kms("ScheduleKeyDeletion", &body)?;
    let words = ["KMSInvalidStateException", "aws kms cancel-key-deletion"];
    stage.attempt(&dying.arn, &dying)?.refused("key pending deletion (LocalStack)", 1, &words)?;
    let body = json!({"KeySpec": "RSA_2048", "KeyUsage": "ENCRYPT_DECRYPT"});
    let made = stage.kms.api().kms("CreateKey", &body)?;
    let arn = made.pointer("/KeyMetadata/Arn").and_then(Value::as_str).context("no Arn")?;
    let words = ["its KeyUsage is ENCRYPT_DECRYPT, expected SIGN_VERIFY"];
    stage.attempt(arn, &key)?.refused("encryption key (LocalStack)", 1, &words)
}

fn missing(stage: &'static Stage) -> Result<()> {
    let key = stage.kms.kms_key(KeySpec::Ec256)?;
    let absent = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-4000-8000-000000000000";
    let listing = "aws kms list-aliases --region eu-central-1";
    stage.attempt(absent, key)?.refused("missing key", 1, &["NotFoundException", absent, listing])?;
    let words = ["NotFoundException", "alias/absent", listing];
    stage.attempt("alias/absent", key)?.refused("missing alias", 1, &words)?;
    let words = ["names no KMS key", "if release is an alias, write alias/release"];
    stage.attempt("release", key)?.refused("alias without its prefix", 1, &words)
}

fn out_of_use(stage: &'static Stage) -> Result<()> {
    let disabled = stage.key(KeySpec::Ec256)?;
    stage.kms.api().kms("DisableKey", &json!({"KeyId": disabled.id}))?;
    let words = ["DisabledException", "aws kms enable-key --region eu-central-1 --key-id"];
    stage.attempt(&disabled.arn, &disabled)?.refused("disabled key", 1, &words)?;
    let dying = stage.key(KeySpec::Rsa2048)?;
    let body = json!({"KeyId": dying.id, "PendingWindowInDays": 7});
    stage.kms.api().kms("ScheduleKeyDeletion", &body)?;
    let words = ["KMSInvalidStateException", "pending deletion", "aws kms cancel-key-deletion"];
    stage.attempt(&dying.arn, &dying)?.refused("key pending deletion", 1, &words)
}

fn of_another_kind(stage: &'static Stage) -> Result<()> {
    let any = stage.kms.kms_key(KeySpec::Ec256)?;
    for (spec, usage, word) in [
        ("RSA_2048", "ENCRYPT_DECRYPT", "its KeyUsage is ENCRYPT_DECRYPT, expected SIGN_VERIFY"),
        ("HMAC_256", "GENERATE_VERIFY_MAC", "UnsupportedOperationException"),
        ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "UnsupportedOperationException"),
        ("ECC_SECG_P256K1", "SIGN_VERIFY", "its KeySpec is ECC_SECG_P256K1"),
    ] {
        let made = stage.kms.api().kms("CreateKey", &json!({"KeySpec": spec, "KeyUsage": usage}))?;
        let arn = made.pointer("/KeyMetadata/Arn").and_then(Value::as_str).context("no Arn")?;
        let words = [word, "--key-usage SIGN_VERIFY"];
        stage.attempt(arn, any)?.refused(&format!("{spec} key for {usage}"), 1, &words)?;
    }
    Ok(())
}

fn in_another_region(stage: &'static Stage) -> Result<()> {
    let key = stage.kms.kms_key(KeySpec::Ec256)?;
    let words = ["NotFoundException", "in region us-east-1"];
    stage.attempt(&key.id, key)?.with("region", "us-east-1").refused("wrong region", 1, &words)?;
    let words = ["names region eu-central-1", "is us-east-1; remove one of them"];
    stage.attempt(&key.arn, key)?.with("region", "us-east-1").refused("two regions", 1, &words)?;
    let words = ["no AWS region is known", "AWS_REGION"];
    stage.attempt(&key.id, key)?.with("region", "").refused("no region", 1, &words)
}

fn alias_moved(stage: &'static Stage) -> Result<()> {
    let described = stage.kms.create(KeySpec::Ec256, Some("moved"))?;
    let other = stage.key(KeySpec::Ec256)?;
    let fault = json!({"kind": "move-alias", "alias": "alias/moved", "to": other.id});
    stage.kms.api().fault("kms:Sign", "alias/moved", fault)?;
    let words = ["alias/moved was moved", &described.arn, &other.arn, "name a key by its ARN"];
    stage.attempt("alias/moved", &described)?.refused("alias moved before the signature", 1, &words)?;
    // From then on the alias is the other key.
    let certificate = stage.kms.certificate(&other).display().to_string();
    stage.attempt("alias/moved", &described)?.with("certificate", &certificate).signs()
}
