//! Each permission in turn: signed requests (SigV4) by users whose IAM policies lack one, with the ARN of the key checked.

use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow, ensure};
use libtest_mimic::Trial;
use prokura_integration::backend::aws::KmsKey;
use prokura_integration::program::workspace;
use prokura_integration::suite;
use prokura_plugin::KeySpec;
use serde_json::{Value, json};

use super::certificates::{import, location, pem, secret};
use super::listing::{create, listed};
use super::stage::{Attempt, Stage, tell};

pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &str, test: fn(&'static Guarded) -> Result<()>| {
        suite::trial(format!("aws-kms::permissions::{name}"), move || test(guarded()?))
    };
    vec![
        trial("as_the_page_has_them", as_the_page_has_them),
        trial("of_the_key", of_the_key),
        trial("of_secrets_manager", of_secrets_manager),
        trial("of_s3", of_s3),
        trial("of_acm", of_acm),
        trial("of_listing", of_listing),
        trial("of_making", of_making),
        trial("strangers", strangers),
    ]
}

/// An emulator that checks every request, filled before it began to.
struct Guarded {
    stage: Stage,
    key: KmsKey,
    secret: String,
    acm: String,
}

fn guarded() -> Result<&'static Guarded> {
    static GUARDED: OnceLock<std::result::Result<Guarded, String>> = OnceLock::new();
    super::stage::stage()?;
    GUARDED
        .get_or_init(|| Guarded::start().map_err(|e| format!("{e:#}")))
        .as_ref()
        .map_err(|e| anyhow!("{e}"))
}

impl Guarded {
    fn start() -> Result<Self> {
        let stage = Stage::start()?;
        let key = stage.key(KeySpec::Ec256)?;
        let secret = secret(&stage, "guarded", &pem(&stage, &key)?)?;
        stage.kms.api().put_object("/guarded", location().as_bytes())?;
        stage.kms.api().put_object("/guarded/chain.pem", pem(&stage, &key)?.as_bytes())?;
        let acm = import(&stage, KeySpec::Ec256)?;
        stage.kms.api().enforce()?;
        Ok(Self { stage, key, secret, acm })
    }

    /// An attempt by a new user with these permissions.
    fn attempt(&self, user: &str, statements: &[(&[&str], &str)]) -> Result<Attempt<'_>> {
        let (access, secret) = self.stage.kms.api().user(user, &policy(statements))?;
        let attempt = self.stage.attempt(&self.key.arn, &self.key)?;
        let attempt = attempt.env("AWS_ACCESS_KEY_ID", &access).env("AWS_SECRET_ACCESS_KEY", &secret);
        Ok(attempt.env("AWS_ENDPOINT_URL", &self.stage.kms.api().url()))
    }

    /// What signing alone takes, as the operator's page has it.
    fn signing(&self) -> (&[&'static str], &str) {
        (&["kms:GetPublicKey", "kms:Sign"], &self.key.arn)
    }
}

fn policy(statements: &[(&[&str], &str)]) -> Value {
    let statements: Vec<Value> = statements
        .iter()
        .map(|(actions, resource)| json!({"Effect": "Allow", "Action": actions, "Resource": resource}))
        .collect();
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// The policy on the operator's page, with this key's ARN in it, is enough; and every action tested here stands there.
fn as_the_page_has_them(guarded: &'static Guarded) -> Result<()> {
    let page = std::fs::read_to_string(workspace().join("plugins/aws-kms/README.md"))?;
    let block =
        page.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).context("a policy")?;
    let example = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    ensure!(block.contains(example), "{block}");
    let policy: Value = serde_json::from_str(&block.replace(example, &guarded.key.arn))?;
    let (access, secret) = guarded.stage.kms.api().user("reader of the page", &policy)?;
    let attempt = guarded.stage.attempt(&guarded.key.arn, &guarded.key)?;
    attempt.env("AWS_ACCESS_KEY_ID", &access).env("AWS_SECRET_ACCESS_KEY", &secret).signs()?;
    let kms =
        ["ListKeys", "ListAliases", "DescribeKey", "CreateKey", "CreateAlias"].map(|a| format!("kms:{a}"));
    let others =
        ["s3:GetObject", "secretsmanager:GetSecretValue", "acm:GetCertificate", "acm-pca:GetCertificate"];
    for action in kms.iter().map(String::as_str).chain(others) {
        ensure!(page.contains(&format!("`{action}`")), "the page does not name {action}");
    }
    Ok(())
}

fn of_the_key(guarded: &'static Guarded) -> Result<()> {
    guarded.attempt("signer", &[guarded.signing()])?.signs()?;
    let arn = guarded.key.arn.as_str();
    for (user, missing, left) in
        [("no-public", "kms:GetPublicKey", ["kms:Sign"]), ("no-sign", "kms:Sign", ["kms:GetPublicKey"])]
    {
        let must_allow = format!("must allow {missing} on {arn}");
        let words = ["AccessDeniedException", must_allow.as_str()];
        guarded.attempt(user, &[(&left, arn)])?.refused(&format!("no permission {missing}"), 1, &words)?;
    }
    let other = arn.replace(&guarded.key.id, "00000000-0000-4000-8000-000000000000");
    let (actions, _) = guarded.signing();
    let words = ["AccessDeniedException", arn];
    guarded.attempt("other-key", &[(actions, &other)])?.refused("permission on another key", 1, &words)
}

fn of_secrets_manager(guarded: &'static Guarded) -> Result<()> {
    let with = |user: &str, statements: &[(&[&str], &str)]| {
        guarded.attempt(user, statements).map(|a| a.with("certificate", &guarded.secret))
    };
    let reading: (&[&str], &str) = (&["secretsmanager:GetSecretValue"], "*");
    with("reader", &[guarded.signing(), reading])?.signs()?;
    let must_allow = format!("must allow secretsmanager:GetSecretValue on {}", guarded.secret);
    let words = ["AccessDeniedException", must_allow.as_str()];
    with("no-secret", &[guarded.signing()])?.refused("no permission secretsmanager:GetSecretValue", 1, &words)
}

fn of_s3(guarded: &'static Guarded) -> Result<()> {
    let with = |user: &str, statements: &[(&[&str], &str)]| {
        guarded.attempt(user, statements).map(|a| a.with("certificate", "s3://guarded/chain.pem"))
    };
    let words = ["AccessDenied", "must allow s3:GetObject on arn:aws:s3:::guarded/chain.pem"];
    with("no-object", &[guarded.signing()])?.refused("no permission s3:GetObject", 1, &words)?;
    let reading: (&[&str], &str) = (&["s3:GetObject"], "*");
    with("object-reader", &[guarded.signing(), reading])?.signs()
}

fn of_acm(guarded: &'static Guarded) -> Result<()> {
    let attempt = guarded.attempt("no-acm", &[guarded.signing()])?.with("certificate", &guarded.acm);
    let must_allow = format!("must allow acm:GetCertificate on {}", guarded.acm);
    attempt.refused("no permission acm:GetCertificate", 1, &["AccessDenied", &must_allow])?;
    let arn = "arn:aws:acm-pca:eu-central-1:123456789012:certificate-authority/1/certificate/2";
    let attempt = guarded.attempt("no-pca", &[guarded.signing()])?.with("certificate", arn);
    let words = [
        "must allow acm-pca:GetCertificate on arn:aws:acm-pca:eu-central-1:123456789012:certificate-authority/1",
    ];
    attempt.refused("no permission acm-pca:GetCertificate", 1, &words)
}

fn of_listing(guarded: &'static Guarded) -> Result<()> {
    let all = ["kms:ListKeys", "kms:ListAliases", "kms:DescribeKey", "kms:GetPublicKey"];
    let (keys, said) = listed(&guarded.attempt("lister", &[(&all, "*")])?)?;
    ensure!(keys.len() == KeySpec::ALL.len() + 1 && said.is_empty(), "{} keys, {said:?}", keys.len());
    for missing in all {
        let left: Vec<&str> = all.into_iter().filter(|action| *action != missing).collect();
        let told = match listed(&guarded.attempt(&format!("lister without {missing}"), &[(&left, "*")])?) {
            Err(error) => error.to_string(),
            Ok((_, said)) => said.first().cloned().unwrap_or_default(),
        };
        ensure!(told.contains(&format!("must allow {missing} on ")), "{missing}: {told}");
        tell(&format!("no permission {missing}"), &told)?;
    }
    Ok(())
}

fn of_making(guarded: &'static Guarded) -> Result<()> {
    let all = ["kms:CreateKey", "kms:CreateAlias", "kms:DescribeKey", "kms:GetPublicKey"];
    for missing in all {
        let left: Vec<&str> = all.into_iter().filter(|action| *action != missing).collect();
        let attempt = guarded.attempt(&format!("maker without {missing}"), &[(&left, "*")])?;
        let name = missing.replace(':', "-");
        let refused =
            attempt.served(async |plugin, _| create(&plugin, &attempt, &name, KeySpec::Ec256).await);
        let told = refused.err().context("a key was made")?.to_string();
        ensure!(told.contains(&format!("must allow {missing} on ")), "{missing}: {told}");
        if ["kms:CreateAlias", "kms:GetPublicKey"].contains(&missing) {
            ensure!(told.contains(" was made, but: "), "{told}");
        }
        tell(&format!("no permission {missing}"), &told)?;
    }
    Ok(())
}

fn strangers(guarded: &'static Guarded) -> Result<()> {
    let attempt = guarded.attempt("stranger", &[guarded.signing()])?.env("AWS_SECRET_ACCESS_KEY", "wrong");
    let words = ["InvalidSignatureException", "check access key, secret key"];
    attempt.refused("wrong secret access key", 1, &words)?;
    let words = ["UnrecognizedClientException", "check access key, secret key"];
    attempt.env("AWS_ACCESS_KEY_ID", "AKIANOBODY0000000000").refused("unknown access key", 1, &words)
}
