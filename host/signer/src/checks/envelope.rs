//! Checks on `generate-envelope`, where the plugin makes the whole envelope.
//!
//! A timestamp token in the envelope is left for the verifier to judge.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use prokura_envelope::certificate::check_code_signing_chain;
use prokura_envelope::{
    Content, Descriptor, EnvelopeFormat, ParsedEnvelope, Payload, RESERVED_PREFIX, VerifiedEnvelope,
};
use prokura_plugin::message::{GenerateEnvelopeResponse, PAYLOAD_MEDIA_TYPE};

use super::document;
use crate::error::Violation;
use crate::limits::{ANNOTATION_BYTES_MAX, ANNOTATIONS_MAX, EXPIRY_SKEW_SECONDS, SIGNING_TIME_SKEW};
use crate::text::cleaned;

/// Written by the host alone.
const CREATED: &str = "org.opencontainers.image.created";

/// What the plugin was asked to put into the envelope.
#[derive(Clone, Copy, Debug)]
pub struct EnvelopeRequest<'a> {
    /// The format asked for.
    pub format: EnvelopeFormat,
    /// The payload handed over.
    pub payload: &'a Payload,
    /// The host's time when it asked.
    pub signing_time: Timestamp,
    /// The expiry asked for, counted from the signing time.
    pub expiry: Option<Duration>,
}

/// An envelope that passed every check.
#[derive(Clone, Debug)]
pub struct GeneratedEnvelope {
    /// The envelope, its signature verified.
    pub envelope: VerifiedEnvelope,
    /// Annotations for the signature manifest, without the ones that are the host's to write.
    pub annotations: BTreeMap<String, String>,
    /// Names of the signed annotations that nobody asked for, as the plugin wrote them. `ENV-6` allows them; they are
    /// part of what was signed, so the user should hear of them.
    pub added: Vec<String>,
}

/// Checks an answer of `generate-envelope`, in this order:
///
/// | Rule | |
/// |---|---|
/// | `ENV-1` | `signatureEnvelopeType` echoes the request |
/// | `ENV-2` | the envelope is one of that type and its header keeps the rules |
/// | `ENV-3` | the signature verifies, the certificate chain keeps the rules (validity periods: `ENV-11`) |
/// | `ENV-4` | the content type is that of a Notary payload |
/// | `ENV-5` | the payload is a Notary payload |
/// | `ENV-6` | media type, digest and size are the requested ones and every requested annotation is there unchanged |
/// | `ENV-7` | nothing unknown was added to the payload |
/// | `ENV-8` | the expiry asked for is there, within two seconds; without one any expiry lies ahead |
/// | `ENV-9` | the signing time is within 15 minutes of the host's |
/// | `ENV-11` | every certificate of the chain is valid at the signing time |
/// | `ENV-10` | annotations are within the limits |
///
/// # Errors
/// `OUT-1` and the above.
pub fn generate_envelope(
    answer: &[u8],
    request: &EnvelopeRequest<'_>,
) -> Result<GeneratedEnvelope, Violation> {
    let found: GenerateEnvelopeResponse = document(answer)?;
    check_type(&found.signature_envelope_type, request.format)?;
    let parsed = ParsedEnvelope::parse(request.format, &found.signature_envelope.0)
        .map_err(|e| Violation::new("ENV-2", cleaned(&e.to_string())))?;
    check_content_type(parsed.content())?;
    let envelope = parsed.verify().map_err(|e| Violation::new("ENV-3", cleaned(&e.to_string())))?;
    let added = check_payload(envelope.content(), request.payload)?;
    let signed_at = check_times(envelope.content(), request)?;
    check_chain_at(envelope.content(), signed_at)?;
    let annotations = check_annotations(found.annotations.unwrap_or_default())?;
    Ok(GeneratedEnvelope { envelope, annotations, added })
}

fn check_type(found: &str, format: EnvelopeFormat) -> Result<(), Violation> {
    let expected = format.media_type();
    if found == expected {
        return Ok(());
    }
    let found = cleaned(found);
    let message = format!("signatureEnvelopeType is {found:?}, expected the requested {expected:?}");
    Err(Violation::new("ENV-1", message))
}

/// Before the signature is verified, which would refuse another content type with less to say.
fn check_content_type(content: &Content) -> Result<(), Violation> {
    if content.content_type == PAYLOAD_MEDIA_TYPE {
        return Ok(());
    }
    let found = cleaned(&content.content_type);
    Err(Violation::new("ENV-4", format!("the content type is {found:?}, expected {PAYLOAD_MEDIA_TYPE:?}")))
}

/// Returns the names of annotations that were not requested.
fn check_payload(content: &Content, requested: &Payload) -> Result<Vec<String>, Violation> {
    let signed =
        Payload::parse(&content.payload).map_err(|e| Violation::new("ENV-5", cleaned(&e.to_string())))?;
    check_target(signed.target(), requested.target())?;
    if !signed.unknown_members().is_empty() {
        let added: Vec<String> = signed.unknown_members().iter().map(|name| cleaned(name)).collect();
        let message =
            format!("the plugin added {added:?} to the payload, expected none but members of a descriptor");
        return Err(Violation::new("ENV-7", message));
    }
    Ok(added_annotations(signed.target(), requested.target()))
}

fn added_annotations(signed: &Descriptor, requested: &Descriptor) -> Vec<String> {
    signed.annotations.keys().filter(|name| !requested.annotations.contains_key(*name)).cloned().collect()
}

fn check_target(signed: &Descriptor, requested: &Descriptor) -> Result<(), Violation> {
    let differs = |what: &str, found: String, expected: String| {
        let found = cleaned(&found);
        Err(Violation::new(
            "ENV-6",
            format!("the plugin signed {what} {found:?}, expected the requested {expected:?}"),
        ))
    };
    if signed.media_type != requested.media_type {
        return differs("media type", signed.media_type.clone(), requested.media_type.clone());
    }
    if signed.digest != requested.digest {
        return differs("digest", signed.digest.clone(), requested.digest.clone());
    }
    if signed.size != requested.size {
        return differs("size", signed.size.to_string(), requested.size.to_string());
    }
    for (name, value) in &requested.annotations {
        match signed.annotations.get(name) {
            Some(found) if found == value => {}
            Some(found) => return differs(&format!("annotation {name:?} as"), found.clone(), value.clone()),
            None => return differs(&format!("without annotation {name:?}:"), String::new(), value.clone()),
        }
    }
    Ok(())
}

/// Returns the signing time.
fn check_times(content: &Content, request: &EnvelopeRequest<'_>) -> Result<Timestamp, Violation> {
    let signed_at = content.signing_time.or(content.authentic_signing_time);
    let signed_at =
        signed_at.ok_or_else(|| Violation::new("ENV-9", "the envelope has no signing time, expected one"))?;
    check_expiry(content.expiry, signed_at, request)?;
    let skew = signed_at.duration_since(request.signing_time).unsigned_abs();
    if skew > SIGNING_TIME_SKEW {
        let now = request.signing_time;
        let message = format!(
            "the envelope says it was signed at {signed_at}, expected a time within 15 minutes of {now}"
        );
        return Err(Violation::new("ENV-9", message));
    }
    Ok(signed_at)
}

/// What a verifier asks later, asked before the signature is stored: parsing left the validity periods aside.
fn check_chain_at(content: &Content, signed_at: Timestamp) -> Result<(), Violation> {
    check_code_signing_chain(&content.chain, Some(signed_at))
        .map_err(|broken| Violation::new("ENV-11", cleaned(&broken.to_string())))
}

fn check_expiry(
    found: Option<Timestamp>,
    signed_at: Timestamp,
    request: &EnvelopeRequest<'_>,
) -> Result<(), Violation> {
    let violation = |message| Err(Violation::new("ENV-8", message));
    match (found, request.expiry) {
        (None, None) => Ok(()),
        (None, Some(asked)) => {
            violation(format!("the envelope has no expiry, expected one {} s after signing", asked.as_secs()))
        }
        (Some(found), None) if found > request.signing_time => Ok(()),
        (Some(found), None) => violation(format!("the envelope expired at {found}, before it was made")),
        (Some(found), Some(asked)) => {
            let lasts = found.duration_since(signed_at).as_secs();
            let asked = SignedDuration::try_from(asked).map_or(i64::MAX, |asked| asked.as_secs());
            if lasts.abs_diff(asked) <= EXPIRY_SKEW_SECONDS.unsigned_abs() {
                return Ok(());
            }
            violation(format!("the envelope expires {lasts} s after signing, expected {asked} s"))
        }
    }
}

/// Drops what is the host's to write; bounds the rest.
fn check_annotations(found: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Violation> {
    let violation = |message| Err(Violation::new("ENV-10", message));
    if found.len() > ANNOTATIONS_MAX {
        return violation(format!("{} annotations, at most {ANNOTATIONS_MAX} are allowed", found.len()));
    }
    let too_long = |text: &String| text.len() > ANNOTATION_BYTES_MAX;
    if let Some((name, _)) = found.iter().find(|(name, value)| too_long(name) || too_long(value)) {
        let name = cleaned(name);
        return violation(format!("annotation {name:?} has more than {ANNOTATION_BYTES_MAX} bytes"));
    }
    let is_hosts = |name: &str| name.starts_with(RESERVED_PREFIX) || name == CREATED;
    Ok(found.into_iter().filter(|(name, _)| !is_hosts(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(annotations: &[(&str, &str)]) -> Descriptor {
        Descriptor {
            media_type: "m/t".to_owned(),
            digest: format!("sha256:{}", "0".repeat(64)),
            size: 1,
            annotations: annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        }
    }

    #[test]
    fn the_signed_target_is_the_requested_one_or_has_more_annotations() {
        let requested = target(&[("a", "1")]);
        let more = target(&[("a", "1"), ("b", "2")]);
        assert!(check_target(&more, &requested).is_ok());
        assert_eq!(added_annotations(&more, &requested), ["b"]);
        assert!(added_annotations(&requested, &requested).is_empty());
        let mut cases = vec![target(&[]), target(&[("a", "2")])];
        cases.extend([requested.clone(), requested.clone(), requested.clone()]);
        cases[2].size = 2;
        cases[3].digest = format!("sha256:{}", "1".repeat(64));
        cases[4].media_type = "m/u".to_owned();
        for (signed, part) in
            cases.iter().zip(["without annotation", "annotation \"a\"", "size", "digest", "media type"])
        {
            let violation = check_target(signed, &requested).unwrap_err();
            assert_eq!(violation.rule, "ENV-6");
            assert!(violation.message.contains(part), "{violation}");
        }
    }

    #[test]
    fn the_expiry_asked_for_must_be_there() {
        let payload = Payload::new(target(&[]), BTreeMap::new()).unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        let check = |found: Option<i64>, expiry: Option<u64>| {
            let expiry = expiry.map(Duration::from_secs);
            let request = EnvelopeRequest {
                format: EnvelopeFormat::Jws,
                payload: &payload,
                signing_time: at(1000),
                expiry,
            };
            check_expiry(found.map(at), at(1000), &request).map_err(|violation| violation.rule)
        };
        assert_eq!(check(None, None), Ok(()));
        assert_eq!(check(Some(2000), None), Ok(()));
        assert_eq!(check(Some(1102), Some(100)), Ok(()));
        for (found, asked) in
            [(None, Some(100)), (Some(1103), Some(100)), (Some(1050), Some(100)), (Some(900), None)]
        {
            assert_eq!(check(found, asked), Err("ENV-8"), "{found:?} {asked:?}");
        }
        assert_eq!(check(Some(1100), Some(u64::MAX)), Err("ENV-8"));
    }

    #[test]
    fn annotations_that_are_the_hosts_are_dropped() {
        let found = ["io.cncf.notary.x509chain.thumbprint#S256", CREATED, "com.example"];
        let found = found.map(|name| (name.to_owned(), "v".to_owned())).into();
        assert_eq!(check_annotations(found).unwrap().into_keys().collect::<Vec<_>>(), ["com.example"]);
        let many = (0..=ANNOTATIONS_MAX).map(|n| (n.to_string(), String::new())).collect();
        assert_eq!(check_annotations(many).unwrap_err().rule, "ENV-10");
        let long = BTreeMap::from([("k".to_owned(), "v".repeat(ANNOTATION_BYTES_MAX + 1))]);
        assert_eq!(check_annotations(long).unwrap_err().rule, "ENV-10");
    }
}
