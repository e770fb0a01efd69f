//! Who is known by which client certificate, and who is not.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rcgen::{ExtendedKeyUsagePurpose, IsCa, SanType, date_time_ymd};

use crate::identity::pinned::PinnedKeys;
use crate::identity::testing::{Authority, Client, noon, self_signed};
use crate::identity::token::Issuers;
use crate::identity::{ClientChain, Evidence, Identifier, Trust};
use crate::peer::{Peer, PeerKind};

fn pin(client: &Client) -> String {
    use rcgen::PublicKeyData as _;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &client.key.subject_public_key_info());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn trust(authorities: &[&Authority], pins: &[String]) -> Arc<Trust> {
    let authorities = authorities.iter().map(|authority| authority.der.clone()).collect();
    Arc::new(Trust::new(authorities, PinnedKeys::parse(pins).unwrap()).unwrap())
}

fn evidence(client: &Client) -> Evidence {
    Evidence::Certificate(Arc::new(ClientChain::new(client.chain.clone())))
}

fn identifier(trust: Arc<Trust>) -> Identifier {
    Identifier::new(trust, Arc::new(Issuers::default()))
}

async fn judge(trust: &Arc<Trust>, client: &Client, now: Timestamp) -> Result<Peer, String> {
    identifier(Arc::clone(trust)).identify(&evidence(client), None, now).await.map_err(|e| e.to_string())
}

#[tokio::test]
async fn a_client_of_a_configured_ca_is_known_by_its_san() {
    let authority = Authority::new("ours");
    let trust = trust(&[&authority], &[]);
    let peer = judge(&trust, &authority.client(|_| {}), noon()).await.unwrap();
    assert_eq!((peer.kind(), peer.id()), (PeerKind::Certificate, "urn:example:build"));
    let spiffe = authority
        .client(|p| p.subject_alt_names = vec![SanType::URI("spiffe://example.org/ci".try_into().unwrap())]);
    let peer = judge(&trust, &spiffe, noon()).await.unwrap();
    assert_eq!((peer.kind(), peer.id()), (PeerKind::Spiffe, "spiffe://example.org/ci"));
    assert_eq!(peer.claims().get("trust_domain"), Some(&"example.org".into()));
}

#[tokio::test]
async fn certificates_that_prove_nothing_are_refused() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("ours"));
    let trust = trust(&[&ours], &[]);
    let mut wrong = Vec::new();
    for (what, client, reason) in [
        ("wrong CA", theirs.client(|_| {}), "does not verify"),
        ("self-signed", self_signed(), "does not verify"),
        ("expired", ours.client(|p| p.not_after = date_time_ymd(2026, 6, 1)), "expired"),
        ("not yet valid", ours.client(|p| p.not_before = date_time_ymd(2026, 6, 2)), "not valid yet"),
        ("CN only", ours.client(|p| p.subject_alt_names.clear()), "common name is not used"),
        (
            "server certificate",
            ours.client(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
            "does not verify",
        ),
        (
            "CA",
            ours.client(|p| p.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained)),
            "does not verify",
        ),
        ("no certificate in the chain", Client { chain: vec![], ..self_signed() }, "no client certificate"),
        ("garbage", Client { chain: vec![b"x".as_slice().into()], ..self_signed() }, "does not verify"),
        (
            "a chain without end",
            Client { chain: vec![ours.der.clone(); 9], ..self_signed() },
            "a client chain of 9 certificates",
        ),
    ] {
        let outcome = judge(&trust, &client, noon()).await.map(|peer| peer.id().to_owned());
        if !outcome.as_ref().is_err_and(|error| error.contains(reason) && error.contains("expected")) {
            wrong.push(format!("{what}: {outcome:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn a_certificate_without_extended_key_usage_may_be_a_clients() {
    let ours = Authority::new("ours");
    let client = ours.client(|p| p.extended_key_usages.clear());
    assert!(judge(&trust(&[&ours], &[]), &client, noon()).await.is_ok());
}

#[tokio::test]
async fn a_pinned_key_needs_no_ca_but_a_valid_certificate() {
    let client = self_signed();
    let trust = trust(&[], &[pin(&client)]);
    let peer = judge(&trust, &client, noon()).await.unwrap();
    assert_eq!((peer.kind(), peer.id()), (PeerKind::PinnedKey, pin(&client).as_str()));
    let error = judge(&trust, &self_signed(), noon()).await.unwrap_err();
    assert!(error.contains("not pinned"), "{error}");
    let ours = Authority::new("ours");
    let expired = ours.client(|p| p.not_after = date_time_ymd(2026, 6, 1));
    let error = judge(&self::trust(&[], &[pin(&expired)]), &expired, noon()).await.unwrap_err();
    assert!(error.contains("valid from"), "{error}");
}

#[tokio::test]
async fn a_pin_comes_before_the_ca() {
    let ours = Authority::new("ours");
    let client = ours.client(|_| {});
    let peer = judge(&trust(&[&ours], &[pin(&client)]), &client, noon()).await.unwrap();
    assert_eq!(peer.kind(), PeerKind::PinnedKey);
}

#[tokio::test]
async fn an_open_connection_loses_its_peer_when_the_certificate_expires_or_the_ca_goes() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let client = ours.client(|p| p.not_after = date_time_ymd(2026, 6, 2));
    let (evidence, identifier) = (evidence(&client), identifier(trust(&[&ours], &[])));
    let later = noon() + SignedDuration::from_hours(24);
    assert!(identifier.identify(&evidence, None, noon()).await.is_ok());
    let error = identifier.identify(&evidence, None, later).await.unwrap_err().to_string();
    assert!(error.contains("expired"), "{error}");
    assert!(identifier.identify(&evidence, None, noon()).await.is_ok());
    identifier.reload(trust(&[&theirs], &[]), Arc::new(Issuers::default()));
    assert!(identifier.identify(&evidence, None, noon()).await.is_err(), "the CA is gone");
    identifier.reload(trust(&[&ours, &theirs], &[]), Arc::new(Issuers::default()));
    assert!(identifier.identify(&evidence, None, noon()).await.is_ok());
}

#[tokio::test]
async fn nobody_is_refused_and_told_what_is_expected() {
    let ours = Authority::new("ours");
    let error =
        identifier(trust(&[&ours], &[])).identify(&Evidence::Nothing, None, noon()).await.unwrap_err();
    assert!(error.to_string().contains("expected a client certificate"), "{error}");
}
