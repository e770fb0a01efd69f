//! The referrers tag with other writers about.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use prokura_registry::{Descriptor, Error, media_type};
use serde_json::{Value, json};

use crate::memory::{self, BASE, Memory};
use crate::server::{Server, options};

fn tag(image: &Descriptor) -> String {
    format!("sha256-{}", image.digest.hex())
}

/// Another client that writes `index` under `tag` over whatever is there.
fn overwrite(memory: &mut Memory, tag: &str, index: &Value) {
    memory.put_manifest(tag, media_type::IMAGE_INDEX, index.to_string().as_bytes());
}

fn foreign_index(number: usize) -> Value {
    let mut entry = serde_json::to_value(Descriptor::of(media_type::IMAGE_MANIFEST, b"foreign")).unwrap();
    entry["artifactType"] = json!("application/spdx+json");
    entry["platform"] = json!({"os": "plan9", "architecture": "vax"});
    json!({"schemaVersion": 2, "mediaType": media_type::IMAGE_INDEX, "manifests": [entry],
        "annotations": {"number": number.to_string()}, "x-foreign": true})
}

/// A registry without the API on which another writer overwrites the tag after our writes number `when`.
fn contested(
    when: impl Fn(usize) -> bool + Send + Sync + 'static,
) -> (Server, Arc<Mutex<Memory>>, Descriptor) {
    let memory = Memory::shared(false, true);
    let image = memory.lock().unwrap().put_image();
    let (shared, tag, writes) = (Arc::clone(&memory), tag(&image), AtomicUsize::new(0));
    let server = Server::start(move |seen| {
        let mut memory = shared.lock().unwrap();
        let reply = memory.answer(seen);
        if seen.is("PUT", &format!("{BASE}/manifests/{tag}")) {
            let number = writes.fetch_add(1, Ordering::SeqCst) + 1;
            if when(number) {
                overwrite(&mut memory, &tag, &foreign_index(number));
            }
        }
        reply
    });
    (server, memory, image)
}

#[tokio::test]
async fn a_lost_update_is_noticed_and_repaired() {
    let (server, memory, image) = contested(|write| write <= 2);
    let repository = server.repository(options());
    let pushed =
        repository.push_signature(&image, media_type::JWS, b"env", BTreeMap::new(), false).await.unwrap();
    assert_eq!(pushed.warnings, Vec::<String>::new());
    assert_eq!(server.count("PUT", &format!("{BASE}/manifests/{}", tag(&image))), 3);
    let index = memory.lock().unwrap().index(&tag(&image)).unwrap();
    let digests: Vec<_> =
        index["manifests"].as_array().unwrap().iter().map(|e| e["digest"].clone()).collect();
    assert_eq!(digests.len(), 2, "ours and the other writer's");
    assert_eq!(digests[1], json!(pushed.manifest.digest));
    // What the other writer put there is as it was.
    assert_eq!(index["manifests"][0], foreign_index(2)["manifests"][0]);
    assert_eq!((&index["x-foreign"], &index["annotations"]["number"]), (&json!(true), &json!("2")));
    assert_eq!(repository.signatures(&image, 10).await.unwrap().manifests.len(), 1);
}

#[tokio::test]
async fn a_writer_that_comes_after_the_first_look_is_noticed_too() {
    let memory = Memory::shared(false, true);
    let image = memory.lock().unwrap().put_image();
    let (shared, tag_name, looks) = (Arc::clone(&memory), tag(&image), AtomicUsize::new(0));
    let server = Server::start(move |seen| {
        let mut memory = shared.lock().unwrap();
        let reply = memory.answer(seen);
        // Reads of the tag: before our write, right after it, and after the pause.
        if seen.is("GET", &format!("{BASE}/manifests/{tag_name}"))
            && looks.fetch_add(1, Ordering::SeqCst) == 1
        {
            overwrite(&mut memory, &tag_name, &foreign_index(1));
        }
        reply
    });
    server
        .repository(options())
        .push_signature(&image, media_type::JWS, b"e", BTreeMap::new(), false)
        .await
        .unwrap();
    let index = memory.lock().unwrap().index(&tag(&image)).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_registry_on_which_others_always_win_is_given_up_with_the_reason() {
    let (server, _, image) = contested(|_| true);
    let repository = server.repository(options());
    let error =
        repository.push_signature(&image, media_type::JWS, b"env", BTreeMap::new(), false).await.unwrap_err();
    assert!(matches!(error, Error::LostUpdate { attempts: 8, .. }) && error.may_retry(), "{error}");
    assert_eq!(server.count("PUT", &format!("{BASE}/manifests/{}", tag(&image))), 8);
}

#[tokio::test]
async fn writers_of_one_process_lose_nothing() {
    let memory = Memory::shared(false, true);
    let image = memory.lock().unwrap().put_image();
    let server = memory::serve(&memory);
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..5 {
        let (repository, image) = (server.repository(options()), image.clone());
        writers.spawn(async move {
            let envelope = [number];
            repository
                .push_signature(&image, media_type::JWS, &envelope, BTreeMap::new(), false)
                .await
                .unwrap();
        });
    }
    writers.join_all().await;
    let repository = server.repository(options());
    assert_eq!(repository.signatures(&image, 10).await.unwrap().manifests.len(), 5);
    assert_eq!(server.count("PUT", &format!("{BASE}/manifests/{}", tag(&image))), 5, "nobody had to repeat");
}

#[tokio::test]
async fn outdated_indexes_are_deleted_and_failing_to_is_a_warning() {
    for allows_delete in [true, false] {
        let memory = Memory::shared(false, allows_delete);
        let image = memory.lock().unwrap().put_image();
        let server = memory::serve(&memory);
        let repository = server.repository(options());
        let push =
            |envelope| repository.push_signature(&image, media_type::JWS, envelope, BTreeMap::new(), false);
        assert_eq!(push(b"one").await.unwrap().warnings, Vec::<String>::new());
        let warnings = push(b"two").await.unwrap().warnings;
        let indexes = |m: &Memory| m.manifests.values().filter(|(k, _)| k == media_type::IMAGE_INDEX).count();
        if allows_delete {
            assert_eq!(warnings, Vec::<String>::new());
            assert_eq!(indexes(&memory.lock().unwrap()), 2, "the new index by tag and by digest");
        } else {
            assert_eq!(warnings.len(), 1);
            assert!(warnings[0].contains("garbage collection may be required"), "{}", warnings[0]);
        }
        assert_eq!(repository.signatures(&image, 10).await.unwrap().manifests.len(), 2);
    }
}

#[tokio::test]
async fn pushing_the_same_signature_again_changes_nothing() {
    let memory = Memory::shared(false, true);
    let image = memory.lock().unwrap().put_image();
    let server = memory::serve(&memory);
    let repository = server.repository(options());
    for _ in 0..2 {
        repository.push_signature(&image, media_type::JWS, b"env", BTreeMap::new(), false).await.unwrap();
    }
    assert_eq!(server.count("PUT", &format!("{BASE}/manifests/{}", tag(&image))), 1);
}

#[tokio::test]
async fn a_tag_that_names_something_else_is_not_replaced() {
    let memory = Memory::shared(false, true);
    let image = memory.lock().unwrap().put_image();
    let other =
        json!({"schemaVersion": 2, "mediaType": media_type::IMAGE_MANIFEST, "config": image, "layers": []});
    memory.lock().unwrap().put_manifest(
        &tag(&image),
        media_type::IMAGE_MANIFEST,
        other.to_string().as_bytes(),
    );
    let server = memory::serve(&memory);
    let repository = server.repository(options());
    let error =
        repository.push_signature(&image, media_type::JWS, b"env", BTreeMap::new(), false).await.unwrap_err();
    assert!(error.to_string().contains("expected an image index"), "{error}");
    assert_eq!(server.count("PUT", &format!("{BASE}/manifests/{}", tag(&image))), 0);
}
