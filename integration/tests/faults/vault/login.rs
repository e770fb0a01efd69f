//! Every way to log in, with what goes wrong on it: no secret, a wrong one, one that ends while it is used.

#![expect(clippy::indexing_slicing, reason = "a panic is a failed test")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use prokura_integration::backend::fault_proxy::{Fault as Broken, FaultProxy};
use prokura_integration::backend::openbao::SIGN_POLICY;
use prokura_integration::home::write_private;
use prokura_integration::pki::generate_key;
use prokura_integration::signature;
use prokura_plugin::{Digest, KeySpec};
use serde_json::{Value, json};

use super::Fault;
use super::ground::{Ground, Host, KEY, failure, says};

pub(crate) const FAULTS: &[Fault] = &[
    ("no token", |g| g.signing().without("VAULT_TOKEN").refused(&["no token for the vault", "bao login"])),
    ("unknown token", |g| {
        g.signing()
            .env("VAULT_TOKEN", "s.unknownunknown")
            .refused(&["does not accept the token (VAULT_TOKEN)"])
    }),
    ("token in the user's token file", |g| {
        let home = tempfile::tempdir_in(g.home.path())?;
        write_private(&home.path().join(".vault-token"), g.bao.token())?;
        g.signing().without("VAULT_TOKEN").env("HOME", home.path().display()).works()
    }),
    ("token file that everybody reads", |g| {
        use std::os::unix::fs::PermissionsExt as _;
        let file = secret_file(g, "open-token", g.bao.token())?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644))?;
        g.signing().config("token-file", file.display()).refused(&["has mode 0644", "chmod o="])
    }),
    ("secret in the plugin config", |g| {
        g.signing().config("token", "s.secretsecret").refused(&["would hold a secret", "token-file=FILE"])
    }),
    ("token revoked while in use", |g| {
        let token = g.bao.server.token("revoked", SIGN_POLICY, "1h")?;
        let (host, key) = (g.host(&[("VAULT_TOKEN", &token)])?, Host::key(KEY, &[])?);
        let description = host.describe(&key)?;
        g.bao.server.write("auth/token/revoke", &json!({"token": token}))?;
        let said = failure(host.sign_described(&key, &description))?;
        says(&said, &["does not accept the token (VAULT_TOKEN)", "log in again"])?;
        ensure!(!said.contains(&token), "the token is told");
        Ok(said)
    }),
    ("token file replaced after its token was revoked", |g| {
        let (old, new) =
            (g.bao.server.token("old", SIGN_POLICY, "1h")?, g.bao.server.token("new", SIGN_POLICY, "1h")?);
        let file = secret_file(g, "agent-sink", &old)?;
        let (host, key) = (g.host(&[])?, Host::key(KEY, &[("token-file", &file.display().to_string())])?);
        host.sign(&key)?;
        write_private(&file, &new)?;
        g.bao.server.write("auth/token/revoke", &json!({"token": old}))?;
        host.sign(&key)?;
        Ok("nobody notices: the file is read again".to_owned())
    }),
    ("token that ends soon and can be renewed", |g| {
        let token = g.bao.server.token("short", SIGN_POLICY, "4s")?;
        let (host, key) = (g.host(&[("VAULT_TOKEN", &token)])?, Host::key(KEY, &[])?);
        keeps_signing(&host, &key, Duration::from_secs(7))?;
        Ok("nobody notices: it is renewed".to_owned())
    }),
    ("AppRole", |g| app_role(g, "plain", json!({}))?.0.works()),
    ("AppRole with a wrong secret id", |g| {
        let (signing, _) = app_role(g, "wrong", json!({}))?;
        signing.env("PROKURA_PLUGIN_VAULT_SECRET_ID", "00000000-wrong").refused(&[
            "approle at auth/approle-wrong",
            "PROKURA_PLUGIN_VAULT_SECRET_ID",
            "invalid",
        ])
    }),
    ("AppRole without its secret id", |g| {
        let (signing, _) = app_role(g, "lost", json!({}))?;
        signing.without("PROKURA_PLUGIN_VAULT_SECRET_ID").refused(&["the secret id is missing"])
    }),
    ("AppRole whose secret id is used up", |g| {
        let (signing, _) = app_role(g, "once", json!({"secret_id_num_uses": 1}))?;
        // One login to describe; over gRPC one process does it all.
        signing.works()?;
        signing.refused(&["cannot log in by approle"])
    }),
    ("AppRole whose tokens live for a second", |g| {
        let (_, secrets) = app_role(g, "brief", json!({"token_ttl": "1s", "token_max_ttl": "2s"}))?;
        let (host, key) = hosted(g, "brief", &secrets)?;
        keeps_signing(&host, &key, Duration::from_secs(5))?;
        Ok("nobody notices: it logs in again".to_owned())
    }),
    ("AppRole token revoked while in use", |g| {
        let (_, secrets) = app_role(g, "pulled", json!({}))?;
        let (host, key) = hosted(g, "pulled", &secrets)?;
        let description = host.describe(&key)?;
        g.bao.server.write("sys/leases/revoke-prefix/auth/approle-pulled/login", &json!({}))?;
        host.sign_described(&key, &description)?;
        Ok("nobody notices: it logs in again".to_owned())
    }),
    ("sixteen signatures at once, one login", |g| {
        let (_, secrets) = app_role(g, "crowd", json!({}))?;
        let proxy = g.proxy()?;
        let file = secret_file(g, "crowd-secret", &secrets.secret_id)?.display().to_string();
        let config = [("auth", "approle"), ("auth-mount", "approle-crowd"), ("secret-id-file", &file)];
        // Two keys, so that two are opened at once.
        let keys = [KEY, "ec-384"]
            .map(|id| Host::key(id, &[&config[..], &[("role-id", &secrets.role_id)]].concat()));
        let host = g.host(&[("VAULT_ADDR", &proxy.url())])?;
        std::thread::scope(|scope| {
            let signers = keys.iter().flatten().flat_map(|key| std::iter::repeat_n(key, 8));
            let signing: Vec<_> = signers.map(|key| scope.spawn(|| host.describe(key))).collect();
            signing
                .into_iter()
                .try_for_each(|one| one.join().map_or_else(|_| Ok(()), |done| done.map(|_| ())))
        })?;
        let logins = proxy.take_seen().iter().filter(|call| call.contains("/login")).count();
        ensure!(logins == 1, "{logins} logins");
        Ok("one login".to_owned())
    }),
    ("no auth method at the mount", |g| {
        let signing =
            g.signing().config("auth", "approle").config("role-id", "r").config("auth-mount", "nowhere");
        signing
            .env("PROKURA_PLUGIN_VAULT_SECRET_ID", "12345678")
            .refused(&["cannot log in by approle at auth/nowhere"])
    }),
    ("JWT", |g| jwt(g, "good", 600)?.works()),
    ("JWT that is expired", |g| {
        jwt(g, "late", -600)?.refused(&["cannot log in by jwt at auth/jwt-late", "expired"])
    }),
    ("Kubernetes service account", |g| kubernetes(g, "pods", true)?.works()),
    ("Kubernetes service account that the cluster does not know", |g| {
        kubernetes(g, "gone", false)?.refused(&["cannot log in by kubernetes at auth/k8s-gone"])
    }),
    ("JWT file that is not there", |g| {
        let signing =
            g.signing().config("auth", "kubernetes").config("role", "build").config("jwt-file", "/nowhere");
        signing.refused(&["JWT /nowhere", "No such file"])
    }),
];

fn keeps_signing(host: &Host, key: &prokura_signer::KeyReference, time: Duration) -> Result<()> {
    let until = Instant::now() + time;
    while Instant::now() < until {
        host.sign(key)?;
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn secret_file(ground: &Ground, name: &str, secret: &str) -> Result<PathBuf> {
    let file = ground.home.path().join(name);
    write_private(&file, secret)?;
    Ok(file)
}

/// Role id and secret id of a role of its own.
struct Secrets {
    role_id: String,
    secret_id: String,
}

fn app_role<'a>(
    ground: &'a Ground,
    name: &str,
    role: Value,
) -> Result<(super::ground::Signing<'a>, Secrets)> {
    let (server, mount) = (&ground.bao.server, format!("approle-{name}"));
    server.write("sys/policies/acl/signs", &json!({"policy": SIGN_POLICY}))?;
    server.write(&format!("sys/auth/{mount}"), &json!({"type": "approle"}))?;
    let mut body = role;
    body["token_policies"] = json!(["signs"]);
    server.write(&format!("auth/{mount}/role/build"), &body)?;
    let role_id = server.admin("GET", &format!("auth/{mount}/role/build/role-id"), None)?;
    let secret_id = server.write(&format!("auth/{mount}/role/build/secret-id"), &json!({}))?;
    let text =
        |value: &Value, at| value.pointer(at).and_then(Value::as_str).map(str::to_owned).context("an id");
    let secrets = Secrets {
        role_id: text(&role_id, "/data/role_id")?,
        secret_id: text(&secret_id, "/data/secret_id")?,
    };
    let signing =
        ground.signing().without("VAULT_TOKEN").config("auth", "approle").config("auth-mount", &mount);
    let signing = signing.config("role-id", &secrets.role_id);
    Ok((signing.env("PROKURA_PLUGIN_VAULT_SECRET_ID", &secrets.secret_id), secrets))
}

fn hosted(ground: &Ground, name: &str, secrets: &Secrets) -> Result<(Host, prokura_signer::KeyReference)> {
    let mount = format!("approle-{name}");
    let file = secret_file(ground, &mount, &secrets.secret_id)?.display().to_string();
    let key = Host::key(
        KEY,
        &[
            ("auth", "approle"),
            ("auth-mount", &mount),
            ("role-id", &secrets.role_id),
            ("secret-id-file", &file),
        ],
    )?;
    Ok((ground.host(&[])?, key))
}

/// A JWT whose `exp` is `seconds` from now, accepted by a role of its own.
fn jwt<'a>(ground: &'a Ground, name: &str, seconds: i64) -> Result<super::ground::Signing<'a>> {
    let (server, mount) = (&ground.bao.server, format!("jwt-{name}"));
    let pair = generate_key(KeySpec::Ec256)?;
    server.write("sys/policies/acl/signs", &json!({"policy": SIGN_POLICY}))?;
    server.write(&format!("sys/auth/{mount}"), &json!({"type": "jwt"}))?;
    let config = json!({"jwt_validation_pubkeys": [pair.public_key_pem()]});
    server.write(&format!("auth/{mount}/config"), &config)?;
    let role = json!({"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["prokura"], "token_policies": ["signs"]});
    server.write(&format!("auth/{mount}/role/build"), &role)?;
    let now = now();
    let claims = json!({"sub": "build", "aud": "prokura", "iat": now - 1200, "exp": now + seconds});
    let file = secret_file(ground, &mount, &signed_jwt(&pair, &claims)?)?;
    let signing = ground.signing().without("VAULT_TOKEN").config("auth", "jwt").config("auth-mount", &mount);
    Ok(signing.config("role", "build").config("jwt-file", file.display()))
}

fn signed_jwt(pair: &rcgen::KeyPair, claims: &Value) -> Result<String> {
    let part = |json: &Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
    let input = format!("{}.{}", part(&json!({"alg": "ES256", "typ": "JWT"})), part(claims));
    let digest = Digest::of(KeySpec::Ec256.hash_algorithm(), input.as_bytes());
    let signature = signature::sign(pair, KeySpec::Ec256, &digest)?;
    Ok(format!("{input}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
}

/// The cluster is a proxy that answers every token review; OpenBao's Kubernetes method itself is real.
fn kubernetes<'a>(ground: &'a Ground, name: &str, is_known: bool) -> Result<super::ground::Signing<'a>> {
    let (server, mount) = (&ground.bao.server, format!("k8s-{name}"));
    let cluster = FaultProxy::start(server.plain)?;
    let user = json!({"username": "system:serviceaccount:build:signer", "uid": "u-1"});
    let status = if is_known {
        json!({"authenticated": true, "user": user})
    } else {
        json!({"authenticated": false, "error": "unknown"})
    };
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status});
    let answer = Broken::Answer { status: 201, headers: Vec::new(), body: review.to_string() };
    cluster.inject("tokenreviews", usize::MAX, answer);
    server.write("sys/policies/acl/signs", &json!({"policy": SIGN_POLICY}))?;
    server.write(&format!("sys/auth/{mount}"), &json!({"type": "kubernetes"}))?;
    let ca = std::fs::read_to_string(server.ca())?;
    let config = json!({"kubernetes_host": cluster.url(), "disable_local_ca_jwt": true, "kubernetes_ca_cert": ca, "disable_iss_validation": true});
    server.write(&format!("auth/{mount}/config"), &config)?;
    let role = json!({
        "bound_service_account_names": ["signer"],
        "bound_service_account_namespaces": ["build"],
        "token_policies": ["signs"],
    });
    server.write(&format!("auth/{mount}/role/build"), &role)?;
    let now = now();
    let account = json!({"namespace": "build", "serviceaccount": {"name": "signer", "uid": "u-1"}});
    let claims = json!({
        "iss": "https://kubernetes.default.svc", "sub": "system:serviceaccount:build:signer",
        "iat": now - 10, "exp": now + 600, "kubernetes.io": account,
    });
    let file = secret_file(ground, &mount, &signed_jwt(&generate_key(KeySpec::Ec256)?, &claims)?)?;
    // It answers as long as this process lives.
    std::mem::forget(cluster);
    let signing =
        ground.signing().without("VAULT_TOKEN").config("auth", "kubernetes").config("auth-mount", &mount);
    Ok(signing.config("role", "build").config("jwt-file", file.display()))
}

#[expect(clippy::disallowed_methods, reason = "a JWT tells when it was made")]
fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}
