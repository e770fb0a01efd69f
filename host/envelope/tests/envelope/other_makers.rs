//! Envelopes made by notation-core-go are read; see `../vectors/README.md`.

use prokura_envelope::{
    AttributeKey, AttributeValue, EnvelopeFormat, ParsedEnvelope, Payload, SigningScheme,
};
use prokura_plugin::KeySpec;

use crate::mint;

macro_rules! vectors {
    ($($spec:ident $name:literal),*) => {
        [$(
            (KeySpec::$spec, $name, EnvelopeFormat::Jws,
                include_bytes!(concat!("../vectors/notation-core-go-", $name, ".jws"))),
            (KeySpec::$spec, $name, EnvelopeFormat::Cose,
                include_bytes!(concat!("../vectors/notation-core-go-", $name, ".cose"))),
        )*]
    };
}

const VECTORS: [(KeySpec, &str, EnvelopeFormat, &[u8]); 12] = vectors!(
    Rsa2048 "rsa-2048", Rsa3072 "rsa-3072", Rsa4096 "rsa-4096",
    Ec256 "ec-256", Ec384 "ec-384", Ec521 "ec-521"
);

#[test]
fn envelopes_by_notation_core_go_verify_and_say_what_was_put_in() {
    for (spec, name, format, bytes) in VECTORS {
        let verified = ParsedEnvelope::parse(format, bytes).unwrap().verify().unwrap();
        let content = verified.content();
        assert_eq!(content.algorithm, spec.signing_algorithm());
        assert_eq!(content.scheme, SigningScheme::X509);
        // Signed at 16:00 in a zone of +08:00.
        assert_eq!(content.signing_time, Some(mint::time("2026-01-31T08:00:00Z")));
        assert_eq!(content.expiry, Some(mint::time("2126-01-07T08:00:00Z")));
        assert_eq!(content.signing_agent.as_deref(), Some("notation-go/1.3.2"));
        let attributes: Vec<_> = content.extended.iter().map(|a| (&a.key, a.critical, &a.value)).collect();
        let text = |t: &str| AttributeValue::Text(t.to_owned());
        let key = |t: &str| AttributeKey::Text(t.to_owned());
        let mixed =
            AttributeValue::Array(vec![text("x"), AttributeValue::Bool(true), AttributeValue::Float(2.5)]);
        let expected = [(&key("com.example.a"), true, &text("1")), (&key("com.example.b"), false, &mixed)];
        assert_eq!(attributes, expected);
        let payload = Payload::parse(&content.payload).unwrap();
        assert_eq!(payload.target().annotations["buildId"], "<101>");
        assert_eq!((payload.target().size, payload.unknown_members()), (16724, &[][..]));
        // As Go's pkix.Name.String printed it when the vector was made.
        let subject = format!(
            "SERIALNUMBER=42,CN=\\#leaf\\, {name}\\ ,OU=a+OU=b,O=Notary \\<test\\>,POSTALCODE=98101,\
             STREET=1 \\\"Main\\\" St,L=Köln,ST=WA,C=US,1.2.840.113549.1.9.1=#0c0d61406578616d706c652e636f6d,\
             0.9.2342.19200300.100.1.25=#13076578616d706c65"
        );
        assert_eq!(content.chain[0].subject(), subject);
        assert_eq!(content.chain[1].subject(), "CN=root,O=Notary,ST=WA,C=US");
    }
}

#[test]
fn vectors_with_any_byte_changed_never_verify_as_something_else() {
    for (_, name, format, bytes) in VECTORS {
        let original = ParsedEnvelope::parse(format, bytes).unwrap().verify().unwrap();
        // Every 41st byte: the whole of every vector is a matter of minutes.
        for at in (0..bytes.len()).step_by(41) {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1;
            let Ok(read) = ParsedEnvelope::parse(format, &changed).and_then(ParsedEnvelope::verify) else {
                continue;
            };
            assert_eq!(read.content().payload, original.content().payload, "{name} {at}");
            assert_eq!(read.content().expiry, original.content().expiry, "{name} {at}");
        }
    }
}
