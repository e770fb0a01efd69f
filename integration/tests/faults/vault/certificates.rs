//! Certificates that are absent, someone else's, or where nobody finds them; and every place that holds them rightly.

use anyhow::{Result, ensure};
use prokura_integration::program::{executable, output};
use prokura_plugin::{CertificateChain, KeySpec};
use serde_json::{Value, json};

use super::Fault;
use super::ground::{Ground, Host, KEY, failure, says};

pub(crate) const FAULTS: &[Fault] = &[
    ("key without a certificate", |g| {
        g.bao.create("bare", KeySpec::Ec256)?;
        g.signing().id("bare").refused(&["there is no certificate"])
    }),
    ("certificate of another key", |g| {
        g.bao.server.write("sys/mounts/kv-other", &json!({"type": "kv", "options": {"version": "2"}}))?;
        let chain = g.bao.issue("ec-384", 1)?;
        g.bao.server.write("kv-other/data/release", &json!({"data": {"certificate_chain": chain}}))?;
        let policy = r#"path "kv-other/data/release" { capabilities = ["read"] }"#;
        kv(g, "kv-other/data/release", policy)?.refused(&["no certificate belongs to the key"])
    }),
    ("chain from KV version 2", |g| {
        g.bao.server.write("sys/mounts/kv-two", &json!({"type": "kv", "options": {"version": "2"}}))?;
        let chain = g.bao.issue(KEY, 1)?;
        g.bao.server.write("kv-two/data/release", &json!({"data": {"pem": chain}}))?;
        let policy = r#"path "kv-two/data/release" { capabilities = ["read"] }"#;
        kv(g, "kv-two/data/release#pem", policy)?.works()
    }),
    ("chain from KV version 1", |g| {
        g.bao.server.write("sys/mounts/kv-one", &json!({"type": "kv"}))?;
        g.bao.server.write("kv-one/release", &json!({"certificate_chain": g.bao.issue(KEY, 1)?}))?;
        kv(g, "kv-one/release", r#"path "kv-one/release" { capabilities = ["read"] }"#)?.works()
    }),
    ("KV secret without the field", |g| {
        g.bao.server.write("sys/mounts/kv-field", &json!({"type": "kv"}))?;
        g.bao.server.write("kv-field/release", &json!({"chain": "x"}))?;
        kv(g, "kv-field/release", r#"path "kv-field/release" { capabilities = ["read"] }"#)?
            .refused(&["no text field \"certificate_chain\", found chain"])
    }),
    ("KV secret that is no PEM", |g| {
        g.bao.server.write("sys/mounts/kv-text", &json!({"type": "kv"}))?;
        g.bao.server.write("kv-text/release", &json!({"certificate_chain": "not PEM"}))?;
        kv(g, "kv-text/release", r#"path "kv-text/release" { capabilities = ["read"] }"#)?
            .refused(&["kv-text/release holds no certificate"])
    }),
    ("no such KV secret", |g| {
        g.bao.server.write("sys/mounts/kv-empty", &json!({"type": "kv"}))?;
        kv(g, "kv-empty/release", r#"path "kv-empty/release" { capabilities = ["read"] }"#)?.refused(&[
            "kv-empty/release",
            "holds nothing of that name",
            "plugin config certificates",
        ])
    }),
    ("leaf in transit and its issuer in PKI", issuer_in_pki),
    ("leaf and issuer in PKI", all_in_pki),
    ("installing a certificate of another key", |g| {
        g.bao.create("other", KeySpec::Ec256)?;
        let (host, key) = (g.host(&[])?, Host::key("other", &[])?);
        let said = failure(install(&host, &key, &g.bao.issue(KEY, 1)?))?;
        says(&said, &["no certificate belongs to the key"])?;
        Ok(said)
    }),
    ("installing a certificate, then signing", |g| {
        g.bao.create("fresh", KeySpec::Rsa2048)?;
        let (host, key) = (g.host(&[])?, Host::key("fresh", &[])?);
        install(&host, &key, &g.bao.issue("fresh", 1)?)?;
        ensure!(host.sign(&key)?.as_deref() == Some("1"), "version 1 signs");
        Ok("installed, signed, verified".to_owned())
    }),
];

fn kv<'a>(ground: &'a Ground, source: &str, policy: &str) -> Result<super::ground::Signing<'a>> {
    let name: String = source.chars().filter(char::is_ascii_alphanumeric).collect();
    let policy = format!("{}{policy}", prokura_integration::backend::openbao::SIGN_POLICY);
    let token = ground.bao.server.token(&name, &policy, "1h")?;
    Ok(ground.signing().config("certificates", format!("kv:{source}")).env("VAULT_TOKEN", token))
}

fn issuer_in_pki(ground: &Ground) -> Result<String> {
    let server = &ground.bao.server;
    server.write("sys/mounts/pki", &json!({"type": "pki"}))?;
    server.write("pki/issuers/import/cert", &json!({"pem_bundle": ground.bao.authority.certificate()}))?;
    ground.bao.create("halved", KeySpec::Ec256)?;
    let chain = ground.bao.issue("halved", 1)?;
    let leaf = chain.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap_or_default();
    server.write("transit/keys/halved/set-certificate", &json!({"certificate_chain": leaf}))?;
    ground.signing().id("halved").refused(&["openbao test root"])?;
    let listed = server.admin("GET", "pki/issuers?list=true", None)?;
    let issuer = listed.pointer("/data/keys/0").and_then(Value::as_str).unwrap_or_default();
    // Issuers are public: no policy is needed for them.
    ground.signing().id("halved").config("certificates", format!("transit,pki:pki/issuer/{issuer}")).works()
}

/// The vault's own CA answers a request made with the key, and keeps what it issued.
fn all_in_pki(ground: &Ground) -> Result<String> {
    let server = &ground.bao.server;
    server.write("sys/mounts/ca", &json!({"type": "pki"}))?;
    let root = json!({
        "common_name": "vault ca", "organization": "x", "country": "US", "province": "WA", "ttl": "8000h", "key_type": "ec",
    });
    server.write("ca/root/generate/internal", &root)?;
    ground.bao.create("issued", KeySpec::Ec384)?;
    let mut command = ground.home.command(&executable("prokura")?);
    command.env("VAULT_ADDR", server.address()).env("VAULT_TOKEN", ground.bao.token());
    command.args([
        "certificate",
        "request",
        "--plugin",
        "vault",
        "--id",
        "issued",
        "--subject",
        "CN=x,O=x,ST=WA,C=US",
    ]);
    let request = output(&mut command)?.ok()?;
    let body = json!({"csr": request, "key_usage": ["DigitalSignature"], "ext_key_usage": ["CodeSigning"], "ttl": "700h"});
    let issued = server.write("ca/sign-verbatim", &body)?;
    let serial = issued.pointer("/data/serial_number").and_then(Value::as_str).unwrap_or_default();
    let sources = format!("pki:ca/cert/{serial},pki:ca/issuer/default");
    ground.signing().id("issued").config("certificates", sources).works()
}

fn install(host: &Host, key: &prokura_signer::KeyReference, pem: &str) -> Result<()> {
    let chain = CertificateChain::from_pem(pem.as_bytes()).map_err(|e| anyhow::anyhow!("{e}"))?;
    Ok(host.runtime.block_on(host.plugin.install_certificate(key, &chain))?)
}
