//! The OCI descriptor and the media types this crate knows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, Error, text};

/// Media types and annotation names of OCI and of the Notary Project.
pub mod media_type {
    /// OCI image manifest.
    pub const IMAGE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image index.
    pub const IMAGE_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI artifact manifest, withdrawn before OCI 1.1; read, never written.
    pub const ARTIFACT_MANIFEST: &str = "application/vnd.oci.artifact.manifest.v1+json";
    /// Docker image manifest, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker manifest list.
    pub const DOCKER_MANIFEST_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// OCI empty descriptor: the two bytes `{}`.
    pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
    /// Artifact type of a Notary signature.
    pub const SIGNATURE: &str = "application/vnd.cncf.notary.signature";
    /// JWS envelope.
    pub const JWS: &str = "application/jose+json";
    /// COSE envelope.
    pub const COSE: &str = "application/cose";
}

/// An OCI content descriptor: what a piece of content is, its digest and its size.
///
/// Members of the specification that this crate does not need (`urls`, `data`, `platform`) and members it does
/// not know are read over. Source: OCI image specification, "Descriptors".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type of the content.
    pub media_type: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Size of the content in bytes.
    pub size: u64,
    /// Annotations; empty when absent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_default")]
    pub annotations: BTreeMap<String, String>,
    /// Artifact type of the manifest described, when the descriptor says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// The descriptor of `bytes`, by SHA-256.
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::sha256(bytes),
            size: bytes.len() as u64,
            annotations: BTreeMap::new(),
            artifact_type: None,
        }
    }

    /// The same content, described by media type, digest and size alone.
    pub fn plain(&self) -> Self {
        Self { annotations: BTreeMap::new(), artifact_type: None, ..self.clone() }
    }

    /// Whether both describe the same content: media type, digest and size are equal.
    pub fn same_content(&self, other: &Self) -> bool {
        self.media_type == other.media_type && self.digest == other.digest && self.size == other.size
    }

    /// Whether the media type is an image index or a docker manifest list.
    pub(crate) fn is_index(&self) -> bool {
        matches!(self.media_type.as_str(), media_type::IMAGE_INDEX | media_type::DOCKER_MANIFEST_LIST)
    }

    /// Fails unless `bytes` have the size and the digest described; `what` names them in the message.
    pub(crate) fn check(&self, what: &str, bytes: &[u8]) -> Result<(), Error> {
        if bytes.len() as u64 != self.size {
            let (expected, found) = (self.size, bytes.len() as u64);
            return Err(Error::SizeMismatch { what: text::printable(what), expected, found });
        }
        let found = Digest::of(self.digest.algorithm(), bytes);
        if found != self.digest {
            let expected = self.digest.clone();
            return Err(Error::DigestMismatch { what: text::printable(what), expected, found });
        }
        Ok(())
    }

    /// Fails when the size described is above `limit_bytes`, before anything is read.
    pub(crate) fn check_limit(&self, what: &str, limit_bytes: u64) -> Result<(), Error> {
        if self.size > limit_bytes {
            return Err(Error::TooLarge { what: text::printable(what), found: Some(self.size), limit_bytes });
        }
        Ok(())
    }
}

/// Go writers emit `null` for an empty map or list; it means the same as absent.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_members_are_read_over_and_nothing_is_invented() {
        let json = r#"{"mediaType":"m","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "size":2,"data":"e30=","platform":{"os":"linux"},"annotations":null,"x":1}"#;
        let descriptor: Descriptor = serde_json::from_str(json).unwrap();
        assert_eq!(descriptor, Descriptor::of("m", b"{}"));
        assert_eq!(
            serde_json::to_string(&descriptor).unwrap(),
            r#"{"mediaType":"m","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}"#
        );
    }

    #[test]
    fn negative_sizes_and_duplicate_members_are_refused() {
        let digest = Digest::sha256(b"");
        for json in [
            format!(r#"{{"mediaType":"m","digest":"{digest}","size":-1}}"#),
            format!(r#"{{"mediaType":"m","digest":"{digest}","size":1,"size":2}}"#),
        ] {
            assert!(serde_json::from_str::<Descriptor>(&json).is_err(), "{json}");
        }
    }

    #[test]
    fn content_is_checked_by_size_and_digest() {
        let descriptor = Descriptor::of("m", b"abc");
        assert!(descriptor.check("it", b"abc").is_ok());
        assert!(matches!(
            descriptor.check("it", b"ab"),
            Err(Error::SizeMismatch { expected: 3, found: 2, .. })
        ));
        assert!(matches!(descriptor.check("it", b"abd"), Err(Error::DigestMismatch { .. })));
    }
}
