//! Reading JWS: every rule broken once, everything else right and properly signed.

use aws_lc_rs::signature::{RSA_PSS_SHA256, RsaPssSaltLength};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use prokura_envelope::{AttributeKey, EnvelopeFormat, Error, ParsedEnvelope, VerifiedEnvelope, limits};
use prokura_plugin::KeySpec;
use serde_json::{Value, json};

use crate::mint;

const SPEC: KeySpec = KeySpec::Ec256;

/// An envelope around any protected header, signed with the right key.
fn signed(protected: &str) -> Value {
    let payload = URL_SAFE_NO_PAD.encode(mint::payload().bytes());
    let protected = URL_SAFE_NO_PAD.encode(protected);
    let signature = mint::sign(SPEC, format!("{protected}.{payload}").as_bytes());
    let chain = mint::chain(SPEC);
    let x5c: Vec<_> = chain.certificates().iter().map(|der| STANDARD.encode(der)).collect();
    json!({
        "payload": payload,
        "protected": protected,
        "header": { "x5c": x5c, "io.cncf.notary.signingAgent": "test" },
        "signature": URL_SAFE_NO_PAD.encode(signature.bytes()),
    })
}

fn good_header() -> Value {
    json!({
        "alg": "ES256",
        "cty": "application/vnd.cncf.notary.payload.v1+json",
        "crit": ["io.cncf.notary.signingScheme"],
        "io.cncf.notary.signingScheme": "notary.x509",
        "io.cncf.notary.signingTime": "2026-01-31T08:00:00Z",
    })
}

/// The good header with members set, or removed where null.
fn header_with(changes: Value) -> String {
    let mut header = good_header();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(header.as_object_mut().unwrap().remove(name)),
            value => header[name] = value.clone(),
        }
    }
    header.to_string()
}

fn read(envelope: &Value) -> Result<VerifiedEnvelope, Error> {
    read_bytes(envelope.to_string().as_bytes())
}

fn read_bytes(bytes: &[u8]) -> Result<VerifiedEnvelope, Error> {
    ParsedEnvelope::parse(EnvelopeFormat::Jws, bytes)?.verify()
}

fn refused(protected: &str, name: &str, words: &str) {
    match read(&signed(protected)) {
        Err(Error::Attribute { name: found, problem }) => {
            assert_eq!(found, name, "{protected}: {problem}");
            assert!(problem.contains(words), "{protected}: {problem}");
        }
        other => panic!("{protected}: {other:?}"),
    }
}

const SCHEME: &str = "io.cncf.notary.signingScheme";
const TIME: &str = "io.cncf.notary.signingTime";
const AUTHENTIC: &str = "io.cncf.notary.authenticSigningTime";
const EXPIRY: &str = "io.cncf.notary.expiry";

#[test]
fn legal_variety_is_accepted() {
    let noon = "2026-01-31T12:00:00Z";
    let headers = [
        json!({}),
        json!({ TIME: "2026-01-31T16:00:00+08:00" }),
        json!({ TIME: "2026-01-31t08:00:00.123456789123z" }),
        json!({ EXPIRY: noon, "crit": [EXPIRY, SCHEME] }),
        json!({ TIME: null, SCHEME: "notary.x509.signingAuthority", AUTHENTIC: noon, "crit": [AUTHENTIC, SCHEME] }),
        json!({ "kid": "x", "typ": "JOSE", "x5t": "y", "com.example": { "a": [1, 2.5, null] } }),
    ];
    for changes in headers {
        read(&signed(&header_with(changes.clone()))).unwrap_or_else(|e| panic!("{changes}: {e}"));
    }
    let mut unknown_members = signed(&good_header().to_string());
    unknown_members["more"] = json!({ "payload": "x" });
    unknown_members["header"]["kid"] = json!(1);
    read(&unknown_members).unwrap();
}

#[test]
fn unknown_critical_attributes_are_kept_and_marked() {
    let crit = json!([SCHEME, "com.example.must"]);
    let header = header_with(json!({ "com.example.must": 1, "com.example.may": 2, "crit": crit }));
    let content = read(&signed(&header)).unwrap().content().clone();
    let found: Vec<_> = content.extended.iter().map(|a| (a.key.clone(), a.critical)).collect();
    let text = |t: &str| AttributeKey::Text(t.to_owned());
    assert_eq!(found, [(text("com.example.may"), false), (text("com.example.must"), true)]);
}

#[test]
fn rules_of_the_critical_list() {
    refused(&header_with(json!({ "crit": null })), "crit", "missing or empty");
    refused(&header_with(json!({ "crit": [] })), "crit", "missing or empty");
    refused(&header_with(json!({ "crit": SCHEME })), "crit", "is a string");
    refused(&header_with(json!({ "crit": [SCHEME, 1] })), "crit", "lists a number");
    refused(&header_with(json!({ "crit": [SCHEME, SCHEME] })), SCHEME, "twice");
    refused(&header_with(json!({ "crit": [SCHEME, "absent"] })), "absent", "not present");
    refused(&header_with(json!({ "crit": [SCHEME, EXPIRY] })), EXPIRY, "not present");
    refused(&header_with(json!({ "crit": [SCHEME, TIME] })), TIME, "must not be listed");
    refused(&header_with(json!({ "crit": ["a"], "a": 1 })), SCHEME, "is not listed as critical");
    refused(&header_with(json!({ EXPIRY: "2027-01-01T00:00:00Z" })), EXPIRY, "is not listed as critical");
    let authority =
        json!({ TIME: null, SCHEME: "notary.x509.signingAuthority", AUTHENTIC: "2026-01-01T00:00:00Z" });
    refused(&header_with(authority), AUTHENTIC, "is not listed as critical");
    for registered in ["alg", "cty", "crit", "kid", "x5c", "jwk", "b64"] {
        refused(&header_with(json!({ "crit": [SCHEME, registered] })), "crit", "RFC 7515");
    }
    refused(&header_with(json!({ "b64": false })), "b64", "RFC 7797");
    let many: Vec<_> = (0..300).map(|n| n.to_string()).collect();
    refused(&header_with(json!({ "crit": many })), "crit", "at most 256");
    let many: serde_json::Map<String, Value> = (0..300).map(|n| (n.to_string(), json!(1))).collect();
    refused(&header_with(many.into()), "header", "at most 256");
}

#[test]
fn rules_of_scheme_and_times() {
    refused(&header_with(json!({ SCHEME: null })), SCHEME, "is missing");
    refused(&header_with(json!({ SCHEME: 1 })), SCHEME, "is a number");
    refused(&header_with(json!({ SCHEME: "notary.x510" })), SCHEME, "\"notary.x510\" is not supported");
    refused(&header_with(json!({ TIME: null })), TIME, "notary.x509 requires it");
    refused(&header_with(json!({ TIME: 1_769_846_400 })), TIME, "is a number");
    refused(&header_with(json!({ TIME: "yesterday" })), TIME, "\"yesterday\" is not an RFC 3339");
    refused(&header_with(json!({ AUTHENTIC: "2026-01-01T00:00:00Z" })), AUTHENTIC, "must not be present");
    let authority = |authentic: Value, time: Value| {
        let scheme = "notary.x509.signingAuthority";
        header_with(json!({ SCHEME: scheme, AUTHENTIC: authentic, TIME: time, "crit": [SCHEME, AUTHENTIC] }))
    };
    let noon = json!("2026-01-31T12:00:00Z");
    refused(&authority(Value::Null, Value::Null), AUTHENTIC, "requires it");
    refused(&authority(noon.clone(), noon), TIME, "must not be present");
    refused(&header_with(json!({ "cty": null })), "cty", "is missing");
    refused(&header_with(json!({ "alg": null })), "alg", "is missing");
}

#[test]
fn algorithm_and_content_type_are_those_of_notary() {
    for alg in ["none", "HS256", "RS256", "EdDSA", "es256"] {
        let error = read(&signed(&header_with(json!({ "alg": alg })))).unwrap_err();
        assert_eq!(error, Error::UnsupportedAlgorithm { found: alg.to_owned() });
    }
    let error = read(&signed(&header_with(json!({ "alg": "ES384" })))).unwrap_err();
    assert!(matches!(error, Error::AlgorithmMismatch { key: SPEC, .. }), "{error}");
    let error = read(&signed(&header_with(json!({ "cty": "text/plain" })))).unwrap_err();
    assert_eq!(error, Error::ContentType { found: "text/plain".to_owned() });
}

fn malformed(bytes: &[u8], words: &str) {
    match read_bytes(bytes) {
        Err(Error::Malformed { format: EnvelopeFormat::Jws, reason }) => {
            assert!(reason.contains(words), "{words}: {reason}");
        }
        other => panic!("{words}: {other:?}"),
    }
}

#[test]
fn malformed_envelopes_are_refused_with_the_reason() {
    let good = signed(&good_header().to_string());
    let with = |name: &str, value: Value| {
        let mut envelope = good.clone();
        envelope[name] = value;
        envelope.to_string().into_bytes()
    };
    let text = |name: &str| good[name].as_str().unwrap().to_owned();
    malformed(b"", "EOF");
    malformed(b"[]", "expected a JSON object, found an array");
    malformed(&with("payload", json!(1)), "\"payload\" is a number");
    malformed(&with("payload", json!("")), "is empty");
    malformed(&with("signature", json!("")), "is empty");
    malformed(&with("payload", json!(text("payload") + "=")), "canonical Base64");
    malformed(&with("signature", json!(text("signature").replace('_', "/") + "/")), "canonical Base64");
    malformed(&with("signature", json!(format!("{}\n", text("signature")))), "canonical Base64");
    malformed(&with("protected", json!("e30x")), "protected header: trailing");
    malformed(&with("header", json!("x")), "\"header\" is a string");
    malformed(&with("header", json!({ "x5c": "x" })), "\"x5c\" is a string");
    malformed(&with("header", json!({ "x5c": [1] })), "\"x5c\" holds a number");
    malformed(&with("header", json!({ "x5c": ["a-_b"] })), "\"x5c\" is not canonical");
    let agent = |agent: Value| {
        let x5c = good["header"]["x5c"].clone();
        with("header", json!({ "x5c": x5c, "io.cncf.notary.signingAgent": agent }))
    };
    malformed(&agent(json!(["a"])), "signing agent is an array");
    malformed(&agent(json!("a".repeat(5000))), "at most 4096");
    let token = |token: Value| {
        let x5c = good["header"]["x5c"].clone();
        with("header", json!({ "x5c": x5c, "io.cncf.notary.timestampSignature": token }))
    };
    malformed(&token(json!(1)), "timestamp token is a number");
    malformed(&token(json!("A".repeat(1_400_000))), "timestamp token is larger");
    assert_eq!(read_bytes(&token(json!("AQID"))).unwrap().content().timestamp_token, Some(vec![1, 2, 3]));
    let twice = good.to_string().replacen('{', "{\"payload\":\"x\",", 1);
    malformed(twice.as_bytes(), "\"payload\" occurs twice");
    malformed(format!("{good}{good}").as_bytes(), "trailing");
}

#[test]
fn base64_with_stray_trailing_bits_is_refused() {
    // 64 signature bytes leave four unused bits in the last character.
    let good = signed(&good_header().to_string());
    let text = good["signature"].as_str().unwrap();
    assert!(text.ends_with(['A', 'Q', 'g', 'w']));
    let last = text.bytes().last().unwrap();
    let mut envelope = good.clone();
    envelope["signature"] = json!(format!("{}{}", &text[..text.len() - 1], char::from(last + 1)));
    malformed(envelope.to_string().as_bytes(), "canonical Base64");
}

#[test]
fn duplicates_and_bombs_in_the_protected_header_are_refused() {
    let duplicate = good_header().to_string().replacen('{', "{\"alg\":\"none\",", 1);
    malformed(signed(&duplicate).to_string().as_bytes(), "protected header: member \"alg\" occurs twice");
    let nested = format!("{{\"a\":{}{}}}", "[".repeat(100), "]".repeat(100));
    malformed(signed(&nested).to_string().as_bytes(), "nested deeper than 16");
    malformed(&[b"{\"a\":".to_vec(), vec![b'['; 1_000_000]].concat(), "nested deeper than 16");
    let long = vec![b' '; limits::ENVELOPE_BYTES_MAX + 1];
    let error = read_bytes(&long).unwrap_err();
    assert_eq!(
        error,
        Error::TooLarge { found: limits::ENVELOPE_BYTES_MAX + 1, allowed: limits::ENVELOPE_BYTES_MAX }
    );
}

#[test]
fn certificates_are_bounded_and_parsed() {
    let good = signed(&good_header().to_string());
    let with = |x5c: Value| {
        let mut envelope = good.clone();
        envelope["header"]["x5c"] = x5c;
        read(&envelope)
    };
    assert_eq!(with(json!([])).unwrap_err(), Error::NoCertificates);
    let error = with(json!(["AAAA"])).unwrap_err();
    assert!(matches!(error, Error::Certificate { index: 0, .. }), "{error}");
    let leaf = good["header"]["x5c"][0].clone();
    let error = with(json!(vec![leaf.clone(); 17])).unwrap_err();
    assert!(matches!(&error, Error::Chain(violation) if violation.rule == "CERT-1"), "{error}");
    let error = with(json!([leaf, STANDARD.encode(vec![0x30; 70_000])])).unwrap_err();
    assert!(
        error.to_string().contains("certificate 1 of the chain: a certificate of 70000 bytes"),
        "{error}"
    );
    let mut none = good.clone();
    none.as_object_mut().unwrap().remove("header");
    assert_eq!(read(&none).unwrap_err(), Error::NoCertificates);
}

#[test]
fn another_leaf_or_changed_payload_is_an_integrity_failure() {
    let mut envelope = signed(&good_header().to_string());
    envelope["payload"] = json!(URL_SAFE_NO_PAD.encode(r#"{"targetArtifact":{}}"#));
    let error = read(&envelope).unwrap_err();
    assert!(matches!(error, Error::Integrity { .. }), "{error}");
    let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let chain = mint::Plan::good().chain_for(&other);
    let mut envelope = signed(&good_header().to_string());
    envelope["header"]["x5c"] = chain.iter().map(|der| STANDARD.encode(der)).collect();
    let error = read(&envelope).unwrap_err();
    assert!(matches!(error, Error::Integrity { .. }), "{error}");
}

#[test]
fn any_salt_length_is_read_in_jws() {
    const SPEC: KeySpec = KeySpec::Rsa2048;
    let made = mint::envelope(EnvelopeFormat::Jws, SPEC);
    let envelope: Value = serde_json::from_slice(made.bytes()).unwrap();
    let text = |name: &str| envelope[name].as_str().unwrap();
    let message = format!("{}.{}", text("protected"), text("payload"));
    let salts = [
        &const { RSA_PSS_SHA256.with_pss_salt_length(RsaPssSaltLength::Max) },
        &const { RSA_PSS_SHA256.with_pss_salt_length(RsaPssSaltLength::Custom(20)) },
        &const { RSA_PSS_SHA256.with_pss_salt_length(RsaPssSaltLength::Custom(0)) },
    ];
    for salt in salts {
        let mut signature = mint::sign_rsa(SPEC, salt, message.as_bytes());
        let mut changed = envelope.clone();
        changed["signature"] = json!(URL_SAFE_NO_PAD.encode(&signature));
        read(&changed).unwrap();
        signature[100] ^= 1;
        changed["signature"] = json!(URL_SAFE_NO_PAD.encode(&signature));
        assert!(matches!(read(&changed).unwrap_err(), Error::Integrity { .. }));
    }
}

#[test]
fn the_payload_is_bounded_to_the_byte() {
    let parse = |length: usize| {
        let mut envelope = signed(&good_header().to_string());
        envelope["payload"] = URL_SAFE_NO_PAD.encode(vec![b'x'; length]).into();
        ParsedEnvelope::parse(EnvelopeFormat::Jws, envelope.to_string().as_bytes())
    };
    assert_eq!(parse(limits::PAYLOAD_BYTES_MAX).unwrap().content().payload.len(), limits::PAYLOAD_BYTES_MAX);
    let error = parse(limits::PAYLOAD_BYTES_MAX + 1).unwrap_err().to_string();
    assert!(error.contains("the payload has 1048577 bytes, at most 1048576 are read"), "{error}");
}
