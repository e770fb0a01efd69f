//! Every source of credentials, the one that config fixes, and none at all.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use prokura_integration::backend::aws::KmsKey;
use prokura_plugin::KeySpec;
use serde_json::json;

use super::stage::{Attempt, Stage, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("credentials::of_the_environment", of_the_environment),
        trial("credentials::of_a_profile", of_a_profile),
        trial("credentials::of_a_process", of_a_process),
        trial("credentials::of_sso", of_sso),
        trial("credentials::of_a_web_identity", of_a_web_identity),
        trial("credentials::of_a_container", of_a_container),
        trial("credentials::of_instance_metadata", of_instance_metadata),
        trial("credentials::none", none),
        trial("credentials::expired", expired),
        trial("credentials::expired_meanwhile", expired_meanwhile),
    ]
}

/// An attempt without any credentials.
fn bare(stage: &'static Stage) -> Result<(KmsKey, Attempt<'static>)> {
    let key = stage.key(KeySpec::Ec256)?;
    let attempt =
        stage.attempt(&key.arn, &key)?.env("AWS_ACCESS_KEY_ID", "").env("AWS_SECRET_ACCESS_KEY", "");
    Ok((key, attempt))
}

/// Signs, and KMS saw this access key id.
fn signs_as(stage: &Stage, key: &KmsKey, attempt: &Attempt<'_>, access_key: &str) -> Result<()> {
    attempt.signs()?;
    let calls = stage.kms.api().calls(&key.id)?;
    let signed = calls.iter().find(|c| c.operation == "kms:Sign");
    let caller = signed.and_then(|c| c.caller.clone()).unwrap_or_default();
    ensure!(caller.starts_with(access_key), "signed by {caller}, expected {access_key}");
    Ok(())
}

fn of_the_environment(stage: &'static Stage) -> Result<()> {
    let (key, attempt) = bare(stage)?;
    let attempt = attempt.env("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT").env("AWS_SECRET_ACCESS_KEY", "secret");
    let attempt = attempt.env("AWS_SESSION_TOKEN", "token");
    signs_as(stage, &key, &attempt, "AKIAENVIRONMENT")?;
    let attempt = attempt.with("credentials", "profile");
    let words = ["no usable AWS credentials", "profile: "];
    attempt.refused("credentials in the environment, another source fixed", 1, &words)
}

fn of_a_profile(stage: &'static Stage) -> Result<()> {
    let (key, attempt) = bare(stage)?;
    let text = "[release]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = secret\n";
    let file = attempt.file("credentials", text)?.display().to_string();
    let attempt = attempt.env("AWS_SHARED_CREDENTIALS_FILE", &file).with("profile", "release");
    // Whoever names a profile means its identity, whatever the environment holds.
    let attempt = attempt.env("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT").env("AWS_SECRET_ACCESS_KEY", "secret");
    signs_as(stage, &key, &attempt, "AKIAPROFILE")?;
    let words = ["no usable AWS credentials", "profile: ", "names absent, so no other source is asked"];
    attempt.with("profile", "absent").refused(
        "missing profile, and credentials in the environment",
        1,
        &words,
    )
}

fn of_a_process(stage: &'static Stage) -> Result<()> {
    let (key, attempt) = bare(stage)?;
    let answer = r#"{"Version":1,"AccessKeyId":"AKIAPROCESS","SecretAccessKey":"secret"}"#;
    let answer = attempt.file("answer", answer)?.display().to_string();
    let text = format!("[profile release]\ncredential_process = cat {answer}\n");
    let file = attempt.file("config", &text)?.display().to_string();
    let attempt = attempt.env("AWS_CONFIG_FILE", &file).env("AWS_PROFILE", "release");
    signs_as(stage, &key, &attempt.with("credentials", "profile"), "AKIAPROCESS")
}

fn of_sso(stage: &'static Stage) -> Result<()> {
    let (key, attempt) = bare(stage)?;
    let start = "https://example.awsapps.com/start";
    let text = format!(
        "[profile release]\nsso_start_url = {start}\nsso_region = eu-central-1\nsso_account_id = 123456789012\n\
         sso_role_name = signer\n"
    );
    let file = attempt.file("config", &text)?;
    let home = file.parent().map(std::path::Path::to_path_buf).unwrap_or_default();
    let cache = home.join(".aws/sso/cache");
    std::fs::create_dir_all(&cache)?;
    let token = json!({"accessToken": "sso-token", "expiresAt": "2099-01-01T00:00:00Z", "startUrl": start, "region": "eu-central-1"});
    // The name is the SHA-1 of the start URL.
    let name = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, start.as_bytes());
    let name: String = name.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    std::fs::write(cache.join(format!("{name}.json")), token.to_string())?;
    let attempt = attempt.env("AWS_CONFIG_FILE", &file.display().to_string()).env("AWS_PROFILE", "release");
    let attempt =
        attempt.env("HOME", &home.display().to_string()).env("AWS_ENDPOINT_URL", &stage.kms.api().url());
    let attempt = attempt.with("credentials", "sso");
    signs_as(stage, &key, &attempt, "ASIA")?;
    std::fs::remove_file(cache.join(format!("{name}.json")))?;
    attempt.refused("SSO without a sign-in", 1, &["no usable AWS credentials", "sso: "])
}

fn of_a_web_identity(stage: &'static Stage) -> Result<()> {
    let (key, attempt) = bare(stage)?;
    let token = attempt.file("token", "a.b.c")?.display().to_string();
    let attempt = attempt.env("AWS_WEB_IDENTITY_TOKEN_FILE", &token);
    let attempt = attempt.env("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/signer");
    let attempt = attempt.env("AWS_ENDPOINT_URL", &stage.kms.api().url());
    signs_as(stage, &key, &attempt, "ASIA")?;
    std::fs::remove_file(&token)?;
    let words = ["no usable AWS credentials", "web-identity: ", "No such file"];
    attempt.refused("web identity token that is not there", 1, &words)
}

fn of_a_container(stage: &'static Stage) -> Result<()> {
    let (key, attempt) = bare(stage)?;
    let url = format!("{}/_test/container-credentials", stage.kms.api().url());
    let attempt = attempt.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url);
    let words = ["no usable AWS credentials", "container: "];
    attempt.refused("container credentials without their token", 1, &words)?;
    let attempt = attempt.env("AWS_CONTAINER_AUTHORIZATION_TOKEN", "container-token");
    signs_as(stage, &key, &attempt, "ASIA")
}

fn of_instance_metadata(stage: &'static Stage) -> Result<()> {
    let (key, attempt) = bare(stage)?;
    let attempt = attempt.env("AWS_EC2_METADATA_DISABLED", "");
    let attempt = attempt.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &stage.kms.api().url());
    signs_as(stage, &key, &attempt, "ASIA")?;
    signs_as(stage, &key, &attempt.with("credentials", "imds"), "ASIA")
}

/// A metadata service that never answers must not be waited for.
fn none(stage: &'static Stage) -> Result<()> {
    let (_, attempt) = bare(stage)?;
    let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", silent.local_addr()?);
    let attempt = attempt.env("AWS_EC2_METADATA_DISABLED", "").env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url);
    let started = Instant::now();
    let words = ["no usable AWS credentials", "environment: ", "imds: ", "credentials=SOURCE"];
    attempt.refused("no credentials, and a metadata service that is silent", 1, &words)?;
    ensure!(started.elapsed() < Duration::from_millis(3_500), "{:?}", started.elapsed());
    Ok(())
}

fn expired(stage: &'static Stage) -> Result<()> {
    let key = stage.key(KeySpec::Ec256)?;
    let message = "The security token included in the request is expired";
    let fault = json!({"kind": "error", "code": "ExpiredTokenException", "message": message, "times": 1000});
    stage.kms.api().fault("kms:GetPublicKey", &key.id, fault)?;
    let words = ["ExpiredTokenException", "credentials have expired", "aws sso login"];
    stage.attempt(&key.arn, &key)?.refused("expired session token", 1, &words)
}

/// Credentials that worked and expired are fetched anew, once: the second signature of the same process succeeds.
fn expired_meanwhile(stage: &'static Stage) -> Result<()> {
    let key = stage.key(KeySpec::Ec256)?;
    let fault = json!({"kind": "error", "code": "ExpiredTokenException", "message": "expired", "after": 1});
    stage.kms.api().fault("kms:Sign", &key.id, fault)?;
    stage.attempt(&key.arn, &key)?.warm(3)?;
    let calls = stage.kms.api().calls(&key.id)?;
    let refused = calls.iter().filter(|c| c.operation == "kms:Sign" && c.status == 400).count();
    ensure!(refused == 1, "{calls:?}");
    Ok(())
}
