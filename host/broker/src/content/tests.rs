//! Tests of the room above: real to-be-signed bytes, each way in which they may be something else, and garbage.

use std::collections::BTreeMap;

use prokura_envelope::{AttributeKey, Attributes, Descriptor, ExtendedAttribute, Unsigned};
use proptest::prelude::*;

use super::*;

const EC: KeySpec = KeySpec::Ec256;
const NOW: &str = "2026-03-02T09:30:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn attributes() -> Attributes {
    Attributes {
        scheme: SigningScheme::X509,
        signing_time: at(NOW),
        expiry: Some(at("2027-03-02T09:30:00Z")),
        extended: vec![ExtendedAttribute {
            key: AttributeKey::Text("com.example.note".to_owned()),
            critical: false,
            value: prokura_envelope::AttributeValue::Text("x".to_owned()),
        }],
        signing_agent: None,
    }
}

fn payload() -> Payload {
    let target = Descriptor {
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        digest: format!("sha256:{}", "ab".repeat(32)),
        size: 7143,
        annotations: BTreeMap::new(),
    };
    Payload::new(target, BTreeMap::from([("buildId".to_owned(), "101".to_owned())])).unwrap()
}

fn made(format: EnvelopeFormat, attributes: Attributes, spec: KeySpec) -> Vec<u8> {
    Unsigned::new(format, &payload(), attributes, spec).unwrap().to_be_signed().to_vec()
}

fn wire(format: EnvelopeFormat, bytes: Vec<u8>) -> v1::Content {
    let content = match format {
        EnvelopeFormat::Jws => v1::content::Content::NotaryJws(bytes),
        EnvelopeFormat::Cose => v1::content::Content::NotaryCose(bytes),
    };
    v1::Content { content: Some(content) }
}

fn read(format: EnvelopeFormat, bytes: Vec<u8>) -> Result<Content, ContentError> {
    Content::read(Some(&wire(format, bytes)), EC, at(NOW))
}

fn refusal(format: EnvelopeFormat, bytes: Vec<u8>) -> String {
    read(format, bytes).unwrap_err().to_string()
}

/// A JWS signing input of any header and payload.
fn jws(header: &str, payload: &str) -> Vec<u8> {
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}", encode(header), encode(payload)).into_bytes()
}

const HEADER: &str = r#"{"alg":"ES256","crit":["io.cncf.notary.signingScheme"],"cty":"application/vnd.cncf.notary.payload.v1+json","io.cncf.notary.signingScheme":"notary.x509","io.cncf.notary.signingTime":"2026-03-02T09:30:00Z"}"#;

#[test]
fn what_the_host_prepares_is_read_back_for_every_key_spec() {
    for format in EnvelopeFormat::ALL {
        for spec in KeySpec::ALL {
            let unsigned = Unsigned::new(format, &payload(), attributes(), spec).unwrap();
            let content = wire(format, unsigned.to_be_signed().to_vec());
            let content = Content::read(Some(&content), spec, at(NOW)).unwrap();
            assert_eq!(content.digest(), &unsigned.digest(), "{format} {spec}");
            assert_eq!(
                (content.key_spec(), content.content_type().as_str().len()),
                (spec, 10 + usize::from(format == EnvelopeFormat::Cose))
            );
            let artifact = content.artifact().unwrap();
            let target = payload().target().clone();
            assert_eq!((&artifact.media_type, &artifact.digest), (&target.media_type, &target.digest));
            assert_eq!((artifact.size, &artifact.annotations), (target.size, &target.annotations));
            assert_eq!((artifact.signing_time, artifact.expiry), (at(NOW), attributes().expiry));
            assert_eq!(artifact.signing_scheme, SigningScheme::X509);
            assert_eq!(artifact.attributes, ["com.example.note"]);
        }
    }
}

/// The protected header of a JWS in small letters; the bytes themselves for COSE.
fn lower_header(bytes: &[u8]) -> Vec<u8> {
    use base64::Engine as _;
    let header = bytes.split(|b| *b == b'.').next().unwrap();
    let decoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header);
    decoded.map_or_else(|_| bytes.to_vec(), |header| header.to_ascii_lowercase())
}

#[test]
fn every_changed_byte_is_refused_or_makes_another_digest() {
    for format in EnvelopeFormat::ALL {
        let good = made(format, attributes(), EC);
        let before = read(format, good.clone()).unwrap();
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bytes = good.clone();
                bytes[at] ^= 1 << bit;
                let Ok(after) = read(format, bytes.clone()) else { continue };
                assert_eq!(after.digest(), &Digest::of(EC.hash_algorithm(), &bytes));
                assert_ne!(after.digest(), before.digest());
                // The change is seen, unless it is in the value of an attribute of which only the name is kept, or
                // in the case of a letter of an RFC 3339 time.
                let shown = ToBeSigned::parse(format, &bytes).unwrap();
                let value = shown.extended != ToBeSigned::parse(format, &good).unwrap().extended;
                let case = lower_header(&bytes) == lower_header(&good);
                assert!(
                    after.artifact() != before.artifact() || value || case,
                    "{format}, byte {at}, bit {bit}"
                );
            }
        }
    }
}

#[test]
fn bytes_of_another_type_are_refused_and_told_what_they_are() {
    let (jws_bytes, cose) =
        (made(EnvelopeFormat::Jws, attributes(), EC), made(EnvelopeFormat::Cose, attributes(), EC));
    for (format, bytes, expected) in [
        (EnvelopeFormat::Cose, jws_bytes, "signing input goes into notary_jws"),
        (EnvelopeFormat::Jws, cose.clone(), "Sig_structure, which goes into notary_cose"),
        (EnvelopeFormat::Jws, vec![0xA7; 32], "they look like a digest"),
        (EnvelopeFormat::Cose, vec![0xA7; 64], "they look like a digest"),
        (EnvelopeFormat::Jws, Vec::new(), "there are no bytes"),
        (EnvelopeFormat::Cose, vec![0xD2, 0x84, 0x40], "look like a COSE_Sign1"),
        (EnvelopeFormat::Jws, payload().bytes().to_vec(), "look like JSON"),
        (EnvelopeFormat::Cose, [&cose[..], &[0]].concat(), "1 bytes behind the end"),
    ] {
        let error = refusal(format, bytes);
        assert!(error.contains(expected), "{format}: {error}");
    }
    assert_eq!(Content::read(None, EC, at(NOW)), Err(ContentError::Missing));
    assert_eq!(Content::read(Some(&v1::Content { content: None }), EC, at(NOW)), Err(ContentError::Missing));
}

#[test]
fn another_payload_inside_is_refused() {
    let target = format!(r#""mediaType":"m","digest":"sha256:{}","size":1"#, "ab".repeat(32));
    let good = format!(r#"{{"targetArtifact":{{{target}}}}}"#);
    assert!(read(EnvelopeFormat::Jws, jws(HEADER, &good)).is_ok());
    for (payload, expected) in [
        (r#"{"iss":"me","sub":"you","aud":"all"}"#.to_owned(), "targetArtifact is missing"),
        ("not JSON".to_owned(), "not a Notary payload"),
        (format!(r#"{{"targetArtifact":{{{target},"size":2}}}}"#), "occurs twice"),
        (format!(r#"{{"targetArtifact":{{{target}}},"sub":"x"}}"#), "member \"sub\""),
        (format!(r#"{{"targetArtifact":{{{target},"extra":"x"}}}}"#), "member \"targetArtifact.extra\""),
        (format!(r#"{{"targetArtifact":{{{target},"Digest":"x"}}}}"#), "expected \"digest\""),
    ] {
        let error = refusal(EnvelopeFormat::Jws, jws(HEADER, &payload));
        assert!(error.contains(expected), "{payload}: {error}");
    }
    let token = HEADER.replace("vnd.cncf.notary.payload.v1+json", "jwt");
    assert!(refusal(EnvelopeFormat::Jws, jws(&token, &good)).contains("application/jwt"));
    let twice = HEADER.replace(r#""alg""#, r#""alg":"ES256","alg""#);
    assert!(refusal(EnvelopeFormat::Jws, jws(&twice, &good)).contains("occurs twice"));
    let stray = [jws(HEADER, &good), b"=".to_vec()].concat();
    assert!(refusal(EnvelopeFormat::Jws, stray).contains("not canonical Base64"));
}

#[test]
fn the_algorithm_belongs_to_the_key() {
    for format in EnvelopeFormat::ALL {
        let error = refusal(format, made(format, attributes(), KeySpec::Ec384));
        assert!(error.contains("names ECDSA-SHA-384, but the key is EC-256"), "{error}");
    }
}

#[test]
fn times_are_now() {
    let past = at(NOW) - SignedDuration::from_secs(SIGNING_TIME_PAST_MAX_S);
    let ahead = at(NOW) + SignedDuration::from_secs(SIGNING_TIME_AHEAD_MAX_S);
    let second = SignedDuration::from_secs(1);
    for format in EnvelopeFormat::ALL {
        for (signing_time, good) in
            [(past, true), (past - second, false), (ahead, true), (ahead + second, false)]
        {
            let bytes = made(format, Attributes { signing_time, ..attributes() }, EC);
            assert_eq!(read(format, bytes).is_ok(), good, "{signing_time}");
        }
        let bytes = made(format, Attributes { signing_time: past - second, ..attributes() }, EC);
        assert!(refusal(format, bytes).contains("3601 s in the past"));
        let over = Attributes { signing_time: past, expiry: Some(at(NOW)), ..attributes() };
        assert!(refusal(format, made(format, over, EC)).contains("is not after 2026-03-02T09:30:00Z"));
    }
}

#[test]
fn a_digest_has_the_length_of_the_hash() {
    for spec in KeySpec::ALL {
        for len in [0, 20, 31, 32, 33, 48, 64, 65, 1_000_000] {
            let content = v1::Content { content: Some(v1::content::Content::Digest(vec![7; len])) };
            let found = Content::read(Some(&content), spec, at(NOW));
            assert_eq!(found.is_ok(), len == spec.hash_algorithm().digest_len(), "{spec} {len}");
            if let Ok(content) = found {
                assert_eq!((content.content_type(), content.artifact()), (ContentType::Digest, None));
                assert_eq!(content.digest().bytes(), vec![7; len]);
            }
        }
    }
}

#[test]
fn sizes_are_bounded() {
    for format in EnvelopeFormat::ALL {
        assert!(refusal(format, vec![b'A'; CONTENT_BYTES_MAX + 1]).contains("shorten the annotations"));
    }
    let annotated = |n: usize| {
        let annotations: Vec<String> = (0..n).map(|n| format!(r#""k{n}":"v""#)).collect();
        let digest = "ab".repeat(32);
        let annotations = annotations.join(",");
        format!(
            r#"{{"targetArtifact":{{"mediaType":"m","digest":"sha256:{digest}","size":1,"annotations":{{{annotations}}}}}}}"#
        )
    };
    assert!(read(EnvelopeFormat::Jws, jws(HEADER, &annotated(ANNOTATIONS_MAX))).is_ok());
    let error = refusal(EnvelopeFormat::Jws, jws(HEADER, &annotated(ANNOTATIONS_MAX + 1)));
    assert!(error.contains("257 annotations"), "{error}");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for format in EnvelopeFormat::ALL {
            let _ = read(format, bytes.clone());
        }
    }

    #[test]
    fn no_payload_makes_it_panic(payload in "\\PC{0,60}", member in "[a-zA-Z\"{}:,0-9]{0,40}") {
        let _ = read(EnvelopeFormat::Jws, jws(HEADER, &payload));
        let _ = read(EnvelopeFormat::Jws, jws(HEADER, &format!(r#"{{"targetArtifact":{{{member}}}}}"#)));
    }
}
