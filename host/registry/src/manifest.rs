//! Manifests as far as this crate reads them, and the two forms of a Notary signature manifest.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::descriptor::{media_type, null_as_default};
use crate::{Descriptor, Digest, Error, text};

/// The content of [`media_type::EMPTY`].
pub(crate) const EMPTY_JSON: &[u8] = b"{}";

/// The members of image manifests, indexes and artifact manifests that matter here, whichever of them it is.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    #[serde(default)]
    pub(crate) media_type: Option<String>,
    #[serde(default)]
    artifact_type: Option<String>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    blobs: Option<Vec<Descriptor>>,
    #[serde(default)]
    pub(crate) manifests: Option<Vec<serde_json::Value>>,
    #[serde(default)]
    pub(crate) subject: Option<Descriptor>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Manifest {
    pub(crate) fn parse(what: &str, bytes: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(bytes).map_err(|e| Error::json(what, &e))
    }

    /// The artifact type, taken from the config where the manifest has none (distribution specification,
    /// "Listing Referrers").
    pub(crate) fn artifact_type(&self) -> Option<&str> {
        let explicit = self.artifact_type.as_deref().filter(|t| !t.is_empty());
        explicit.or_else(|| self.config.as_ref().map(|c| c.media_type.as_str()))
    }

    /// The media type by the manifest's own word, or by its members where it has none.
    pub(crate) fn own_media_type(&self, what: &str) -> Result<String, Error> {
        if self.manifests.is_some() && (self.layers.is_some() || self.config.is_some()) {
            let reason = "it has the members of an image manifest and of an index, so it means different \
                          things to different readers";
            return Err(Error::malformed(what, reason));
        }
        match (&self.media_type, self.manifests.is_some(), self.config.is_some()) {
            (Some(own), _, _) => Ok(own.clone()),
            (None, true, _) => Ok(media_type::IMAGE_INDEX.to_owned()),
            (None, false, true) => Ok(media_type::IMAGE_MANIFEST.to_owned()),
            (None, false, false) => Err(Error::malformed(what, "it is neither a manifest nor an index")),
        }
    }

    /// Settles the media type of a manifest that was announced as `announced`.
    pub(crate) fn settle_media_type(&self, what: &str, announced: Option<&str>) -> Result<String, Error> {
        let own = self.own_media_type(what)?;
        match announced.filter(|a| is_manifest_type(a)) {
            Some(announced) if self.media_type.is_some() && announced != own => {
                let (own, announced) = (text::printable(&own), text::printable(announced));
                let reason = format!("it calls itself {own}, but was announced as {announced}");
                Err(Error::malformed(what, reason))
            }
            Some(announced) => Ok(announced.to_owned()),
            None => Ok(own),
        }
    }

    /// The entries of an index that are well formed; entries of unknown shape belong to somebody else.
    pub(crate) fn entries(&self) -> Vec<Descriptor> {
        let values = self.manifests.iter().flatten();
        values.filter_map(|v| serde_json::from_value(v.clone()).ok()).collect()
    }
}

/// Media types that say what a manifest is; `application/json` and the like do not.
fn is_manifest_type(value: &str) -> bool {
    value.starts_with("application/vnd.")
}

/// Which form of signature manifest is written. Both are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SignatureForm {
    /// `artifactType` is the Notary type and the config is the OCI empty descriptor (Notary signature
    /// specification since 1.1, OCI 1.1).
    #[default]
    ArtifactType,
    /// No `artifactType`; the config's media type is the Notary type. This is what `notation` up to 1.3 writes, and
    /// the only form it lists from an image layout.
    LegacyConfig,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SignatureManifest<'a> {
    schema_version: u8,
    media_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<&'static str>,
    config: Config,
    layers: &'a [Descriptor],
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Descriptor>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'static str>,
}

impl Config {
    fn empty() -> Self {
        Self { data: Some("e30="), ..Self::of_type(media_type::EMPTY) }
    }

    fn of_type(media_type: &str) -> Self {
        let Descriptor { media_type, digest, size, .. } = Descriptor::of(media_type, EMPTY_JSON);
        Self { media_type, digest, size, data: None }
    }
}

/// The bytes of an image manifest with the empty config, and its descriptor with artifact type and annotations.
pub(crate) fn pack(
    artifact_type: &str,
    layers: &[Descriptor],
    annotations: &BTreeMap<String, String>,
) -> Result<(Bytes, Descriptor), Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Packed<'a> {
        schema_version: u8,
        media_type: &'static str,
        artifact_type: &'a str,
        config: Config,
        layers: &'a [Descriptor],
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        annotations: &'a BTreeMap<String, String>,
    }
    let manifest = Packed {
        schema_version: 2,
        media_type: media_type::IMAGE_MANIFEST,
        artifact_type,
        config: Config::empty(),
        layers,
        annotations,
    };
    encode(&manifest, artifact_type, &BTreeMap::new())
}

/// The bytes of a signature manifest and its descriptor, which carries artifact type and annotations as a referrers
/// list does.
pub(crate) fn signature_manifest(
    form: SignatureForm,
    subject: &Descriptor,
    envelope: &Descriptor,
    annotations: &BTreeMap<String, String>,
) -> Result<(Bytes, Descriptor), Error> {
    let (artifact_type, config) = match form {
        SignatureForm::ArtifactType => (Some(media_type::SIGNATURE), Config::empty()),
        SignatureForm::LegacyConfig => (None, Config::of_type(media_type::SIGNATURE)),
    };
    let manifest = SignatureManifest {
        schema_version: 2,
        media_type: media_type::IMAGE_MANIFEST,
        artifact_type,
        config,
        layers: std::slice::from_ref(envelope),
        subject: Some(subject.plain()),
        annotations,
    };
    encode(&manifest, media_type::SIGNATURE, annotations)
}

fn encode(
    manifest: &impl Serialize,
    artifact_type: &str,
    annotations: &BTreeMap<String, String>,
) -> Result<(Bytes, Descriptor), Error> {
    let bytes = serde_json::to_vec(manifest).map_err(|e| Error::json("the manifest to write", &e))?;
    let mut descriptor = Descriptor::of(media_type::IMAGE_MANIFEST, &bytes);
    descriptor.artifact_type = Some(artifact_type.to_owned());
    descriptor.annotations = annotations.clone();
    Ok((bytes.into(), descriptor))
}

/// What a signature manifest says, after its rules were checked.
pub(crate) struct SignatureParts {
    pub(crate) envelope: Descriptor,
    pub(crate) subject: Descriptor,
    pub(crate) annotations: BTreeMap<String, String>,
}

/// Reads a signature manifest of either form, or the withdrawn OCI artifact manifest.
pub(crate) fn read_signature(
    descriptor: &Descriptor,
    expected_subject: &Descriptor,
    bytes: &[u8],
) -> Result<SignatureParts, Error> {
    let what = format!("the signature manifest {}", descriptor.digest);
    let manifest = Manifest::parse(&what, bytes)?;
    let found_type = manifest.settle_media_type(&what, Some(&descriptor.media_type))?;
    let envelopes = match found_type.as_str() {
        media_type::IMAGE_MANIFEST => manifest.layers.as_deref(),
        media_type::ARTIFACT_MANIFEST => manifest.blobs.as_deref(),
        other => {
            let reason =
                format!("its media type is {}, expected an OCI image manifest", text::printable(other));
            return Err(Error::malformed(&what, reason));
        }
    };
    if manifest.artifact_type() != Some(media_type::SIGNATURE) {
        let found = manifest.artifact_type().map_or_else(|| "none".to_owned(), text::printable);
        return Err(Error::malformed(
            &what,
            format!("its artifact type is {found}, expected {}", media_type::SIGNATURE),
        ));
    }
    let [envelope] = envelopes.unwrap_or_default() else {
        let count = envelopes.unwrap_or_default().len();
        return Err(Error::malformed(&what, format!("it has {count} envelopes, expected exactly one layer")));
    };
    let subject = check_subject(descriptor, expected_subject, manifest.subject.as_ref())?;
    Ok(SignatureParts { envelope: envelope.clone(), subject, annotations: manifest.annotations.clone() })
}

fn check_subject(
    manifest: &Descriptor,
    expected: &Descriptor,
    found: Option<&Descriptor>,
) -> Result<Descriptor, Error> {
    match found {
        Some(found) if found.same_content(expected) => Ok(found.clone()),
        found => Err(Error::WrongSubject {
            manifest: manifest.digest.clone(),
            found: found.map_or_else(
                || "no subject".to_owned(),
                |d| format!("{} ({}, {} bytes)", d.digest, text::printable(&d.media_type), d.size),
            ),
            expected: expected.digest.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Descriptor {
        Descriptor::of(media_type::IMAGE_MANIFEST, b"image")
    }

    #[test]
    fn the_new_form_is_written_member_by_member() {
        let envelope = Descriptor::of(media_type::JWS, b"env");
        let annotations = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let (bytes, descriptor) =
            signature_manifest(SignatureForm::ArtifactType, &subject(), &envelope, &annotations).unwrap();
        let expected = format!(
            concat!(
                r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","#,
                r#""artifactType":"application/vnd.cncf.notary.signature","#,
                r#""config":{{"mediaType":"application/vnd.oci.empty.v1+json","#,
                r#""digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"data":"e30="}},"#,
                r#""layers":[{{"mediaType":"application/jose+json","digest":"{}","size":3}}],"#,
                r#""subject":{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":5}},"#,
                r#""annotations":{{"a":"b"}}}}"#
            ),
            envelope.digest,
            subject().digest
        );
        assert_eq!(std::str::from_utf8(&bytes).unwrap(), expected);
        assert_eq!(descriptor.artifact_type.as_deref(), Some(media_type::SIGNATURE));
        assert_eq!(descriptor.annotations, annotations);
    }

    #[test]
    fn both_forms_are_read_back() {
        let envelope = Descriptor::of(media_type::COSE, b"env");
        for form in [SignatureForm::ArtifactType, SignatureForm::LegacyConfig] {
            let (bytes, descriptor) =
                signature_manifest(form, &subject(), &envelope, &BTreeMap::new()).unwrap();
            let parts = read_signature(&descriptor, &subject(), &bytes).unwrap();
            assert_eq!((parts.envelope, parts.subject), (envelope.clone(), subject()), "{form:?}");
        }
    }

    #[test]
    fn another_subject_is_refused() {
        let envelope = Descriptor::of(media_type::COSE, b"env");
        let (bytes, descriptor) =
            signature_manifest(SignatureForm::ArtifactType, &subject(), &envelope, &BTreeMap::new()).unwrap();
        let mut other = subject();
        other.size += 1;
        let error = read_signature(&descriptor, &other, &bytes).err().unwrap();
        assert!(matches!(error, Error::WrongSubject { .. }), "{error}");
    }

    #[test]
    fn two_envelopes_or_none_are_refused() {
        for layers in ["[]".to_owned(), format!("[{0},{0}]", serde_json::to_string(&subject()).unwrap())] {
            let json = format!(
                r#"{{"artifactType":"{}","config":{},"layers":{layers},"subject":{}}}"#,
                media_type::SIGNATURE,
                serde_json::to_string(&Descriptor::of(media_type::EMPTY, EMPTY_JSON)).unwrap(),
                serde_json::to_string(&subject()).unwrap()
            );
            let descriptor = Descriptor::of(media_type::IMAGE_MANIFEST, json.as_bytes());
            let error = read_signature(&descriptor, &subject(), json.as_bytes()).err().unwrap();
            assert!(error.to_string().contains("expected exactly one layer"), "{error}");
        }
    }

    #[test]
    fn a_manifest_that_is_also_an_index_is_refused() {
        let json = br#"{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"layers":[]}"#;
        let error = Manifest::parse("it", json).unwrap().own_media_type("it").err().unwrap();
        assert!(error.to_string().contains("different things"), "{error}");
    }

    #[test]
    fn the_announced_type_must_agree_with_the_manifests_own() {
        let json = br#"{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
        let manifest = Manifest::parse("it", json).unwrap();
        assert!(manifest.settle_media_type("it", Some(media_type::IMAGE_MANIFEST)).is_err());
        let settled = manifest.settle_media_type("it", Some("application/json")).unwrap();
        assert_eq!(settled, media_type::IMAGE_INDEX);
    }
}
