//! Reading COSE: every rule broken once, everything else right and properly signed.

use aws_lc_rs::signature::{RSA_PSS_SHA256, RsaPssSaltLength};
use ciborium::{Value, cbor};
use prokura_envelope::{AttributeKey, EnvelopeFormat, Error, Mismatch, ParsedEnvelope, VerifiedEnvelope};
use prokura_plugin::KeySpec;

use crate::mint;

const SPEC: KeySpec = KeySpec::Ec256;
const SCHEME: &str = "io.cncf.notary.signingScheme";
const TIME: &str = "io.cncf.notary.signingTime";
const AUTHENTIC: &str = "io.cncf.notary.authenticSigningTime";
const EXPIRY: &str = "io.cncf.notary.expiry";

type Map = Vec<(Value, Value)>;

fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

fn epoch(seconds: i64) -> Value {
    Value::Tag(1, Box::new(seconds.into()))
}

fn good_header() -> Map {
    vec![
        (1.into(), (-7).into()),
        (2.into(), Value::Array(vec![SCHEME.into()])),
        (3.into(), "application/vnd.cncf.notary.payload.v1+json".into()),
        (SCHEME.into(), "notary.x509".into()),
        (TIME.into(), epoch(1_769_846_400)),
    ]
}

fn ders() -> Vec<Value> {
    mint::chain(SPEC).certificates().iter().cloned().map(Value::Bytes).collect()
}

fn unprotected() -> Map {
    vec![(33.into(), Value::Array(ders())), ("io.cncf.notary.signingAgent".into(), "test".into())]
}

/// Elements of a COSE_Sign1 around any encoded protected header, signed with the right key.
fn signed(protected: Vec<u8>, unprotected: Map) -> Vec<Value> {
    let payload = Value::Bytes(mint::payload().bytes().to_vec());
    let protected = Value::Bytes(protected);
    let empty = Value::Bytes(Vec::new());
    let message = Value::Array(vec!["Signature1".into(), protected.clone(), empty, payload.clone()]);
    let signature = mint::sign(SPEC, &encode(&message));
    vec![protected, Value::Map(unprotected), payload, Value::Bytes(signature.bytes().to_vec())]
}

fn tagged(elements: Vec<Value>) -> Vec<u8> {
    encode(&Value::Tag(18, Box::new(Value::Array(elements))))
}

/// The good header with entries replaced or added, or removed where the value is null.
fn header_with(changes: Map) -> Vec<u8> {
    let mut header = good_header();
    for (key, value) in changes {
        header.retain(|(found, _)| *found != key);
        if !value.is_null() {
            header.push((key, value));
        }
    }
    encode(&Value::Map(header))
}

fn read(bytes: &[u8]) -> Result<VerifiedEnvelope, Error> {
    ParsedEnvelope::parse(EnvelopeFormat::Cose, bytes)?.verify()
}

fn read_header(changes: Map) -> Result<VerifiedEnvelope, Error> {
    read(&tagged(signed(header_with(changes), unprotected())))
}

#[track_caller]
fn refused(changes: Map, name: &str, words: &str) {
    match read_header(changes) {
        Err(Error::Attribute { name: found, problem }) => {
            assert_eq!(found, name, "{problem}");
            assert!(problem.contains(words), "{problem}");
        }
        other => panic!("{name} {words}: {other:?}"),
    }
}

#[track_caller]
fn malformed(bytes: &[u8], words: &str) {
    match read(bytes) {
        Err(Error::Malformed { format: EnvelopeFormat::Cose, reason }) => {
            assert!(reason.contains(words), "{words}: {reason}");
        }
        other => panic!("{words}: {other:?}"),
    }
}

fn list(names: &[&str]) -> Value {
    Value::Array(names.iter().map(|n| (*n).into()).collect())
}

#[test]
fn legal_variety_is_accepted() {
    read_header(vec![]).unwrap();
    read_header(vec![(EXPIRY.into(), epoch(1_800_000_000)), (2.into(), list(&[EXPIRY, SCHEME]))]).unwrap();
    let authority = vec![
        (TIME.into(), Value::Null),
        (SCHEME.into(), "notary.x509.signingAuthority".into()),
        (AUTHENTIC.into(), epoch(1_769_846_400)),
        (2.into(), list(&[SCHEME, AUTHENTIC])),
    ];
    read_header(authority).unwrap();
    // Parameters everybody understands may be listed without need.
    let crit = Value::Array(vec![1.into(), 3.into(), SCHEME.into(), TIME.into()]);
    read_header(vec![(2.into(), crit)]).unwrap();
    // Another order and longer encodings of the protected header: its bytes are verified as they came.
    let mut reversed = good_header();
    reversed.reverse();
    read(&tagged(signed(encode(&Value::Map(reversed)), unprotected()))).unwrap();
    let mut long_label = header_with(vec![(1.into(), Value::Null)]);
    long_label[0] += 1;
    long_label.extend([0x18, 0x01, 0x26]); // 1: -7, the label in two bytes
    read(&tagged(signed(long_label, unprotected()))).unwrap();
}

#[test]
fn chains_in_every_legal_place() {
    let leaf = mint::Plan::good().leaf.self_signed(mint::key(SPEC)).unwrap().der().to_vec();
    let single = vec![(33.into(), Value::Bytes(leaf))];
    assert_eq!(read(&tagged(signed(header_with(vec![]), single))).unwrap().content().chain.len(), 1);
    let inside = header_with(vec![(33.into(), Value::Array(ders()))]);
    assert_eq!(read(&tagged(signed(inside.clone(), vec![]))).unwrap().content().chain.len(), 3);
    malformed(&tagged(signed(inside, unprotected())), "two certificate chains");
    let critical = Value::Array(vec![SCHEME.into(), 33.into()]);
    let inside = header_with(vec![(33.into(), Value::Array(ders())), (2.into(), critical.clone())]);
    read(&tagged(signed(inside, vec![]))).unwrap();
    refused(vec![(2.into(), critical)], "33", "not present");
    let with = |value: Value| tagged(signed(header_with(vec![]), vec![(33.into(), value)]));
    assert_eq!(read(&with(Value::Array(vec![]))).unwrap_err(), Error::NoCertificates);
    assert_eq!(read(&tagged(signed(header_with(vec![]), vec![]))).unwrap_err(), Error::NoCertificates);
    malformed(&with("x".into()), "neither an array nor a byte string");
    malformed(&with(list(&["x"])), "something else than byte strings");
    let error = read(&with(Value::Array(vec![Value::Bytes(vec![0]); 17]))).unwrap_err();
    assert!(matches!(&error, Error::Chain(violation) if violation.rule == "CERT-1"), "{error}");
}

#[test]
fn rules_of_the_protected_header() {
    refused(vec![(1.into(), Value::Null)], "alg (1)", "missing");
    refused(vec![(1.into(), "ES256".into())], "alg (1)", "no integer");
    refused(vec![(3.into(), Value::Null)], "content type (3)", "missing");
    refused(vec![(3.into(), 60.into())], "content type (3)", "no text");
    refused(vec![(2.into(), Value::Null)], "crit", "missing or empty");
    refused(vec![(2.into(), Value::Array(vec![]))], "crit", "missing or empty");
    refused(vec![(2.into(), SCHEME.into())], "crit (2)", "no array");
    refused(vec![(2.into(), list(&[SCHEME, SCHEME]))], SCHEME, "twice");
    refused(vec![(2.into(), list(&[SCHEME, "absent"]))], "absent", "not present");
    refused(vec![(2.into(), Value::Array(vec![SCHEME.into(), (-9).into()]))], "-9", "not present");
    refused(vec![(2.into(), list(&["x"])), ("x".into(), 1.into())], SCHEME, "not listed as critical");
    refused(vec![(EXPIRY.into(), epoch(1_800_000_000))], EXPIRY, "not listed as critical");
    refused(vec![(SCHEME.into(), Value::Null)], SCHEME, "missing");
    refused(vec![(SCHEME.into(), 1.into())], SCHEME, "no text");
    refused(vec![(SCHEME.into(), "notary.x510".into())], SCHEME, "not supported");
    refused(vec![(TIME.into(), Value::Null)], TIME, "requires it");
    refused(vec![(TIME.into(), 1_769_846_400.into())], TIME, "no CBOR tag 1");
    refused(
        vec![(TIME.into(), Value::Tag(0, Box::new("2026-01-31T08:00:00Z".into())))],
        TIME,
        "no CBOR tag 1",
    );
    refused(vec![(TIME.into(), Value::Tag(1, Box::new(1.5.into())))], TIME, "no CBOR tag 1");
    refused(vec![(TIME.into(), Value::Tag(1, Box::new(i64::MAX.into())))], TIME, "in range");
    refused(vec![(AUTHENTIC.into(), epoch(1))], AUTHENTIC, "must not be present");
    let error = read_header(vec![(1.into(), (-257).into())]).unwrap_err(); // RS256
    assert_eq!(error, Error::UnsupportedAlgorithm { found: "-257".to_owned() });
    let error = read_header(vec![(1.into(), (-35).into())]).unwrap_err();
    assert!(matches!(error, Error::AlgorithmMismatch { key: SPEC, .. }), "{error}");
    let error = read_header(vec![(3.into(), "text/plain".into())]).unwrap_err();
    assert_eq!(error, Error::ContentType { found: "text/plain".to_owned() });
}

#[test]
fn unknown_critical_attributes_are_kept_and_marked() {
    let crit = Value::Array(vec![SCHEME.into(), "must".into(), (-70_000).into()]);
    let entries = vec![
        (2.into(), crit),
        ("must".into(), 1.into()),
        ((-70_000).into(), 2.into()),
        (99.into(), 3.into()),
    ];
    let content = read_header(entries).unwrap().content().clone();
    let found: Vec<_> = content.extended.iter().map(|a| (a.key.clone(), a.critical)).collect();
    let must = AttributeKey::Text("must".to_owned());
    assert_eq!(found, [(must, true), (AttributeKey::Int(-70_000), true), (AttributeKey::Int(99), false)]);
}

#[test]
fn malformed_envelopes_are_refused_with_the_reason() {
    let good = signed(header_with(vec![]), unprotected());
    let with = |at: usize, value: Value| {
        let mut elements = good.clone();
        elements[at] = value;
        tagged(elements)
    };
    malformed(b"", "1 bytes expected");
    malformed(&encode(&Value::Array(good.clone())), "no CBOR tag");
    malformed(&encode(&Value::Tag(98, Box::new(Value::Array(good.clone())))), "CBOR tag 98, expected 18");
    malformed(&encode(&Value::Tag(18, Box::new(1.into()))), "is no array");
    malformed(&tagged(good[..3].to_vec()), "3 elements, expected 4");
    malformed(&with(2, Value::Null), "detached");
    malformed(&with(2, Value::Bytes(vec![])), "is empty");
    malformed(&with(3, Value::Bytes(vec![])), "is empty");
    malformed(&with(3, "x".into()), "must be byte strings");
    malformed(&with(0, Value::Bytes(vec![])), "protected header: 1 bytes expected");
    malformed(&with(0, Value::Bytes(encode(&cbor!([1]).unwrap()))), "protected header is no map");
    malformed(&with(1, 1.into()), "unprotected header is no map");
    malformed(&[tagged(good.clone()), vec![0]].concat(), "1 bytes behind the end");
    let agent = |value: Value| {
        let unprotected = vec![unprotected().remove(0), ("io.cncf.notary.signingAgent".into(), value)];
        tagged(signed(header_with(vec![]), unprotected))
    };
    malformed(&agent(1.into()), "signing agent");
    malformed(&agent("x".repeat(5000).into()), "signing agent");
    let token = |value: Value| {
        let unprotected = vec![unprotected().remove(0), ("io.cncf.notary.timestampSignature".into(), value)];
        tagged(signed(header_with(vec![]), unprotected))
    };
    malformed(&token("x".into()), "timestamp token");
    let token = read(&token(Value::Bytes(vec![1, 2, 3]))).unwrap().content().timestamp_token.clone();
    assert_eq!(token, Some(vec![1, 2, 3]));
}

#[test]
fn duplicates_and_bombs_are_refused() {
    let mut twice = good_header();
    twice.push((1.into(), (-7).into()));
    malformed(
        &tagged(signed(encode(&Value::Map(twice)), unprotected())),
        "protected header: a map has a key twice",
    );
    let mut twice = unprotected();
    twice.push((33.into(), Value::Array(ders())));
    malformed(&tagged(signed(header_with(vec![]), twice)), "envelope: a map has a key twice");
    let nested = (0..40).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
    malformed(
        &tagged(signed(header_with(vec![("x".into(), nested)]), unprotected())),
        "nested deeper than 16",
    );
    malformed(&[vec![0xD2], vec![0x81; 5_000_000]].concat(), "nested deeper than 16");
    malformed(&[0xD2, 0x84, 0x5B, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], "bytes expected");
    malformed(&[0xD2, 0x9F, 0xFF], "indefinite");
}

#[test]
fn a_changed_payload_and_another_salt_are_integrity_failures() {
    let mut elements = signed(header_with(vec![]), unprotected());
    elements[2] = Value::Bytes(b"{}".to_vec());
    let error = read(&tagged(elements)).unwrap_err();
    assert!(matches!(error, Error::Integrity { .. }), "{error}");
    let made = mint::envelope(EnvelopeFormat::Cose, KeySpec::Rsa2048);
    let Value::Tag(18, sign1) = ciborium::from_reader(made.bytes()).unwrap() else { panic!("no tag") };
    let mut elements = sign1.into_array().unwrap();
    let empty = Value::Bytes(Vec::new());
    let message =
        encode(&Value::Array(vec!["Signature1".into(), elements[0].clone(), empty, elements[2].clone()]));
    let max = &const { RSA_PSS_SHA256.with_pss_salt_length(RsaPssSaltLength::Max) };
    elements[3] = Value::Bytes(mint::sign_rsa(KeySpec::Rsa2048, max, &message));
    let error = read(&tagged(elements.clone())).unwrap_err();
    let salt = Mismatch::SaltLength { found: 222, expected: 32 };
    assert!(matches!(&error, Error::Integrity { mismatch, .. } if *mismatch == salt), "{error}");
    assert!(error.to_string().contains("salt has 222 bytes, 32"), "{error}");
    elements[3] = Value::Bytes(mint::sign(KeySpec::Rsa2048, &message).bytes().to_vec());
    read(&tagged(elements)).unwrap();
}
