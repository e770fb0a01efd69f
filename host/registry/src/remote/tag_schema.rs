//! The referrers tag: an index under a tag, kept by clients where the registry has no referrers API.
//!
//! Registries offer no compare-and-swap on tags, so two writers can overwrite each other. Writers of one process take
//! turns. Against others, an entry is written, read back, and read back again after a pause longer than another writer
//! needs between its own read and write, until nobody has written for such a pause; an entry that went missing is
//! written again. Where the registry sends a strong ETag, the write is conditional as well.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::referrers::referrers_tag;
use super::transport::spread;
use super::{Fetched, Remote};
use crate::limits::{
    MANIFEST_BYTES_MAX, TAG_SCHEMA_ATTEMPTS_MAX, TAG_SCHEMA_LOOKS_MAX, TAG_SCHEMA_SETTLE_MAX,
};
use crate::{Descriptor, Digest, Error, media_type};

/// Writers of one process that update the same tag take turns; the tags are spread over a few locks.
static TURNS: [Mutex<()>; 8] = [const { Mutex::const_new(()) }; 8];

/// Shortest pause before the second look, when nobody else seems to write.
const SETTLE_MIN: Duration = Duration::from_millis(100);

/// Shortest pause once another writer was seen: there may be more, on machines busier than ours.
const SETTLE_CONTENDED_MIN: Duration = Duration::from_millis(500);

/// How an attempt to write the index ended.
enum Write {
    /// It is there as written.
    Done,
    /// Somebody else wrote first; the registry said so.
    Conflict,
}

/// The indexes that were replaced on the way and are of no use to anybody.
#[derive(Default)]
struct Replaced {
    digests: Vec<Digest>,
}

impl Remote {
    /// Adds `entry` to the referrers tag of `subject`. Gives warnings for what did no harm.
    pub(crate) async fn add_to_referrers_tag(
        &self,
        subject: &Digest,
        entry: &Descriptor,
    ) -> Result<Vec<String>, Error> {
        let tag = referrers_tag(subject);
        let _turn = turn(&self.place, &tag).lock().await;
        let mut replaced = Replaced::default();
        let mut conditional = true;
        for attempt in 1..=TAG_SCHEMA_ATTEMPTS_MAX {
            let started = Instant::now();
            let current = self.referrers_index(&tag).await?;
            if lists(&tag, current.as_ref(), entry)? {
                // Either it was there before, or an earlier attempt of ours got through after all.
                if attempt == 1 || self.stays(&tag, entry, started.elapsed()).await? {
                    return Ok(self.delete_replaced(&tag, replaced).await);
                }
                continue;
            }
            let etag = current.as_ref().and_then(|c| c.etag.clone()).filter(|_| conditional);
            match self.write_index(&tag, current.as_ref(), entry, etag.as_deref(), &mut replaced).await? {
                Write::Conflict => conditional = attempt < 3,
                Write::Done if self.stays(&tag, entry, started.elapsed()).await? => {
                    return Ok(self.delete_replaced(&tag, replaced).await);
                }
                Write::Done => {}
            }
            tokio::time::sleep(spread(SETTLE_MIN.saturating_mul(attempt as u32))).await;
        }
        let (manifest, attempts) = (entry.digest.clone(), TAG_SCHEMA_ATTEMPTS_MAX);
        Err(Error::LostUpdate { manifest, tag, attempts })
    }

    async fn write_index(
        &self,
        tag: &str,
        current: Option<&Fetched>,
        entry: &Descriptor,
        etag: Option<&str>,
        replaced: &mut Replaced,
    ) -> Result<Write, Error> {
        let bytes = with_entry(tag, current, entry)?;
        let index = Descriptor::of(media_type::IMAGE_INDEX, &bytes);
        index.check_limit(&format!("the referrers tag {tag} with one more entry"), MANIFEST_BYTES_MAX)?;
        match self.push_manifest(&index, bytes.into(), Some(tag), etag).await {
            Ok(_) => {}
            Err(Error::Refused { status: 409 | 412, .. }) => return Ok(Write::Conflict),
            Err(error) => return Err(error),
        }
        replaced.digests.extend(current.map(|c| c.descriptor.digest.clone()));
        replaced.digests.push(index.digest);
        Ok(Write::Done)
    }

    /// Whether the entry is there, and still there once nobody has written for a pause. `took` is the time of our own
    /// read and write.
    async fn stays(&self, tag: &str, entry: &Descriptor, took: Duration) -> Result<bool, Error> {
        let mut pause = took.saturating_mul(3).clamp(SETTLE_MIN, TAG_SCHEMA_SETTLE_MAX);
        let mut before = self.referrers_index(tag).await?;
        for _ in 0..TAG_SCHEMA_LOOKS_MAX {
            if !lists(tag, before.as_ref(), entry)? {
                return Ok(false);
            }
            tokio::time::sleep(spread(pause)).await;
            let now = self.referrers_index(tag).await?;
            let digest = |index: &Option<Fetched>| index.as_ref().map(|i| i.descriptor.digest.clone());
            if digest(&before) == digest(&now) {
                return Ok(true);
            }
            pause = pause.max(SETTLE_CONTENDED_MIN);
            before = now;
        }
        lists(tag, before.as_ref(), entry)
    }

    /// Deletes the indexes that nothing names any more. A registry that does not allow it only keeps some garbage.
    async fn delete_replaced(&self, tag: &str, replaced: Replaced) -> Vec<String> {
        let current = match self.referrers_index(tag).await {
            Ok(Some(current)) => current.descriptor.digest,
            // Deleting what the tag may still name would delete the tag.
            _ => return Vec::new(),
        };
        let mut warnings = Vec::new();
        let mut digests = replaced.digests;
        digests.sort();
        digests.dedup();
        for digest in digests.into_iter().filter(|digest| *digest != current) {
            if let Err(error) = self.delete_manifest(&digest).await {
                warnings.push(format!(
                    "the outdated referrers index {digest} could not be removed from the registry, garbage \
                     collection may be required: {error}"
                ));
            }
        }
        warnings
    }
}

fn turn(place: &str, tag: &str) -> &'static Mutex<()> {
    let mut hasher = DefaultHasher::new();
    (place, tag).hash(&mut hasher);
    let [first, ..] = &TURNS;
    let position = hasher.finish() % TURNS.len() as u64;
    usize::try_from(position).ok().and_then(|at| TURNS.get(at)).unwrap_or(first)
}

fn parse(tag: &str, index: &Fetched) -> Result<Map<String, Value>, Error> {
    serde_json::from_slice(&index.bytes).map_err(|e| Error::json(&format!("the referrers tag {tag}"), &e))
}

fn lists(tag: &str, index: Option<&Fetched>, entry: &Descriptor) -> Result<bool, Error> {
    let Some(index) = index else {
        return Ok(false);
    };
    let digest = entry.digest.to_string();
    let value = parse(tag, index)?;
    let entries = value.get("manifests").and_then(Value::as_array);
    Ok(entries.into_iter().flatten().any(|e| e.get("digest").and_then(Value::as_str) == Some(&digest)))
}

/// The index with one more entry; whatever else is in it stays as it is.
fn with_entry(tag: &str, current: Option<&Fetched>, entry: &Descriptor) -> Result<Vec<u8>, Error> {
    let what = format!("the referrers tag {tag}");
    let mut index = match current {
        Some(current) => parse(tag, current)?,
        None => Map::from_iter([
            ("schemaVersion".to_owned(), json!(2)),
            ("mediaType".to_owned(), json!(media_type::IMAGE_INDEX)),
        ]),
    };
    let entry = serde_json::to_value(entry).map_err(|e| Error::json(&what, &e))?;
    let manifests = index.entry("manifests").or_insert(Value::Null);
    if manifests.is_null() {
        *manifests = json!([]);
    }
    match manifests.as_array_mut() {
        Some(entries) => entries.push(entry),
        None => return Err(Error::malformed(&what, "its member \"manifests\" is not a list")),
    }
    serde_json::to_vec(&index).map_err(|e| Error::json(&what, &e))
}
