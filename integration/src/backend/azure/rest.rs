//! The data plane of Key Vault and Managed HSM in the fake: which request needs which permission, and its answer.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use prokura_plugin::KeySpec;
use rcgen::{CertificateParams, DnType, PublicKeyData as _};
use serde_json::{Value, json};
use x509_cert::Certificate as X509;
use x509_cert::der::{Decode as _, DecodePem as _, Encode as _};

use super::key::Version;
use super::server::{Answer, Request};
use super::{Certificate, State, base64, base64url, from_base64url, json_answer};

/// Entries of one page of a list; the real one has 25, and tests have fewer keys than that.
const PAGE: usize = 4;

/// What a request asks for, by the name of the permission it needs, such as `keys/sign`.
pub(super) fn permission(request: &Request) -> Option<&'static str> {
    let parts: Vec<&str> = request.path.trim_matches('/').split('/').collect();
    Some(match (request.method.as_str(), parts.as_slice()) {
        ("GET", ["keys"] | ["keys", _, "versions"]) => "keys/list",
        ("GET", ["keys", ..]) => "keys/get",
        ("POST", ["keys", _, "create"]) => "keys/create",
        ("POST", ["keys", _, _, "sign"] | ["keys", _, "sign"]) => "keys/sign",
        ("PATCH", ["keys", ..]) => "keys/update",
        ("DELETE", ["keys", _]) => "keys/delete",
        ("GET", ["deletedkeys", _]) => "keys/get",
        ("GET", ["certificates"]) => "certificates/list",
        ("GET", ["certificates", ..]) => "certificates/get",
        ("POST", ["certificates", _, "create"] | ["certificates", _, "pending", "merge"]) => {
            "certificates/create"
        }
        ("POST", ["certificates", _, "import"]) => "certificates/import",
        ("GET", ["secrets", ..]) => "secrets/get",
        _ => return None,
    })
}

/// Answers a request that is authenticated and permitted. Signs outside the lock: `Err` holds what is left to do.
pub(super) fn answer(state: &mut State, request: &Request, base: &str) -> Answer {
    let parts: Vec<&str> = request.path.trim_matches('/').split('/').collect();
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let answered = match (request.method.as_str(), parts.as_slice()) {
        (_, ["certificates" | "secrets", ..]) if base.contains(".managedhsm.") => {
            Err(Refused::not_found("route", ""))
        }
        ("GET", ["keys"]) => list(state, request, base, "keys"),
        ("GET", ["certificates"]) => list(state, request, base, "certificates"),
        ("GET", ["keys", name, "versions"]) => versions(state, base, name),
        ("GET", ["keys", name]) => key(state, name, "").and_then(|v| bundle(state, base, name, &v)),
        ("GET", ["keys", name, version]) => {
            key(state, name, version).and_then(|v| bundle(state, base, name, &v))
        }
        ("POST", ["keys", name, "create"]) => create(state, base, name, &body),
        ("POST", ["keys", name, version, "sign"]) => sign(state, base, name, version, &body),
        ("PATCH", ["keys", name, version]) => update(state, base, name, version, &body),
        ("DELETE", ["keys", name]) => delete(state, base, name),
        ("GET", ["certificates", name, "pending"]) => pending(state, base, name),
        ("POST", ["certificates", name, "create"]) => begin(state, base, name, &body),
        ("POST", ["certificates", name, "pending", "merge"]) => merge(state, base, name, &body),
        ("POST", ["certificates", name, "import"]) => import(state, base, name, &body),
        ("GET", ["certificates", name]) => certificate(state, base, name, ""),
        ("GET", ["certificates", name, version]) => certificate(state, base, name, version),
        ("GET", ["secrets", name]) => secret(state, base, name, ""),
        ("GET", ["secrets", name, version]) => secret(state, base, name, version),
        _ => Err(Refused::not_found("route", &request.path)),
    };
    match answered {
        Ok(value) => json_answer(success(request), &value),
        Err(refused) => error(refused.status, refused.code, &refused.message, refused.inner),
    }
}

/// Where the reference says another status than 200.
fn success(request: &Request) -> u16 {
    match (request.method.as_str(), request.path.split('/').nth(3)) {
        ("POST", Some("create")) if request.path.starts_with("/certificates/") => 202,
        ("POST", Some("pending")) => 201,
        _ => 200,
    }
}

struct Refused {
    status: u16,
    code: &'static str,
    message: String,
    inner: Option<&'static str>,
}

impl Refused {
    fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), inner: None }
    }

    fn not_found(kind: &'static str, name: &str) -> Self {
        let code = match kind {
            "key" => "KeyNotFound",
            "certificate" => "CertificateNotFound",
            "secret" => "SecretNotFound",
            _ => "NotFound",
        };
        Self::new(
            404,
            code,
            format!(
                "A {kind} with (name/id) {name} was not found in this key vault. If you recently deleted this {kind} you may be able to recover it using the correct recovery command."
            ),
        )
    }
}

impl From<anyhow::Error> for Refused {
    fn from(error: anyhow::Error) -> Self {
        Self::new(400, "BadParameter", format!("{error:#}"))
    }
}

type Answered = Result<Value, Refused>;

/// An error in the form of the service.
pub(super) fn error(status: u16, code: &str, message: &str, inner: Option<&str>) -> Answer {
    let mut error = json!({"code": code, "message": message});
    if let Some(inner) = inner {
        error["innererror"] = json!({"code": inner});
    }
    json_answer(status, &json!({"error": error}))
}

fn key(state: &State, name: &str, version: &str) -> Result<Arc<Version>, Refused> {
    let versions = state.keys.get(name).filter(|_| !state.deleted.contains(name));
    let found = versions.and_then(|all| match version {
        "" => all.last(),
        _ => all.iter().find(|v| v.id == version),
    });
    let shown = if version.is_empty() { name.to_owned() } else { format!("{name}/{version}") };
    found.cloned().ok_or_else(|| Refused::not_found("key", &shown))
}

fn bundle(state: &State, base: &str, name: &str, version: &Version) -> Answered {
    let exportable = state.certificates.get(name).is_some_and(|all| all.iter().any(|c| c.exportable));
    let mut bundle = json!({
        "key": version.jwk(&format!("{base}/keys/{name}/{}", version.id))?,
        "attributes": version.attributes(exportable),
        "tags": {},
    });
    if state.certificates.contains_key(name) {
        bundle["managed"] = json!(true);
    }
    Ok(bundle)
}

fn list(state: &State, request: &Request, base: &str, kind: &str) -> Answered {
    let names: Vec<&String> = match kind {
        "keys" => state.keys.keys().filter(|name| !state.deleted.contains(*name)).collect(),
        _ => state.certificates.keys().collect(),
    };
    let skip: usize = request.query("$skiptoken").parse().unwrap_or(0);
    let mut value = Vec::new();
    for name in names.iter().skip(skip).take(PAGE) {
        let version = key(state, name, "")?;
        let id = if kind == "keys" { "kid" } else { "id" };
        value.push(json!({id: format!("{base}/{kind}/{name}"), "attributes": version.attributes(false)}));
    }
    let more = names.len() > skip + PAGE;
    let next =
        more.then(|| format!("{base}/{kind}?api-version=7.5&$skiptoken={}&maxresults={PAGE}", skip + PAGE));
    Ok(json!({"value": value, "nextLink": next}))
}

fn versions(state: &State, base: &str, name: &str) -> Answered {
    key(state, name, "")?;
    let all = state.keys.get(name).into_iter().flatten();
    let value: Vec<Value> = all
        .map(|v| json!({"kid": format!("{base}/keys/{name}/{}", v.id), "attributes": v.attributes(false)}))
        .collect();
    Ok(json!({"value": value, "nextLink": null}))
}

fn create(state: &mut State, base: &str, name: &str, body: &Value) -> Answered {
    if state.deleted.contains(name) {
        let message = format!(
            "Key {name} is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the key can only be recovered or purged."
        );
        return Err(Refused {
            inner: Some("ObjectIsDeletedButRecoverable"),
            ..Refused::new(409, "Conflict", message)
        });
    }
    let kind = body["kty"].as_str().unwrap_or_default();
    let mut version = Version::generate(spec(body)?, kind.ends_with("-HSM"))?;
    if let Some(operations) = body["key_ops"].as_array() {
        version.operations = operations.iter().filter_map(|o| o.as_str().map(str::to_owned)).collect();
    }
    let version = Arc::new(version);
    state.keys.entry(name.to_owned()).or_default().push(Arc::clone(&version));
    bundle(state, base, name, &version)
}

fn spec(body: &Value) -> Result<KeySpec> {
    let size = body["key_size"].as_u64().unwrap_or(2048);
    let text = match body["kty"].as_str().unwrap_or_default() {
        "RSA" | "RSA-HSM" => format!("RSA-{size}"),
        "EC" | "EC-HSM" => body["crv"].as_str().unwrap_or("P-256").replace("P-", "EC-"),
        other => return Err(anyhow!("kty {other:?} is not supported")),
    };
    Ok(text.parse()?)
}

fn sign(state: &State, base: &str, name: &str, version: &str, body: &Value) -> Answered {
    let version = key(state, name, version)?;
    if let Some((inner, message)) = version.refusal() {
        return Err(Refused { inner: Some(inner), ..Refused::new(403, "Forbidden", message) });
    }
    if !version.operations.iter().any(|o| o == "sign") {
        return Err(Refused::new(403, "Forbidden", "Operation sign is not permitted on this key."));
    }
    let (algorithm, value) =
        (body["alg"].as_str().unwrap_or_default(), body["value"].as_str().unwrap_or_default());
    let signature = from_base64url(value).and_then(|digest| version.sign(algorithm, &digest));
    let signature = signature.ok_or_else(|| Refused::new(400, "BadParameter", format!("Key and signing algorithm are incompatible, or the length of 'value' is invalid for {algorithm}.")))?;
    Ok(json!({"kid": format!("{base}/keys/{name}/{}", version.id), "value": base64url(&signature)}))
}

fn update(state: &mut State, base: &str, name: &str, version: &str, body: &Value) -> Answered {
    let id = key(state, name, version)?.id.clone();
    state.change(name, &id, |v| v.enabled = body["attributes"]["enabled"].as_bool().unwrap_or(v.enabled))?;
    let version = key(state, name, &id)?;
    bundle(state, base, name, &version)
}

fn delete(state: &mut State, base: &str, name: &str) -> Answered {
    let version = key(state, name, "")?;
    let mut deleted = bundle(state, base, name, &version)?;
    deleted["recoveryId"] = json!(format!("{base}/deletedkeys/{name}"));
    state.deleted.insert(name.to_owned());
    Ok(deleted)
}

fn found<'a>(
    state: &'a State,
    name: &str,
    version: &str,
    kind: &'static str,
) -> Result<&'a Certificate, Refused> {
    let all = state.certificates.get(name).map_or(&[][..], Vec::as_slice);
    let certificate = if version.is_empty() { all.last() } else { all.iter().find(|c| c.version == version) };
    certificate.ok_or_else(|| Refused::not_found(kind, name))
}

fn certificate(state: &State, base: &str, name: &str, version: &str) -> Answered {
    let certificate = found(state, name, version, "certificate")?;
    let Certificate { version, chain, exportable, content_type } = certificate;
    let leaf = chain.first().map_or(&[][..], Vec::as_slice);
    let parsed = X509::from_der(leaf).map_err(|e| anyhow!("{e}"))?;
    let validity = parsed.tbs_certificate().validity();
    let thumbprint = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, leaf);
    Ok(json!({
        "id": format!("{base}/certificates/{name}/{version}"),
        "kid": format!("{base}/keys/{name}/{version}"),
        "sid": format!("{base}/secrets/{name}/{version}"),
        "x5t": base64url(thumbprint.as_ref()),
        "cer": base64(leaf),
        "attributes": {
            "enabled": true, "created": 1_700_000_000, "updated": 1_700_000_000,
            "nbf": validity.not_before.to_unix_duration().as_secs(),
            "exp": validity.not_after.to_unix_duration().as_secs(),
        },
        "policy": {
            "id": format!("{base}/certificates/{name}/policy"),
            "key_props": {"exportable": exportable, "reuse_key": false},
            "secret_props": {"contentType": content_type},
            "issuer": {"name": "Unknown"},
        },
    }))
}

fn secret(state: &State, base: &str, name: &str, version: &str) -> Answered {
    let certificate = found(state, name, version, "secret")?;
    let mut value = String::new();
    if certificate.exportable {
        let version = key(state, name, &certificate.version)?;
        value.push_str(&version.pair.serialize_pem());
    }
    for der in &certificate.chain {
        let pem = X509::from_der(der)
            .ok()
            .and_then(|c| x509_cert::der::EncodePem::to_pem(&c, Default::default()).ok());
        value.push_str(&pem.unwrap_or_default());
    }
    let version = &certificate.version;
    Ok(json!({
        "value": value, "contentType": certificate.content_type, "managed": true, "attributes": {"enabled": true},
        "id": format!("{base}/secrets/{name}/{version}"), "kid": format!("{base}/keys/{name}/{version}"),
    }))
}

/// `POST create` with issuer `Unknown`: a key and a request for its certificate, which somebody else must issue.
fn begin(state: &mut State, base: &str, name: &str, body: &Value) -> Answered {
    let policy = &body["policy"];
    let version = Version::generate(spec(&policy["key_props"])?, false)?;
    let csr = request_for(&version.pair, policy["x509_props"]["subject"].as_str().unwrap_or(name))?;
    let content_type =
        policy["secret_props"]["contentType"].as_str().unwrap_or("application/x-pkcs12").to_owned();
    let exportable = policy["key_props"]["exportable"].as_bool().unwrap_or(true);
    state.pending.insert(name.to_owned(), super::Pending { version, csr, content_type, exportable });
    pending(state, base, name)
}

/// A request for a certificate (RFC 2986), DER.
pub(super) fn request_for(pair: &rcgen::KeyPair, subject: &str) -> Result<Vec<u8>> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, subject);
    Ok(params.serialize_request(pair)?.der().to_vec())
}

fn pending(state: &State, base: &str, name: &str) -> Answered {
    let pending = state.pending.get(name);
    let pending = pending
        .ok_or_else(|| Refused::new(404, "PendingCertificateNotFound", "Pending certificate not found."))?;
    Ok(json!({
        "id": format!("{base}/certificates/{name}/pending"), "issuer": {"name": "Unknown"}, "csr": base64(&pending.csr),
        "cancellation_requested": false, "status": "inProgress", "request_id": "1",
        "status_details": "Pending certificate created. Please Perform Merge to complete the request.",
    }))
}

fn merge(state: &mut State, base: &str, name: &str, body: &Value) -> Answered {
    pending(state, base, name)?;
    let chain: Vec<Vec<u8>> = body["x5c"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|c| super::from_base64(c.as_str()?))
        .collect();
    let public =
        state.pending.get(name).map(|p| p.version.pair.subject_public_key_info()).unwrap_or_default();
    let leaf = chain.first().and_then(|leaf| X509::from_der(leaf).ok());
    let holds = leaf.and_then(|l| l.tbs_certificate().subject_public_key_info().to_der().ok());
    if holds.is_none_or(|spki| spki != public) {
        return Err(Refused::new(
            400,
            "BadParameter",
            "Property x5c has invalid value: the public key of the end-entity certificate in the specified X.509 certificate content does not match the public part of the specified private key.",
        ));
    }
    let Some(pending) = state.pending.remove(name) else {
        return Err(Refused::not_found("certificate", name));
    };
    let version = Arc::new(pending.version);
    state.keys.entry(name.to_owned()).or_default().push(Arc::clone(&version));
    state.store(name, &version.id, chain, pending.exportable, &pending.content_type);
    certificate(state, base, name, "")
}

/// PEM only, as `az keyvault certificate import --file x.pem` sends it.
fn import(state: &mut State, base: &str, name: &str, body: &Value) -> Answered {
    let pem = body["value"].as_str().unwrap_or_default();
    let pem =
        super::from_base64(pem).and_then(|b| String::from_utf8(b).ok()).unwrap_or_else(|| pem.to_owned());
    let pair = rcgen::KeyPair::from_pem(&pem).map_err(|e| anyhow!("{e}"))?;
    let mut chain = Vec::new();
    for block in pem
        .split_inclusive("-----END CERTIFICATE-----")
        .filter_map(|b| Some(&b[b.find("-----BEGIN CERT")?..]))
    {
        chain.push(X509::from_pem(block).and_then(|c| c.to_der()).map_err(|e| anyhow!("{e}"))?);
    }
    let public = prokura_plugin::PublicKey::from_spki_der(&pair.subject_public_key_info())
        .map_err(|e| anyhow!("{e}"))?;
    let version = Arc::new(Version::new(pair, public.spec(), false)?);
    state.keys.entry(name.to_owned()).or_default().push(Arc::clone(&version));
    let exportable = body["policy"]["key_props"]["exportable"].as_bool().unwrap_or(true);
    let content_type =
        body["policy"]["secret_props"]["contentType"].as_str().unwrap_or("application/x-pkcs12");
    state.store(name, &version.id, chain, exportable, content_type);
    certificate(state, base, name, "")
}
