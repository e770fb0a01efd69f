//! Tokens of an issuer that is not ours: npm's oauth2-mock-server, whose signatures, key sets and discovery are its own.
//!
//! `npm install --prefix DIR oauth2-mock-server`, then run with `PROKURA_OAUTH2_MOCK_SERVER=DIR`. Without it the test
//! says that it is skipped; with `CI=true` it fails.

#![expect(clippy::disallowed_methods, reason = "the test starts a server, and its tokens are valid now")]

use std::process::Stdio;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::identity::pinned::PinnedKeys;
use crate::identity::token::{BearerToken, Issuers};
use crate::identity::{Evidence, Identifier, IssuerConfig, Trust};
use crate::peer::PeerKind;

const SCRIPT: &str = "
import { OAuth2Server } from 'oauth2-mock-server';
const server = new OAuth2Server();
await server.issuer.keys.generate('RS256');
await server.start(0, '127.0.0.1');
server.issuer.url = `http://127.0.0.1:${server.address().port}`;
server.service.on('beforeTokenSigning', (token, request) => {
  Object.assign(token.payload, { aud: request.body.aud, sub: 'repo:acme/app:ref:refs/heads/main', repository: 'acme/app' });
});
console.log(server.issuer.url);
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
";

/// Ends with its standard input, so also when the test is killed.
async fn start(directory: &std::ffi::OsStr) -> (Child, String) {
    let mut server = Command::new("node")
        .args(["--input-type=module", "-e", SCRIPT])
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("node is installed with npm");
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(std::time::Duration::from_secs(20), lines.next_line()).await;
    (server, line.expect("it starts in time").unwrap().expect("it says its address"))
}

async fn token(issuer: &str, audience: &str) -> BearerToken {
    let request = reqwest::Client::new()
        .post(format!("{issuer}/token"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("grant_type=client_credentials&aud={audience}"));
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    BearerToken::new(answer["access_token"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn tokens_of_oauth2_mock_server_are_understood() {
    let Some(directory) = std::env::var_os("PROKURA_OAUTH2_MOCK_SERVER") else {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "PROKURA_OAUTH2_MOCK_SERVER is not set"
        );
        eprintln!(
            "SKIPPED: npm install --prefix DIR oauth2-mock-server, and set PROKURA_OAUTH2_MOCK_SERVER=DIR"
        );
        return;
    };
    let (mut server, url) = start(&directory).await;
    let config = IssuerConfig { plain_http_on_loopback: true, ..IssuerConfig::new(&url, "prokura") };
    let issuers = Arc::new(Issuers::new(vec![config], &Issuers::default()).unwrap());
    let trust = Arc::new(Trust::new(vec![], PinnedKeys::default()).unwrap());
    let identifier = Identifier::new(trust, issuers);
    let (good, other) = (token(&url, "prokura").await, token(&url, "another").await);
    let peer = identifier.identify(&Evidence::Nothing, Some(&good), Timestamp::now()).await.unwrap();
    assert_eq!(
        (peer.kind(), peer.id()),
        (PeerKind::Oidc, format!("{url}|repo:acme/app:ref:refs/heads/main").as_str())
    );
    assert_eq!(peer.claims().get("repository"), Some(&json!("acme/app")));
    let refusal = identifier.identify(&Evidence::Nothing, Some(&other), Timestamp::now()).await.unwrap_err();
    assert!(refusal.to_string().contains("another"), "{refusal}");
    server.kill().await.unwrap();
}
