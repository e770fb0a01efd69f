//! Each permission in turn: the error names the line that the policy lacks.

use std::ops::ControlFlow;

use anyhow::Result;
use prokura_integration::backend::openbao::{MANAGE_POLICY, SIGN_POLICY};
use prokura_plugin::message::PluginConfig;
use prokura_plugin::{CertificateChain, KeyId, KeySpec};

use super::Fault;
use super::ground::{Ground, Host, KEY, failure, says};

pub(crate) const FAULTS: &[Fault] = &[
    ("policy without reading the key", |g| {
        lacking(g, "no-read", r#"path "transit/sign/+" { capabilities = ["update"] }"#)?
            .refused(&[r#"path "transit/keys/ec-256" { capabilities = ["read"] }"#])
    }),
    ("policy without signing", |g| {
        lacking(g, "no-sign", r#"path "transit/keys/+" { capabilities = ["read"] }"#)?
            .refused(&[r#"path "transit/sign/ec-256" { capabilities = ["update"] }"#])
    }),
    ("policy without reading the KV secret", |g| {
        lacking(g, "no-kv", SIGN_POLICY)?
            .config("certificates", "kv:secret/data/release")
            .refused(&[r#"path "secret/data/release" { capabilities = ["read"] }"#])
    }),
    ("policy that denies", |g| {
        lacking(
            g,
            "denies",
            &format!("{SIGN_POLICY}\npath \"transit/sign/{KEY}\" {{ capabilities = [\"deny\"] }}"),
        )?
        .refused(&["HTTP 403", "transit/sign/ec-256"])
    }),
    ("token without the default policy and without signing", |g| {
        // It may not look itself up either, so the two causes cannot be told apart.
        let policy = r#"path "transit/keys/+" { capabilities = ["read"] }"#;
        g.bao.server.write("sys/policies/acl/bare", &serde_json::json!({"policy": policy}))?;
        let body = serde_json::json!({"policies": ["bare"], "no_default_policy": true, "ttl": "1h"});
        let answer = g.bao.server.write("auth/token/create", &body)?;
        let token =
            answer.pointer("/auth/client_token").and_then(serde_json::Value::as_str).unwrap_or_default();
        g.signing().env("VAULT_TOKEN", token).refused(&["HTTP 403", "transit/sign/ec-256"])
    }),
    ("policy without listing keys", |g| {
        let host = g.host(&[("VAULT_TOKEN", &g.bao.server.token("no-list", SIGN_POLICY, "1h")?)])?;
        let mut found = |_| ControlFlow::Continue(());
        let listing = host.plugin.list_keys(&CONFIG, &mut found);
        let said = failure(host.runtime.block_on(listing).map_err(Into::into))?;
        says(&said, &[r#"path "transit/keys" { capabilities = ["list"] }"#])?;
        Ok(said)
    }),
    ("policy without creating keys", |g| {
        let host = g.host(&[("VAULT_TOKEN", &g.bao.server.token("no-create", SIGN_POLICY, "1h")?)])?;
        let name = KeyId::new("wanted").map_err(|e| anyhow::anyhow!("{e}"))?;
        let making = host.plugin.create_key(&CONFIG, &name, KeySpec::Ec384);
        let said = failure(host.runtime.block_on(making).map_err(Into::into))?;
        says(&said, &[r#"path "transit/keys/wanted" { capabilities = ["create", "update"] }"#])?;
        Ok(said)
    }),
    ("policy without installing certificates", |g| {
        let host = g.host(&[("VAULT_TOKEN", &g.bao.server.token("no-install", SIGN_POLICY, "1h")?)])?;
        let chain = CertificateChain::from_pem(g.bao.issue(KEY, 1)?.as_bytes())
            .map_err(|e| anyhow::anyhow!("{e}"))?;
        let storing = Host::key(KEY, &[])?;
        let storing = host.plugin.install_certificate(&storing, &chain);
        let said = failure(host.runtime.block_on(storing).map_err(Into::into))?;
        says(&said, &[r#"path "transit/keys/ec-256/set-certificate" { capabilities = ["update"] }"#])?;
        Ok(said)
    }),
    ("creating a key whose name is taken", |g| {
        let host = g.host(&[("VAULT_TOKEN", &g.bao.server.token("managing", MANAGE_POLICY, "1h")?)])?;
        let name = KeyId::new(KEY).map_err(|e| anyhow::anyhow!("{e}"))?;
        let making = host.plugin.create_key(&CONFIG, &name, KeySpec::Ec384);
        let said = failure(host.runtime.block_on(making).map_err(Into::into))?;
        says(&said, &["exists already and is not replaced"])?;
        Ok(said)
    }),
];

static CONFIG: PluginConfig = PluginConfig(std::collections::BTreeMap::new());

fn lacking<'a>(ground: &'a Ground, name: &str, policy: &str) -> Result<super::ground::Signing<'a>> {
    Ok(ground.signing().env("VAULT_TOKEN", ground.bao.server.token(name, policy, "1h")?))
}
