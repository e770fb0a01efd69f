//! The steps of the quickstart that work on image layouts: packing files, and making a tampered copy.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::PathBuf;

use prokura_registry::{Descriptor, Layout, LayoutReference, PackedFile, Repository, Selector, Tag};
use serde::Serialize;
use serde_json::Value;

use crate::exit::Failure;
use crate::limits::PACKED_FILE_BYTES_MAX;
use crate::output::{Output, Report, printable_line, shown};
use crate::state_file;

/// Artifact type of what is packed.
const ARTIFACT_TYPE: &str = "application/vnd.prokura.quickstart.v1";
/// Media type of its layers: nothing is known about the files.
const LAYER_TYPE: &str = "application/octet-stream";

/// JSON of `quickstart pack`: `{artifact, files: [name]}`.
#[derive(Serialize)]
struct Packed {
    artifact: String,
    files: Vec<String>,
}

impl Report for Packed {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let files = printable_line(&self.files.join(", "));
        writeln!(out, "Packed {files} into {}", printable_line(&self.artifact))
    }
}

/// Packs files into a layout, new or existing.
pub(super) fn pack(layout: &str, files: &[PathBuf], output: &mut Output<'_>) -> Result<(), Failure> {
    let (reference, tag) = tagged(layout)?;
    let mut read = Vec::new();
    let mut names = BTreeSet::new();
    for path in files {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
            Failure::usage(format!("{} has no file name in UTF-8, as a layer's title must be", shown(path)))
        })?;
        if !names.insert(name.to_owned()) {
            return Err(Failure::usage(format!("two of the files are called {name:?}; rename one of them")));
        }
        read.push((name.to_owned(), state_file::read_named(path, PACKED_FILE_BYTES_MAX)?));
    }
    let packed: Vec<PackedFile<'_>> =
        read.iter().map(|(name, bytes)| PackedFile { name, media_type: LAYER_TYPE, bytes }).collect();
    let layout = Layout::create(reference.path())?;
    let descriptor = layout.pack(&tag, ARTIFACT_TYPE, &packed, &BTreeMap::new())?;
    output.report(&Packed {
        artifact: format!("{}@{}", reference.path().to_string_lossy(), descriptor.digest),
        files: read.into_iter().map(|(name, _)| name).collect(),
    })
}

/// JSON of `quickstart tamper`: `{original, copy, layer, changedByte, signatures}`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tampered {
    original: String,
    copy: String,
    layer: String,
    changed_byte: usize,
    signatures: usize,
}

impl Report for Tampered {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "Changed byte {} of layer {}", self.changed_byte, self.layer)?;
        writeln!(
            out,
            "Copied to {} with {} signature(s) of the original",
            printable_line(&self.copy),
            self.signatures
        )
    }
}

/// Copies an artifact, changing one byte of its first layer and with it the manifest, and attaches the signatures of the
/// original: what an attacker with write access to a repository can do.
pub(super) async fn tamper(layout: &str, copy: &str, output: &mut Output<'_>) -> Result<(), Failure> {
    let reference: LayoutReference = layout.parse()?;
    let selector = reference.selector().cloned();
    let selector =
        selector.ok_or_else(|| Failure::usage(format!("{layout:?} names neither tag nor digest")))?;
    let (copy_reference, tag) = tagged(copy)?;
    if copy_reference.path().symlink_metadata().is_ok() {
        return Err(Failure::usage(format!(
            "{} already exists; name a new layout for the copy",
            shown(copy_reference.path())
        )));
    }
    let source = Layout::open(reference.path())?;
    let original = source.resolve(&selector)?;
    let (target, layer, changed_byte) =
        copy_changed(&source, &original, &Layout::create(copy_reference.path())?, &tag)?;
    let signatures = copy_signatures(&reference, &original, &copy_reference, &target).await?;
    output.report(&Tampered {
        original: format!("{}@{}", reference.path().to_string_lossy(), original.digest),
        copy: format!("{}@{}", copy_reference.path().to_string_lossy(), target.digest),
        layer,
        changed_byte,
        signatures,
    })
}

/// Copies manifest and blobs with the last byte of the first layer changed.
fn copy_changed(
    source: &Layout,
    original: &Descriptor,
    copy: &Layout,
    tag: &Tag,
) -> Result<(Descriptor, String, usize), Failure> {
    let bytes = source.read_manifest(original)?;
    let unusable = |why: &str| Failure::usage(format!("the manifest {} {why}", original.digest));
    let manifest: Value = serde_json::from_slice(&bytes).map_err(|_| unusable("is no JSON"))?;
    let text = String::from_utf8(bytes.to_vec()).map_err(|_| unusable("is no UTF-8"))?;
    let layers: Vec<Descriptor> = manifest
        .get("layers")
        .and_then(|layers| serde_json::from_value(layers.clone()).ok())
        .ok_or_else(|| unusable("has no layers; name an image or artifact manifest"))?;
    let (first, others) = layers.split_first().ok_or_else(|| unusable("has no layer to change"))?;
    let config = manifest.get("config").and_then(|config| serde_json::from_value(config.clone()).ok());
    for blob in others.iter().chain(config.iter()) {
        copy.write_blob(&blob.media_type, &source.read_blob(blob, PACKED_FILE_BYTES_MAX)?)?;
    }
    let mut changed = source.read_blob(first, PACKED_FILE_BYTES_MAX)?.to_vec();
    let place = changed.len().saturating_sub(1);
    let byte = changed.last_mut().ok_or_else(|| unusable("has an empty first layer"))?;
    *byte ^= 1;
    let written = copy.write_blob(&first.media_type, &changed)?;
    // Digests have one length, so that nothing but the digest of the layer changes in the manifest.
    let text = text.replace(&first.digest.to_string(), &written.digest.to_string());
    let target = Descriptor::of(&original.media_type, text.as_bytes());
    copy.write_manifest(&target, text.as_bytes(), Some(tag))?;
    Ok((target, first.digest.to_string(), place))
}

async fn copy_signatures(
    from: &LayoutReference,
    original: &Descriptor,
    to: &LayoutReference,
    target: &Descriptor,
) -> Result<usize, Failure> {
    let (from, to) = (Repository::layout(from.path())?, Repository::layout(to.path())?);
    let found = from.signatures(original, crate::limits::SIGNATURES_DEFAULT).await?;
    for manifest in &found.manifests {
        let signature = from.fetch_signature(original, manifest).await?;
        let (kind, envelope) = (&signature.envelope_media_type, &signature.envelope);
        to.push_signature(target, kind, envelope, signature.annotations, false).await?;
    }
    if found.manifests.is_empty() {
        return Err(Failure::usage(format!("{} has no signature to copy; sign it first", original.digest)));
    }
    Ok(found.manifests.len())
}

fn tagged(text: &str) -> Result<(LayoutReference, Tag), Failure> {
    let reference: LayoutReference = text.parse()?;
    match reference.selector() {
        Some(Selector::Tag(tag)) => Ok((reference.clone(), tag.clone())),
        _ => Err(Failure::usage(format!("{text:?} has no tag, expected PATH:TAG"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tampered_copy_differs_in_one_byte_and_is_consistent_in_itself() {
        let dir = tempfile::tempdir().unwrap();
        let tag: Tag = "v1".parse().unwrap();
        let source = Layout::create(&dir.path().join("a")).unwrap();
        let file = |name, bytes| PackedFile { name, media_type: LAYER_TYPE, bytes };
        let files = [file("one", b"hello".as_slice()), file("two", b"world")];
        let original = source.pack(&tag, ARTIFACT_TYPE, &files, &BTreeMap::new()).unwrap();
        let copy = Layout::create(&dir.path().join("b")).unwrap();
        let (target, layer, place) = copy_changed(&source, &original, &copy, &tag).unwrap();
        assert_ne!(target.digest, original.digest);
        assert_eq!(target.size, original.size);
        assert_eq!(place, 4);
        assert_eq!(copy.resolve(&Selector::Tag(tag)).unwrap().digest, target.digest);
        let manifest: Value = serde_json::from_slice(&copy.read_manifest(&target).unwrap()).unwrap();
        let first: Descriptor = serde_json::from_value(manifest["layers"][0].clone()).unwrap();
        assert_ne!(first.digest.to_string(), layer);
        assert_eq!(&copy.read_blob(&first, 10).unwrap()[..], b"helln");
    }
}
