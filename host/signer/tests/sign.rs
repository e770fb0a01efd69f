//! The signing story over stdio, with plugins whose answers were made beforehand.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

mod house;

use std::fs;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use house::signing::{Key, attributes, now, payload, request};
use house::{House, RAW, options};
use prokura_envelope::{EnvelopeFormat, Payload, Unsigned};
use prokura_plugin::KeySpec;
use prokura_signer::{Blame, Error, KeyReference, Signed, Transport, describe_key, sign, sign_described};
use serde_json::{Value, json};

const ENVELOPE: &str = "SIGNATURE_GENERATOR.ENVELOPE";
/// The answers lie in files named after the command.
const CANNED: &str = r#"cat >"$traces/$1.request"; cat "$traces/$1.answer""#;

fn key() -> KeyReference {
    KeyReference::new("k", [("slot".to_owned(), "7".to_owned())].into_iter().collect()).unwrap()
}

fn answer(house: &House, command: &str, answer: &Value) {
    fs::write(house.path(&format!("{command}.answer")), answer.to_string()).unwrap();
}

/// What a good RAW plugin answers to `request` with `key`.
fn raw_answer(key: &Key, format: EnvelopeFormat) -> Value {
    let request = request(format);
    let unsigned = Unsigned::new(format, &payload(&request), attributes(None, "x"), key.spec).unwrap();
    json!({
        "keyId": "k",
        "signature": STANDARD.encode(key.sign(unsigned.to_be_signed())),
        "signingAlgorithm": key.spec.signing_algorithm().as_str(),
        "certificateChain": [STANDARD.encode(&key.certificate)],
    })
}

async fn sign_raw(
    house: &House,
    described: &str,
    signature: &Value,
    format: EnvelopeFormat,
) -> Result<Signed, Error> {
    house.script(RAW, CANNED);
    answer(house, "describe-key", &json!({"keyId": "k", "keySpec": described}));
    answer(house, "generate-signature", signature);
    let plugin = house.start(options()).await?;
    sign(&plugin, &key(), request(format)).await
}

async fn raw_error(change: impl FnOnce(&mut Value)) -> Error {
    let mut signature = raw_answer(&Key::new(KeySpec::Ec256), EnvelopeFormat::Jws);
    change(&mut signature);
    sign_raw(&House::new(), "EC-256", &signature, EnvelopeFormat::Jws).await.unwrap_err()
}

#[tokio::test]
async fn a_raw_signature_becomes_an_envelope() {
    for format in EnvelopeFormat::ALL {
        for spec in [KeySpec::Ec256, KeySpec::Ec384] {
            let house = House::new();
            let answer = raw_answer(&Key::new(spec), format);
            let signed = sign_raw(&house, spec.as_str(), &answer, format).await.unwrap();
            assert_eq!(signed.transport, Transport::Stdio);
            assert!(signed.timings.describe > Duration::ZERO && signed.timings.sign > Duration::ZERO);
            let content = signed.envelope.content();
            assert_eq!(content.payload, payload(&request(format)).bytes());
            assert_eq!(content.signing_agent.as_deref(), Some("prokura/0.1.0 x/1.2.3"));
            assert_eq!((content.signing_time, content.expiry), (Some(now()), None));
        }
    }
}

#[tokio::test]
async fn the_plugin_is_asked_as_the_contract_says() {
    let house = House::new();
    let signature = raw_answer(&Key::new(KeySpec::Ec256), EnvelopeFormat::Jws);
    sign_raw(&house, "EC-256", &signature, EnvelopeFormat::Jws).await.unwrap();
    let asked = fs::read_to_string(house.path("generate-signature.request")).unwrap();
    assert!(asked.starts_with(
        r#"{"contractVersion":"1.0","keyId":"k","keySpec":"EC-256","hashAlgorithm":"SHA-256","payload":""#
    ));
    assert!(asked.ends_with(r#"","pluginConfig":{"slot":"7"}}"#), "{asked}");
    assert!(!asked.contains('\n'));
    let asked: Value = serde_json::from_str(&asked).unwrap();
    let payload_signed = STANDARD.decode(asked["payload"].as_str().unwrap()).unwrap();
    let request = request(EnvelopeFormat::Jws);
    let attributes = attributes(None, "x");
    let unsigned =
        Unsigned::new(EnvelopeFormat::Jws, &payload(&request), attributes, KeySpec::Ec256).unwrap();
    assert_eq!(payload_signed, unsigned.to_be_signed());
}

#[tokio::test]
async fn each_fault_of_a_signature_names_its_rule() {
    let der = json!(STANDARD.encode([&[0x30, 6, 2, 1, 1, 2, 1, 1][..]].concat()));
    for (member, value, rule) in [
        ("keyId", json!("K"), "SIG-1"),
        ("signingAlgorithm", json!(""), "SIG-2"),
        ("signingAlgorithm", json!("ECDSA-SHA-384"), "SIG-2"),
        ("signature", der, "SIG-3"),
        ("certificateChain", json!(["AAAA"]), "SIG-4"),
        ("signature", json!("*"), "OUT-1"),
    ] {
        let error = raw_error(|answer| answer[member] = value).await;
        assert_eq!(error.rule(), Some(rule), "{error}");
        assert_eq!(error.blame(), Blame::PluginAuthor);
    }
}

#[tokio::test]
async fn what_does_not_verify_makes_no_envelope() {
    let error = raw_error(|answer| answer["signature"] = json!(STANDARD.encode([7; 64]))).await;
    assert!(matches!(&error, Error::Envelope { .. }), "{error}");
    assert_eq!(error.rule(), Some("SIG-6"));
    assert!(error.to_string().ends_with("; its author must act"), "{error}");
    assert!(error.to_string().contains("does not verify under the leaf certificate"), "{error}");
    let other = Key::new(KeySpec::Ec256).certificate;
    let error = raw_error(|answer| answer["certificateChain"] = json!([STANDARD.encode(other)])).await;
    assert!(error.to_string().contains("does not verify"), "{error}");
    let error = raw_error(|answer| answer["certificateChain"] = json!([])).await;
    assert!(error.to_string().contains("there is no certificate chain"), "{error}");
    assert_eq!((error.blame(), error.rule()), (Blame::Operator, Some("CERT-1")));
    assert!(
        error.to_string().ends_with("whoever configured the key and its certificates must act"),
        "{error}"
    );
}

#[tokio::test]
async fn a_key_that_changed_is_called_so() {
    let signature = raw_answer(&Key::new(KeySpec::Ec384), EnvelopeFormat::Jws);
    let error = sign_raw(&House::new(), "EC-256", &signature, EnvelopeFormat::Jws).await.unwrap_err();
    assert!(matches!(error, Error::KeyChanged { .. }), "{error}");
    let text = error.to_string();
    assert!(text.starts_with("the key changed between describe-key and generate-signature: key id \"k\" of plugin x was an EC-256 key, the signature is by an EC-384 key;"), "{text}");
    assert!(error.may_retry());
}

#[tokio::test]
async fn requests_that_make_no_payload_ask_no_plugin() {
    let house = House::new();
    house.script(RAW, CANNED);
    let plugin = house.start(options()).await.unwrap();
    let mut reserved = request(EnvelopeFormat::Jws);
    reserved.user_metadata.insert("io.cncf.notary.x".to_owned(), "v".to_owned());
    let mut brief = request(EnvelopeFormat::Jws);
    brief.expiry = Some(Duration::from_millis(999));
    for (request, text) in [(reserved, "reserved prefix"), (brief, "at least one")] {
        let error = sign(&plugin, &key(), request).await.unwrap_err();
        assert!(matches!(error, Error::InvalidRequest(_)), "{error}");
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(error.blame(), Blame::User);
    }
    assert!(!house.path("describe-key.request").exists());
}

#[tokio::test]
async fn key_ids_no_plugin_can_read_are_refused() {
    for bad in ["", "a\u{1b}b", &"k".repeat(4097)] {
        assert!(matches!(KeyReference::new(bad, Default::default()), Err(Error::InvalidRequest(_))));
    }
}

fn envelope_answer(format: EnvelopeFormat, envelope: &[u8]) -> Value {
    json!({
        "signatureEnvelope": STANDARD.encode(envelope),
        "signatureEnvelopeType": format.media_type(),
        "annotations": {"com.example": "v", "io.cncf.notary.x509chain.thumbprint#S256": "[]"},
    })
}

async fn sign_envelope(answered: &Value, expiry: Option<Duration>) -> Result<Signed, Error> {
    let house = House::new();
    house.script(ENVELOPE, CANNED);
    answer(&house, "generate-envelope", answered);
    let plugin = house.start(options()).await?;
    let mut request = request(EnvelopeFormat::Jws);
    request.expiry = expiry;
    let signed = sign(&plugin, &key(), request).await?;
    let asked = fs::read_to_string(house.path("generate-envelope.request")).unwrap();
    assert!(asked.starts_with(r#"{"contractVersion":"1.0","keyId":"k","payloadType":"application/vnd.cncf.notary.payload.v1+json","signatureEnvelopeType":"application/jose+json","payload":""#));
    assert_eq!(asked.contains(r#""expiryDurationInSeconds":3600"#), expiry.is_some(), "{asked}");
    Ok(signed)
}

#[tokio::test]
async fn an_envelope_made_by_the_plugin_is_taken() {
    let key = Key::new(KeySpec::Ec256);
    let payload = payload(&request(EnvelopeFormat::Jws));
    let envelope = key.envelope(EnvelopeFormat::Jws, &payload, attributes(None, "vendor"));
    let signed = sign_envelope(&envelope_answer(EnvelopeFormat::Jws, &envelope), None).await.unwrap();
    assert_eq!(signed.envelope.bytes(), envelope);
    assert_eq!(signed.annotations.into_keys().collect::<Vec<_>>(), ["com.example"]);
    let hour = Duration::from_secs(3600);
    let expiry = Some(now().checked_add(jiff::SignedDuration::from_hours(1)).unwrap());
    let envelope = key.envelope(EnvelopeFormat::Jws, &payload, attributes(expiry, "vendor"));
    let signed = sign_envelope(&envelope_answer(EnvelopeFormat::Jws, &envelope), Some(hour)).await.unwrap();
    assert_eq!(signed.envelope.content().expiry, expiry);
}

#[tokio::test]
async fn each_fault_of_an_envelope_names_its_rule() {
    let key = Key::new(KeySpec::Ec256);
    let jws = EnvelopeFormat::Jws;
    let request = request(jws);
    let good = payload(&request);
    let make = |payload: &Payload, attributes| key.envelope(jws, payload, attributes);
    let envelope = make(&good, attributes(None, "x"));
    let mut other_type = envelope_answer(jws, &envelope);
    other_type["signatureEnvelopeType"] = json!("application/cose");
    let mut tampered: Value = serde_json::from_slice(&envelope).unwrap();
    tampered["signature"] = raw_answer(&key, jws)["signature"]
        .as_str()
        .map(|s| s.replace('+', "-").replace('/', "_").replace('=', ""))
        .into();
    tampered["payload"] = json!("eyJ0YXJnZXRBcnRpZmFjdCI6e319");
    let mut target = request.target.clone();
    target.size = 529;
    let other_target =
        make(&Payload::new(target, request.user_metadata.clone()).unwrap(), attributes(None, "x"));
    let no_metadata =
        make(&Payload::new(request.target.clone(), Default::default()).unwrap(), attributes(None, "x"));
    let more = String::from_utf8(good.bytes().to_vec()).unwrap().replacen('{', r#"{"more":1,"#, 1);
    let more = make(&Payload::parse(more.as_bytes()).unwrap(), attributes(None, "x"));
    let mut old = attributes(None, "x");
    old.signing_time = "2026-03-01T11:44:59Z".parse().unwrap();
    let old = make(&good, old);
    for (answered, rule) in [
        (other_type, "ENV-1"),
        (envelope_answer(jws, b"{}"), "ENV-2"),
        (envelope_answer(jws, tampered.to_string().as_bytes()), "ENV-3"),
        (envelope_answer(jws, &other_target), "ENV-6"),
        (envelope_answer(jws, &no_metadata), "ENV-6"),
        (envelope_answer(jws, &more), "ENV-7"),
        (envelope_answer(jws, &old), "ENV-9"),
    ] {
        let error = sign_envelope(&answered, None).await.unwrap_err();
        assert_eq!(error.rule(), Some(rule), "{error}");
    }
    let answered = envelope_answer(jws, &envelope);
    let error = sign_envelope(&answered, Some(Duration::from_secs(3600))).await.unwrap_err();
    assert_eq!(error.rule(), Some("ENV-8"), "{error}");
}

/// A JWS made by hand of the parts of a good one, with another payload or content type.
fn handmade(key: &Key, envelope: &[u8], payload: &[u8], content_type: Option<&str>) -> Vec<u8> {
    let mut jws: Value = serde_json::from_slice(envelope).unwrap();
    let protected = URL_SAFE_NO_PAD.decode(jws["protected"].as_str().unwrap()).unwrap();
    let mut protected: Value = serde_json::from_slice(&protected).unwrap();
    if let Some(content_type) = content_type {
        protected["cty"] = json!(content_type);
    }
    let protected = URL_SAFE_NO_PAD.encode(protected.to_string());
    let payload = URL_SAFE_NO_PAD.encode(payload);
    let signature = URL_SAFE_NO_PAD.encode(key.sign(format!("{protected}.{payload}").as_bytes()));
    jws["protected"] = json!(protected);
    jws["payload"] = json!(payload);
    jws["signature"] = json!(signature);
    jws.to_string().into_bytes()
}

#[tokio::test]
async fn an_envelope_around_something_else_names_its_rule() {
    let key = Key::new(KeySpec::Ec256);
    let jws = EnvelopeFormat::Jws;
    let good = payload(&request(jws));
    let envelope = key.envelope(jws, &good, attributes(None, "x"));
    let remade = handmade(&key, &envelope, good.bytes(), None);
    sign_envelope(&envelope_answer(jws, &remade), None).await.unwrap();
    for (bad, rule) in [
        (handmade(&key, &envelope, good.bytes(), Some("text/plain")), "ENV-4"),
        (handmade(&key, &envelope, b"{}", None), "ENV-5"),
        (handmade(&key, &envelope, b"[1,2", None), "ENV-5"),
    ] {
        let error = sign_envelope(&envelope_answer(jws, &bad), None).await.unwrap_err();
        assert_eq!(error.rule(), Some(rule), "{error}");
    }
}

/// The chain is not under the signature: another certificate of the same key can take its place.
#[tokio::test]
async fn certificates_that_are_not_valid_when_it_was_signed_name_their_rule() {
    let key = Key::new(KeySpec::Ec256);
    let envelope =
        key.envelope(EnvelopeFormat::Jws, &payload(&request(EnvelopeFormat::Jws)), attributes(None, "x"));
    let with_certificate = |from, until| {
        let mut jws: Value = serde_json::from_slice(&envelope).unwrap();
        jws["header"]["x5c"] = json!([STANDARD.encode(key.certificate_for(from, until))]);
        envelope_answer(EnvelopeFormat::Jws, jws.to_string().as_bytes())
    };
    sign_envelope(&with_certificate(2021, 2039), None).await.unwrap();
    for (from, until, text) in [(2020, 2026, "2026-01-01"), (2027, 2040, "2027-01-01")] {
        let error = sign_envelope(&with_certificate(from, until), None).await.unwrap_err();
        assert_eq!((error.rule(), error.blame()), (Some("ENV-11"), Blame::PluginAuthor), "{error}");
        let error = error.to_string();
        assert!(error.contains("CERT-2") && error.contains(text), "{error}");
    }
}

#[tokio::test]
async fn plugins_are_used_for_what_they_can() {
    let house = House::new();
    house.script("SIGNATURE_VERIFIER.TRUSTED_IDENTITY", CANNED);
    let plugin = house.start(options()).await.unwrap();
    let error = sign(&plugin, &key(), request(EnvelopeFormat::Jws)).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("plugin x lacks SIGNATURE_GENERATOR.RAW or SIGNATURE_GENERATOR.ENVELOPE"),
        "{text}"
    );
    house.script(ENVELOPE, CANNED);
    let plugin = house.start(options()).await.unwrap();
    let error = describe_key(&plugin, &key()).await.unwrap_err();
    assert!(matches!(&error, Error::Incapable { .. }) && error.to_string().contains("blob"), "{error}");
}

#[tokio::test]
async fn raw_is_preferred_and_a_described_key_is_not_described_again() {
    let house = House::new();
    let signature = raw_answer(&Key::new(KeySpec::Ec256), EnvelopeFormat::Jws);
    house.script(&format!("{ENVELOPE} {RAW}"), CANNED);
    answer(&house, "describe-key", &json!({"keyId": "k", "keySpec": "EC-256"}));
    answer(&house, "generate-signature", &signature);
    let plugin = house.start(options()).await.unwrap();
    let description = describe_key(&plugin, &key()).await.unwrap();
    assert_eq!(description.key_spec, KeySpec::Ec256);
    fs::remove_file(house.path("describe-key.answer")).unwrap();
    sign_described(&plugin, &key(), &description, request(EnvelopeFormat::Jws)).await.unwrap();
}
