//! Redirects: followed for reads, never with credentials to another host, never down to plain HTTP.

use prokura_registry::{Descriptor, Error, media_type};

use crate::memory::BASE;
use crate::server::{Reply, Server, options, options_as_ann};

fn blob() -> Descriptor {
    Descriptor::of("application/octet-stream", b"blob")
}

/// A registry that wants a login and then redirects everything to `target`.
fn redirecting(status: u16, target: String) -> Server {
    Server::start(move |seen| match seen.header("authorization") {
        None => Reply::status(401).header("WWW-Authenticate", "Basic realm=\"r\""),
        Some(_) => Reply::status(status).header("Location", &target),
    })
}

#[tokio::test]
async fn a_blob_on_another_host_is_fetched_without_credentials() {
    let storage = Server::start(|_| Reply::ok("application/octet-stream", "blob"));
    let registry = redirecting(307, format!("http://{}/bucket/x?sig=1", storage.host));
    let bytes = registry.repository(options_as_ann()).fetch_blob(&blob(), 10).await.unwrap();
    assert_eq!(bytes.as_ref(), b"blob");
    assert!(
        registry.seen().iter().any(|s| s.header("authorization").is_some()),
        "the registry got the login"
    );
    let seen = storage.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].target, "/bucket/x?sig=1");
    assert_eq!(seen[0].header("authorization"), None);
}

#[tokio::test]
async fn another_hosts_challenge_and_its_way_back_get_no_credentials() {
    let thief = Server::start(|_| Reply::status(401).header("WWW-Authenticate", "Basic realm=\"mine\""));
    let registry = redirecting(302, format!("http://{}/x", thief.host));
    let error = registry.repository(options_as_ann()).fetch_blob(&blob(), 10).await.unwrap_err();
    assert!(matches!(error, Error::Refused { status: 401, .. }), "{error}");
    assert!(thief.seen().iter().all(|s| s.header("authorization").is_none()));

    // The other host points back to the registry: that hop is not ours any more either.
    let home = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let back = std::sync::Arc::clone(&home);
    let bouncer = Server::start(move |_| {
        Reply::status(302).header("Location", &format!("http://{}/v2/secret", back.get().unwrap()))
    });
    let target = format!("http://{}/x", bouncer.host);
    let registry = Server::start(move |seen| match (seen.path(), seen.header("authorization")) {
        ("/v2/secret", None) => Reply::ok("application/octet-stream", "blob"),
        ("/v2/secret", Some(_)) => Reply::status(500),
        (_, None) => Reply::status(401).header("WWW-Authenticate", "Basic realm=\"r\""),
        _ => Reply::status(302).header("Location", &target),
    });
    home.set(registry.host.clone()).unwrap();
    let bytes = registry.repository(options_as_ann()).fetch_blob(&blob(), 10).await.unwrap();
    assert_eq!(bytes.as_ref(), b"blob");
}

#[tokio::test]
async fn another_port_is_another_host() {
    let other = Server::start(|_| Reply::ok("application/octet-stream", "blob"));
    let registry = redirecting(307, format!("http://{}/x", other.host));
    registry.repository(options_as_ann()).fetch_blob(&blob(), 10).await.unwrap();
    assert_eq!(other.seen()[0].header("authorization"), None);
}

#[tokio::test]
async fn a_write_with_credentials_is_not_sent_elsewhere() {
    let thief = Server::start(|_| Reply::status(201));
    let registry = redirecting(307, format!("http://{}/x", thief.host));
    let repository = registry.repository(options_as_ann());
    let body = "{}".as_bytes().to_vec().into();
    let error = repository.push_manifest(media_type::IMAGE_INDEX, body, None).await.unwrap_err();
    assert!(matches!(error, Error::Redirect { .. }), "{error}");
    assert!(error.to_string().contains("a write with credentials is not sent to another host"), "{error}");
    assert!(error.to_string().contains(&thief.host), "it says where it was to go: {error}");
    assert!(!error.to_string().contains("canary-secret"));
    assert_eq!(thief.seen().len(), 0);
}

#[tokio::test]
async fn an_upload_location_on_another_host_gets_the_blob_without_credentials() {
    let storage = Server::start(|_| Reply::status(201));
    let location = format!("http://{}/upload?id=1", storage.host);
    let registry = Server::start(move |seen| match (seen.header("authorization"), seen.method.as_str()) {
        (None, _) => Reply::status(401).header("WWW-Authenticate", "Basic realm=\"r\""),
        (_, "HEAD") => Reply::status(404),
        _ => Reply::status(202).header("Location", &location),
    });
    registry.repository(options_as_ann()).push_blob("x/y", "blob".into()).await.unwrap();
    let seen = storage.seen();
    assert_eq!(seen[0].body, b"blob");
    assert_eq!(seen[0].header("authorization"), None);
    assert!(seen[0].target.starts_with("/upload?id=1&digest=sha256%3A"), "{}", seen[0].target);
}

#[tokio::test]
async fn odd_locations_are_refused_and_loops_end() {
    for (location, words) in [
        ("ftp://h/x", "neither http nor https"),
        ("file:///etc/passwd", "neither http nor https"),
        ("http://u:p@127.0.0.1/", "user name or password"),
        ("http://[", "not an address"),
    ] {
        let server = Server::start(move |_| Reply::status(302).header("Location", location));
        let error = server.repository(options()).fetch_blob(&blob(), 10).await.unwrap_err();
        assert!(error.to_string().contains(words), "{location}: {error}");
        assert_eq!(server.seen().len(), 1);
    }
    let server = Server::start(|_| Reply::status(302));
    let error = server.repository(options()).fetch_blob(&blob(), 10).await.unwrap_err();
    assert!(error.to_string().contains("without a Location"), "{error}");

    let path = format!("{BASE}/blobs/{}", blob().digest);
    let server = Server::start(move |_| Reply::status(302).header("Location", &path));
    let error = server.repository(options()).fetch_blob(&blob(), 10).await.unwrap_err();
    assert!(error.to_string().contains("one redirect too many"), "{error}");
    assert_eq!(server.seen().len(), 6);
}
