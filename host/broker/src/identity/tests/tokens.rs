//! Which tokens are accepted, and which are not.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tonic::metadata::MetadataMap;

use super::issuer::{Issuer, Key, sign};
use crate::identity::pinned::PinnedKeys;
use crate::identity::testing::{Authority, noon};
use crate::identity::token::{BearerToken, Issuers};
use crate::identity::{Algorithm, ClientChain, Evidence, Identifier, IssuerConfig, RefusalKind, Trust};
use crate::limits::{CLOCK_SKEW, TOKEN_BYTES_MAX};
use crate::peer::{Peer, PeerKind};

const HEADER: &str = r#"{"alg":"RS256","typ":"JWT","kid":"k1"}"#;

struct World {
    key: Key,
    issuer: Issuer,
    identifier: Identifier,
}

impl World {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut IssuerConfig)) -> Self {
        let key = Key::rsa();
        let issuer = Issuer::start(&[key.jwk("k1")]).await;
        let mut config = issuer.config();
        change(&mut config);
        let issuers = Arc::new(Issuers::new(vec![config], &Issuers::default()).unwrap());
        let trust = Arc::new(Trust::new(vec![], PinnedKeys::default()).unwrap());
        Self { key, issuer, identifier: Identifier::new(trust, issuers) }
    }

    fn claims(&self) -> Value {
        let now = noon().as_second();
        json!({"iss": self.issuer.url(), "sub": "repo:acme/app:ref:refs/heads/main", "aud": "prokura",
            "iat": now - 10, "nbf": now - 10, "exp": now + 290, "jti": "id-1",
            "repository": "acme/app", "ref": "refs/heads/main", "runner": {"environment": "hosted"}})
    }

    /// The claims with some replaced; null removes one.
    fn changed(&self, changes: &Value) -> String {
        let mut claims = self.claims();
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            }
        }
        claims.to_string()
    }

    async fn judge(&self, token: &str) -> Result<Peer, String> {
        let token = BearerToken::new(token).map_err(|e| e.to_string())?;
        self.identifier.identify(&Evidence::Nothing, Some(&token), noon()).await.map_err(|e| e.to_string())
    }

    async fn judge_claims(&self, changes: Value) -> Result<Peer, String> {
        self.judge(&sign(&self.key, HEADER, &self.changed(&changes))).await
    }
}

#[tokio::test]
async fn a_token_of_a_trusted_issuer_names_its_subject_and_brings_its_claims() {
    let world = World::new().await;
    let peer = world.judge_claims(json!({})).await.unwrap();
    assert_eq!(peer.kind(), PeerKind::Oidc);
    assert_eq!(peer.id(), format!("{}|repo:acme/app:ref:refs/heads/main", world.issuer.url()));
    assert_eq!(peer.claims().get("repository"), Some(&json!("acme/app")));
    assert_eq!(peer.claims().get("runner"), Some(&json!({"environment": "hosted"})));
    assert_eq!(peer.expires_at().unwrap().as_second(), noon().as_second() + 290);
    assert!(peer.evidence().contains("id-1") && peer.evidence().contains("k1"), "{}", peer.evidence());
    assert!(world.judge_claims(json!({"aud": ["other", "prokura"]})).await.is_ok());
    assert!(world.judge_claims(json!({"exp": noon().as_second() as f64 + 0.5})).await.is_ok());
    assert_eq!(world.issuer.asked(), 1, "the keys are kept");
}

#[tokio::test]
async fn every_algorithm_is_held_to_its_key() {
    let (ec, world) = (Key::ec(), World::new().await);
    world.issuer.publish(&[world.key.jwk("k1"), ec.jwk("k2")]);
    let claims = world.changed(&json!({}));
    assert!(world.judge(&sign(&ec, r#"{"alg":"ES256","kid":"k2"}"#, &claims)).await.is_ok());
    for header in [r#"{"alg":"ES256","kid":"k1"}"#, r#"{"alg":"RS256","kid":"k2"}"#] {
        assert!(world.judge(&sign(&ec, header, &claims)).await.is_err(), "{header}");
        assert!(world.judge(&sign(&world.key, header, &claims)).await.is_err(), "{header}");
    }
    let key = crate::identity::algorithm::IssuerKey::parse(world.key.jwk("k1").as_object().unwrap()).unwrap();
    assert!(Algorithm::ALL.into_iter().filter(|algorithm| key.fits(*algorithm)).eq([Algorithm::Rs256]));
}

#[tokio::test]
async fn claims_that_do_not_fit_are_refused_before_the_issuer_is_asked() {
    let world = World::with(|config| {
        config.required_claims.insert("repository".into(), vec!["acme/app".into(), "acme/lib".into()]);
    })
    .await;
    let (now, skew) = (noon().as_second(), i64::try_from(CLOCK_SKEW.as_secs()).unwrap());
    let mut wrong = Vec::new();
    for (changes, reason) in [
        (json!({"aud": "other"}), "for the audience \"other\""),
        (json!({"aud": ["other", "another"]}), "other, another"),
        (json!({"aud": ["prokura", 1]}), "audience"),
        (json!({"aud": null}), "audience"),
        (json!({"iss": "https://evil.example"}), "of issuer \"https://evil.example\""),
        (json!({"iss": format!("{}/", world.issuer.url())}), "of issuer"),
        (json!({"iss": null}), "without `iss`"),
        (json!({"iss": ["x"]}), "without `iss`"),
        (json!({"iat": now - 300, "exp": now - skew}), "expired"),
        (json!({"exp": null}), "without `exp`"),
        (json!({"iat": null}), "without `exp` or `iat`"),
        (json!({"exp": "tomorrow"}), "no time"),
        (json!({"exp": 1e300}), "no time"),
        (json!({"iat": now + skew + 1, "nbf": null}), "from the future"),
        (json!({"nbf": now + skew + 1}), "from the future"),
        (json!({"exp": now + 3600}), "lifetime of 3610 s"),
        (json!({"iat": now + 50, "exp": now + 40, "nbf": null}), "lifetime of -10 s"),
        (json!({"sub": null}), "`sub`"),
        (json!({"sub": ""}), "`sub`"),
        (json!({"sub": "a\nb"}), "`sub`"),
        (json!({"repository": "evil/app"}), "\"evil/app\" in claim \"repository\""),
        (json!({"repository": null}), "nothing in claim"),
        (json!({"repository": ["acme/app"]}), "nothing in claim"),
    ] {
        let outcome = world.judge_claims(changes.clone()).await.map(|peer| peer.id().to_owned());
        if !outcome.as_ref().is_err_and(|error| error.contains(reason) && error.contains("expected")) {
            wrong.push(format!("{changes}: {outcome:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(world.issuer.asked(), 0, "all of that costs no request");
    assert!(
        world.judge_claims(json!({"iat": now - 300, "exp": now - skew + 1})).await.is_ok(),
        "within the skew"
    );
    assert!(
        world.judge_claims(json!({"iat": now + skew, "nbf": now + skew})).await.is_ok(),
        "within the skew"
    );
}

#[tokio::test]
async fn headers_that_mean_something_else_are_refused() {
    let world = World::new().await;
    let claims = world.changed(&json!({}));
    let mut wrong = Vec::new();
    for (header, reason) in [
        (r#"{"alg":"none","kid":"k1"}"#, "`alg` \"none\""),
        (r#"{"alg":"None","kid":"k1"}"#, "`alg`"),
        (r#"{"alg":"HS256","kid":"k1"}"#, "`alg` \"HS256\""),
        (r#"{"alg":"RS512","kid":"k1"}"#, "expected RS256 or ES256"),
        (r#"{"alg":"rs256","kid":"k1"}"#, "`alg`"),
        (r#"{"alg":["RS256"],"kid":"k1"}"#, "`alg`"),
        (r#"{"kid":"k1"}"#, "`alg`"),
        (r#"{"alg":"RS256","kid":"k1","crit":["b64"],"b64":false}"#, "`crit`"),
        (r#"{"alg":"RS256","kid":"k1","crit":[]}"#, "`crit`"),
        (r#"{"alg":"RS256","kid":"k1","typ":"logout+jwt"}"#, "`typ`"),
        (r#"{"alg":"RS256","kid":"k1","typ":1}"#, "`typ`"),
        (r#"{"alg":"RS256","kid":7}"#, "`kid`"),
        (r#"{"alg":"none","alg":"RS256","kid":"k1"}"#, "twice"),
        (r#"["RS256"]"#, "no JSON object"),
    ] {
        let outcome = world.judge(&sign(&world.key, header, &claims)).await.map(|peer| peer.id().to_owned());
        if !outcome.as_ref().is_err_and(|error| error.contains(reason)) {
            wrong.push(format!("{header}: {outcome:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let long = format!(r#"{{"alg":"RS256","kid":"{}"}}"#, "k".repeat(257));
    assert!(world.judge(&sign(&world.key, &long, &claims)).await.unwrap_err().contains("`kid`"));
    for header in [r#"{"alg":"RS256","kid":"k1","typ":"application/at+jwt"}"#, r#"{"alg":"RS256"}"#] {
        assert!(world.judge(&sign(&world.key, header, &claims)).await.is_ok(), "{header}");
    }
}

#[tokio::test]
async fn forgeries_are_refused() {
    let world = World::new().await;
    let claims = world.changed(&json!({}));
    let good = sign(&world.key, HEADER, &claims);
    assert!(world.judge(&good).await.is_ok());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let other = sign(&Key::rsa(), HEADER, &claims);
    let evil = URL_SAFE_NO_PAD.encode(world.changed(&json!({"sub": "repo:evil/app"})));
    let header = signed.split_once('.').unwrap().0;
    let confused = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT","kid":"k1"}"#);
    let confused = format!("{confused}.{}", URL_SAFE_NO_PAD.encode(&claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &world.key.spki()), confused.as_bytes());
    let none =
        format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(&claims));
    let mut accepted = Vec::new();
    for (what, token) in [
        ("another key of the same name", other.clone()),
        ("other claims", format!("{header}.{evil}.{signature}")),
        ("no signature", format!("{signed}.")),
        ("half a signature", format!("{signed}.{}", &signature[..signature.len() / 2])),
        ("alg none", none),
        ("the RSA key as an HMAC secret", format!("{confused}.{}", URL_SAFE_NO_PAD.encode(tag))),
        ("two parts", signed.to_owned()),
        ("four parts", format!("{good}.x")),
        ("five parts (JWE)", format!("{good}.x.y")),
        ("padding", format!("{good}=")),
        ("a space", format!("{signed} .{signature}")),
        ("standard Base64", good.replacen('.', "+.", 1)),
        ("words", "not a token".to_owned()),
    ] {
        if world.judge(&token).await.is_ok() {
            accepted.push(what);
        }
    }
    assert!(accepted.is_empty(), "{accepted:?}");
    let twice = claims.replacen('{', r#"{"sub":"repo:evil/app","#, 1);
    assert!(world.judge(&sign(&world.key, HEADER, &twice)).await.unwrap_err().contains("twice"));
}

#[tokio::test]
async fn no_token_is_larger_than_the_limit() {
    let world = World::new().await;
    let huge = world.changed(&json!({"x": "y".repeat(TOKEN_BYTES_MAX)}));
    let error = world.judge(&sign(&world.key, HEADER, &huge)).await.unwrap_err();
    assert!(error.contains("a token of"), "{error}");
    assert!(world.judge("").await.is_err());
    let many: Value = (0..200).map(|n| (format!("c{n}"), json!(n))).collect::<serde_json::Map<_, _>>().into();
    let error = world.judge_claims(many).await.unwrap_err();
    assert!(error.contains("list of claims"), "{error}");
    let nested = format!(r#"{{"a":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
    assert!(world.judge(&sign(&world.key, HEADER, &nested)).await.unwrap_err().contains("deeper"));
}

#[test]
fn the_metadata_has_one_bearer_token() {
    let metadata = |values: &[&str]| {
        let mut map = MetadataMap::new();
        for value in values {
            map.append("authorization", value.parse().unwrap());
        }
        BearerToken::from_metadata(&map).map(|token| token.is_some())
    };
    assert_eq!(metadata(&[]), Ok(false));
    assert_eq!(metadata(&["Bearer a.b.c"]), Ok(true));
    assert_eq!(metadata(&["bearer a.b.c"]), Ok(true));
    for bad in [&["Basic YTpi"][..], &["Bearer"], &["Bearer "], &["Bearer a", "Bearer b"], &["a.b.c"]] {
        assert_eq!(metadata(bad).unwrap_err().kind(), RefusalKind::Token, "{bad:?}");
    }
}

/// Nothing that could be replayed is in any refusal, whatever is wrong with the token.
#[tokio::test]
async fn no_part_of_a_token_is_in_a_refusal() {
    let world = World::new().await;
    let good = sign(&world.key, HEADER, &world.changed(&json!({"aud": "other", "canary": "c4n4ry"})));
    let unsigned = good.rsplit_once('.').unwrap().0;
    let stale = sign(&world.key, HEADER, &world.changed(&json!({"exp": 1, "canary": "c4n4ry"})));
    let unknown =
        sign(&world.key, r#"{"alg":"RS256","kid":"k9"}"#, &world.changed(&json!({"canary": "c4n4ry"})));
    let forged = sign(&Key::rsa(), HEADER, &world.changed(&json!({"canary": "c4n4ry"})));
    let binary = format!("{}.x", good.replace('a', "\u{e9}"));
    for token in [good.as_str(), unsigned, &stale, &unknown, &forged, &binary, &good[1..]] {
        let error = world.judge(token).await.unwrap_err();
        assert!(!error.contains("c4n4ry"), "{error}");
        for part in token.split('.').filter(|part| part.len() > 8) {
            let head: String = part.chars().take(8).collect();
            assert!(!error.contains(&head), "{head} in {error}");
        }
    }
}

#[tokio::test]
async fn a_token_over_mtls_is_the_identity_and_the_certificate_must_hold_too() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let world = World::new().await;
    let trust = Arc::new(Trust::new(vec![ours.der.clone()], PinnedKeys::default()).unwrap());
    world.identifier.reload(trust, world.identifier.issuers());
    let token = BearerToken::new(&sign(&world.key, HEADER, &world.changed(&json!({})))).unwrap();
    let over = |client: crate::identity::testing::Client| {
        Evidence::Certificate(Arc::new(ClientChain::new(client.chain)))
    };
    let peer = world.identifier.identify(&over(ours.client(|_| {})), Some(&token), noon()).await.unwrap();
    assert_eq!(peer.kind(), PeerKind::Oidc);
    assert!(
        peer.evidence().contains("token") && peer.evidence().contains("over certificate"),
        "{}",
        peer.evidence()
    );
    let error =
        world.identifier.identify(&over(theirs.client(|_| {})), Some(&token), noon()).await.unwrap_err();
    assert_eq!(error.kind(), RefusalKind::Certificate);
    let bad = BearerToken::new("x.y.z").unwrap();
    let error = world.identifier.identify(&over(ours.client(|_| {})), Some(&bad), noon()).await.unwrap_err();
    assert_eq!(error.kind(), RefusalKind::Token, "a bad token does not fall back to the certificate");
}

#[test]
fn issuers_are_configured_once() {
    let config = IssuerConfig::new("https://ci.example", "prokura");
    let twice = Issuers::new(vec![config.clone(), config.clone()], &Issuers::default());
    assert!(twice.err().unwrap().to_string().contains("twice"));
    let long = IssuerConfig { lifetime_max: Duration::ZERO, ..config };
    assert!(Issuers::new(vec![long], &Issuers::default()).is_err());
}
