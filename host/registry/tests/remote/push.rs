//! Pushing a signature, and reading it back, on registries with and without the referrers API.

use std::collections::BTreeMap;

use prokura_registry::{Digest, Error, SignatureForm, media_type};
use serde_json::Value;

use crate::memory::{self, BASE, Memory};
use crate::server::{Reply, Server, options};

fn annotations() -> BTreeMap<String, String> {
    BTreeMap::from([("io.cncf.notary.x509chain.thumbprint#S256".to_owned(), "[\"00\"]".to_owned())])
}

#[tokio::test]
async fn a_signature_goes_up_and_comes_back_on_both_kinds_of_registry() {
    for has_api in [true, false] {
        for form in [SignatureForm::ArtifactType, SignatureForm::LegacyConfig] {
            let memory = Memory::shared(has_api, true);
            let image = memory.lock().unwrap().put_image();
            let server = memory::serve(&memory);
            let repository = server.repository(options()).with_signature_form(form);
            let pushed = repository
                .push_signature(&image, media_type::COSE, b"env", annotations(), false)
                .await
                .unwrap();
            assert_eq!(pushed.warnings, Vec::<String>::new());
            let list = repository.signatures(&image, 10).await.unwrap();
            assert_eq!(list.manifests.len(), 1, "api {has_api} {form:?}");
            let signature = repository.fetch_signature(&image, &list.manifests[0]).await.unwrap();
            assert_eq!(signature.envelope.as_ref(), b"env");
            assert_eq!(signature.annotations, annotations());
            assert_eq!(signature.manifest.digest, pushed.manifest.digest);

            let tag = format!("sha256-{}", image.digest.hex());
            let index = memory.lock().unwrap().index(&tag);
            assert_eq!(index.is_some(), !has_api, "the referrers tag is for registries without the API");
            if let Some(index) = index {
                assert_eq!(index["manifests"][0]["artifactType"], media_type::SIGNATURE);
                assert_eq!(
                    index["manifests"][0]["annotations"],
                    serde_json::to_value(annotations()).unwrap()
                );
            }
        }
    }
}

#[tokio::test]
async fn the_referrers_tag_can_be_forced() {
    let memory = Memory::shared(true, true);
    let image = memory.lock().unwrap().put_image();
    let server = memory::serve(&memory);
    let repository = server.repository(options());
    repository.push_signature(&image, media_type::JWS, b"env", BTreeMap::new(), true).await.unwrap();
    assert!(memory.lock().unwrap().index(&format!("sha256-{}", image.digest.hex())).is_some());
}

#[tokio::test]
async fn blobs_that_are_there_are_not_sent_again() {
    let memory = Memory::shared(true, true);
    let image = memory.lock().unwrap().put_image();
    let server = memory::serve(&memory);
    let repository = server.repository(options());
    for envelope in [b"one", b"two"] {
        repository.push_signature(&image, media_type::JWS, envelope, BTreeMap::new(), false).await.unwrap();
    }
    assert_eq!(server.count("POST", &format!("{BASE}/blobs/uploads/")), 3, "two envelopes and one config");
    let manifests = memory.lock().unwrap().manifests.len();
    assert_eq!(manifests, 2 + 2, "the image by tag and digest, two signature manifests by digest");
}

#[tokio::test]
async fn what_the_registry_stored_must_be_what_was_sent() {
    let lie = Digest::sha256(b"lie").to_string();
    let answer = lie.clone();
    let server = Server::start(move |seen| match seen.method.as_str() {
        "PUT" => Reply::status(201).header("Docker-Content-Digest", &answer),
        _ => Reply::status(404),
    });
    let body = r#"{"schemaVersion":2}"#.into();
    let error =
        server.repository(options()).push_manifest(media_type::IMAGE_INDEX, body, None).await.unwrap_err();
    assert!(matches!(&error, Error::DigestMismatch { found, .. } if found.to_string() == lie), "{error}");
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_no_manifest() {
    for (post, words) in [
        (Reply::status(202), "without a Location"),
        (
            Reply::status(403).body(r#"{"errors":[{"code":"DENIED","message":"read only"}]}"#),
            "DENIED: read only",
        ),
        (Reply::status(202).header("Location", "/gone"), "answered 404"),
    ] {
        let server = Server::start(move |seen| match seen.method.as_str() {
            "POST" => post.clone(),
            _ => Reply::status(404),
        });
        let image = prokura_registry::Descriptor::of(media_type::IMAGE_MANIFEST, b"image");
        let push = server.repository(options());
        let error =
            push.push_signature(&image, media_type::JWS, b"e", BTreeMap::new(), false).await.unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error}");
        assert!(
            server.seen().iter().all(|s| !s.path().contains("/manifests/")),
            "no manifest without its blobs"
        );
    }
}

#[tokio::test]
async fn a_busy_registry_is_asked_again_for_an_upload() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let memory = Memory::shared(true, true);
    let starts = AtomicUsize::new(0);
    let server = Server::start(move |seen| {
        if seen.method == "POST" && starts.fetch_add(1, Ordering::SeqCst) == 0 {
            return Reply::status(503);
        }
        memory.lock().unwrap().answer(seen)
    });
    server.repository(options()).push_blob("x/y", "blob".into()).await.unwrap();
    assert_eq!(server.count("POST", &format!("{BASE}/blobs/uploads/")), 2);

    // The upload itself is not repeated: the registry may have taken it.
    let server = Server::start(move |seen| match seen.method.as_str() {
        "POST" => Reply::status(202).header("Location", "/up"),
        "PUT" => Reply::status(503),
        _ => Reply::status(404),
    });
    let error = server.repository(options()).push_blob("x/y", "blob".into()).await.unwrap_err();
    assert!(matches!(error, Error::Refused { status: 503, .. }), "{error}");
    assert_eq!(server.count("PUT", "/up"), 1);
}

#[tokio::test]
async fn an_oversized_envelope_is_not_sent() {
    let server = Server::start(|_| Reply::status(500));
    let image = prokura_registry::Descriptor::of(media_type::IMAGE_MANIFEST, b"image");
    let envelope = vec![0; (32 << 20) + 1];
    let push = server.repository(options());
    let error =
        push.push_signature(&image, media_type::JWS, &envelope, BTreeMap::new(), false).await.unwrap_err();
    assert!(error.to_string().contains("the limit is 32 MiB"), "{error}");
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn the_manifest_pushed_has_the_members_of_the_specification() {
    let memory = Memory::shared(true, true);
    let image = memory.lock().unwrap().put_image();
    let server = memory::serve(&memory);
    let repository = server.repository(options());
    repository.push_signature(&image, media_type::JWS, b"env", annotations(), false).await.unwrap();
    let put =
        server.seen().into_iter().find(|s| s.method == "PUT" && s.path().contains("/manifests/")).unwrap();
    let value: Value = serde_json::from_slice(&put.body).unwrap();
    let mut members: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
    members.sort();
    assert_eq!(
        members,
        ["annotations", "artifactType", "config", "layers", "mediaType", "schemaVersion", "subject"]
    );
    assert_eq!(value["config"]["data"], "e30=");
    assert_eq!(put.path(), format!("{BASE}/manifests/{}", Digest::sha256(&put.body)));
}

/// docker-registry loses sight of a blob while somebody else pushes the same one.
#[tokio::test]
async fn a_blob_that_the_registry_lost_is_pushed_again_but_not_for_ever() {
    let lost = || {
        let code = r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry"}]}"#;
        Reply::status(400).body(code)
    };
    for (losses, succeeds) in [(1, true), (100, false)] {
        let memory = Memory::shared(true, true);
        let image = memory.lock().unwrap().put_image();
        let (left, inner) = (std::sync::atomic::AtomicUsize::new(losses), std::sync::Arc::clone(&memory));
        let server = Server::start(move |seen| {
            let is_manifest = seen.method == "PUT" && seen.path().contains("/manifests/");
            let decremented = |n: usize| n.checked_sub(1);
            let ordering = std::sync::atomic::Ordering::SeqCst;
            if is_manifest && left.fetch_update(ordering, ordering, decremented).is_ok() {
                return lost();
            }
            inner.lock().unwrap().answer(seen)
        });
        let repository = server.repository(options());
        let pushed = repository.push_signature(&image, media_type::JWS, b"env", BTreeMap::new(), false).await;
        assert_eq!(pushed.is_ok(), succeeds, "{pushed:?}");
        let manifests =
            server.seen().iter().filter(|s| s.method == "PUT" && s.path().contains("/manifests/")).count();
        assert_eq!(manifests, if succeeds { 2 } else { 4 });
    }
}
