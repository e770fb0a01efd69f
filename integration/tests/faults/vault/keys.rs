//! Keys that are absent, of the wrong kind, forbidden to sign, deleted or rotated at the wrong moment.

#![expect(clippy::indexing_slicing, reason = "a panic is a failed test")]

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use prokura_plugin::KeySpec;
use serde_json::{Value, json};

use super::Fault;
use super::ground::{Ground, Host, failure, says};

pub(crate) const FAULTS: &[Fault] = &[
    ("no such key", |g| {
        g.signing().id("nope").refused(&["read key transit/nope", "has no key nope", "bao list transit/keys"])
    }),
    ("no engine at the mount", |g| {
        g.signing()
            .env("VAULT_TOKEN", &g.bao.server.root_token)
            .id("elsewhere/release")
            .refused(&["nothing is mounted there", "bao secrets enable -path=elsewhere"])
    }),
    ("key id that is none", |g| g.signing().id("../sys/seal").refused(&["is no name in the vault"])),
    ("encryption-only key", |g| wrong_type(g, "aes256-gcm96", json!({}))),
    ("Ed25519 key", |g| wrong_type(g, "ed25519", json!({}))),
    ("derived key", |g| {
        g.bao.server.write("transit/keys/derived", &json!({"type": "ed25519", "derived": true}))?;
        g.signing().id("derived").refused(&["is derived"])
    }),
    ("soft-deleted key", soft_deleted),
    ("pinned version that may not sign any more", below_minimum),
    ("pinned version that is archived", archived),
    ("pinned version that does not exist", |g| {
        g.signing().id("transit/ec-256?version=99").refused(&["version 99 does not exist", "versions 1 to 1"])
    }),
    ("key deleted between describe and sign", deleted),
    ("key rotated between describe and sign", rotated),
    ("key rotated and its old version forbidden between describe and sign", rotated_and_forbidden),
    ("exportable key", exportable),
];

fn wrong_type(ground: &Ground, kind: &str, more: Value) -> Result<String> {
    let mut body = more;
    body["type"] = json!(kind);
    ground.bao.server.write(&format!("transit/keys/of-{kind}"), &body)?;
    ground.signing().id(&format!("of-{kind}")).refused(&[
        kind,
        "expected rsa-2048",
        "Notary signs with no other",
    ])
}

fn soft_deleted(ground: &Ground) -> Result<String> {
    with_key(ground, "binned")?;
    ground.bao.server.admin("DELETE", "transit/keys/binned/soft-delete", None)?;
    ground
        .signing()
        .id("binned")
        .refused(&["soft-deleted", "bao write -f transit/keys/binned/soft-delete-restore"])
}

fn below_minimum(ground: &Ground) -> Result<String> {
    with_key(ground, "raised")?;
    rotate(ground, "raised")?;
    ground.bao.server.write("transit/keys/raised/config", &json!({"min_encryption_version": 2}))?;
    ground.signing().id("raised@v1").refused(&["min_encryption_version forbids this version to sign"])
}

fn archived(ground: &Ground) -> Result<String> {
    with_key(ground, "aged")?;
    rotate(ground, "aged")?;
    ground.bao.server.write("transit/keys/aged/config", &json!({"min_decryption_version": 2}))?;
    ground.signing().id("aged@v1").refused(&["version 1 is archived", "versions 2 to 2"])
}

fn deleted(ground: &Ground) -> Result<String> {
    with_key(ground, "doomed")?;
    let (host, key) = (ground.host(&[])?, Host::key("doomed", &[])?);
    let description = host.describe(&key)?;
    ground.bao.server.write("transit/keys/doomed/config", &json!({"deletion_allowed": true}))?;
    ground.bao.server.admin("DELETE", "transit/keys/doomed", None)?;
    let said = failure(host.sign_described(&key, &description))?;
    says(&said, &["there is no such key", "bao list transit/keys"])?;
    Ok(said)
}

/// What was described is what signs; the rotation is noticed by a later description.
fn rotated(ground: &Ground) -> Result<String> {
    with_key(ground, "turning")?;
    let (host, key) = (ground.host(&[])?, Host::key("turning", &[])?);
    let description = host.describe(&key)?;
    rotate(ground, "turning")?;
    let signed = host.sign_described(&key, &description)?;
    ensure!(signed.as_deref() == Some("1"), "version {signed:?} signed, expected 1");
    let until = Instant::now() + Duration::from_secs(30);
    while host.sign(&key)?.as_deref() != Some("2") {
        ensure!(Instant::now() < until, "version 2 never signs");
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok("nobody notices: version 1 signs what was described, later signatures are by version 2".to_owned())
}

fn rotated_and_forbidden(ground: &Ground) -> Result<String> {
    with_key(ground, "rushed")?;
    let (host, key) = (ground.host(&[])?, Host::key("rushed", &[])?);
    let description = host.describe(&key)?;
    rotate(ground, "rushed")?;
    ground.bao.server.write("transit/keys/rushed/config", &json!({"min_encryption_version": 2}))?;
    let said = failure(host.sign_described(&key, &description))?;
    says(&said, &["rushed version 1", "min_encryption_version forbids"])?;
    let signed = host.sign(&key)?;
    ensure!(signed.as_deref() == Some("2"), "version {signed:?} signed, expected 2");
    Ok(format!("{said}; the next signature is by version 2"))
}

fn exportable(ground: &Ground) -> Result<String> {
    ground.bao.server.write("transit/keys/open", &json!({"type": "ecdsa-p256", "exportable": true}))?;
    ground.bao.certify("open", 1)?;
    let description = ground.host(&[])?.describe(&Host::key("open", &[])?)?;
    ensure!(description.details.exportable == Some(true), "{:?}", description.details);
    Ok("described as exportable".to_owned())
}

fn with_key(ground: &Ground, name: &str) -> Result<()> {
    ground.bao.create(name, KeySpec::Ec256)?;
    ground.bao.certify(name, 1).map(|_| ())
}

fn rotate(ground: &Ground, name: &str) -> Result<()> {
    ground.bao.server.write(&format!("transit/keys/{name}/rotate"), &json!({}))?;
    ground.bao.certify(name, 2).map(|_| ())
}
