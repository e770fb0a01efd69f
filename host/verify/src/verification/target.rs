//! What was signed: the payload must name the artifact at hand and hold the user metadata asked for.

use prokura_envelope::Descriptor;

use super::{Evidence, Target};
use crate::reason::{Reason, cut};

impl Evidence<'_> {
    pub(super) fn judge_target(&self) -> Vec<Reason> {
        let signed = match &self.payload {
            Ok(payload) => payload.target(),
            Err(error) => return vec![Reason::Payload(error.clone())],
        };
        let reason = match self.input.target {
            Target::Oci { media_type, digest, size } => {
                let difference = difference(signed, Some(media_type), digest, *size);
                difference.map(|d| Reason::OtherArtifact { member: d.0, signed: d.1, expected: d.2 })
            }
            Target::Blob { media_type, digest, size } => {
                let difference = difference(signed, media_type.as_deref(), digest, *size);
                difference.map(|d| Reason::OtherBlob { member: d.0, signed: d.1, expected: d.2 })
            }
        };
        reason.into_iter().collect()
    }

    pub(super) fn judge_user_metadata(&self) -> Vec<Reason> {
        let signed = |key: &str| self.payload.as_ref().ok().and_then(|p| p.target().annotations.get(key));
        let wrong = self.input.required_metadata.iter().filter(|(key, value)| signed(key) != Some(value));
        let reason = |(key, value): (&String, &String)| {
            let signed = signed(key).map(|value| cut(value));
            Reason::Metadata { key: key.clone(), expected: value.clone(), signed }
        };
        wrong.map(reason).collect()
    }
}

/// The first member that differs: its name, what is signed, what is expected.
fn difference(
    signed: &Descriptor,
    media_type: Option<&str>,
    digest: &str,
    size: u64,
) -> Option<(&'static str, String, String)> {
    if signed.digest != digest {
        return Some(("digest", cut(&signed.digest), digest.to_owned()));
    }
    if signed.size != size {
        return Some(("size", signed.size.to_string(), size.to_string()));
    }
    let expected = media_type.filter(|expected| signed.media_type != *expected)?;
    Some(("media type", cut(&signed.media_type), expected.to_owned()))
}
