//! Properties over random input: what is made is read alike; what is cut or changed never verifies as something else.

use std::sync::LazyLock;

use prokura_envelope::{
    AttributeKey, AttributeValue, Attributes, Content, Envelope, EnvelopeFormat, ExtendedAttribute,
    ParsedEnvelope, Payload, SigningScheme, Unsigned,
};
use prokura_plugin::KeySpec;
use proptest::prelude::*;

use crate::mint;

const SPEC: KeySpec = KeySpec::Ec256;

static ENVELOPES: LazyLock<[Envelope; 2]> =
    LazyLock::new(|| EnvelopeFormat::ALL.map(|format| mint::envelope(format, SPEC)));

fn json_value() -> impl Strategy<Value = AttributeValue> {
    let leaf = prop_oneof![
        Just(AttributeValue::Null),
        any::<bool>().prop_map(AttributeValue::Bool),
        any::<i64>().prop_map(|n| AttributeValue::Integer(n.into())),
        any::<u64>().prop_map(|n| AttributeValue::Integer(n.into())),
        (-1e15..1e15f64)
            .prop_filter("integers are read as integers", |n| n.fract() != 0.0)
            .prop_map(AttributeValue::Float),
        any::<String>().prop_map(AttributeValue::Text),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(AttributeValue::Array),
            // Sorted by length, then bytes: the order in which CBOR writes keys this short and ASCII.
            prop::collection::btree_map("[a-z]", inner, 0..4).prop_map(|map| {
                AttributeValue::Map(map.into_iter().map(|(k, v)| (AttributeKey::Text(k), v)).collect())
            }),
        ]
    })
}

fn extended() -> impl Strategy<Value = Vec<ExtendedAttribute>> {
    prop::collection::btree_map("com\\.example\\.\\PC{0,8}", (any::<bool>(), json_value()), 0..6).prop_map(
        |map| {
            let attribute = |(key, (critical, value))| ExtendedAttribute {
                key: AttributeKey::Text(key),
                critical,
                value,
            };
            map.into_iter().map(attribute).collect()
        },
    )
}

fn given() -> impl Strategy<Value = Attributes> {
    let scheme = prop::sample::select(SigningScheme::ALL.to_vec());
    // 2021 to 2039, so that the certificates are valid; expiries up to the year 4000.
    let times = (1_609_459_200i64..2_177_452_800, prop::option::of(1i64..60_000_000_000));
    let agent = prop::option::of(any::<String>());
    (scheme, times, extended(), agent).prop_map(|(scheme, (time, lifetime), extended, signing_agent)| {
        let signing_time = jiff::Timestamp::from_second(time).unwrap();
        let expiry = lifetime.map(|lifetime| jiff::Timestamp::from_second(time + lifetime).unwrap());
        Attributes { scheme, signing_time, expiry, extended, signing_agent }
    })
}

fn format() -> impl Strategy<Value = EnvelopeFormat> {
    prop::sample::select(EnvelopeFormat::ALL.to_vec())
}

fn original(format: EnvelopeFormat) -> &'static Envelope {
    ENVELOPES.iter().find(|e| e.format() == format).unwrap()
}

fn verified(format: EnvelopeFormat, bytes: &[u8]) -> Option<Content> {
    let verified = ParsedEnvelope::parse(format, bytes).ok()?.verify().ok()?;
    Some(verified.content().clone())
}

/// The signed part of a content.
fn signed_part(mut content: Content) -> Content {
    content.signing_agent = None;
    content.timestamp_token = None;
    content.chain.truncate(1);
    // An ECDSA signature has a second form (r, n - s), so the signature itself is not part of it.
    content.signature.clear();
    content
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_made_is_read_alike(format in format(), given in given()) {
        let unsigned = Unsigned::new(format, &mint::payload(), given.clone(), SPEC).unwrap();
        let signature = mint::sign(SPEC, unsigned.to_be_signed());
        let envelope = unsigned.finish(signature, &mint::chain(SPEC)).unwrap();
        let content = verified(format, envelope.bytes()).unwrap();
        prop_assert_eq!(&content, envelope.content());
        prop_assert_eq!(content.extended, given.extended);
        prop_assert_eq!(content.expiry, given.expiry);
        prop_assert_eq!(content.signing_agent, given.signing_agent);
        prop_assert_eq!(content.signing_time.or(content.authentic_signing_time), Some(given.signing_time));
    }

    #[test]
    fn garbage_is_refused(format in format(), bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        prop_assert!(ParsedEnvelope::parse(format, &bytes).is_err());
        prop_assert!(Payload::parse(&bytes).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_changed_byte_never_verifies_as_something_else(
        format in format(), at in any::<prop::sample::Index>(), change in 1u8..
    ) {
        let mut bytes = original(format).bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        if let Some(content) = verified(format, &bytes) {
            prop_assert_eq!(signed_part(content), signed_part(original(format).content().clone()));
        }
    }

    #[test]
    fn bytes_put_in_or_taken_out_never_verify_as_something_else(
        format in format(), at in any::<prop::sample::Index>(), len in 0usize..40,
        put in prop::collection::vec(any::<u8>(), 0..8)
    ) {
        let mut bytes = original(format).bytes().to_vec();
        let at = at.index(bytes.len());
        let end = (at + len).min(bytes.len());
        bytes.splice(at..end, put);
        if let Some(content) = verified(format, &bytes) {
            prop_assert_eq!(signed_part(content), signed_part(original(format).content().clone()));
        }
    }
}

#[test]
fn an_envelope_cut_anywhere_is_refused() {
    for envelope in ENVELOPES.iter() {
        for end in 0..envelope.bytes().len() {
            assert!(ParsedEnvelope::parse(envelope.format(), &envelope.bytes()[..end]).is_err(), "{end}");
        }
    }
}

#[test]
fn no_changed_bit_of_signature_header_or_payload_verifies() {
    for envelope in ENVELOPES.iter() {
        let bytes = envelope.bytes();
        let content = envelope.content();
        for part in [&content.signature, &content.payload] {
            for bit in 0..part.len() * 8 {
                let mut changed = part.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                let bytes = replaced(envelope.format(), bytes, part, &changed);
                assert!(verified(envelope.format(), &bytes).is_none(), "{bit}");
            }
        }
    }
}

fn replaced(format: EnvelopeFormat, bytes: &[u8], part: &[u8], changed: &[u8]) -> Vec<u8> {
    let written = |part: &[u8]| match format {
        EnvelopeFormat::Jws => {
            base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, part).into_bytes()
        }
        EnvelopeFormat::Cose => part.to_vec(),
    };
    let (part, changed) = (written(part), written(changed));
    let at = bytes.windows(part.len()).position(|window| window == part).unwrap();
    [&bytes[..at], &changed, &bytes[at + part.len()..]].concat()
}
