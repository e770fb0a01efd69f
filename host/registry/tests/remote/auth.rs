//! Logins: basic, bearer tokens, refresh tokens; asked once, answered once, never shown.

use std::sync::{Arc, OnceLock};

use prokura_registry::{Blame, Credentials, Error, Secret, Selector, check_login, media_type};

use crate::server::{Reply, Seen, Server, options, options_as_ann};

const INDEX: &str = r#"{"schemaVersion":2,"manifests":[]}"#;
/// `ann:canary-secret`
const BASIC: &str = "Basic YW5uOmNhbmFyeS1zZWNyZXQ=";

fn v1() -> Selector {
    "v1".parse().unwrap()
}

/// A registry with a token service on the same port; `token` answers at `/token`.
fn with_tokens(token: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Server {
    let host = Arc::new(OnceLock::<String>::new());
    let own = Arc::clone(&host);
    let server = Server::start(move |seen| match (seen.path(), seen.header("authorization")) {
        ("/token", _) => token(seen),
        (_, Some("Bearer good")) => Reply::ok(media_type::IMAGE_INDEX, INDEX),
        _ => {
            let realm = format!(
                "Bearer realm=\"http://{}/token\",service=\"the registry\",scope=\"repository:team/app:pull\"",
                own.get().unwrap()
            );
            Reply::status(401).header("WWW-Authenticate", &realm)
        }
    });
    host.set(server.host.clone()).unwrap();
    server
}

#[tokio::test]
async fn a_token_is_asked_for_with_the_login_and_kept() {
    let server = with_tokens(|seen| {
        assert_eq!(seen.header("authorization"), Some(BASIC));
        Reply::ok("application/json", r#"{"token":"good","expires_in":60}"#)
    });
    let repository = server.repository(options_as_ann());
    repository.resolve(&v1()).await.unwrap();
    repository.resolve(&v1()).await.unwrap();
    assert_eq!(server.count("GET", "/token"), 1);
    let asked = server.seen().into_iter().find(|s| s.path() == "/token").unwrap();
    assert_eq!(asked.target, "/token?service=the+registry&scope=repository%3Ateam%2Fapp%3Apull");
    // The password itself went to the token service only.
    assert!(server.seen().iter().all(|s| s.path() == "/token" || s.header("authorization") != Some(BASIC)));
}

#[tokio::test]
async fn an_anonymous_token_is_asked_for_without_a_login() {
    let server = with_tokens(|seen| {
        assert_eq!(seen.header("authorization"), None);
        Reply::ok("application/json", r#"{"access_token":"good"}"#)
    });
    server.repository(options()).resolve(&v1()).await.unwrap();
}

#[tokio::test]
async fn a_refresh_token_is_exchanged_by_post() {
    let server = with_tokens(|seen| {
        assert_eq!(seen.method, "POST");
        let body = String::from_utf8(seen.body.clone()).unwrap();
        assert!(body.contains("grant_type=refresh_token") && body.contains("client_id=prokura"), "{body}");
        assert!(body.contains("refresh_token=canary-refresh"), "{body}");
        Reply::ok("application/json", r#"{"access_token":"good"}"#)
    });
    let mut with_token = options();
    with_token.credentials = Credentials::IdentityToken(Secret::new("canary-refresh"));
    server.repository(with_token).resolve(&v1()).await.unwrap();
}

#[tokio::test]
async fn a_refused_token_is_not_asked_for_again_and_again() {
    let server = with_tokens(|_| Reply::ok("application/json", r#"{"token":"bad"}"#));
    let error = server.repository(options_as_ann()).resolve(&v1()).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    assert_eq!((server.count("GET", "/token"), server.seen().len()), (1, 3));
    assert!(!error.to_string().contains("canary-secret"), "{error}");
    assert_eq!((error.blame(), error.may_retry()), (Blame::User, false));
}

#[tokio::test]
async fn an_expired_token_is_replaced_once() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let given = AtomicUsize::new(0);
    let used = Arc::new(AtomicUsize::new(0));
    let (count, host) = (Arc::clone(&used), Arc::new(OnceLock::<String>::new()));
    let own = Arc::clone(&host);
    let server = Server::start(move |seen| match (seen.path(), seen.header("authorization")) {
        ("/token", _) => {
            let number = given.fetch_add(1, Ordering::SeqCst);
            Reply::ok("application/json", format!(r#"{{"token":"t{number}"}}"#))
        }
        // Each token is good for one request.
        (_, Some(login)) if login == format!("Bearer t{}", count.load(Ordering::SeqCst)) => {
            count.fetch_add(1, Ordering::SeqCst);
            Reply::ok(media_type::IMAGE_INDEX, INDEX)
        }
        _ => Reply::status(401)
            .header("WWW-Authenticate", &format!("Bearer realm=\"http://{}/token\"", own.get().unwrap())),
    });
    host.set(server.host.clone()).unwrap();
    let repository = server.repository(options());
    for _ in 0..3 {
        repository.resolve(&v1()).await.unwrap();
    }
    assert_eq!(used.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn token_services_that_misbehave_are_refused() {
    let too_large = format!(r#"{{"token":"{}"}}"#, "a".repeat(300 * 1024));
    let cases: [(Reply, &str); 5] = [
        (Reply::ok("application/json", too_large), "the limit is 256 KiB"),
        (Reply::ok("application/json", "{}"), "sent no token"),
        (Reply::ok("text/html", "<html>"), "did not send the JSON expected"),
        (Reply::status(302).header("Location", "http://127.0.0.1:1/"), "answered 302"),
        (
            Reply::status(401).body(r#"{"errors":[{"code":"DENIED","message":"who?"}]}"#),
            "did not accept the login: \"DENIED: who?\"",
        ),
    ];
    for (reply, words) in cases {
        let server = with_tokens(move |_| reply.clone());
        let error = server.repository(options_as_ann()).resolve(&v1()).await.unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
}

#[tokio::test]
async fn basic_logins_are_sent_when_asked_for_and_then_at_once() {
    let server = Server::start(|seen| match seen.header("authorization") {
        Some(BASIC) => Reply::ok(media_type::IMAGE_INDEX, INDEX),
        _ => Reply::status(401).header("WWW-Authenticate", "Basic realm=\"r\""),
    });
    let repository = server.repository(options_as_ann());
    repository.resolve(&v1()).await.unwrap();
    repository.resolve(&v1()).await.unwrap();
    let logins: Vec<_> = server.seen().iter().map(|s| s.header("authorization").is_some()).collect();
    assert_eq!(logins, [false, true, true]);

    let error = server.repository(options()).resolve(&v1()).await.unwrap_err();
    assert!(error.to_string().contains("none is configured; log in first"), "{error}");
}

#[tokio::test]
async fn a_challenge_nobody_understands_is_named() {
    let server = Server::start(|_| Reply::status(401).header("WWW-Authenticate", "Negotiate"));
    let error = server.repository(options_as_ann()).resolve(&v1()).await.unwrap_err();
    assert!(error.to_string().contains("neither the scheme Basic nor Bearer"), "{error}");
}

#[tokio::test]
async fn a_login_is_checked_at_the_base_address() {
    let server = Server::start(|seen| match (seen.path(), seen.header("authorization")) {
        ("/v2/", Some(BASIC)) => Reply::ok("application/json", "{}"),
        ("/v2/", _) => Reply::status(401).header("WWW-Authenticate", "Basic realm=\"r\""),
        _ => Reply::status(500),
    });
    check_login(&server.host, options_as_ann()).await.unwrap();
    let mut wrong = options();
    let password = Secret::new("canary-wrong");
    wrong.credentials = Credentials::Basic { username: "ann".into(), password };
    let error = check_login(&server.host, wrong).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");

    let other = Server::start(|_| Reply::status(404));
    let error = check_login(&other.host, options()).await.unwrap_err();
    assert!(error.to_string().contains("not an OCI registry"), "{error}");
    assert!(check_login("r.example/x", options()).await.is_err());
}
