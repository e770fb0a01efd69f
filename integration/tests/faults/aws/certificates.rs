//! Certificates in Secrets Manager, S3, ACM, a private CA and files, and what is there instead of them.

use anyhow::{Context as _, Result};
use libtest_mimic::Trial;
use prokura_integration::backend::aws::KmsKey;
use prokura_integration::pki::generate_key;
use prokura_plugin::KeySpec;
use serde_json::{Value, json};

use super::stage::{Attempt, Stage, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("certificates::in_secrets_manager", in_secrets_manager),
        trial("certificates::in_s3", in_s3),
        trial("certificates::in_acm", in_acm),
        trial("certificates::in_a_private_ca", in_a_private_ca),
        trial("certificates::in_the_bundle_alone", in_the_bundle_alone),
        trial("certificates::for_another_key", for_another_key),
        trial("certificates::not_there", not_there),
        trial("certificates::not_certificates", not_certificates),
    ]
}

/// An attempt whose certificate comes from an AWS service: the emulator's, as the SDK finds it.
fn attempt<'a>(stage: &'a Stage, key: &KmsKey, certificate: &str) -> Result<Attempt<'a>> {
    let attempt = stage.attempt(&key.arn, key)?.with("certificate", certificate);
    Ok(attempt.env("AWS_ENDPOINT_URL", &stage.kms.api().url()))
}

/// The PEM text of a key's certificate.
pub(crate) fn pem(stage: &Stage, key: &KmsKey) -> Result<String> {
    Ok(std::fs::read_to_string(stage.kms.certificate(key))?)
}

/// Stores a secret and returns its ARN.
pub(crate) fn secret(stage: &Stage, name: &str, text: &str) -> Result<String> {
    let body = json!({"Name": name, "SecretString": text, "ClientRequestToken": uuid(name)});
    let made = stage.kms.api().json("secretsmanager", "secretsmanager.CreateSecret", &body)?;
    Ok(made.get("ARN").and_then(Value::as_str).context("no ARN")?.to_owned())
}

/// A token as long as the API wants it.
fn uuid(name: &str) -> String {
    format!("{name:0>36}")
}

fn in_secrets_manager(stage: &'static Stage) -> Result<()> {
    let key = stage.key(KeySpec::Ec256)?;
    let arn = secret(stage, "chain", &pem(stage, &key)?)?;
    attempt(stage, &key, &arn)?.signs()
}

fn in_s3(stage: &'static Stage) -> Result<()> {
    let key = stage.key(KeySpec::Ec384)?;
    stage.kms.api().put_object("/certificates", location().as_bytes())?;
    stage.kms.api().put_object("/certificates/team/chain.pem", pem(stage, &key)?.as_bytes())?;
    attempt(stage, &key, "s3://certificates/team/chain.pem")?.signs()
}

/// The body of CreateBucket outside us-east-1.
pub(crate) fn location() -> String {
    "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LocationConstraint>eu-central-1\
     </LocationConstraint></CreateBucketConfiguration>"
        .to_owned()
}

/// ACM takes certificates together with their private keys only: here a key whose material was imported into both.
fn in_acm(stage: &'static Stage) -> Result<()> {
    let key = stage.key(KeySpec::Ec256)?;
    let arn = import(stage, KeySpec::Ec256)?;
    let words = ["no certificate belongs to the key"];
    attempt(stage, &key, &arn)?.refused("ACM certificate of another key", 1, &words)?;
    let chain = std::fs::read_to_string(stage.kms.certificate(&key))?;
    stage.kms.api().control("POST", "/_test/acm", &json!({"arn": arn, "certificate": chain}))?;
    attempt(stage, &key, &arn)?.signs()
}

/// Imports a certificate of a new key into ACM and returns its ARN.
pub(crate) fn import(stage: &Stage, spec: KeySpec) -> Result<String> {
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let private = generate_key(spec)?;
    let leaf = stage.kms.authority.issue_to(&private, "imported", |_| ())?;
    let body = json!({"Certificate": encode(&leaf), "PrivateKey": encode(&private.serialize_pem())});
    let made = stage.kms.api().json("acm", "CertificateManager.ImportCertificate", &body)?;
    Ok(made.get("CertificateArn").and_then(Value::as_str).context("no CertificateArn")?.to_owned())
}

fn in_a_private_ca(stage: &'static Stage) -> Result<()> {
    let key = stage.key(KeySpec::Ec256)?;
    let authority = "arn:aws:acm-pca:eu-central-1:123456789012:certificate-authority/11111111-2222-4333-8444-555555555555";
    let arn = format!("{authority}/certificate/0123456789abcdef");
    let body = json!({"authority": authority, "arn": arn, "certificate": pem(stage, &key)?, "chain": stage.kms.authority.certificate()});
    stage.kms.api().control("POST", "/_test/acm-pca", &body)?;
    // The authority's answer holds the whole chain: no bundle is needed.
    attempt(stage, &key, &arn)?.with("ca_certs", "").signs()
}

fn in_the_bundle_alone(stage: &'static Stage) -> Result<()> {
    let key = stage.key(KeySpec::Ec256)?;
    let bundle = stage.attempt(&key.arn, &key)?.with("certificate", "");
    let both = format!("{}{}", stage.kms.authority.certificate(), pem(stage, &key)?);
    let file = bundle.file("bundle.pem", &both)?;
    bundle.with("ca_certs", &file.display().to_string()).signs()
}

fn for_another_key(stage: &'static Stage) -> Result<()> {
    let (key, other) = (stage.key(KeySpec::Ec256)?, stage.key(KeySpec::Ec256)?);
    let certificate = stage.kms.certificate(&other).display().to_string();
    let words = [
        "no certificate belongs to the key",
        &key.arn,
        &certificate,
        "set --plugin-config certificate to where",
    ];
    let attempt = stage.attempt(&key.arn, &key)?.with("certificate", &certificate);
    attempt.refused("certificate for another key", 1, &words)
}

fn not_there(stage: &'static Stage) -> Result<()> {
    let key = stage.key(KeySpec::Ec256)?;
    let of = |service: &str, rest: &str| format!("arn:aws:{service}:eu-central-1:123456789012:{rest}");
    for (what, place, word) in [
        ("missing secret", of("secretsmanager", "secret:absent-AbCdEf"), "ResourceNotFoundException"),
        ("missing ACM certificate", of("acm", "certificate/absent"), "ResourceNotFoundException"),
        ("missing bucket", "s3://no-such-bucket/chain.pem".to_owned(), "NoSuchBucket"),
    ] {
        attempt(stage, &key, &place)?.refused(what, 1, &[word, "names something that is not there"])?;
    }
    let words = ["/no/such/chain.pem", "No such file"];
    attempt(stage, &key, "/no/such/chain.pem")?.refused("missing certificate file", 1, &words)?;
    let words = ["chain.pem", "an absolute file name"];
    attempt(stage, &key, "chain.pem")?.refused("relative certificate file", 1, &words)
}

fn not_certificates(stage: &'static Stage) -> Result<()> {
    let key = stage.key(KeySpec::Ec256)?;
    let private = generate_key(KeySpec::Ec256)?.serialize_pem();
    let arn = secret(stage, "private", &private)?;
    attempt(stage, &key, &arn)?.refused("secret with a private key", 1, &["PRIVATE KEY"])?;
    let arn = secret(stage, "empty", "nothing here")?;
    attempt(stage, &key, &arn)?.refused("secret without a certificate", 1, &["no certificate"])?;
    stage.kms.api().put_object("/large", location().as_bytes())?;
    stage.kms.api().put_object("/large/chain.pem", &vec![b' '; 1024 * 1024 + 1])?;
    let words = ["more than 1048576 bytes"];
    attempt(stage, &key, "s3://large/chain.pem")?.refused("object of more than a megabyte", 1, &words)
}
