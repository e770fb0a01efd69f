//! What is made can be read, and says what was put in.

use prokura_envelope::{
    AttributeKey, AttributeValue, Attributes, EnvelopeFormat, Error, ExtendedAttribute, ParsedEnvelope,
    Payload, SigningScheme, Unsigned,
};
use prokura_plugin::{Digest, KeySpec};

use crate::mint;

fn extended() -> Vec<ExtendedAttribute> {
    let text = |key: &str, critical| ExtendedAttribute {
        key: AttributeKey::Text(key.to_owned()),
        critical,
        value: AttributeValue::Text("some-plugin".to_owned()),
    };
    vec![text("com.example.note", false), text("io.cncf.notary.verificationPlugin", true)]
}

#[test]
fn every_key_spec_format_and_scheme() {
    for format in EnvelopeFormat::ALL {
        for spec in KeySpec::ALL {
            for scheme in SigningScheme::ALL {
                let expiry = Some(mint::time("2027-01-31T08:00:00Z"));
                let given = Attributes { scheme, expiry, extended: extended(), ..mint::attributes() };
                let unsigned = Unsigned::new(format, &mint::payload(), given.clone(), spec).unwrap();
                let expected = Digest::of(spec.hash_algorithm(), unsigned.to_be_signed());
                assert_eq!(unsigned.digest(), expected);
                let signature = mint::sign(spec, unsigned.to_be_signed());
                let envelope = unsigned.finish(signature.clone(), &mint::chain(spec)).unwrap();
                let read = ParsedEnvelope::parse(format, envelope.bytes()).unwrap().verify().unwrap();
                assert_eq!(read.content(), envelope.content());
                let content = read.into_envelope().content().clone();
                assert_eq!(content.format, format);
                assert_eq!(content.algorithm, spec.signing_algorithm());
                assert_eq!(Payload::parse(&content.payload).unwrap(), mint::payload());
                assert_eq!(content.scheme, scheme);
                assert_eq!(content.expiry, expiry);
                assert_eq!(content.extended, extended());
                assert_eq!(content.signing_agent.as_deref(), Some("prokura/0.1.0"));
                assert_eq!(content.signature, signature.bytes());
                assert_eq!(content.chain.len(), 3);
                let signing_time = Some(given.signing_time);
                match scheme {
                    SigningScheme::X509 => {
                        assert_eq!(
                            (content.signing_time, content.authentic_signing_time),
                            (signing_time, None)
                        );
                    }
                    SigningScheme::X509SigningAuthority => {
                        assert_eq!(
                            (content.signing_time, content.authentic_signing_time),
                            (None, signing_time)
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn jws_is_written_in_the_documented_order() {
    let expiry = Some(mint::time("2027-01-31T08:00:00.9Z"));
    let given = Attributes { expiry, extended: extended(), ..mint::attributes() };
    let unsigned = Unsigned::new(EnvelopeFormat::Jws, &mint::payload(), given, KeySpec::Ec256).unwrap();
    let (protected, payload) = std::str::from_utf8(unsigned.to_be_signed()).unwrap().split_once('.').unwrap();
    let decode =
        |text| base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, text).unwrap();
    assert_eq!(decode(payload), mint::payload().bytes());
    let expected = r#"{"alg":"ES256","com.example.note":"some-plugin","crit":["io.cncf.notary.signingScheme","io.cncf.notary.verificationPlugin","io.cncf.notary.expiry"],"cty":"application/vnd.cncf.notary.payload.v1+json","io.cncf.notary.expiry":"2027-01-31T08:00:00Z","io.cncf.notary.signingScheme":"notary.x509","io.cncf.notary.signingTime":"2026-01-31T08:00:00Z","io.cncf.notary.verificationPlugin":"some-plugin"}"#;
    assert_eq!(String::from_utf8(decode(protected)).unwrap(), expected);
    let envelope = mint::envelope(EnvelopeFormat::Jws, KeySpec::Ec256);
    let text = std::str::from_utf8(envelope.bytes()).unwrap();
    let names =
        ["{\"payload\":", ",\"protected\":", ",\"header\":{\"x5c\":[", "],\"io.cncf.notary.signingAgent\":"];
    let at: Vec<usize> =
        names.iter().map(|n| text.find(n).unwrap_or_else(|| panic!("{n} in {text}"))).collect();
    assert!(at.is_sorted() && at[0] == 0, "{at:?}");
    assert!(text.contains("},\"signature\":\""));
}

#[test]
fn cose_is_written_byte_for_byte_as_documented() {
    // The protected header of the conformance vector of notation-core-go, in diagnostic notation:
    // {1: -38, 2: ["io.cncf.notary.signingScheme", "io.cncf.notary.expiry", "signedCritKey1"],
    //  3: "application/vnd.cncf.notary.payload.v1+json", "signedKey1": "signedValue1",
    //  "signedCritKey1": "signedCritValue1", "io.cncf.notary.expiry": 1(1661408324),
    //  "io.cncf.notary.signingTime": 1(1661321924), "io.cncf.notary.signingScheme": "notary.x509"}
    const PROTECTED: &str = "a80138250283781c696f2e636e63662e6e6f746172792e7369676e696e67536368656d6575696f2e636e63662e6e6f746172792e6578706972796e7369676e6564437269744b65793103782b6170706c69636174696f6e2f766e642e636e63662e6e6f746172792e7061796c6f61642e76312b6a736f6e6a7369676e65644b6579316c7369676e656456616c7565316e7369676e6564437269744b657931707369676e65644372697456616c75653175696f2e636e63662e6e6f746172792e657870697279c11a63071444781a696f2e636e63662e6e6f746172792e7369676e696e6754696d65c11a6305c2c4781c696f2e636e63662e6e6f746172792e7369676e696e67536368656d656b6e6f746172792e78353039";
    let attribute = |key: &str, value: &str, critical| ExtendedAttribute {
        key: AttributeKey::Text(key.to_owned()),
        critical,
        value: AttributeValue::Text(value.to_owned()),
    };
    let given = Attributes {
        signing_time: jiff::Timestamp::from_second(1_661_321_924).unwrap(),
        expiry: Some(jiff::Timestamp::from_second(1_661_408_324).unwrap()),
        extended: vec![
            attribute("signedCritKey1", "signedCritValue1", true),
            attribute("signedKey1", "signedValue1", false),
        ],
        ..mint::attributes()
    };
    let unsigned = Unsigned::new(EnvelopeFormat::Cose, &mint::payload(), given, KeySpec::Rsa3072).unwrap();
    let hex: String = unsigned.to_be_signed().iter().map(|b| format!("{b:02x}")).collect();
    // Sig_structure: ["Signature1", protected, h'', payload]
    let payload_len = mint::payload().bytes().len();
    assert!((24..256).contains(&payload_len));
    let payload: String = mint::payload().bytes().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, format!("846a5369676e617475726531590117{PROTECTED}4058{payload_len:02x}{payload}"));
    let envelope = mint::envelope(EnvelopeFormat::Cose, KeySpec::Ec256);
    assert_eq!(envelope.bytes()[..2], [0xD2, 0x84]);
}

#[test]
fn cose_carries_what_json_cannot() {
    let extended = vec![
        ExtendedAttribute {
            key: AttributeKey::Int(-70_001),
            critical: true,
            value: AttributeValue::Bytes(vec![7]),
        },
        ExtendedAttribute {
            key: AttributeKey::Int(1000),
            critical: false,
            value: AttributeValue::Map(vec![
                (AttributeKey::Int(1), AttributeValue::Tagged(99, Box::new(AttributeValue::Float(1.5)))),
                (AttributeKey::Text("a".to_owned()), AttributeValue::Array(vec![AttributeValue::Null])),
            ]),
        },
    ];
    let given = Attributes { extended: extended.clone(), ..mint::attributes() };
    let error =
        Unsigned::new(EnvelopeFormat::Jws, &mint::payload(), given.clone(), KeySpec::Ec256).unwrap_err();
    assert!(matches!(&error, Error::Request { problem } if problem.contains("needs a text")), "{error}");
    let unsigned = Unsigned::new(EnvelopeFormat::Cose, &mint::payload(), given, KeySpec::Ec256).unwrap();
    let signature = mint::sign(KeySpec::Ec256, unsigned.to_be_signed());
    let envelope = unsigned.finish(signature, &mint::chain(KeySpec::Ec256)).unwrap();
    assert_eq!(envelope.content().extended, extended);
}

#[test]
fn requests_that_cannot_be_signed_are_refused() {
    let attribute = |key: &str, value| ExtendedAttribute {
        key: AttributeKey::Text(key.to_owned()),
        critical: false,
        value,
    };
    let text = || AttributeValue::Text("x".to_owned());
    let with = |extended| Attributes { extended, ..mint::attributes() };
    let at = |expiry: &str| Attributes { expiry: Some(mint::time(expiry)), ..mint::attributes() };
    let both = EnvelopeFormat::ALL;
    let deep = (0..17).fold(AttributeValue::Null, |inner, _| AttributeValue::Array(vec![inner]));
    let cases: [(Attributes, &[EnvelopeFormat], &str); 9] = [
        (at("2026-01-31T08:00:00.5Z"), &both, "is not after the signing time"),
        (at("2025-01-31T08:00:00Z"), &both, "is not after the signing time"),
        (with(vec![attribute("a", text()), attribute("a", text())]), &both, "occurs twice"),
        (with(vec![attribute("io.cncf.notary.expiry", text())]), &both, "is reserved"),
        (with(vec![attribute("alg", text())]), &[EnvelopeFormat::Jws], "is reserved"),
        (
            with(vec![attribute("a", AttributeValue::Bytes(vec![]))]),
            &[EnvelopeFormat::Jws],
            "cannot be written",
        ),
        (with(vec![attribute("a", deep)]), &both, "nested deeper"),
        (with((0..300).map(|n| attribute(&n.to_string(), text())).collect()), &both, "at most 256"),
        (Attributes { signing_agent: Some("x".repeat(5000)), ..mint::attributes() }, &both, "signing agent"),
    ];
    for (attributes, formats, expected) in cases {
        for format in formats {
            let error =
                Unsigned::new(*format, &mint::payload(), attributes.clone(), KeySpec::Ec256).unwrap_err();
            assert!(matches!(&error, Error::Request { problem } if problem.contains(expected)), "{error}");
            assert_eq!(error.blame(), prokura_envelope::Blame::User);
        }
    }
}
