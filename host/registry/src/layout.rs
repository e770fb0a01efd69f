//! OCI image layouts on disk: read by tag or digest, write blobs and manifests, list signatures.
//!
//! Every call blocks on files. Nothing is followed out of the directory: symbolic links below it are refused, and
//! file names are made of parsed digests only. Source: OCI image specification, "Image Layout".

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::limits::{LAYOUT_FILE_BYTES_MAX, MANIFEST_BYTES_MAX};
use crate::manifest::{self, EMPTY_JSON, Manifest, SignatureForm};
use crate::{Descriptor, Error, Selector, SignatureList, Tag, media_type, text};

mod files;
mod index;
mod walk;

/// The annotation that makes an index entry a tag.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The annotation that names the file a layer was made from.
const TITLE: &str = "org.opencontainers.image.title";

/// An OCI image layout: a directory with `oci-layout`, `index.json` and `blobs/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

/// A file to be packed as one layer.
#[derive(Debug, Clone)]
pub struct PackedFile<'a> {
    /// Name of the file, without a path; kept in the layer's title annotation.
    pub name: &'a str,
    /// Media type of the layer.
    pub media_type: &'a str,
    /// The content.
    pub bytes: &'a [u8],
}

impl Layout {
    /// Opens an existing layout. Checks the version in `oci-layout` and that `index.json` parses.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let layout = Self { root: path.to_owned() };
        match std::fs::metadata(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(layout.unusable("there is no such directory"));
            }
            Err(source) => return Err(Error::Io { action: "look at", path: path.to_owned(), source }),
            Ok(found) if !found.is_dir() => return Err(layout.unusable("it is not a directory")),
            Ok(_) => {}
        }
        layout.check_version()?;
        index::Index::load(&layout)?;
        Ok(layout)
    }

    /// Makes a new, empty layout, or opens the one that is already there.
    ///
    /// The directory is created with its parents. A directory that holds anything else is left alone.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io { action: "create", path: path.to_owned(), source };
        std::fs::create_dir_all(path).map_err(io)?;
        let layout = Self { root: path.to_owned() };
        // In this order, so that whatever a crash leaves is completed by the next call.
        if !path.join("oci-layout").exists() {
            if std::fs::read_dir(path).map_err(io)?.next().is_some() {
                return Err(
                    layout.unusable("the directory holds other files and no oci-layout; use an empty one")
                );
            }
            files::replace(path, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        files::create_dirs(path)?;
        if std::fs::symlink_metadata(path.join("index.json")).is_err() {
            files::replace(path, "index.json", &index::Index::empty_json())?;
        }
        Self::open(path)
    }

    /// The layout's directory.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Finds a manifest by tag in `index.json`, or by digest anywhere below it, and verifies its digest.
    pub fn resolve(&self, selector: &Selector) -> Result<Descriptor, Error> {
        let found = match selector {
            Selector::Tag(tag) => index::Index::load(self)?.tagged(tag)?,
            Selector::Digest(digest) => walk::find(self, digest)?,
        };
        let found = found.ok_or_else(|| Error::NotFound {
            what: format!("the manifest {selector}"),
            place: format!("the image layout {}", self.root.display()),
        })?;
        let what = format!("the manifest {}", found.digest);
        let bytes = self.read_blob(&found, MANIFEST_BYTES_MAX)?;
        let manifest = Manifest::parse(&what, &bytes)?;
        let media_type = manifest.settle_media_type(&what, Some(&found.media_type))?;
        Ok(Descriptor { media_type, ..found.plain() })
    }

    /// The tags in `index.json`, in its order.
    pub fn tags(&self) -> Result<Vec<Tag>, Error> {
        Ok(index::Index::load(self)?.tags())
    }

    /// Reads a blob of at most `limit_bytes` and checks size and digest.
    pub fn read_blob(&self, descriptor: &Descriptor, limit_bytes: u64) -> Result<Bytes, Error> {
        let what = format!("the blob {}", descriptor.digest);
        descriptor.check_limit(&what, limit_bytes)?;
        let bytes = files::read_blob(&self.root, &descriptor.digest, limit_bytes)?;
        descriptor.check(&what, &bytes)?;
        Ok(bytes)
    }

    /// Reads a manifest: a blob of at most 4 MiB.
    pub fn read_manifest(&self, descriptor: &Descriptor) -> Result<Bytes, Error> {
        self.read_blob(descriptor, MANIFEST_BYTES_MAX)
    }

    /// Writes a blob under its SHA-256 digest, unless it is already there undamaged.
    pub fn write_blob(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, Error> {
        let descriptor = Descriptor::of(media_type, bytes);
        files::write_blob(&self.root, &descriptor.digest, bytes)?;
        Ok(descriptor)
    }

    /// Writes a manifest and adds it to `index.json`, under `tag` when given. A tag moves to the new manifest.
    pub fn write_manifest(
        &self,
        descriptor: &Descriptor,
        bytes: &[u8],
        tag: Option<&Tag>,
    ) -> Result<(), Error> {
        descriptor.check("the manifest to write", bytes)?;
        files::write_blob(&self.root, &descriptor.digest, bytes)?;
        index::update(self, |index| index.add(descriptor, tag))
    }

    /// Packs files as the layers of an OCI artifact with an empty config, and tags it.
    ///
    /// Names are kept in the annotation `org.opencontainers.image.title`, so that `oras pull` unpacks them again;
    /// a name with a path in it is refused. Returns the manifest's descriptor.
    pub fn pack(
        &self,
        tag: &Tag,
        artifact_type: &str,
        files: &[PackedFile<'_>],
        annotations: &BTreeMap<String, String>,
    ) -> Result<Descriptor, Error> {
        let mut layers = Vec::with_capacity(files.len());
        for file in files {
            layers.push(self.pack_layer(file)?);
        }
        self.write_blob(media_type::EMPTY, EMPTY_JSON)?;
        let (bytes, descriptor) = manifest::pack(artifact_type, &layers, annotations)?;
        self.write_manifest(&descriptor, &bytes, Some(tag))?;
        Ok(descriptor.plain())
    }

    fn pack_layer(&self, file: &PackedFile<'_>) -> Result<Descriptor, Error> {
        let named = !file.name.is_empty() && !matches!(file.name, "." | "..");
        if !named || file.name.contains(['/', '\\', '\0']) {
            let expected = "the name of a file to pack, without a path";
            return Err(Error::InvalidReference { found: text::printable(file.name), expected });
        }
        let mut layer = self.write_blob(file.media_type, file.bytes)?;
        layer.annotations.insert(TITLE.to_owned(), file.name.to_owned());
        Ok(layer)
    }

    /// Lists the signature manifests whose subject is `subject`, at most `max` of them, in the order of the index.
    pub fn signatures(&self, subject: &Descriptor, max: usize) -> Result<SignatureList, Error> {
        walk::signatures(self, subject, max)
    }

    /// Writes an envelope and its signature manifest, untagged, as `oras` does for a layout.
    pub fn write_signature(
        &self,
        form: SignatureForm,
        subject: &Descriptor,
        envelope_media_type: &str,
        envelope: &[u8],
        annotations: &BTreeMap<String, String>,
    ) -> Result<Descriptor, Error> {
        let layer = self.write_blob(envelope_media_type, envelope)?;
        self.write_blob(media_type::EMPTY, EMPTY_JSON)?;
        let (bytes, descriptor) = manifest::signature_manifest(form, subject, &layer, annotations)?;
        self.write_manifest(&descriptor, &bytes, None)?;
        Ok(descriptor)
    }

    fn check_version(&self) -> Result<(), Error> {
        let bytes = files::read(&self.root, &["oci-layout"], LAYOUT_FILE_BYTES_MAX)?;
        let value: serde_json::Value = serde_json::from_slice(&bytes)
            .map_err(|e| self.unusable(&format!("the file oci-layout does not parse: {e}")))?;
        match value.get("imageLayoutVersion").and_then(|v| v.as_str()) {
            Some("1.0.0") => Ok(()),
            Some(other) => {
                let other = text::printable(other);
                Err(self.unusable(&format!("its version is {other:?}, expected \"1.0.0\"")))
            }
            None => Err(self.unusable("the file oci-layout has no imageLayoutVersion")),
        }
    }

    fn unusable(&self, reason: &str) -> Error {
        Error::Layout { path: self.root.clone(), reason: reason.to_owned() }
    }
}
