//! A tiny OIDC issuer with faults that real ones do not show, and the tokens it signs.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::identity::IssuerConfig;

/// A key that signs tokens.
pub(crate) enum Key {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

impl Key {
    pub(crate) fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    pub(crate) fn ec() -> Self {
        Self::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Rsa(key) => {
                let key = key.public_key();
                let (n, e) = (key.modulus().big_endian_without_leading_zero(), key.exponent());
                let e = e.big_endian_without_leading_zero();
                json!({"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256",
                    "n": URL_SAFE_NO_PAD.encode(n), "e": URL_SAFE_NO_PAD.encode(e)})
            }
            Self::Ec(key) => {
                let point = key.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "kid": kid, "use": "sig",
                    "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..])})
            }
        }
    }

    /// SubjectPublicKeyInfo, as somebody would misuse it for an HMAC.
    pub(crate) fn spki(&self) -> Vec<u8> {
        match self {
            Self::Rsa(key) => key.public_key().as_der().unwrap().as_ref().to_vec(),
            Self::Ec(key) => key.public_key().as_ref().to_vec(),
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
            Self::Ec(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
        }
    }
}

/// Any header and claims, as text, signed.
pub(crate) fn sign(key: &Key, header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = key.sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// What the issuer answers, changed by tests while it runs.
#[derive(Clone)]
pub(crate) struct Answers {
    pub(crate) status: u16,
    pub(crate) discovery: String,
    pub(crate) jwks: String,
    pub(crate) cache_control: String,
    pub(crate) delay: Duration,
}

/// Serves the two documents over plain HTTP on the loopback address.
pub(crate) struct Issuer {
    pub(crate) address: SocketAddr,
    pub(crate) answers: Arc<Mutex<Answers>>,
    asked: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Issuer {
    pub(crate) async fn start(keys: &[Value]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("http://{address}");
        let answers = Answers {
            status: 200,
            discovery: json!({"issuer": url, "jwks_uri": format!("{url}/keys")}).to_string(),
            jwks: json!({"keys": keys}).to_string(),
            cache_control: "max-age=600".to_owned(),
            delay: Duration::ZERO,
        };
        let (answers, asked) = (Arc::new(Mutex::new(answers)), Arc::<AtomicUsize>::default());
        let task = tokio::spawn(serve(listener, Arc::clone(&answers), Arc::clone(&asked)));
        Self { address, answers, asked, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How often its keys were fetched.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }

    pub(crate) fn publish(&self, keys: &[Value]) {
        self.change(|answers| answers.jwks = json!({"keys": keys}).to_string());
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Answers)) {
        change(&mut self.answers.lock().unwrap());
    }

    pub(crate) fn config(&self) -> IssuerConfig {
        IssuerConfig { plain_http_on_loopback: true, ..IssuerConfig::new(&self.url(), "prokura") }
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, answers: Arc<Mutex<Answers>>, asked: Arc<AtomicUsize>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer(stream, Arc::clone(&answers), Arc::clone(&asked)));
    }
}

async fn answer(mut stream: TcpStream, answers: Arc<Mutex<Answers>>, asked: Arc<AtomicUsize>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        request.push(byte);
    }
    let now = answers.lock().unwrap().clone();
    let keys = request.starts_with(b"GET /keys ");
    if keys {
        asked.fetch_add(1, SeqCst);
    }
    tokio::time::sleep(now.delay).await;
    let body = if keys { now.jwks } else { now.discovery };
    let head = format!(
        "HTTP/1.1 {} X\r\nContent-Type: application/json\r\nLocation: /keys\r\nCache-Control: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        now.status,
        now.cache_control,
        body.len()
    );
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(body.as_bytes()).await;
    let _ = stream.shutdown().await;
}
