//! Image layouts on real directories: what is written can be read back, what is hostile is refused.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use prokura_registry::{
    Blame, Descriptor, Digest, Error, Layout, PackedFile, Repository, Selector, SignatureForm, Tag,
    media_type,
};
use serde_json::{Value, json};

const TYPE: &str = "application/vnd.example.files.v1";

fn tag(name: &str) -> Tag {
    name.parse().unwrap()
}

fn packed(path: &Path) -> (Layout, Descriptor) {
    let layout = Layout::create(path).unwrap();
    let files = [
        PackedFile { name: "hello.txt", media_type: "text/plain", bytes: b"hello" },
        PackedFile { name: "empty", media_type: "application/octet-stream", bytes: b"" },
    ];
    let descriptor = layout.pack(&tag("v1"), TYPE, &files, &BTreeMap::new()).unwrap();
    (layout, descriptor)
}

fn index(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path.join("index.json")).unwrap()).unwrap()
}

fn write_index(path: &Path, value: &Value) {
    fs::write(path.join("index.json"), value.to_string()).unwrap();
}

fn blob(path: &Path, digest: &Digest) -> std::path::PathBuf {
    path.join("blobs").join(digest.algorithm().name()).join(digest.hex())
}

#[test]
fn files_are_packed_as_an_artifact_that_oras_can_unpack() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, descriptor) = packed(dir.path());
    assert_eq!(layout.resolve(&tag("v1").into()).unwrap(), descriptor);
    let manifest: Value = serde_json::from_slice(&layout.read_manifest(&descriptor).unwrap()).unwrap();
    assert_eq!(manifest["artifactType"], TYPE);
    assert_eq!(manifest["config"]["mediaType"], media_type::EMPTY);
    assert_eq!(manifest["layers"][0]["annotations"]["org.opencontainers.image.title"], "hello.txt");
    assert_eq!(manifest["layers"][1]["size"], 0);
    let layer: Descriptor = serde_json::from_value(manifest["layers"][0].clone()).unwrap();
    assert_eq!(layout.read_blob(&layer, 5).unwrap().as_ref(), b"hello");
    assert!(blob(dir.path(), &Digest::sha256(b"{}")).is_file());
    assert_eq!(
        fs::read_to_string(dir.path().join("oci-layout")).unwrap(),
        r#"{"imageLayoutVersion":"1.0.0"}"#
    );
}

#[test]
fn packing_the_same_files_again_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_, first) = packed(dir.path());
    let before = fs::read(dir.path().join("index.json")).unwrap();
    let (_, second) = packed(dir.path());
    assert_eq!(first, second);
    assert_eq!(fs::read(dir.path().join("index.json")).unwrap(), before);
}

#[test]
fn a_tag_moves_and_the_old_manifest_stays_reachable_by_digest() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, old) = packed(dir.path());
    let files = [PackedFile { name: "new", media_type: "text/plain", bytes: b"new" }];
    let new = layout.pack(&tag("v1"), TYPE, &files, &BTreeMap::new()).unwrap();
    assert_eq!(layout.resolve(&tag("v1").into()).unwrap(), new);
    assert_eq!(layout.resolve(&old.digest.clone().into()).unwrap(), old);
    assert_eq!(layout.tags().unwrap(), [tag("v1")]);
}

#[test]
fn a_file_name_with_a_path_is_not_packed() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::create(dir.path()).unwrap();
    for name in ["../x", "/etc/passwd", "a/b", "", "..", "a\\b"] {
        let files = [PackedFile { name, media_type: "text/plain", bytes: b"x" }];
        let error = layout.pack(&tag("v1"), TYPE, &files, &BTreeMap::new()).unwrap_err();
        assert!(error.to_string().contains("without a path"), "{error}");
    }
}

#[tokio::test]
async fn a_signature_is_stored_listed_and_fetched() {
    let dir = tempfile::tempdir().unwrap();
    let (_, subject) = packed(dir.path());
    let repository = Repository::layout(dir.path()).unwrap();
    let annotations = BTreeMap::from([("org.opencontainers.image.ref.name".to_owned(), "v1".to_owned())]);
    let pushed = repository
        .push_signature(&subject, media_type::JWS, b"envelope", annotations.clone(), false)
        .await
        .unwrap();
    assert_eq!(pushed.warnings, Vec::<String>::new());

    let list = repository.signatures(&subject, 10).await.unwrap();
    assert_eq!((list.manifests.len(), list.truncated), (1, false));
    let found = list.manifests.first().unwrap();
    assert_eq!(found.digest, pushed.manifest.digest);
    let signature = repository.fetch_signature(&subject, found).await.unwrap();
    assert_eq!(signature.envelope, Bytes::from_static(b"envelope"));
    assert_eq!(signature.envelope_media_type, media_type::JWS);
    assert_eq!(signature.annotations, annotations);

    // An annotation of the signature does not make it a tag, and the image is still what the tag names.
    assert_eq!(repository.resolve(&tag("v1").into()).await.unwrap(), subject);
}

#[tokio::test]
async fn both_forms_are_listed_and_the_maximum_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (_, subject) = packed(dir.path());
    for (form, envelope) in [(SignatureForm::ArtifactType, b"one"), (SignatureForm::LegacyConfig, b"two")] {
        let repository = Repository::layout(dir.path()).unwrap().with_signature_form(form);
        repository
            .push_signature(&subject, media_type::COSE, envelope, BTreeMap::new(), false)
            .await
            .unwrap();
    }
    let repository = Repository::layout(dir.path()).unwrap();
    let all = repository.signatures(&subject, 2).await.unwrap();
    assert_eq!((all.manifests.len(), all.truncated), (2, false));
    let one = repository.signatures(&subject, 1).await.unwrap();
    assert_eq!((one.manifests.len(), one.truncated), (1, true));
}

#[tokio::test]
async fn signatures_of_other_manifests_and_other_artifacts_are_not_listed() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, subject) = packed(dir.path());
    let files = [PackedFile { name: "b", media_type: "text/plain", bytes: b"b" }];
    let other = layout.pack(&tag("v2"), TYPE, &files, &BTreeMap::new()).unwrap();
    let repository = Repository::layout(dir.path()).unwrap();
    let pushed =
        repository.push_signature(&other, media_type::JWS, b"e", BTreeMap::new(), false).await.unwrap();
    let sbom = json!({"schemaVersion": 2, "mediaType": media_type::IMAGE_MANIFEST, "artifactType": "sbom",
        "config": Descriptor::of(media_type::EMPTY, b"{}"), "layers": [], "subject": subject});
    let sbom = Bytes::from(sbom.to_string());
    repository.push_manifest(media_type::IMAGE_MANIFEST, sbom, None).await.unwrap();

    assert_eq!(repository.signatures(&subject, 10).await.unwrap().manifests, []);
    let error = repository.fetch_signature(&subject, &pushed.manifest).await.unwrap_err();
    assert!(matches!(error, Error::WrongSubject { .. }), "{error}");
}

#[test]
fn a_digest_is_found_below_nested_indexes() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, leaf) = packed(dir.path());
    let inner = json!({"schemaVersion": 2, "manifests": [leaf]}).to_string();
    let inner_entry = layout.write_blob(media_type::IMAGE_INDEX, inner.as_bytes()).unwrap();
    let outer = json!({"schemaVersion": 2, "manifests": [inner_entry]}).to_string();
    let outer_entry = layout.write_blob(media_type::IMAGE_INDEX, outer.as_bytes()).unwrap();
    write_index(dir.path(), &json!({"schemaVersion": 2, "manifests": [outer_entry]}));
    let found = layout.resolve(&leaf.digest.clone().into()).unwrap();
    assert_eq!(found, leaf);
    let missing = layout.resolve(&Digest::sha256(b"nowhere").into()).unwrap_err();
    assert!(matches!(missing, Error::NotFound { .. }), "{missing}");
}

#[test]
fn a_blob_that_no_index_names_is_not_resolved() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, _) = packed(dir.path());
    let hidden = layout.write_blob(media_type::IMAGE_MANIFEST, br#"{"config":null}"#).unwrap();
    assert!(matches!(layout.resolve(&hidden.digest.into()), Err(Error::NotFound { .. })));
}

#[test]
fn a_tampered_blob_is_refused_and_healed_by_the_next_write() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, descriptor) = packed(dir.path());
    let path = blob(dir.path(), &descriptor.digest);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() = b' ';
    fs::write(&path, &bytes).unwrap();
    let error = layout.resolve(&tag("v1").into()).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    fs::write(&path, b"cut").unwrap();
    let error = layout.resolve(&tag("v1").into()).unwrap_err();
    assert!(matches!(error, Error::SizeMismatch { found: 3, .. }), "{error}");
    let (layout, _) = packed(dir.path());
    assert_eq!(layout.resolve(&tag("v1").into()).unwrap(), descriptor);
}

#[test]
fn symbolic_links_below_the_layout_are_refused() {
    let outside = tempfile::tempdir().unwrap();
    for link in ["blob", "sha256", "blobs", "index.json", "oci-layout"] {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("layout");
        let (layout, descriptor) = packed(&root);
        let path = match link {
            "blob" => blob(&root, &descriptor.digest),
            "sha256" => root.join("blobs/sha256"),
            name => root.join(name),
        };
        let moved = outside.path().join(link);
        fs::rename(&path, &moved).unwrap();
        std::os::unix::fs::symlink(&moved, &path).unwrap();
        let error = Layout::open(&root).and_then(|_| layout.resolve(&tag("v1").into())).unwrap_err();
        assert!(error.to_string().contains("symbolic link"), "{link}: {error}");
        assert_eq!(error.blame(), Blame::User);
    }
}

#[test]
fn a_link_in_place_of_the_blobs_folder_is_not_written_through() {
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let layout = Layout::create(dir.path()).unwrap();
    fs::remove_dir(dir.path().join("blobs/sha256")).unwrap();
    std::os::unix::fs::symlink(outside.path(), dir.path().join("blobs/sha256")).unwrap();
    let error = layout.write_blob("text/plain", b"x").unwrap_err();
    assert!(error.to_string().contains("symbolic link"), "{error}");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn a_fifo_in_place_of_a_blob_does_not_hang() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, descriptor) = packed(dir.path());
    let path = blob(dir.path(), &descriptor.digest);
    fs::remove_file(&path).unwrap();
    let made = rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    );
    made.unwrap();
    let error = layout.resolve(&tag("v1").into()).unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");
}

#[test]
fn a_digest_with_a_path_in_the_index_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, _) = packed(dir.path());
    let mut value = index(dir.path());
    value["manifests"][0]["digest"] = json!("sha256:../../../etc/passwd");
    write_index(dir.path(), &value);
    let error = layout.resolve(&tag("v1").into()).unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
    assert!(error.to_string().contains("hex digits"), "{error}");
}

#[test]
fn a_tag_on_two_manifests_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, _) = packed(dir.path());
    let mut value = index(dir.path());
    let mut second = value["manifests"][0].clone();
    second["digest"] = json!(Digest::sha256(b"other").to_string());
    value["manifests"].as_array_mut().unwrap().push(second);
    write_index(dir.path(), &value);
    let error = layout.resolve(&tag("v1").into()).unwrap_err();
    assert!(error.to_string().contains("name one by its digest"), "{error}");
}

#[test]
fn a_manifest_above_4_mib_is_refused_by_its_size() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, _) = packed(dir.path());
    let big = vec![b' '; 5 << 20];
    let entry = layout.write_blob(media_type::IMAGE_MANIFEST, &big).unwrap();
    write_index(dir.path(), &json!({"schemaVersion": 2, "manifests": [entry]}));
    let error = layout.resolve(&entry.digest.into()).unwrap_err();
    assert!(error.to_string().contains("the limit is 4 MiB"), "{error}");
}

#[test]
fn directories_that_are_no_layouts_are_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let open = |name: &str| Layout::open(&dir.path().join(name)).unwrap_err().to_string();
    assert!(open("missing").contains("no such directory"));
    fs::write(dir.path().join("file"), "x").unwrap();
    assert!(open("file").contains("not a directory"));
    assert!(Layout::create(dir.path()).unwrap_err().to_string().contains("holds other files"));

    let (layout, _) = packed(&dir.path().join("layout"));
    fs::write(layout.path().join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
    assert!(open("layout").contains("its version is \"2.0.0\", expected \"1.0.0\""));
    fs::write(layout.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let whole = fs::read(layout.path().join("index.json")).unwrap();
    fs::write(layout.path().join("index.json"), &whole[..whole.len() / 2]).unwrap();
    assert!(open("layout").contains("is malformed"));
}

#[test]
fn a_layout_left_half_made_is_completed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let (layout, descriptor) = packed(dir.path());
    assert_eq!(layout.resolve(&tag("v1").into()).unwrap(), descriptor);
}

#[test]
fn a_writer_waits_for_the_lock_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, descriptor) = packed(dir.path());
    let held = fs::File::open(dir.path().join("oci-layout")).unwrap();
    held.lock().unwrap();
    let bytes = layout.read_manifest(&descriptor).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| layout.write_manifest(&descriptor, &bytes, Some(&tag("v2"))));
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert_eq!(layout.tags().unwrap(), [tag("v1")], "nothing is written while another holds the lock");
        drop(held);
        writer.join().unwrap().unwrap();
    });
    assert_eq!(layout.tags().unwrap(), [tag("v1"), tag("v2")]);
}

#[test]
fn foreign_members_and_entries_of_the_index_survive() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, _) = packed(dir.path());
    let mut value = index(dir.path());
    value["x-foreign"] = json!({"keep": 1});
    value["manifests"][0]["platform"] = json!({"os": "plan9", "architecture": "vax"});
    value["manifests"].as_array_mut().unwrap().push(json!({"digest": "md5:00", "unknown": true}));
    write_index(dir.path(), &value);
    let files = [PackedFile { name: "b", media_type: "text/plain", bytes: b"b" }];
    layout.pack(&tag("v2"), TYPE, &files, &BTreeMap::new()).unwrap();
    let after = index(dir.path());
    assert_eq!(after["x-foreign"], value["x-foreign"]);
    assert_eq!(after["manifests"][0], value["manifests"][0]);
    assert_eq!(after["manifests"][1], value["manifests"][1]);
    assert_eq!(after["manifests"].as_array().unwrap().len(), 3);
}

#[test]
fn concurrent_writers_lose_no_entry_and_leave_no_temporary_file() {
    let dir = tempfile::tempdir().unwrap();
    let (_, subject) = packed(dir.path());
    let path = dir.path();
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let subject = &subject;
            scope.spawn(move || {
                let layout = Layout::open(path).unwrap();
                for count in 0..5 {
                    let envelope = format!("{writer}-{count}");
                    let form = SignatureForm::ArtifactType;
                    layout
                        .write_signature(
                            form,
                            subject,
                            media_type::JWS,
                            envelope.as_bytes(),
                            &BTreeMap::new(),
                        )
                        .unwrap();
                }
            });
        }
    });
    let list = Layout::open(path).unwrap().signatures(&subject, 100).unwrap();
    assert_eq!(list.manifests.len(), 40);
    let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["blobs", "index.json", "oci-layout"]);
}

#[test]
fn selectors_are_told_apart_by_the_colon() {
    assert!(matches!("v1".parse::<Selector>().unwrap(), Selector::Tag(_)));
    assert!("sha256:zz".parse::<Selector>().is_err());
}
