//! How the keys of an issuer are kept: rotated, flooded, slow, huge, wrong, gone.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{advance, pause, resume};

use super::issuer::{Issuer, Key};
use crate::identity::Algorithm::Rs256;
use crate::identity::jwks::{Keys, NoKey};
use crate::limits::{
    ISSUER_DEADLINE, JWKS_BYTES_MAX, JWKS_KEYS_MAX, KEYS_OLD_MAX, KEYS_PAUSE, KEYS_RETRY_PAUSE,
};

async fn find(keys: &Keys, kid: &str) -> Result<(), NoKey> {
    keys.find(Some(kid), Rs256).await.map(drop)
}

async fn world() -> (Key, Issuer, Keys) {
    let key = Key::rsa();
    let issuer = Issuer::start(&[key.jwk("k1")]).await;
    let keys = Keys::new(issuer.config()).unwrap();
    (key, issuer, keys)
}

/// Lets the clock of the cache run ahead; sockets need it to run as usual.
async fn later(time: Duration) {
    pause();
    advance(time).await;
    resume();
}

#[tokio::test]
async fn a_flood_of_unknown_kids_makes_one_request() {
    let (key, issuer, keys) = world().await;
    find(&keys, "k1").await.unwrap();
    later(KEYS_PAUSE).await;
    let keys = Arc::new(keys);
    let flood: Vec<_> = (0..500)
        .map(|n| {
            let keys = Arc::clone(&keys);
            tokio::spawn(async move { find(&keys, &format!("evil-{n}")).await })
        })
        .collect();
    for one in flood {
        assert!(one.await.unwrap().is_err());
    }
    assert_eq!(issuer.asked(), 2);
    assert!(matches!(find(&keys, "evil").await, Err(NoKey::Later(_))));
    find(&keys, "k1").await.unwrap();
    issuer.publish(&[key.jwk("k1"), key.jwk("k2")]);
    assert!(matches!(find(&keys, "k2").await, Err(NoKey::Later(_))));
    later(KEYS_PAUSE).await;
    find(&keys, "k2").await.unwrap();
    assert_eq!(issuer.asked(), 3);
}

#[tokio::test]
async fn a_rotated_key_is_found_and_a_withdrawn_one_goes_when_the_keys_are_stale() {
    let (key, issuer, keys) = world().await;
    find(&keys, "k1").await.unwrap();
    issuer.publish(&[key.jwk("k2")]);
    find(&keys, "k1").await.unwrap();
    later(Duration::from_secs(601)).await;
    assert_eq!(find(&keys, "k1").await, Err(NoKey::Unknown { keys: 1 }));
    find(&keys, "k2").await.unwrap();
    assert_eq!(issuer.asked(), 2);
}

#[tokio::test]
async fn old_keys_serve_while_the_issuer_is_down_and_not_for_ever() {
    let (_, issuer, keys) = world().await;
    find(&keys, "k1").await.unwrap();
    issuer.change(|answers| answers.status = 503);
    later(KEYS_OLD_MAX / 2).await;
    find(&keys, "k1").await.unwrap();
    find(&keys, "k1").await.unwrap();
    assert_eq!(issuer.asked(), 1, "the discovery document failed already, and is not asked again at once");
    later(KEYS_OLD_MAX / 2).await;
    let Err(NoKey::Unavailable(reason)) = find(&keys, "k1").await else { panic!("too old") };
    assert!(reason.contains("503"), "{reason}");
    issuer.change(|answers| answers.status = 200);
    later(KEYS_RETRY_PAUSE).await;
    find(&keys, "k1").await.unwrap();
}

#[tokio::test]
async fn a_slow_issuer_is_waited_for_once_and_within_a_deadline() {
    let (_, issuer, keys) = world().await;
    issuer.change(|answers| answers.delay = Duration::from_millis(200));
    let keys = Arc::new(keys);
    let many: Vec<_> = (0..50)
        .map(|_| {
            let keys = Arc::clone(&keys);
            tokio::spawn(async move { find(&keys, "k1").await })
        })
        .collect();
    for one in many {
        one.await.unwrap().unwrap();
    }
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_never_answers_is_given_up() {
    let (_, issuer, keys) = world().await;
    issuer.change(|answers| answers.delay = Duration::from_secs(3600));
    let began = tokio::time::Instant::now();
    let Err(NoKey::Unavailable(_)) = find(&keys, "k1").await else { panic!("it answered") };
    assert!(began.elapsed() <= ISSUER_DEADLINE + Duration::from_secs(1));
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_end_the_fetch() {
    let (_, issuer, keys) = world().await;
    issuer.change(|answers| answers.delay = Duration::from_millis(100));
    assert!(tokio::time::timeout(Duration::from_millis(10), find(&keys, "k1")).await.is_err());
    find(&keys, "k1").await.unwrap();
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test]
async fn documents_that_are_huge_or_wrong_are_refused() {
    let key = Key::rsa();
    let jwk = key.jwk("k1");
    let sets: Vec<(&str, String)> = vec![
        ("more than", format!("{{\"keys\":[],\"x\":\"{}\"}}", "y".repeat(JWKS_BYTES_MAX))),
        ("at most", json!({"keys": vec![jwk.clone(); JWKS_KEYS_MAX + 1]}).to_string()),
        ("no array", json!({"keys": {"k1": jwk}}).to_string()),
        ("no array", json!({}).to_string()),
        ("no JSON object", json!([jwk]).to_string()),
        ("twice", format!("{{\"keys\":[{jwk}],\"keys\":[]}}")),
        ("no key", json!({"keys": [1, "x", null, {"kty": "oct", "kid": "k1", "k": "AAAA"}]}).to_string()),
        ("no key", json!({"keys": [change(&jwk, "use", "enc")]}).to_string()),
        ("no key", json!({"keys": [change(&jwk, "alg", "HS256")]}).to_string()),
        ("no key", json!({"keys": [change(&jwk, "n", "!!!")]}).to_string()),
        ("", "<html>".to_owned()),
    ];
    for (reason, set) in sets {
        let issuer = Issuer::start(&[]).await;
        issuer.change(|answers| answers.jwks = set);
        let error = find(&Keys::new(issuer.config()).unwrap(), "k1").await.unwrap_err();
        let NoKey::Unavailable(found) = &error else { panic!("{reason}: {error:?}") };
        assert!(found.contains(reason), "{reason}: {found}");
    }
}

fn change(jwk: &Value, name: &str, value: &str) -> Value {
    let mut jwk = jwk.clone();
    jwk[name] = json!(value);
    jwk
}

#[tokio::test]
async fn discovery_is_the_issuers_own_and_leads_nowhere_else() {
    let (key, issuer, _) = world().await;
    let url = issuer.url();
    let _ = key;
    for (reason, status, discovery) in [
        ("of issuer", 200, json!({"issuer": "https://evil.example", "jwks_uri": format!("{url}/keys")})),
        ("no text `issuer`", 200, json!({"jwks_uri": format!("{url}/keys")})),
        ("no text `jwks_uri`", 200, json!({"issuer": url, "jwks_uri": 7})),
        ("URL", 200, json!({"issuer": url, "jwks_uri": "http://192.0.2.1/keys"})),
        ("URL", 200, json!({"issuer": url, "jwks_uri": "file:///etc/passwd"})),
        ("302", 302, json!({})),
    ] {
        issuer.change(|answers| (answers.status, answers.discovery) = (status, discovery.to_string()));
        let error = find(&Keys::new(issuer.config()).unwrap(), "k1").await.unwrap_err();
        let NoKey::Unavailable(found) = &error else { panic!("{reason}: {error:?}") };
        assert!(found.contains(reason), "{reason}: {found}");
    }
    assert_eq!(issuer.asked(), 0);
}

#[tokio::test]
async fn a_small_rsa_key_verifies_nothing() {
    let mut jwk = Key::rsa().jwk("k1");
    jwk["n"] = json!("w".repeat(171));
    let key = crate::identity::algorithm::IssuerKey::parse(jwk.as_object().unwrap()).unwrap();
    assert!(!key.verifies(Rs256, b"x", &[0; 128]));
}
