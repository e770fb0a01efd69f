//! To-be-signed bytes read back: as an envelope of them would be read, and nothing that no envelope is made of.

use std::sync::LazyLock;

use ciborium::Value;
use prokura_envelope::{
    Attributes, Content, EnvelopeFormat, ParsedEnvelope, Payload, SigningScheme, ToBeSigned, Unsigned, limits,
};
use prokura_plugin::KeySpec;
use proptest::prelude::*;

use crate::mint;

const EC: KeySpec = KeySpec::Ec256;

static DERS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| mint::Plan::good().chain_for(mint::key(EC)));

fn made(format: EnvelopeFormat, spec: KeySpec, scheme: SigningScheme) -> Vec<u8> {
    let expiry = Some(mint::time("2027-01-31T08:00:00Z"));
    let attributes = Attributes { scheme, expiry, ..mint::attributes() };
    Unsigned::new(format, &mint::payload(), attributes, spec).unwrap().to_be_signed().to_vec()
}

fn cbor(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

/// An envelope of these bytes with any signature, read by the reader of envelopes.
fn as_envelope(format: EnvelopeFormat, bytes: &[u8]) -> Content {
    let envelope = match format {
        EnvelopeFormat::Jws => {
            let text = std::str::from_utf8(bytes).unwrap();
            let (protected, payload) = text.split_once('.').unwrap();
            let encode = |der| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
            let chain: Vec<String> = DERS.iter().map(encode).collect();
            let header = serde_json::json!({ "x5c": chain });
            serde_json::to_vec(&serde_json::json!({
                "protected": protected, "payload": payload, "header": header, "signature": "AA",
            }))
            .unwrap()
        }
        EnvelopeFormat::Cose => {
            let Value::Array(mut parts) = ciborium::from_reader(bytes).unwrap() else { panic!("no array") };
            let payload = parts.pop().unwrap();
            let protected = parts.swap_remove(1);
            let chain = Value::Array(DERS.iter().cloned().map(Value::Bytes).collect());
            let unprotected = Value::Map(vec![(33.into(), chain)]);
            let sign1 = Value::Array(vec![protected, unprotected, payload, Value::Bytes(vec![0])]);
            cbor(&Value::Tag(18, Box::new(sign1)))
        }
    };
    ParsedEnvelope::parse(format, &envelope).unwrap().content().clone()
}

fn assert_reads_alike(found: &ToBeSigned, content: &Content) {
    assert_eq!((&found.payload, &found.content_type), (&content.payload, &content.content_type));
    assert_eq!((found.format, found.algorithm), (content.format, content.algorithm));
    assert_eq!((found.scheme, found.expiry), (content.scheme, content.expiry));
    assert_eq!(found.signing_time, content.signing_time);
    assert_eq!(found.authentic_signing_time, content.authentic_signing_time);
    assert_eq!(found.extended, content.extended);
}

#[test]
fn what_is_made_reads_back_for_every_spec_format_and_scheme() {
    for format in EnvelopeFormat::ALL {
        for spec in KeySpec::ALL {
            for scheme in SigningScheme::ALL {
                let bytes = made(format, spec, scheme);
                let found = ToBeSigned::parse(format, &bytes).unwrap();
                assert_reads_alike(&found, &as_envelope(format, &bytes));
                assert_eq!(found.algorithm, spec.signing_algorithm());
                assert_eq!(found.time(), Some(mint::attributes().signing_time));
                assert_eq!(Payload::parse(&found.payload).unwrap(), mint::payload());
            }
        }
    }
}

#[test]
fn every_changed_byte_is_refused_or_read_as_an_envelope_of_it_is_read() {
    for format in EnvelopeFormat::ALL {
        let good = made(format, EC, SigningScheme::X509);
        let (mut refused, mut read) = (0, 0);
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bytes = good.clone();
                bytes[at] ^= 1 << bit;
                match ToBeSigned::parse(format, &bytes) {
                    Err(_) => refused += 1,
                    Ok(found) => {
                        assert_reads_alike(&found, &as_envelope(format, &bytes));
                        read += 1;
                    }
                }
            }
        }
        assert!(refused > 0 && read > 0, "{format}: {refused} refused, {read} read");
    }
}

#[test]
fn bytes_cut_short_or_lengthened_are_refused() {
    for format in EnvelopeFormat::ALL {
        let good = made(format, EC, SigningScheme::X509);
        let payload_at = good.len() - if format == EnvelopeFormat::Jws { 4 } else { 1 };
        for end in (0..payload_at).filter(|end| format == EnvelopeFormat::Cose || end % 4 == 1) {
            assert!(ToBeSigned::parse(format, &good[..end]).is_err(), "{format} cut at {end}");
        }
        let longer = [&good[..], b"."].concat();
        assert!(ToBeSigned::parse(format, &longer).is_err());
    }
}

fn refusal(format: EnvelopeFormat, bytes: &[u8]) -> String {
    ToBeSigned::parse(format, bytes).unwrap_err().to_string()
}

fn jws(protected: &str, payload: &str) -> Vec<u8> {
    let encode = |t: &str| base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, t);
    format!("{}.{}", encode(protected), encode(payload)).into_bytes()
}

#[test]
fn what_is_no_jws_signing_input_is_refused_with_what_it_is() {
    let jws_refusal = |bytes: &[u8]| refusal(EnvelopeFormat::Jws, bytes);
    let good = String::from_utf8(made(EnvelopeFormat::Jws, EC, SigningScheme::X509)).unwrap();
    let (protected, payload) = good.split_once('.').unwrap();
    assert!(jws_refusal(&[7; 32]).contains("no dot"));
    assert!(jws_refusal(format!("{protected}.").as_bytes()).contains("the payload is empty"));
    assert!(jws_refusal(format!("{protected}=.{payload}").as_bytes()).contains("base64url has no '='"));
    assert!(jws_refusal(format!("{good}.{payload}").as_bytes()).contains("not canonical"));
    let header = r#"{"alg":"ES256","crit":["io.cncf.notary.signingScheme"],"cty":"application/vnd.cncf.notary.payload.v1+json","io.cncf.notary.signingScheme":"notary.x509","io.cncf.notary.signingTime":"2026-01-31T08:00:00Z"}"#;
    assert!(ToBeSigned::parse(EnvelopeFormat::Jws, &jws(header, "{}")).is_ok());
    for (from, to, expected) in [
        (r#""alg":"ES256""#, r#""alg":"ES256","alg":"ES256""#, "occurs twice"),
        ("ES256", "HS256", "HS256 is not supported"),
        ("ES256", "none", "none is not supported"),
        ("vnd.cncf.notary.payload.v1+json", "jwt", "content type \"application/jwt\""),
        (r#"["io.cncf.notary.signingScheme"]"#, "[]", "crit"),
        (r#""crit""#, r#""b64":false,"crit""#, "b64"),
    ] {
        let changed = header.replacen(from, to, 1);
        let error = jws_refusal(&jws(&changed, "{}"));
        assert!(error.contains(expected), "{changed}: {error}");
    }
}

fn sig_structure(context: Value, protected: Value, external: Value, payload: Value) -> Vec<u8> {
    cbor(&Value::Array(vec![context, protected, external, payload]))
}

#[test]
fn what_is_no_sig_structure_of_ours_is_refused_with_what_it_is() {
    let good = made(EnvelopeFormat::Cose, EC, SigningScheme::X509);
    let Value::Array(parts) = ciborium::from_reader(&good[..]).unwrap() else { panic!("no array") };
    let [context, protected, external, payload] = <[Value; 4]>::try_from(parts).unwrap();
    let cose_refusal = |bytes: &[u8]| refusal(EnvelopeFormat::Cose, bytes);
    let (p, b) = (|| protected.clone(), |bytes: &[u8]| Value::Bytes(bytes.to_vec()));
    for other in ["Signature", "CounterSignature", "MAC0", "signature1"] {
        let bytes = sig_structure(other.into(), p(), external.clone(), payload.clone());
        assert!(cose_refusal(&bytes).contains(&format!("{other:?}, expected \"Signature1\"")));
    }
    let with_aad = sig_structure(context.clone(), p(), b(b"abc"), payload.clone());
    assert!(cose_refusal(&with_aad).contains("3 bytes of external_aad"));
    let empty = sig_structure(context.clone(), p(), external.clone(), b(b""));
    assert!(cose_refusal(&empty).contains("the payload is empty"));
    let five = Value::Array(vec![context.clone(), p(), p(), external.clone(), payload.clone()]);
    assert!(cose_refusal(&cbor(&five)).contains("5 elements"));
    let text = sig_structure(context.clone(), p(), external.clone(), "text".into());
    assert!(cose_refusal(&text).contains("expected [\"Signature1\""));
    assert!(cose_refusal(&[0x58; 32]).contains("bytes expected"));
    assert!(cose_refusal(&[&good[..], b"x"].concat()).contains("1 bytes behind the end"));
    // The length of "Signature1" written in two bytes: the same value to a lenient reader.
    assert_eq!(good[..2], [0x84, 0x6A]);
    let long = [&[0x84, 0x78, 0x0A], &good[2..]].concat();
    assert!(cose_refusal(&long).contains("not encoded deterministically"));
}

#[test]
fn a_chain_to_be_signed_in_cose_is_refused() {
    let good = made(EnvelopeFormat::Cose, EC, SigningScheme::X509);
    let Value::Array(mut parts) = ciborium::from_reader(&good[..]).unwrap() else { panic!("no array") };
    let Value::Map(mut header) = ciborium::from_reader(parts[1].as_bytes().unwrap().as_slice()).unwrap()
    else {
        panic!("no map")
    };
    header.push((33.into(), Value::Bytes(DERS[0].clone())));
    parts[1] = Value::Bytes(cbor(&Value::Map(header)));
    let error = refusal(EnvelopeFormat::Cose, &cbor(&Value::Array(parts)));
    assert!(
        error.contains("x5chain (33) is protected") || error.contains("x5chain (33): is protected"),
        "{error}"
    );
}

#[test]
fn the_size_is_bounded() {
    for format in EnvelopeFormat::ALL {
        let error = refusal(format, &vec![b'A'; limits::TO_BE_SIGNED_BYTES_MAX + 1]);
        assert!(error.contains("at most"), "{error}");
    }
    let protected = String::from_utf8(made(EnvelopeFormat::Jws, EC, SigningScheme::X509)).unwrap();
    let protected = protected.split_once('.').unwrap().0;
    let payload = "A".repeat((limits::PAYLOAD_BYTES_MAX + 3).div_ceil(3) * 4);
    let error = refusal(EnvelopeFormat::Jws, format!("{protected}.{payload}").as_bytes());
    assert!(error.contains("the payload has"), "{error}");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..512), dot in any::<bool>()) {
        for format in EnvelopeFormat::ALL {
            let _ = ToBeSigned::parse(format, &bytes);
        }
        let text: String = bytes.iter().map(|b| char::from(b'A' + b % 26)).collect();
        let text = if dot { text.replacen('Q', ".", 1) } else { text };
        let _ = ToBeSigned::parse(EnvelopeFormat::Jws, text.as_bytes());
    }

    #[test]
    fn no_splice_of_good_bytes_makes_it_panic(at in any::<prop::sample::Index>(), with in prop::collection::vec(any::<u8>(), 0..8), cut in 0usize..8) {
        for format in EnvelopeFormat::ALL {
            let mut bytes = made(format, EC, SigningScheme::X509);
            let from = at.index(bytes.len());
            let to = (from + cut).min(bytes.len());
            bytes.splice(from..to, with.clone());
            if let Ok(found) = ToBeSigned::parse(format, &bytes) {
                assert_reads_alike(&found, &as_envelope(format, &bytes));
            }
        }
    }
}
