//! Registries behind TLS: private CAs, and nothing that leads away from TLS.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use prokura_registry::{Blame, Descriptor, Error, RemoteOptions, Repository, media_type};
use rustls::pki_types::PrivateKeyDer;

use crate::server::options_as_ann;

const INDEX: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

struct TlsServer {
    host: String,
    certificate_pem: String,
}

/// A server with a certificate of its own that answers every request with `response`.
fn start(response: String) -> TlsServer {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("localhost:{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = rustls::StreamOwned::new(connection, stream);
            let mut request = [0; 8192];
            if tls.read(&mut request).is_ok() {
                let _ = tls.write_all(response.as_bytes());
                tls.conn.send_close_notify();
                let _ = tls.flush();
            }
        }
    });
    TlsServer { host, certificate_pem: certified.cert.pem() }
}

fn response(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
}

fn repository(server: &TlsServer, certificates: Vec<Vec<u8>>) -> Repository {
    let options = RemoteOptions { plain_http: false, ca_certificates: certificates, ..options_as_ann() };
    Repository::remote(&format!("{}/team/app", server.host).parse().unwrap(), options).unwrap()
}

fn trusted(server: &TlsServer) -> Repository {
    repository(server, vec![server.certificate_pem.clone().into_bytes()])
}

#[tokio::test]
async fn a_private_ca_is_trusted_when_given_and_not_otherwise() {
    let index = format!("Content-Type: {}\r\n", media_type::IMAGE_INDEX);
    let server = start(response(200, &index, INDEX));
    let found = trusted(&server).resolve(&"v1".parse().unwrap()).await.unwrap();
    assert_eq!(found, Descriptor::of(media_type::IMAGE_INDEX, INDEX.as_bytes()));

    let error = repository(&server, Vec::new()).resolve(&"v1".parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error}");
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    assert_eq!((error.blame(), error.may_retry()), (Blame::Operator, false));
}

#[tokio::test]
async fn a_redirect_from_https_to_http_is_refused() {
    let server = start(response(302, "Location: http://localhost:1/x\r\n", ""));
    let blob = Descriptor::of("x/y", b"blob");
    let error = trusted(&server).fetch_blob(&blob, 10).await.unwrap_err();
    assert!(matches!(error, Error::Redirect { .. }), "{error}");
    assert!(error.to_string().contains("from https to plain http"), "{error}");
}

#[tokio::test]
async fn an_upload_is_not_led_from_https_to_http() {
    // 202 is no answer to HEAD that means "present", so the upload starts and gets the address below.
    let server = start(response(202, "Location: http://localhost:1/upload\r\n", ""));
    let error = trusted(&server).push_blob("x/y", "blob".into()).await.unwrap_err();
    assert!(error.to_string().contains("from https to plain http"), "{error}");
}

#[tokio::test]
async fn a_token_service_on_plain_http_gets_no_login() {
    let challenge = "WWW-Authenticate: Bearer realm=\"http://localhost:1/token\"\r\n";
    let server = start(response(401, challenge, ""));
    let error = trusted(&server).resolve(&"v1".parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, Error::Challenge { .. }), "{error}");
    assert!(error.to_string().contains("is not reached by https"), "{error}");
}

#[test]
fn something_that_is_no_certificate_is_refused() {
    let server = TlsServer { host: "r.example".into(), certificate_pem: String::new() };
    for bad in ["nonsense", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
        let options = RemoteOptions { ca_certificates: vec![bad.into()], ..options_as_ann() };
        let reference = format!("{}/team/app", server.host).parse().unwrap();
        let error = Repository::remote(&reference, options).err().unwrap();
        assert!(matches!(error, Error::Configuration { .. }), "{error}");
        assert!(error.to_string().contains("CA certificate"), "{error}");
    }
}
