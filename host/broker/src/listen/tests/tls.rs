//! TLS as clients meet it: who gets in, and what a reload changes.

use std::sync::Arc;

use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::harness::{
    Broker, call, channel, check, client_config, connect, pem, server_identity, tls, trust, write_key,
};
use crate::identity::testing::{Authority, Client, noon, self_signed};
use crate::identity::tls::{ServerIdentity, TlsError};
use crate::identity::token::Issuers;
use crate::identity::{Evidence, Identifier};
use crate::listen::Limits;
use crate::peer::PeerKind;

fn pin(client: &Client) -> String {
    use rcgen::PublicKeyData as _;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &client.key.subject_public_key_info());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_client_of_the_ca_is_served_and_known() {
    let (server, ours) = (Authority::new("server"), Authority::new("ours"));
    let trust = trust(&[&ours], &[]);
    let mut broker = Broker::tcp(&tls(&server, Arc::clone(&trust), false), Limits::default());
    call(broker.address, client_config(&server, Some(&ours.client(|_| {})))).await.unwrap();
    let identifier = Identifier::new(trust, Arc::new(Issuers::default()));
    let peer = identifier.identify(&broker.evidence().await, None, noon()).await.unwrap();
    assert_eq!((peer.kind(), peer.id()), (PeerKind::Certificate, "urn:example:build"));
    broker.stop().await;
}

#[tokio::test]
async fn strangers_fail_in_the_handshake() {
    let (server, ours, theirs) = (Authority::new("server"), Authority::new("ours"), Authority::new("theirs"));
    let broker = Broker::tcp(&tls(&server, trust(&[&ours], &[]), false), Limits::default());
    let expired = ours.client(|p| p.not_after = rcgen::date_time_ymd(2020, 1, 1));
    for (what, client, alert) in [
        ("no certificate", None, "CertificateRequired"),
        ("wrong CA", Some(theirs.client(|_| {})), "UnknownCA"),
        ("expired", Some(expired), "CertificateExpired"),
        ("pinned nowhere", Some(self_signed()), "UnknownCA"),
    ] {
        let error = call(broker.address, client_config(&server, client.as_ref())).await.expect_err(what);
        assert!(error.contains(alert), "{what}: {error}");
    }
    assert_eq!(broker.counts.read().failed, 4);
    assert_eq!(broker.counts.read().served, 0);
    broker.stop().await;
}

#[tokio::test]
async fn a_pinned_key_and_a_token_bearer_are_let_in() {
    let (server, ours) = (Authority::new("server"), Authority::new("ours"));
    let pinned = self_signed();
    let trust = trust(&[&ours], &[pin(&pinned)]);
    let mut broker = Broker::tcp(&tls(&server, trust, true), Limits::default());
    for client in [Some(&pinned), Some(&ours.client(|_| {})), None] {
        call(broker.address, client_config(&server, client)).await.unwrap();
        assert_eq!(matches!(broker.evidence().await, Evidence::Nothing), client.is_none());
    }
    let stranger = self_signed();
    assert!(
        call(broker.address, client_config(&server, Some(&stranger))).await.is_err(),
        "tokens excuse nobody's certificate"
    );
    broker.stop().await;
}

#[tokio::test]
async fn a_certificate_that_is_not_the_clients_does_not_help() {
    let (server, ours) = (Authority::new("server"), Authority::new("ours"));
    let broker = Broker::tcp(&tls(&server, trust(&[&ours], &[]), false), Limits::default());
    let honest = ours.client(|_| {});
    let config = client_config(&server, Some(&honest));
    let thief = Arc::new(Thief { chain: honest.chain.clone(), key: rcgen::KeyPair::generate().unwrap() });
    let mut config = config;
    config.client_auth_cert_resolver = thief;
    assert!(call(broker.address, config).await.is_err());
    broker.stop().await;
}

/// Shows a certificate without having its key.
#[derive(Debug)]
struct Thief {
    chain: Vec<rustls::pki_types::CertificateDer<'static>>,
    key: rcgen::KeyPair,
}

impl rustls::client::ResolvesClientCert for Thief {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
        let der = rustls::pki_types::PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&der).unwrap();
        Some(Arc::new(rustls::sign::CertifiedKey::new(self.chain.clone(), key)))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn a_client_without_http2_is_refused() {
    let server = Authority::new("server");
    let broker = Broker::tcp(&tls(&server, trust(&[], &[]), true), Limits::default());
    for protocols in [vec![], vec![b"http/1.1".to_vec()]] {
        let mut config = client_config(&server, None);
        config.alpn_protocols = protocols;
        let closed = match connect(broker.address, config).await {
            Err(_) => true,
            Ok(mut stream) => {
                let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
                !matches!(stream.read(&mut [0; 1]).await, Ok(1))
            }
        };
        assert!(closed);
    }
    assert_eq!(broker.counts.read().served, 0);
    broker.stop().await;
}

#[tokio::test]
async fn a_reload_keeps_connections_and_judges_new_ones_anew() {
    let (server, old, new) = (Authority::new("server"), Authority::new("old"), Authority::new("new"));
    let tls = tls(&server, trust(&[&old], &[]), false);
    let broker = Broker::tcp(&tls, Limits::default());
    let (of_old, of_new) = (old.client(|_| {}), new.client(|_| {}));
    let mut open = channel(broker.address, client_config(&server, Some(&of_old))).await.unwrap();
    check(&mut open).await.unwrap();
    assert!(call(broker.address, client_config(&server, Some(&of_new))).await.is_err());
    let next = Authority::new("next server");
    tls.reload(server_identity(&next), trust(&[&new], &[]), false).unwrap();
    check(&mut open).await.unwrap();
    call(broker.address, client_config(&next, Some(&of_new))).await.unwrap();
    assert!(call(broker.address, client_config(&next, Some(&of_old))).await.is_err());
    assert!(
        call(broker.address, client_config(&server, Some(&of_new))).await.is_err(),
        "the certificate changed too"
    );
    check(&mut open).await.unwrap();
    broker.stop().await;
}

#[tokio::test]
async fn a_session_is_resumed_until_a_reload() {
    let (server, ours) = (Authority::new("server"), Authority::new("ours"));
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let identity = trust(&[&ours], &[]);
        let tls = tls(&server, Arc::clone(&identity), false);
        let broker = Broker::tcp(&tls, Limits::default());
        let client = ours.client(|_| {});
        let config = only(version, client_config(&server, Some(&client)), &server, &client);
        assert_eq!(handshake(&broker, &config).await, Some(HandshakeKind::Full));
        assert_eq!(handshake(&broker, &config).await, Some(HandshakeKind::Resumed), "{version:?}");
        tls.reload(server_identity(&server), identity, false).unwrap();
        assert_eq!(handshake(&broker, &config).await, Some(HandshakeKind::Full), "{version:?}");
        broker.stop().await;
    }
}

fn only(
    version: &'static rustls::SupportedProtocolVersion,
    config: rustls::ClientConfig,
    server: &Authority,
    client: &Client,
) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(server.der.clone()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(client.key.serialize_der()).unwrap();
    let mut only = rustls::ClientConfig::builder_with_provider(Arc::clone(config.crypto_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(client.chain.clone(), key)
        .unwrap();
    only.alpn_protocols = config.alpn_protocols;
    only
}

/// Reads until tickets must have come: the server's SETTINGS follow them.
async fn handshake(broker: &Broker, config: &rustls::ClientConfig) -> Option<HandshakeKind> {
    let mut stream = connect(broker.address, config.clone()).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    stream.read_exact(&mut [0; 9]).await.unwrap();
    stream.get_ref().1.handshake_kind()
}

#[test]
fn key_files_open_to_others_and_odd_files_are_refused() {
    let directory = tempfile::TempDir::new().unwrap();
    let server = Authority::new("ca").server();
    let (certificate, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    std::fs::write(&certificate, pem(server.chain.first().unwrap())).unwrap();
    let read = |mode: u32| {
        write_key(&key, &server.key.serialize_pem(), mode);
        ServerIdentity::read(&certificate, &key).map(drop)
    };
    for mode in [0o600, 0o400, 0o640] {
        read(mode).unwrap();
    }
    for mode in [0o644, 0o604, 0o660, 0o601] {
        assert!(matches!(read(mode), Err(TlsError::Exposed { .. })), "{mode:o}");
    }
    write_key(&key, "-----BEGIN PRIVATE KEY-----\ncanary!\n-----END PRIVATE KEY-----\n", 0o600);
    let error = ServerIdentity::read(&certificate, &key).map(drop).unwrap_err().to_string();
    assert!(error.contains("no private key") && !error.contains("canary"), "{error}");
    let swapped = ServerIdentity::read(&key, &key).map(drop).unwrap_err().to_string();
    assert!(swapped.contains("cannot be decoded"), "{swapped}");
}

#[test]
fn a_certificate_with_anothers_key_is_refused() {
    let directory = tempfile::TempDir::new().unwrap();
    let ca = Authority::new("ca");
    let (certificate, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    std::fs::write(&certificate, pem(ca.server().chain.first().unwrap())).unwrap();
    write_key(&key, &ca.server().key.serialize_pem(), 0o600);
    let identity = ServerIdentity::read(&certificate, &key).unwrap();
    let error = crate::identity::tls::Tls::new(identity, trust(&[&ca], &[]), false).err().unwrap();
    assert!(matches!(error, TlsError::Unusable { .. }), "{error}");
    let nobody = crate::identity::tls::Tls::new(server_identity(&ca), trust(&[], &[]), false).err().unwrap();
    assert!(matches!(nobody, TlsError::NoCallers), "{nobody}");
}
