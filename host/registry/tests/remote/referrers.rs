//! Listing signatures: pages, filters, limits, loops, and registries without the API.

use prokura_registry::{Descriptor, Digest, Error, media_type};
use serde_json::{Value, json};

use crate::memory::{self, BASE, Memory};
use crate::server::{Reply, Server, options, options_as_ann};

fn subject() -> Descriptor {
    Descriptor::of(media_type::IMAGE_MANIFEST, b"image")
}

fn entry(number: usize, artifact_type: Option<&str>) -> Value {
    let mut entry =
        serde_json::to_value(Descriptor::of(media_type::IMAGE_MANIFEST, number.to_string().as_bytes()))
            .unwrap();
    if let Some(found) = artifact_type {
        entry["artifactType"] = json!(found);
    }
    entry
}

fn page(entries: &[Value]) -> Reply {
    let index = json!({"schemaVersion": 2, "mediaType": media_type::IMAGE_INDEX, "manifests": entries});
    Reply::ok(media_type::IMAGE_INDEX, index.to_string())
}

/// `pages` pages of 100 entries of one artifact type each.
fn paged(pages: usize, artifact_type: &'static str) -> Server {
    Server::start(move |seen| {
        let number: usize = seen.target.split("page=").nth(1).map_or(0, |n| n.parse().unwrap());
        let entries: Vec<_> = (0..100).map(|n| entry(number * 100 + n, Some(artifact_type))).collect();
        let reply = page(&entries);
        if number + 1 == pages {
            return reply;
        }
        reply.header("Link", &format!("<{}?page={}>; rel=\"next\"", seen.path(), number + 1))
    })
}

#[tokio::test]
async fn pages_are_followed_to_the_end() {
    let server = paged(3, media_type::SIGNATURE);
    let list = server.repository(options()).signatures(&subject(), 1000).await.unwrap();
    assert_eq!((list.manifests.len(), list.truncated), (300, false));
    let first = &server.seen()[0];
    assert_eq!(first.path(), format!("{BASE}/referrers/{}", subject().digest));
    assert!(
        first.target.contains("artifactType=application%2Fvnd.cncf.notary.signature"),
        "{}",
        first.target
    );
}

#[tokio::test]
async fn ten_thousand_referrers_end_at_the_callers_maximum() {
    let server = paged(100, media_type::SIGNATURE);
    let list = server.repository(options()).signatures(&subject(), 150).await.unwrap();
    assert_eq!((list.manifests.len(), list.truncated), (150, true));
    assert_eq!(server.seen().len(), 2, "no page beyond the maximum is asked for");
}

#[tokio::test]
async fn endless_referrers_of_other_kinds_end_at_the_limit_of_entries() {
    let server = paged(usize::MAX, "application/spdx+json");
    let list = server.repository(options()).signatures(&subject(), 10).await.unwrap();
    assert_eq!((list.manifests.len(), list.truncated), (0, true));
    assert_eq!(server.seen().len(), 101);
}

#[tokio::test]
async fn a_maximum_met_exactly_is_not_truncated() {
    let server = paged(1, media_type::SIGNATURE);
    let list = server.repository(options()).signatures(&subject(), 100).await.unwrap();
    assert_eq!((list.manifests.len(), list.truncated), (100, false));
}

#[tokio::test]
async fn empty_pages_without_end_are_bounded() {
    let server = Server::start(|seen| {
        let number: usize = seen.target.split("page=").nth(1).map_or(0, |n| n.parse().unwrap());
        page(&[]).header("Link", &format!("<{}?page={}>; rel=next", seen.path(), number + 1))
    });
    let list = server.repository(options()).signatures(&subject(), 10).await.unwrap();
    assert_eq!((list.manifests.len(), list.truncated), (0, true));
    assert_eq!(server.seen().len(), 200);
}

#[tokio::test]
async fn pages_in_a_circle_are_refused() {
    let server = Server::start(|seen| {
        let next = if seen.target.contains("page=2") { 1 } else { 2 };
        page(&[entry(next, Some(media_type::SIGNATURE))])
            .header("Link", &format!("<{}?page={next}>; rel=\"next\"", seen.path()))
    });
    let error = server.repository(options()).signatures(&subject(), 100).await.unwrap_err();
    assert!(error.to_string().contains("form a loop"), "{error}");
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn a_next_page_on_another_host_is_refused_and_never_asked() {
    let other = Server::start(|_| page(&[]));
    let link = format!("<http://{}/v2/x>; rel=\"next\"", other.host);
    let server = Server::start(move |_| page(&[]).header("Link", &link));
    let error = server.repository(options_as_ann()).signatures(&subject(), 100).await.unwrap_err();
    assert!(matches!(error, Error::Redirect { .. }), "{error}");
    assert!(error.to_string().contains("must be on the registry itself"), "{error}");
    assert_eq!(other.seen().len(), 0);
}

#[tokio::test]
async fn the_filter_is_applied_here_as_well() {
    let entries = [
        entry(1, Some(media_type::SIGNATURE)),
        entry(2, Some("application/spdx+json")),
        entry(3, None),
        entry(1, Some(media_type::SIGNATURE)),
        json!({"digest": "md5:0"}),
    ];
    let unfiltered = entries.clone();
    let server = Server::start(move |_| page(&unfiltered));
    let list = server.repository(options()).signatures(&subject(), 10).await.unwrap();
    assert_eq!(list.manifests.iter().map(|d| d.digest.clone()).collect::<Vec<_>>(), [Digest::sha256(b"1")]);

    let server = Server::start(move |_| page(&entries).header("OCI-Filters-Applied", "artifactType"));
    let list = server.repository(options()).signatures(&subject(), 10).await.unwrap();
    assert_eq!(list.manifests.len(), 2, "an entry without a type counts where the registry filtered");
}

#[tokio::test]
async fn an_oversized_page_is_refused() {
    let server = Server::start(|_| Reply::ok(media_type::IMAGE_INDEX, vec![b' '; 5 << 20]));
    let error = server.repository(options()).signatures(&subject(), 10).await.unwrap_err();
    assert!(error.to_string().contains("the limit is 4 MiB"), "{error}");
}

#[tokio::test]
async fn without_the_api_the_referrers_tag_is_read() {
    for page_instead in [Reply::status(404), Reply::status(405), Reply::ok("text/html", "<html>")] {
        let tag = format!("{BASE}/manifests/sha256-{}", subject().digest.hex());
        let server = Server::start(move |seen| match seen.path() {
            path if path == tag => {
                page(&[entry(1, Some(media_type::SIGNATURE)), entry(2, None), entry(3, Some("x"))])
            }
            _ => page_instead.clone(),
        });
        let list = server.repository(options()).signatures(&subject(), 10).await.unwrap();
        assert_eq!(list.manifests.len(), 1);
    }
    let nothing = Server::start(|_| Reply::status(404));
    assert_eq!(nothing.repository(options()).signatures(&subject(), 10).await.unwrap().manifests, []);
    let broken = Server::start(|_| Reply::status(500));
    let error = broken.repository(options()).signatures(&subject(), 10).await.unwrap_err();
    assert!(matches!(error, Error::Refused { status: 500, .. }), "an error is not an empty list: {error}");
}

#[tokio::test]
async fn a_signature_whose_manifest_lies_is_refused() {
    let memory = Memory::shared(true, true);
    let image = memory.lock().unwrap().put_image();
    let server = memory::serve(&memory);
    let repository = server.repository(options());
    let put = |value: Value| {
        let bytes = value.to_string();
        memory.lock().unwrap().put_manifest("x", media_type::IMAGE_MANIFEST, bytes.as_bytes())
    };
    let envelope = Descriptor::of(media_type::JWS, b"e");
    let mut huge = envelope.clone();
    huge.size = 33 << 20;
    let empty = Descriptor::of(media_type::EMPTY, b"{}");
    let base = json!({"schemaVersion": 2, "mediaType": media_type::IMAGE_MANIFEST, "config": empty,
        "artifactType": media_type::SIGNATURE, "layers": [envelope], "subject": image});
    let with = |member: &str, value: Value| {
        let mut changed = base.clone();
        changed[member] = value;
        changed
    };
    let other = Descriptor::of(media_type::IMAGE_MANIFEST, b"other");
    for (manifest, words) in [
        (with("layers", json!([])), "expected exactly one layer"),
        (with("layers", json!([empty, empty])), "it has 2 envelopes"),
        (with("layers", json!([huge])), "the limit is 32 MiB"),
        (with("artifactType", json!("x")), "its artifact type is x"),
        (with("subject", json!(other)), "belongs to"),
        (with("subject", Value::Null), "no subject"),
        (with("mediaType", json!("application/vnd.evil+json")), "announced"),
    ] {
        let descriptor = put(manifest);
        let error = repository.fetch_signature(&image, &descriptor).await.unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
    let mut oversized = put(base.clone());
    oversized.size = 5 << 20;
    let error = repository.fetch_signature(&image, &oversized).await.unwrap_err();
    assert!(error.to_string().contains("the limit is 4 MiB"), "{error}");
}
