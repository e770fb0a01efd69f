//! `index.json`: read, and changed under a lock so that concurrent writers lose nothing.
//!
//! The lock is an advisory one on the file `oci-layout`. Every layout has that file and nobody replaces it, so no
//! extra file appears that other tools would copy, pack or clean up, and a crash leaves no stale lock behind.
//! Entries and members this crate does not know are kept as they are.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Layout, REF_NAME, files};
use crate::limits::{LAYOUT_LOCK_WAIT, MANIFEST_BYTES_MAX};
use crate::{Descriptor, Error, Tag, media_type};

/// How often a waiting writer looks whether the lock is free.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// The content of `index.json`.
pub(super) struct Index {
    what: String,
    value: Map<String, Value>,
}

/// Changes `index.json` under the layout's lock. The file is left alone when `change` changes nothing or fails.
pub(super) fn update(
    layout: &Layout,
    change: impl FnOnce(&mut Index) -> Result<(), Error>,
) -> Result<(), Error> {
    let _lock = lock(layout)?;
    let mut index = Index::load(layout)?;
    let before = index.value.clone();
    change(&mut index)?;
    if index.value == before {
        return Ok(());
    }
    let bytes = serde_json::to_vec(&index.value).map_err(|e| Error::json(&index.what, &e))?;
    if bytes.len() as u64 > MANIFEST_BYTES_MAX {
        let found = Some(bytes.len() as u64);
        return Err(Error::TooLarge { what: index.what, found, limit_bytes: MANIFEST_BYTES_MAX });
    }
    files::replace(&layout.root, "index.json", &bytes)
}

impl Index {
    pub(super) fn load(layout: &Layout) -> Result<Self, Error> {
        let what = layout.root.join("index.json").display().to_string();
        let bytes = files::read(&layout.root, &["index.json"], MANIFEST_BYTES_MAX)?;
        let value: Map<String, Value> = serde_json::from_slice(&bytes).map_err(|e| Error::json(&what, &e))?;
        match value.get("manifests") {
            None | Some(Value::Null | Value::Array(_)) => Ok(Self { what, value }),
            Some(_) => Err(Error::malformed(&what, "its member \"manifests\" is not a list")),
        }
    }

    pub(super) fn empty_json() -> Vec<u8> {
        json!({"schemaVersion": 2, "mediaType": media_type::IMAGE_INDEX, "manifests": []}).to_string().into()
    }

    /// All well-formed entries.
    pub(super) fn entries(&self) -> Vec<Descriptor> {
        self.values().filter_map(|v| serde_json::from_value(v.clone()).ok()).collect()
    }

    pub(super) fn tags(&self) -> Vec<Tag> {
        let names = self.values().filter_map(ref_name);
        names.filter_map(|name| name.parse().ok()).collect()
    }

    /// The one manifest under `tag`. Two different ones under the same tag are refused: which of them was meant
    /// would depend on the reader.
    pub(super) fn tagged(&self, tag: &Tag) -> Result<Option<Descriptor>, Error> {
        let mut found: Option<Descriptor> = None;
        for value in self.values().filter(|v| ref_name(v) == Some(tag.as_str())) {
            let entry: Descriptor =
                serde_json::from_value(value.clone()).map_err(|e| Error::json(&self.what, &e))?;
            if let Some(first) = &found
                && !first.same_content(&entry)
            {
                let reason = format!(
                    "the tag {tag} stands at {} and at {}; name one by its digest",
                    first.digest, entry.digest
                );
                return Err(Error::malformed(&self.what, reason));
            }
            found = Some(entry);
        }
        Ok(found)
    }

    /// Adds an entry unless it is there. With a tag, the tag is taken from any other manifest first.
    pub(super) fn add(&mut self, descriptor: &Descriptor, tag: Option<&Tag>) -> Result<(), Error> {
        let mut entry = Descriptor { artifact_type: descriptor.artifact_type.clone(), ..descriptor.plain() };
        if let Some(tag) = tag {
            self.untag(tag, descriptor);
            entry.annotations.insert(REF_NAME.to_owned(), tag.as_str().to_owned());
        }
        let digest = descriptor.digest.to_string();
        let present = self.values().any(|v| {
            v.get("digest").and_then(Value::as_str) == Some(&digest)
                && (tag.is_none() || ref_name(v) == tag.map(Tag::as_str))
        });
        if present {
            return Ok(());
        }
        let value = serde_json::to_value(&entry).map_err(|e| Error::json(&self.what, &e))?;
        match self.value.entry("manifests").or_insert_with(|| Value::Array(Vec::new())) {
            Value::Array(entries) => entries.push(value),
            other => *other = Value::Array(vec![value]),
        }
        Ok(())
    }

    /// Takes `tag` from every other manifest; an entry that loses its tag stays, untagged.
    fn untag(&mut self, tag: &Tag, keep: &Descriptor) {
        let keep = keep.digest.to_string();
        let entries = self.value.get_mut("manifests").and_then(Value::as_array_mut);
        for entry in entries.into_iter().flatten() {
            let is_other = entry.get("digest").and_then(Value::as_str) != Some(&keep);
            if is_other
                && ref_name(entry) == Some(tag.as_str())
                && let Some(annotations) = entry.get_mut("annotations").and_then(Value::as_object_mut)
            {
                annotations.remove(REF_NAME);
            }
        }
    }

    fn values(&self) -> impl Iterator<Item = &Value> {
        self.value.get("manifests").and_then(Value::as_array).into_iter().flatten()
    }
}

fn ref_name(entry: &Value) -> Option<&str> {
    entry.get("annotations")?.get(REF_NAME)?.as_str()
}

/// Waits for the lock; it is released when the file is closed.
fn lock(layout: &Layout) -> Result<File, Error> {
    let path = layout.root.join("oci-layout");
    let io = |source| Error::Io { action: "lock", path: path.clone(), source };
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    // Network file systems want a writable file for an exclusive lock; local ones take a read-only file too.
    let file = options.clone().write(true).open(&path).or_else(|_| options.open(&path)).map_err(io)?;
    let mut waited = Duration::ZERO;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(io(source)),
            Err(TryLockError::WouldBlock) if waited >= LAYOUT_LOCK_WAIT => {
                let seconds = LAYOUT_LOCK_WAIT.as_secs();
                return Err(Error::LayoutLocked { path: layout.root.clone(), seconds });
            }
            Err(TryLockError::WouldBlock) => {
                std::thread::sleep(LOCK_POLL);
                waited += LOCK_POLL;
            }
        }
    }
}
