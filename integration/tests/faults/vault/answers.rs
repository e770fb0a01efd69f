//! Answers no honest vault gives: another key's signature, other encodings, other versions, no JSON, too much of it.

use anyhow::Result;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use prokura_integration::backend::fault_proxy::Fault as Broken;
use prokura_plugin::KeySpec;
use serde_json::{Value, json};

use super::Fault;
use super::ground::Ground;

const SIGN: &str = "transit/sign/";
const READ: &str = "transit/keys/";

pub(crate) const FAULTS: &[Fault] = &[
    ("signature of another key", |g| {
        g.bao.create("impostor", KeySpec::Ec256)?;
        let elsewhere = Broken::Elsewhere("sign/ec-256".into(), "sign/impostor".into());
        refused(g, SIGN, elsewhere, &["does not verify"])
    }),
    ("signature that does not verify", |g| {
        refused(g, SIGN, signature(&fixed(&[7; 64])), &["does not verify"])
    }),
    ("signature of another version", |g| {
        refused(
            g,
            SIGN,
            Broken::Replace("vault:v1:".into(), "vault:v2:".into()),
            &["signed with version \"2\""],
        )
    }),
    ("signature in ASN.1 DER", |g| {
        let der = "MEUCIB3fPcM+pqUBZZsS6pcZx/ETUvRq+GD5JeJLoU0v1Ta3AiEAj1i8ZW2N1kBFr4/fTMKNZ2vUKz3XvQ4eqNC8PTzggxg=";
        let bytes = BASE64_STANDARD.decode(der)?;
        refused(
            g,
            SIGN,
            signature(&fixed(&bytes)),
            &["a raw EC-256 signature has 64 bytes", "look like ASN.1 DER"],
        )
    }),
    ("signature a byte short", |g| {
        refused(g, SIGN, signature(&fixed(&[7; 63])), &["has 64 bytes, found 63"])
    }),
    ("signature a byte long", |g| refused(g, SIGN, signature(&fixed(&[7; 65])), &["has 64 bytes, found 65"])),
    ("signature that is no Base64", |g| {
        refused(g, SIGN, signature("vault:v1:***"), &["a signature in Base64"])
    }),
    ("answer without a signature", |g| {
        refused(g, SIGN, answer(&json!({"data": {}})), &["without a signature"])
    }),
    ("answer without data", |g| refused(g, SIGN, answer(&json!({"auth": null})), &["without data"])),
    ("truncated JSON", |g| {
        refused(g, SIGN, Broken::Shorten(30), &["no JSON", "does VAULT_ADDR name a vault?"])
    }),
    ("a page of HTML", |g| {
        let page = Broken::Answer { status: 200, headers: Vec::new(), body: "<html></html>".to_owned() };
        refused(g, READ, page, &["no JSON", "does VAULT_ADDR name a vault?"])
    }),
    ("an answer of 5 MiB", |g| {
        let huge = Broken::Answer { status: 200, headers: Vec::new(), body: "[".repeat(5 << 20) };
        refused(g, READ, huge, &["larger than 4194304 bytes"])
    }),
    ("key that is no key", |g| refused(g, READ, answer(&json!({"data": {"type": 7}})), &["without a key"])),
    ("public key of another kind than the type says", |g| {
        refused(
            g,
            READ,
            Broken::Replace("\"ecdsa-p256\"".into(), "\"rsa-2048\"".into()),
            &["an RSA-2048 public key"],
        )
    }),
    ("public key that is none", |g| {
        refused(
            g,
            READ,
            Broken::Replace("BEGIN PUBLIC KEY".into(), "BEGIN KEY".into()),
            &["without a public key"],
        )
    }),
    ("control characters in the vault's words", |g| {
        refused(g, READ, Broken::status(400, "red \u{1b}[31malarm"), &["red [31malarm"])
    }),
];

fn refused(ground: &Ground, matching: &str, fault: Broken, words: &[&str]) -> Result<String> {
    let proxy = ground.proxy()?;
    proxy.inject(matching, usize::MAX, fault);
    ground.signing().via(&proxy).refused(words)
}

fn fixed(bytes: &[u8]) -> String {
    format!("vault:v1:{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

fn signature(text: &str) -> Broken {
    answer(&json!({"request_id": "r", "data": {"key_version": 1, "signature": text}}))
}

fn answer(json: &Value) -> Broken {
    Broken::Answer { status: 200, headers: Vec::new(), body: json.to_string() }
}
