//! Walking the manifests of an image layout: to find one by digest, and to find the signatures of one.

use std::collections::{HashSet, VecDeque};

use super::{Layout, index::Index};
use crate::limits::{LAYOUT_DEPTH_MAX, LAYOUT_MANIFESTS_MAX, MANIFEST_BYTES_MAX};
use crate::manifest::Manifest;
use crate::{Descriptor, Digest, Error, SignatureList, media_type};

/// Every descriptor reachable from `index.json` through indexes, breadth first, each digest once.
struct Walk<'a> {
    layout: &'a Layout,
    queue: VecDeque<(Descriptor, usize)>,
    seen: HashSet<Digest>,
}

impl<'a> Walk<'a> {
    fn new(layout: &'a Layout) -> Result<Self, Error> {
        let mut walk = Self { layout, queue: VecDeque::new(), seen: HashSet::new() };
        walk.push(Index::load(layout)?.entries(), 0)?;
        Ok(walk)
    }

    /// The next descriptor; its children are queued when it is an index that can be read.
    fn next(&mut self) -> Result<Option<Descriptor>, Error> {
        let Some((descriptor, depth)) = self.queue.pop_front() else {
            return Ok(None);
        };
        if descriptor.is_index() && depth < LAYOUT_DEPTH_MAX {
            match self.layout.read_blob(&descriptor, MANIFEST_BYTES_MAX) {
                // A layout may hold an index without all the manifests it lists ("sparse"); that is no error.
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
                Ok(bytes) => {
                    let what = format!("the index {}", descriptor.digest);
                    self.push(Manifest::parse(&what, &bytes)?.entries(), depth + 1)?;
                }
            }
        }
        Ok(Some(descriptor))
    }

    fn push(&mut self, entries: Vec<Descriptor>, depth: usize) -> Result<(), Error> {
        for entry in entries {
            if self.seen.insert(entry.digest.clone()) {
                self.queue.push_back((entry, depth));
            }
        }
        if self.seen.len() > LAYOUT_MANIFESTS_MAX {
            let what = format!("the image layout {}", self.layout.path().display());
            return Err(Error::TooMany { what, limit: LAYOUT_MANIFESTS_MAX, unit: "manifests" });
        }
        Ok(())
    }
}

/// Finds the descriptor of the manifest with `digest`.
pub(super) fn find(layout: &Layout, digest: &Digest) -> Result<Option<Descriptor>, Error> {
    let mut walk = Walk::new(layout)?;
    while let Some(descriptor) = walk.next()? {
        if descriptor.digest == *digest {
            return Ok(Some(descriptor));
        }
    }
    Ok(None)
}

/// Lists the signature manifests of `subject`, of either form.
pub(super) fn signatures(layout: &Layout, subject: &Descriptor, max: usize) -> Result<SignatureList, Error> {
    let mut list = SignatureList { manifests: Vec::new(), truncated: false };
    let mut walk = Walk::new(layout)?;
    while let Some(descriptor) = walk.next()? {
        let Some(found) = signature_of(layout, subject, &descriptor)? else {
            continue;
        };
        if list.manifests.len() == max {
            list.truncated = true;
            break;
        }
        list.manifests.push(found);
    }
    Ok(list)
}

fn signature_of(
    layout: &Layout,
    subject: &Descriptor,
    descriptor: &Descriptor,
) -> Result<Option<Descriptor>, Error> {
    let may_be =
        matches!(descriptor.media_type.as_str(), media_type::IMAGE_MANIFEST | media_type::ARTIFACT_MANIFEST);
    if !may_be || descriptor.digest == subject.digest {
        return Ok(None);
    }
    let bytes = match layout.read_manifest(descriptor) {
        Ok(bytes) => bytes,
        // Manifests of other platforms are often left out of a layout; they are not signatures of this subject.
        Err(Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let manifest = Manifest::parse(&format!("the manifest {}", descriptor.digest), &bytes)?;
    let belongs = manifest.subject.as_ref().is_some_and(|s| s.same_content(subject));
    if !belongs || manifest.artifact_type() != Some(media_type::SIGNATURE) {
        return Ok(None);
    }
    Ok(Some(Descriptor {
        artifact_type: Some(media_type::SIGNATURE.to_owned()),
        annotations: manifest.annotations,
        ..descriptor.plain()
    }))
}
