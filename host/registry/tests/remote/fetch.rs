//! Reading: what does not match its digest, its size or its limit is refused.

use std::time::Duration;

use prokura_registry::{Blame, Descriptor, Digest, Error, Selector, Timeouts, media_type};

use crate::memory::{self, Memory};
use crate::server::{Reply, Server, options};

const INDEX: &str =
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

fn v1() -> Selector {
    "v1".parse().unwrap()
}

fn serving(reply: Reply) -> Server {
    Server::start(move |_| reply.clone())
}

#[tokio::test]
async fn a_tag_and_its_digest_resolve_to_the_same_descriptor() {
    let memory = Memory::shared(true, true);
    let image = memory.lock().unwrap().put_image();
    let server = memory::serve(&memory);
    let repository = server.repository(options());
    assert_eq!(repository.resolve(&v1()).await.unwrap(), image);
    assert_eq!(repository.resolve(&image.digest.clone().into()).await.unwrap(), image);
    let seen = server.seen();
    assert!(seen[0].header("accept").unwrap().contains(media_type::IMAGE_INDEX));
    assert_eq!(seen[0].header("user-agent"), Some("prokura-test/1"));
    let missing = repository.resolve(&"v2".parse().unwrap()).await.unwrap_err();
    assert!(matches!(missing, Error::NotFound { .. }), "{missing}");
}

#[tokio::test]
async fn a_manifest_with_another_digest_is_refused() {
    let server = serving(Reply::ok(media_type::IMAGE_INDEX, INDEX));
    let wanted = Digest::sha256(b"something else");
    let error = server.repository(options()).resolve(&wanted.clone().into()).await.unwrap_err();
    assert!(matches!(&error, Error::DigestMismatch { expected, .. } if *expected == wanted), "{error}");
    assert_eq!((error.blame(), error.may_retry()), (Blame::Registry, false));
}

#[tokio::test]
async fn a_tag_whose_announced_digest_is_another_is_refused() {
    let lie = Digest::sha256(b"lie").to_string();
    let server = serving(Reply::ok(media_type::IMAGE_INDEX, INDEX).header("Docker-Content-Digest", &lie));
    let error = server.repository(options()).resolve(&v1()).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
}

#[tokio::test]
async fn a_5_mib_manifest_is_refused_whether_announced_or_not() {
    for reply in [
        Reply::ok(media_type::IMAGE_INDEX, vec![b' '; 5 << 20]),
        Reply::ok(media_type::IMAGE_INDEX, vec![b' '; 5 << 20])
            .header("Transfer-Encoding", "identity")
            .announcing(usize::MAX >> 1),
    ] {
        let error = serving(reply).repository(options()).resolve(&v1()).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
        assert!(error.to_string().contains("the limit is 4 MiB"), "{error}");
    }
}

#[tokio::test]
async fn a_chunked_manifest_without_end_is_cut_at_the_limit() {
    // Chunked, so that no length is announced at all.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while stream.write_all(format!("10000\r\n{}\r\n", " ".repeat(0x10000)).as_bytes()).is_ok() {}
    });
    let reference = format!("{host}/team/app").parse().unwrap();
    let repository = prokura_registry::Repository::remote(&reference, options()).unwrap();
    let error = repository.resolve(&v1()).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { found: None, .. }), "{error}");
}

#[tokio::test]
async fn a_truncated_body_is_noticed() {
    let server = serving(Reply::ok(media_type::IMAGE_INDEX, &INDEX[..20]).announcing(INDEX.len()));
    let error = server.repository(options()).resolve(&v1()).await.unwrap_err();
    assert!(matches!(error, Error::Network { .. }) && error.may_retry(), "{error}");
    assert!(error.to_string().contains("was cut off after 20 bytes"), "{error}");
}

#[tokio::test]
async fn a_blob_of_another_size_or_digest_is_refused() {
    let server = serving(Reply::ok("application/octet-stream", "abc"));
    let repository = server.repository(options());
    let blob = |bytes| Descriptor::of("application/jose+json", bytes);
    assert_eq!(repository.fetch_blob(&blob(b"abc"), 100).await.unwrap().as_ref(), b"abc");
    let error = repository.fetch_blob(&blob(b"abcd"), 100).await.unwrap_err();
    assert!(matches!(error, Error::SizeMismatch { expected: 4, found: 3, .. }), "{error}");
    let error = repository.fetch_blob(&blob(b"xyz"), 100).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    let asked = server.seen().len();
    let error = repository.fetch_blob(&blob(b"abc"), 2).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { found: Some(3), limit_bytes: 2, .. }), "{error}");
    assert_eq!(
        server.seen().len(),
        asked,
        "a descriptor above the limit is refused before anything is asked"
    );
}

#[tokio::test]
async fn a_content_type_that_contradicts_the_manifest_is_refused() {
    let server = serving(Reply::ok(media_type::IMAGE_MANIFEST, INDEX));
    let error = server.repository(options()).resolve(&v1()).await.unwrap_err();
    assert!(error.to_string().contains("but was announced as"), "{error}");
}

#[tokio::test]
async fn a_registry_that_stops_talking_runs_into_the_deadline() {
    let server = serving(Reply::ok(media_type::IMAGE_INDEX, INDEX).hanging(Duration::from_secs(20)));
    let mut hurried = options();
    hurried.timeouts = Timeouts { total: Duration::from_secs(1), ..Timeouts::default() };
    let error = server.repository(hurried).resolve(&v1()).await.unwrap_err();
    assert!(matches!(error, Error::Deadline { seconds: 1, .. }), "{error}");

    let mut idle = options();
    idle.timeouts = Timeouts { idle: Duration::from_millis(200), ..Timeouts::default() };
    let error = server.repository(idle).resolve(&v1()).await.unwrap_err();
    assert!(matches!(error, Error::Network { .. }), "{error}");
    assert_eq!(error.blame(), Blame::Network);
}

#[tokio::test]
async fn a_busy_registry_is_asked_again_after_the_time_it_names() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let calls = AtomicUsize::new(0);
    let server = Server::start(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::status(429).header("Retry-After", "1"),
        1 => Reply::status(503),
        _ => Reply::ok(media_type::IMAGE_INDEX, INDEX),
    });
    let started = std::time::Instant::now();
    server.repository(options()).resolve(&v1()).await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn retries_end_and_a_long_wait_is_not_begun() {
    let server = serving(Reply::status(503).body(r#"{"errors":[{"code":"X","message":"\u001b[31mbusy"}]}"#));
    let error = server.repository(options()).resolve(&v1()).await.unwrap_err();
    assert_eq!(server.seen().len(), 3);
    assert!(matches!(error, Error::Refused { status: 503, .. }) && error.may_retry(), "{error}");
    assert!(error.to_string().ends_with("\"X:  [31mbusy\""), "{error}");

    let server = serving(Reply::status(429).header("Retry-After", "86400"));
    let error = server.repository(options()).resolve(&v1()).await.unwrap_err();
    assert_eq!(server.seen().len(), 1);
    assert!(error.to_string().contains("it asks to wait 86400 s"), "{error}");
}

#[tokio::test]
async fn other_errors_are_not_repeated() {
    for status in [400, 403, 418, 501] {
        let server = serving(Reply::status(status));
        let error = server.repository(options()).resolve(&v1()).await.unwrap_err();
        assert!(matches!(error, Error::Refused { status: s, .. } if s == status), "{error}");
        assert_eq!(server.seen().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_named() {
    let reference = "127.0.0.1:1/team/app".parse().unwrap();
    let repository = prokura_registry::Repository::remote(&reference, options()).unwrap();
    let error = repository.resolve(&v1()).await.unwrap_err();
    assert!(matches!(error, Error::Network { .. }) && error.may_retry(), "{error}");
    assert!(error.to_string().contains("http://127.0.0.1:1"), "{error}");
}

#[tokio::test]
async fn a_proxy_is_used_when_given_and_only_for_hosts_that_are_not_direct() {
    let proxy = serving(Reply::ok(media_type::IMAGE_INDEX, INDEX));
    let registry = serving(Reply::ok(media_type::IMAGE_INDEX, INDEX));
    let through = |no_proxy: &str| {
        let mut options = options();
        options.proxy.http = Some(format!("http://{}", proxy.host));
        options.proxy.no_proxy = Some(no_proxy.to_owned());
        options
    };
    registry.repository(through("other.example")).resolve(&v1()).await.unwrap();
    assert_eq!((proxy.seen().len(), registry.seen().len()), (1, 0));
    assert_eq!(proxy.seen()[0].target, format!("http://{}/v2/team/app/manifests/v1", registry.host));
    registry.repository(through("127.0.0.1")).resolve(&v1()).await.unwrap();
    assert_eq!((proxy.seen().len(), registry.seen().len()), (1, 1));
}

#[tokio::test]
async fn plain_http_is_never_tried_unasked() {
    let server = serving(Reply::ok(media_type::IMAGE_INDEX, INDEX));
    let mut secure = options();
    secure.plain_http = false;
    let error = server.repository(secure).resolve(&v1()).await.unwrap_err();
    assert!(matches!(error, Error::Network { .. }), "{error}");
    assert!(server.seen().iter().all(|s| s.method != "GET"), "nothing readable was sent");
}
