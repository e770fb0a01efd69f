//! The way to the vault: addresses, TLS, stalls, resets, cut answers, bursts of 429 and 5xx, a sealed server.

use std::io::Write as _;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use prokura_integration::backend::fault_proxy::Fault as Broken;
use prokura_integration::backend::openbao::SIGN_POLICY;
use prokura_integration::backend::openbao::server::Server;
use prokura_integration::program::executable;
use serde_json::json;

use super::Fault;
use super::ground::{Ground, Host, KEY, failure, says};

const SIGN: &str = "transit/sign/";

pub(crate) const FAULTS: &[Fault] = &[
    ("no address", |g| g.signing().without("VAULT_ADDR").refused(&["set VAULT_ADDR"])),
    ("plain http to another machine", |g| {
        g.signing()
            .env("VAULT_ADDR", "http://192.0.2.1:8200")
            .refused(&["everybody on the way reads the token"])
    }),
    ("verification of TLS switched off", |g| {
        g.signing().env("VAULT_SKIP_VERIFY", "true").refused(&["VAULT_SKIP_VERIFY is set", "VAULT_CACERT"])
    }),
    ("nobody listens", |g| {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let signing = g.signing().env("VAULT_ADDR", format!("http://127.0.0.1:{port}"));
        signing.refused(&["the vault cannot be reached", "check VAULT_ADDR"])
    }),
    ("no such host", |g| {
        let signing = g.signing().env("VAULT_ADDR", "https://vault.invalid:8200");
        signing.refused(&["the vault cannot be reached"])
    }),
    ("server certificate by an unknown CA", |g| {
        g.signing()
            .env("VAULT_ADDR", g.bao.server.tls_address())
            .refused(&["TLS with the vault failed", "VAULT_CACERT"])
    }),
    ("server certificate for another name", |g| {
        let signing = g.signing().env("VAULT_ADDR", g.bao.server.tls_address());
        signing
            .env("VAULT_CACERT", g.bao.server.ca().display())
            .refused(&["TLS with the vault failed", "VAULT_TLS_SERVER_NAME"])
    }),
    ("TLS with a private CA and a name of its own", |g| {
        let signing = g.signing().env("VAULT_ADDR", g.bao.server.tls_address());
        signing
            .env("VAULT_CACERT", g.bao.server.ca().display())
            .env("VAULT_TLS_SERVER_NAME", "vault.test")
            .works()
    }),
    ("CA as text, and in a directory", |g| {
        let signing = || {
            g.signing().env("VAULT_ADDR", g.bao.server.tls_address()).env("BAO_TLS_SERVER_NAME", "vault.test")
        };
        signing().env("VAULT_CACERT_BYTES", std::fs::read_to_string(g.bao.server.ca())?).works()?;
        let directory = tempfile::tempdir_in(g.home.path())?;
        std::fs::copy(g.bao.server.ca(), directory.path().join("ca.pem"))?;
        signing().env("VAULT_CAPATH", directory.path().display()).works()
    }),
    ("server that wants a client certificate", |g| {
        let [certificate, key] = g.bao.server.client();
        let signing = || {
            let signing = g.signing().env("VAULT_ADDR", format!("https://{}", g.bao.server.mutual));
            signing
                .env("VAULT_CACERT", g.bao.server.ca().display())
                .env("VAULT_TLS_SERVER_NAME", "vault.test")
        };
        // TLS 1.3 lets a client in before it looks at its certificate: what comes back is a matter of luck.
        let said = signing().refused(&["VAULT_CLIENT_CERT"])?;
        let signing = signing().env("VAULT_CLIENT_CERT", certificate.display());
        signing.env("VAULT_CLIENT_KEY", key.display()).works()?;
        Ok(format!("{said}; with one it works"))
    }),
    ("a proxy set for other addresses", |g| {
        // 127.0.0.1 is asked without it; nobody listens at the proxy's address.
        g.signing().env("HTTP_PROXY", "http://127.0.0.1:1").env("http_proxy", "http://127.0.0.1:1").works()
    }),
    ("namespace", namespace),
    ("https to a port without TLS", |g| {
        let signing = g.signing().env("VAULT_ADDR", format!("https://{}", g.bao.server.plain));
        signing.refused(&["TLS with the vault failed"])
    }),
    ("connection reset twice before signing", |g| broken(g, SIGN, 2, Broken::Reset)?.works()),
    ("connection reset after signing", |g| broken(g, SIGN, 1, Broken::ResetAfter)?.works()),
    ("connection reset each time", |g| {
        broken(g, SIGN, usize::MAX, Broken::Reset)?.refused(&["cannot sign with key transit/ec-256"])
    }),
    ("answer cut in the middle once", |g| broken(g, SIGN, 1, Broken::Cut(40))?.works()),
    ("answer delayed by two seconds", |g| broken(g, SIGN, 1, Broken::Delay(Duration::from_secs(2)))?.works()),
    ("one stall, then a good answer", |g| broken(g, SIGN, 1, Broken::Stall)?.deadline("40s").works()),
    // Who gives up first, plugin or host, is a matter of milliseconds; both say so.
    ("stall for ever", |g| broken(g, SIGN, usize::MAX, Broken::Stall)?.deadline("3s").refused(&["answer"])),
    ("429 with Retry-After twice", |g| broken(g, SIGN, 2, throttled("1"))?.works()),
    ("429 without end", |g| {
        broken(g, SIGN, usize::MAX, Broken::status(429, "rate limit quota exceeded"))?
            .refused(&["THROTTLED", "rate limit"])
    }),
    ("429 with a Retry-After of an hour", |g| {
        broken(g, SIGN, usize::MAX, throttled("3600"))?.refused(&["THROTTLED", "HTTP 429"])
    }),
    ("a real rate limit of two requests a second", rate_limited),
    ("500 twice", |g| broken(g, SIGN, 2, Broken::status(500, "internal error"))?.works()),
    ("500 each time", |g| {
        broken(g, SIGN, usize::MAX, Broken::status(500, "storage is gone"))?.refused(&[
            "HTTP 500",
            "storage is gone",
            "its own log says why",
        ])
    }),
    ("500, a reset and a 429 under a host that repeats nothing", alone),
    ("412 of a node that lags behind", |g| {
        broken(g, SIGN, 1, Broken::status(412, "required index state not present"))?.works()
    }),
    ("473 of a standby once", |g| broken(g, SIGN, 1, Broken::status(473, ""))?.works()),
    ("472 of a disaster-recovery secondary", |g| {
        broken(g, SIGN, 1, Broken::status(472, ""))?.refused(&["disaster-recovery secondary", "VAULT_ADDR"])
    }),
    ("502 with a page of HTML each time", |g| {
        let page = Broken::Answer {
            status: 502,
            headers: vec!["Content-Type: text/html".into()],
            body: "<html>".into(),
        };
        broken(g, SIGN, usize::MAX, page)?.refused(&["HTTP 502", "in front of the vault"])
    }),
    ("redirect of a standby to the active node", |g| {
        broken(g, SIGN, 1, redirect(&format!("{}/v1/transit/sign/{KEY}", g.bao.server.address())))?.works()
    }),
    ("redirect to another path", |g| {
        broken(g, SIGN, 1, redirect("http://127.0.0.1:1/collect"))?.refused(&["redirects", "another path"])
    }),
    ("sealed server", sealed),
    ("server sealed while in use, and unsealed", sealed_and_unsealed),
    ("calls per signature", calls),
];

fn broken<'a>(
    ground: &'a Ground,
    matching: &str,
    times: usize,
    fault: Broken,
) -> Result<super::ground::Signing<'a>> {
    let proxy = ground.proxy()?;
    proxy.inject(matching, times, fault);
    let signing = ground.signing().via(&proxy);
    // It breaks things as long as this process lives.
    std::mem::forget(proxy);
    Ok(signing)
}

fn throttled(seconds: &str) -> Broken {
    let body = json!({"errors": ["rate limit quota exceeded"]}).to_string();
    Broken::Answer { status: 429, headers: vec![format!("Retry-After: {seconds}")], body }
}

fn redirect(location: &str) -> Broken {
    Broken::Answer { status: 307, headers: vec![format!("Location: {location}")], body: String::new() }
}

/// As `notation` runs it: contract 1.0, one process, and whatever it says is final.
fn alone(ground: &Ground) -> Result<String> {
    let proxy = ground.proxy()?;
    for fault in [Broken::status(500, "internal error"), Broken::Reset, throttled("0")] {
        proxy.inject(SIGN, 1, fault);
    }
    let mut command = ground.home.command(&executable("notation-vault")?);
    command.env("VAULT_ADDR", proxy.url()).env("VAULT_TOKEN", ground.bao.token()).arg("generate-signature");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let request = json!({
        "contractVersion": "1.0", "keyId": KEY, "keySpec": "EC-256", "hashAlgorithm": "SHA-256", "payload": "eA==",
    });
    child.stdin.take().context("stdin is a pipe")?.write_all(request.to_string().as_bytes())?;
    let done = child.wait_with_output()?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let asked = proxy.take_seen().iter().filter(|call| call.contains(SIGN)).count();
    ensure!(asked == 4, "asked {asked} times, expected 4");
    Ok("nobody notices: signed at the fourth attempt".to_owned())
}

/// The server's own quota on a mount of its own, with the header that tells when to come back.
fn rate_limited(ground: &Ground) -> Result<String> {
    let server = &ground.bao.server;
    server.write("sys/mounts/limited", &json!({"type": "transit"}))?;
    server.write("limited/keys/release", &json!({"type": "ecdsa-p256"}))?;
    let policy = SIGN_POLICY.replace("transit/", "limited/");
    let token = server.token("limited", &policy, "1h")?;
    server.write("sys/quotas/config", &json!({"enable_rate_limit_response_headers": true}))?;
    server
        .write("sys/quotas/rate-limit/limited", &json!({"path": "limited/", "rate": 2, "interval": "1s"}))?;
    let (host, key) = (ground.host(&[("VAULT_TOKEN", &token)])?, Host::key("limited/release", &[])?);
    for _ in 0..8 {
        host.sign_digest(&key)?;
    }
    Ok("nobody notices: 8 signatures, 0 failed".to_owned())
}

/// An engine, a policy and a token of a namespace; the same key id means nothing outside it.
fn namespace(ground: &Ground) -> Result<String> {
    let server = &ground.bao.server;
    server.write("sys/namespaces/team", &json!({}))?;
    server.write("team/sys/mounts/engine", &json!({"type": "transit"}))?;
    server.write("team/engine/keys/release", &json!({"type": "ecdsa-p256"}))?;
    let policy = SIGN_POLICY.replace("transit/", "engine/");
    server.write("team/sys/policies/acl/signs", &json!({"policy": policy}))?;
    let answer = server.write("team/auth/token/create", &json!({"policies": ["signs"], "ttl": "1h"}))?;
    let token = answer.pointer("/auth/client_token").and_then(serde_json::Value::as_str).unwrap_or_default();
    let key = Host::key("engine/release", &[])?;
    let host = ground.host(&[("VAULT_TOKEN", token), ("VAULT_NAMESPACE", "team/")])?;
    host.sign_digest(&key)?;
    let said = failure(ground.host(&[("VAULT_TOKEN", token)])?.sign_digest(&key))?;
    says(&said, &["HTTP 403", "engine/keys/release"])?;
    Ok(format!("works with VAULT_NAMESPACE; without: {said}"))
}

fn own_server() -> Result<Server> {
    let server = Server::start()?;
    server.write("sys/mounts/transit", &json!({"type": "transit"}))?;
    server.write(&format!("transit/keys/{KEY}"), &json!({"type": "ecdsa-p256"}))?;
    Ok(server)
}

fn sealed(ground: &Ground) -> Result<String> {
    let server = own_server()?;
    server.seal()?;
    let signing = ground.signing().env("VAULT_ADDR", server.address()).env("VAULT_TOKEN", &server.root_token);
    signing.refused(&["HTTP 503", "sealed", "bao operator unseal"])
}

fn sealed_and_unsealed(ground: &Ground) -> Result<String> {
    let server = own_server()?;
    let host = ground.host(&[("VAULT_ADDR", &server.address()), ("VAULT_TOKEN", &server.root_token)])?;
    let key = Host::key(KEY, &[])?;
    host.sign_digest(&key)?;
    server.seal()?;
    let said = failure(host.sign_digest(&key))?;
    says(&said, &["HTTP 503", "sealed"])?;
    server.unseal()?;
    host.sign_digest(&key)?;
    Ok(format!("{said}; signs again once unsealed"))
}

fn calls(ground: &Ground) -> Result<String> {
    let proxy = ground.proxy()?;
    ground.signing().via(&proxy).works()?;
    let cold = proxy.take_seen();
    let host = ground.host(&[("VAULT_ADDR", &proxy.url())])?;
    let key = Host::key(&format!("transit/{KEY}"), &[])?;
    host.sign_digest(&key)?;
    proxy.take_seen();
    for _ in 0..10 {
        host.sign_digest(&key)?;
    }
    let warm = proxy.take_seen();
    ensure!(warm.len() == 10 && warm.iter().all(|call| call.contains(SIGN)), "warm: {warm:?}");
    ensure!(cold.len() <= 3, "cold: {cold:?}");
    Ok(format!("1 when warm, {} for a whole `prokura blob sign`: {}", cold.len(), cold.join(", ")))
}
