//! One type for a repository in a registry and for an image layout on disk.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;

use crate::limits::{ENVELOPE_BYTES_MAX, MANIFEST_BYTES_MAX, SIGNATURE_PUSH_PAUSE, SIGNATURE_PUSHES_MAX};
use crate::manifest::{self, EMPTY_JSON, SignatureForm};
use crate::remote::{Remote, within};
use crate::{Descriptor, Error, Layout, RegistryReference, RemoteOptions, Selector, Tag, media_type};

/// Signature manifests found for a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureList {
    /// Descriptors of the signature manifests, in the order of the registry or the layout.
    pub manifests: Vec<Descriptor>,
    /// Whether there are more: the caller's maximum or a limit of this crate ended the list.
    pub truncated: bool,
}

/// A signature manifest that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Descriptor of the signature manifest, with artifact type and annotations.
    pub manifest: Descriptor,
    /// Descriptor of the envelope blob.
    pub envelope: Descriptor,
    /// What did not work and does no harm to the signature, in sentences for the user.
    pub warnings: Vec<String>,
}

/// A signature envelope as fetched. Nothing in it is verified but sizes, digests and the subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Descriptor of the signature manifest it came from.
    pub manifest: Descriptor,
    /// The subject named by the signature manifest; equal in content to the one asked for.
    pub subject: Descriptor,
    /// Media type of the envelope, `application/jose+json` or `application/cose`; not checked.
    pub envelope_media_type: String,
    /// Descriptor of the envelope blob.
    pub envelope_descriptor: Descriptor,
    /// The envelope.
    pub envelope: Bytes,
    /// Annotations of the signature manifest.
    pub annotations: BTreeMap<String, String>,
}

/// A repository: a remote one in a registry, or an image layout.
pub struct Repository {
    place: Place,
    form: SignatureForm,
}

/// Shows the place alone; credentials have no part in it.
impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = match &self.place {
            Place::Layout(layout) => layout.path().display().to_string(),
            Place::Remote(remote) => remote.place.clone(),
        };
        f.debug_struct("Repository").field("place", &place).field("form", &self.form).finish_non_exhaustive()
    }
}

enum Place {
    Layout(Layout),
    Remote(Box<Remote>),
}

impl Repository {
    /// The repository that `reference` names, in its registry. Nothing is sent before the first call; tag and digest
    /// of the reference are not looked at.
    pub fn remote(reference: &RegistryReference, options: RemoteOptions) -> Result<Self, Error> {
        let remote = Box::new(Remote::new(reference, options)?);
        Ok(Self { place: Place::Remote(remote), form: SignatureForm::default() })
    }

    /// An existing image layout. Reads `oci-layout` and `index.json`.
    ///
    /// Signatures are written in the [`SignatureForm::LegacyConfig`]: notation 1.3 finds no other in a layout, and
    /// everybody reads it. Registries are different, there both forms are found.
    pub fn layout(path: &Path) -> Result<Self, Error> {
        Ok(Self { place: Place::Layout(Layout::open(path)?), form: SignatureForm::LegacyConfig })
    }

    /// The same repository, writing signature manifests in `form`.
    #[must_use]
    pub fn with_signature_form(self, form: SignatureForm) -> Self {
        Self { form, ..self }
    }

    /// Finds a manifest by tag or digest. The bytes are fetched and their digest is verified; media type, digest and
    /// size of the result are those of what was read.
    pub async fn resolve(&self, selector: &Selector) -> Result<Descriptor, Error> {
        match &self.place {
            Place::Layout(layout) => {
                let selector = selector.clone();
                blocking(layout, move |l| l.resolve(&selector)).await
            }
            Place::Remote(remote) => {
                within("resolving the reference", remote.timeouts, remote.resolve(selector)).await
            }
        }
    }

    /// Fetches a manifest of at most 4 MiB and checks size and digest.
    pub async fn fetch_manifest(&self, descriptor: &Descriptor) -> Result<Bytes, Error> {
        let what = format!("the manifest {}", descriptor.digest);
        descriptor.check_limit(&what, MANIFEST_BYTES_MAX)?;
        match &self.place {
            Place::Layout(layout) => {
                let descriptor = descriptor.clone();
                blocking(layout, move |l| l.read_manifest(&descriptor)).await
            }
            Place::Remote(remote) => {
                within("fetching a manifest", remote.timeouts, remote.manifest(descriptor)).await
            }
        }
    }

    /// Fetches a blob of at most `limit_bytes` and checks size and digest.
    pub async fn fetch_blob(&self, descriptor: &Descriptor, limit_bytes: u64) -> Result<Bytes, Error> {
        let what = format!("the blob {}", descriptor.digest);
        descriptor.check_limit(&what, limit_bytes)?;
        match &self.place {
            Place::Layout(layout) => {
                let descriptor = descriptor.clone();
                blocking(layout, move |l| l.read_blob(&descriptor, limit_bytes)).await
            }
            Place::Remote(remote) => {
                within("fetching a blob", remote.timeouts, remote.blob(descriptor, limit_bytes)).await
            }
        }
    }

    /// Stores a blob under its SHA-256 digest, unless it is already there.
    pub async fn push_blob(&self, media_type: &str, bytes: Bytes) -> Result<Descriptor, Error> {
        match &self.place {
            Place::Layout(layout) => {
                let media_type = media_type.to_owned();
                blocking(layout, move |l| l.write_blob(&media_type, &bytes)).await
            }
            Place::Remote(remote) => {
                within("pushing a blob", remote.timeouts, remote.push_blob(media_type, bytes)).await
            }
        }
    }

    /// Stores a manifest by digest, and under `tag` when given. The blobs it names must be there already.
    pub async fn push_manifest(
        &self,
        media_type: &str,
        bytes: Bytes,
        tag: Option<&Tag>,
    ) -> Result<Descriptor, Error> {
        let descriptor = Descriptor::of(media_type, &bytes);
        descriptor.check_limit("the manifest to push", MANIFEST_BYTES_MAX)?;
        match &self.place {
            Place::Layout(layout) => {
                let (tag, written) = (tag.cloned(), descriptor.clone());
                blocking(layout, move |l| l.write_manifest(&written, &bytes, tag.as_ref())).await?;
            }
            Place::Remote(remote) => {
                let push = remote.push_manifest(&descriptor, bytes, tag.map(Tag::as_str), None);
                within("pushing a manifest", remote.timeouts, push).await?;
            }
        }
        Ok(descriptor)
    }

    /// Stores an envelope and its signature manifest, and makes it known as a referrer of `subject`.
    ///
    /// In this order: envelope, config, manifest, and where the registry has no referrers API the index under the
    /// referrers tag. A crash in between leaves content that nobody refers to, never a manifest without its envelope.
    /// `force_referrers_tag` writes that index even where there is an API; a layout has neither.
    pub async fn push_signature(
        &self,
        subject: &Descriptor,
        envelope_media_type: &str,
        envelope: &[u8],
        annotations: BTreeMap<String, String>,
        force_referrers_tag: bool,
    ) -> Result<Pushed, Error> {
        let layer = Descriptor::of(envelope_media_type, envelope);
        layer.check_limit("the envelope to push", ENVELOPE_BYTES_MAX)?;
        match &self.place {
            Place::Layout(layout) => {
                let (form, subject, kind) = (self.form, subject.clone(), envelope_media_type.to_owned());
                let envelope = envelope.to_vec();
                let write =
                    move |l: &Layout| l.write_signature(form, &subject, &kind, &envelope, &annotations);
                let manifest = blocking(layout, write).await?;
                Ok(Pushed { manifest, envelope: layer, warnings: Vec::new() })
            }
            Place::Remote(remote) => {
                let packed = manifest::signature_manifest(self.form, subject, &layer, &annotations)?;
                let push = push_remote(remote, subject, layer, envelope, packed, force_referrers_tag);
                within("pushing the signature", remote.timeouts, push).await
            }
        }
    }

    /// Lists the signature manifests of `subject`, at most `max` of them.
    pub async fn signatures(&self, subject: &Descriptor, max: usize) -> Result<SignatureList, Error> {
        match &self.place {
            Place::Layout(layout) => {
                let subject = subject.clone();
                blocking(layout, move |l| l.signatures(&subject, max)).await
            }
            Place::Remote(remote) => {
                within("listing signatures", remote.timeouts, remote.signatures(subject, max)).await
            }
        }
    }

    /// Fetches the envelope of a signature manifest found by [`Repository::signatures`].
    ///
    /// The manifest (at most 4 MiB) must be a signature manifest of `subject` with exactly one layer, and the envelope
    /// at most 32 MiB.
    pub async fn fetch_signature(
        &self,
        subject: &Descriptor,
        manifest: &Descriptor,
    ) -> Result<Signature, Error> {
        let bytes = self.fetch_manifest(manifest).await?;
        let parts = manifest::read_signature(manifest, subject, &bytes)?;
        let what = format!("the envelope of the signature manifest {}", manifest.digest);
        parts.envelope.check_limit(&what, ENVELOPE_BYTES_MAX)?;
        let envelope = self.fetch_blob(&parts.envelope, ENVELOPE_BYTES_MAX).await?;
        Ok(Signature {
            manifest: manifest.clone(),
            subject: parts.subject,
            envelope_media_type: parts.envelope.media_type.clone(),
            envelope_descriptor: parts.envelope,
            envelope,
            annotations: parts.annotations,
        })
    }
}

async fn push_remote(
    remote: &Remote,
    subject: &Descriptor,
    layer: Descriptor,
    envelope: &[u8],
    (bytes, manifest): (Bytes, Descriptor),
    force_referrers_tag: bool,
) -> Result<Pushed, Error> {
    manifest.check_limit("the signature manifest to push", MANIFEST_BYTES_MAX)?;
    let envelope = Bytes::copy_from_slice(envelope);
    let mut attempt = 1;
    let indexed = loop {
        remote.push_blob(&layer.media_type, envelope.clone()).await?;
        remote.push_blob(media_type::EMPTY, Bytes::from_static(EMPTY_JSON)).await?;
        match remote.push_manifest(&manifest, bytes.clone(), None, None).await {
            Err(error) if error.is_unknown_blob() && attempt < SIGNATURE_PUSHES_MAX => attempt += 1,
            outcome => break outcome?,
        }
        tokio::time::sleep(SIGNATURE_PUSH_PAUSE * attempt).await;
    };
    let indexed = indexed.is_some_and(|found| found == subject.digest.to_string());
    let warnings = if force_referrers_tag || !indexed {
        remote.add_to_referrers_tag(&subject.digest, &manifest).await?
    } else {
        Vec::new()
    };
    Ok(Pushed { manifest, envelope: layer, warnings })
}

/// Runs file work away from the async threads.
async fn blocking<T: Send + 'static>(
    layout: &Layout,
    work: impl FnOnce(&Layout) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let layout = layout.clone();
    let path = layout.path().to_owned();
    let joined = tokio::task::spawn_blocking(move || work(&layout)).await;
    joined.map_err(|e| Error::Io { action: "work on", path, source: std::io::Error::other(e) })?
}
