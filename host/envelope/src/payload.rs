//! The payload: what is signed, as the exact JSON bytes that are signed.
//!
//! Source: Notary Project signature specification, "Payload". No canonical form exists: whoever verifies takes the
//! bytes as they are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::limits::PAYLOAD_BYTES_MAX;
use crate::strict_json;

/// Annotation keys with this prefix belong to the Notary Project; user metadata must not use it.
pub const RESERVED_PREFIX: &str = "io.cncf.notary";

/// Members of `targetArtifact` that an OCI content descriptor may have.
const DESCRIPTOR_MEMBERS: [&str; 8] =
    ["mediaType", "digest", "size", "annotations", "urls", "data", "platform", "artifactType"];
const TARGET_ARTIFACT: &str = "targetArtifact";

/// Descriptor of the target artifact: the part of an OCI content descriptor that is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type of the manifest or blob.
    pub media_type: String,
    /// Digest as `algorithm:hex`, such as `sha256:44136f...`.
    pub digest: String,
    /// Length in bytes.
    pub size: u64,
    /// User metadata.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A payload and the exact bytes that are or were signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    target: Descriptor,
    bytes: Vec<u8>,
    unknown_members: Vec<String>,
}

/// Why there is no payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// A key of the user metadata belongs to the Notary Project.
    #[error("user metadata key {key:?} has the reserved prefix \"io.cncf.notary\"; choose another key")]
    ReservedKey {
        /// The key.
        key: String,
    },
    /// A key of the user metadata is an annotation of the target artifact already.
    #[error("user metadata key {key:?} is already an annotation of the target artifact; choose another key")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// The descriptor does not describe an artifact.
    #[error("the target artifact has {found}, expected {expected}")]
    Descriptor {
        /// What was found.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// The target artifact and its annotations are larger than any verifier should have to read.
    #[error("the payload has {found} bytes, at most {PAYLOAD_BYTES_MAX} are signed; shorten the annotations")]
    TooLarge {
        /// Bytes found.
        found: usize,
    },
    /// The bytes are no payload.
    #[error("not a Notary payload: {reason}")]
    Malformed {
        /// What was found and what was expected.
        reason: String,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    target_artifact: &'a Descriptor,
}

impl Payload {
    /// Makes the payload for `target`, to whose annotations `user_metadata` is added.
    ///
    /// # Errors
    /// [`PayloadError`] if a key is reserved or used already, if the descriptor lacks a media type or digest, or if
    /// the bytes are more than a verifier reads.
    pub fn new(
        mut target: Descriptor,
        user_metadata: BTreeMap<String, String>,
    ) -> Result<Self, PayloadError> {
        for (key, value) in user_metadata {
            if key.starts_with(RESERVED_PREFIX) {
                return Err(PayloadError::ReservedKey { key: crate::quoted(&key) });
            }
            if target.annotations.contains_key(&key) {
                return Err(PayloadError::DuplicateKey { key: crate::quoted(&key) });
            }
            target.annotations.insert(key, value);
        }
        check_descriptor(&target)?;
        let bytes = serde_json::to_vec(&Written { target_artifact: &target })
            .map_err(|e| PayloadError::Malformed { reason: e.to_string() })?;
        if bytes.len() > PAYLOAD_BYTES_MAX {
            return Err(PayloadError::TooLarge { found: bytes.len() });
        }
        Ok(Self { target, bytes, unknown_members: Vec::new() })
    }

    /// Reads signed bytes. Members no version of the specification knows are kept track of, not refused, unless they
    /// differ from a known one in case only: other readers take such a member for the known one.
    ///
    /// # Errors
    /// [`PayloadError::Malformed`] unless the bytes are a JSON object without duplicate or misspelt members, within
    /// the limits, that holds a descriptor; [`PayloadError::Descriptor`] if the descriptor lacks a media type or digest.
    pub fn parse(bytes: &[u8]) -> Result<Self, PayloadError> {
        let malformed = |reason| PayloadError::Malformed { reason };
        let mut members = strict_json::parse_object(bytes).map_err(malformed)?;
        let target = match members.remove(TARGET_ARTIFACT) {
            Some(Value::Object(target)) => target,
            Some(other) => {
                let found = strict_json::kind(&other);
                return Err(malformed(format!("{TARGET_ARTIFACT} is {found}, expected an object")));
            }
            None => return Err(malformed(format!("{TARGET_ARTIFACT} is missing"))),
        };
        refuse_misspelt(members.keys(), &[TARGET_ARTIFACT])?;
        refuse_misspelt(target.keys(), &DESCRIPTOR_MEMBERS)?;
        let mut unknown_members: Vec<String> = members.keys().map(|k| crate::quoted(k)).collect();
        unknown_members.extend(unknown_descriptor_members(&target));
        let target: Descriptor = serde_json::from_value(Value::Object(target))
            .map_err(|e| malformed(format!("{TARGET_ARTIFACT}: {}", crate::quoted(&e.to_string()))))?;
        check_descriptor(&target)?;
        Ok(Self { target, bytes: bytes.to_vec(), unknown_members })
    }

    /// The exact JSON bytes: `{"targetArtifact":{"mediaType":…,"digest":…,"size":…,"annotations":…}}` as made by
    /// [`Payload::new`], or whatever was parsed.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What is signed.
    pub const fn target(&self) -> &Descriptor {
        &self.target
    }

    /// Members found by [`Payload::parse`] that no payload or OCI descriptor has; those of the descriptor are
    /// prefixed `targetArtifact.`. A plugin that makes envelopes must not have added any.
    pub fn unknown_members(&self) -> &[String] {
        &self.unknown_members
    }
}

/// Go's decoder, by which notation reads, ignores case and takes two letters beyond ASCII for the ones they fold to.
/// Two readers of one signature must not see two artifacts.
fn refuse_misspelt<'a>(
    found: impl Iterator<Item = &'a String>,
    known: &[&'static str],
) -> Result<(), PayloadError> {
    for name in found.filter(|name| !known.contains(&name.as_str())) {
        let folded = name.replace('\u{17F}', "s").replace('\u{212A}', "k");
        if let Some(meant) = known.iter().find(|known| known.eq_ignore_ascii_case(&folded)) {
            let reason = format!("member {:?}, expected {meant:?}", crate::quoted(name));
            return Err(PayloadError::Malformed { reason });
        }
    }
    Ok(())
}

fn unknown_descriptor_members(target: &Map<String, Value>) -> impl Iterator<Item = String> {
    let unknown = target.keys().filter(|k| !DESCRIPTOR_MEMBERS.contains(&k.as_str()));
    unknown.map(|k| format!("{TARGET_ARTIFACT}.{}", crate::quoted(k)))
}

fn check_descriptor(target: &Descriptor) -> Result<(), PayloadError> {
    if target.media_type.is_empty() {
        let found = "an empty mediaType".to_owned();
        return Err(PayloadError::Descriptor { found, expected: "a media type" });
    }
    let well_formed = target.digest.split_once(':').is_some_and(|(algorithm, hex)| {
        !algorithm.is_empty() && hex.len() >= 32 && hex.bytes().all(|b| b.is_ascii_hexdigit())
    });
    if !well_formed {
        let found = format!("digest {:?}", crate::quoted(&target.digest));
        return Err(PayloadError::Descriptor { found, expected: "algorithm:hex" });
    }
    if i64::try_from(target.size).is_err() {
        let found = format!("size {}", target.size);
        return Err(PayloadError::Descriptor { found, expected: "a size below 2^63" });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Descriptor {
        Descriptor {
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            digest: format!("sha256:{}", "0123456789abcdef".repeat(4)),
            size: 7143,
            annotations: BTreeMap::new(),
        }
    }

    fn metadata(key: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(key.to_owned(), "<b>&".to_owned())])
    }

    #[test]
    fn the_bytes_have_the_documented_order_and_parse_again() {
        let payload = Payload::new(target(), metadata("buildId")).unwrap();
        let expected = format!(
            r#"{{"targetArtifact":{{"mediaType":"{}","digest":"{}","size":7143,"annotations":{{"buildId":"<b>&"}}}}}}"#,
            target().media_type,
            target().digest
        );
        assert_eq!(std::str::from_utf8(payload.bytes()).unwrap(), expected);
        assert_eq!(Payload::parse(payload.bytes()).unwrap(), payload);
        let bare = Payload::new(target(), BTreeMap::new()).unwrap();
        assert!(bare.bytes().ends_with(b"\"size\":7143}}"));
    }

    #[test]
    fn reserved_and_duplicate_metadata_keys_are_refused() {
        let error = Payload::new(target(), metadata("io.cncf.notary.x")).unwrap_err();
        assert!(matches!(error, PayloadError::ReservedKey { .. }), "{error}");
        let mut annotated = target();
        annotated.annotations = metadata("a");
        let error = Payload::new(annotated, metadata("a")).unwrap_err();
        assert_eq!(error, PayloadError::DuplicateKey { key: "a".to_owned() });
    }

    #[test]
    fn the_size_is_bounded_to_the_byte() {
        let with = |length| {
            let metadata = BTreeMap::from([("k".to_owned(), "v".repeat(length))]);
            Payload::new(target(), metadata)
        };
        let frame = with(0).unwrap().bytes().len();
        assert_eq!(with(PAYLOAD_BYTES_MAX - frame).unwrap().bytes().len(), PAYLOAD_BYTES_MAX);
        let error = with(PAYLOAD_BYTES_MAX - frame + 1).unwrap_err();
        assert_eq!(error, PayloadError::TooLarge { found: PAYLOAD_BYTES_MAX + 1 });
    }

    #[test]
    fn members_nobody_knows_are_listed() {
        let digest = target().digest;
        let text = format!(
            r#"{{"x":1,"targetArtifact":{{"y":2,"artifactType":"a","mediaType":"m","digest":"{digest}","size":1}}}}"#
        );
        let payload = Payload::parse(text.as_bytes()).unwrap();
        assert_eq!(payload.unknown_members(), ["x", "targetArtifact.y"]);
        assert_eq!(payload.bytes(), text.as_bytes());
    }

    #[test]
    fn members_that_differ_in_case_only_are_refused() {
        let digest = target().digest;
        let descriptor = format!(r#""mediaType":"m","digest":"{digest}","size":1"#);
        let evil = format!("sha256:{}", "f".repeat(64));
        for (text, expected) in [
            (
                format!(r#"{{"targetArtifact":{{{descriptor}}},"TargetArtifact":{{}}}}"#),
                r#"member "TargetArtifact", expected "targetArtifact""#,
            ),
            (
                format!(r#"{{"targetArtifact":{{{descriptor},"Digest":"{evil}"}}}}"#),
                r#"member "Digest", expected "digest""#,
            ),
            (format!(r#"{{"targetArtifact":{{{descriptor},"\u017fize":2}}}}"#), "expected \"size\""),
        ] {
            let error = Payload::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let annotated = format!(r#"{{"targetArtifact":{{{descriptor},"annotations":{{"Digest":"x"}}}}}}"#);
        assert!(Payload::parse(annotated.as_bytes()).unwrap().unknown_members().is_empty());
    }

    #[test]
    fn bytes_that_are_no_payload_are_refused_with_the_reason() {
        let digest = target().digest;
        for (text, expected) in [
            ("[]".to_owned(), "expected a JSON object"),
            ("{}".to_owned(), "targetArtifact is missing"),
            (r#"{"targetArtifact":[]}"#.to_owned(), "targetArtifact is an array"),
            (r#"{"targetArtifact":{"mediaType":"m","size":1}}"#.to_owned(), "missing field `digest`"),
            (
                format!(r#"{{"targetArtifact":{{"mediaType":"m","digest":"{digest}","size":-1}}}}"#),
                "invalid value: integer `-1`",
            ),
            (
                format!(
                    r#"{{"targetArtifact":{{"mediaType":"m","digest":"{digest}","digest":"","size":1}}}}"#
                ),
                "\"digest\" occurs twice",
            ),
            (
                r#"{"targetArtifact":{"mediaType":"m","digest":"sha256:xyz","size":1}}"#.to_owned(),
                "algorithm:hex",
            ),
            (
                format!(r#"{{"targetArtifact":{{"mediaType":"","digest":"{digest}","size":1}}}}"#),
                "empty mediaType",
            ),
        ] {
            let error = Payload::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
