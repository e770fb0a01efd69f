//! Where tokens come from in the fake: Microsoft Entra's token endpoint, the instance metadata service, and the check
//! of what they issued.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::{Value, json};
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};

use super::key::now;
use super::server::{Answer, Request, form};
use super::{State, base64url, from_base64url, json_answer};

/// The tenant the vault belongs to.
pub const TENANT: &str = "11111111-1111-1111-1111-111111111111";
/// A tenant that exists and has nothing to do with the vault.
pub const OTHER_TENANT: &str = "22222222-2222-2222-2222-222222222222";
/// The application that may sign.
pub const CLIENT: &str = "33333333-3333-3333-3333-333333333333";
/// Its secret.
pub const SECRET: &str = "s3cret-canary-azure";
/// A secret of it whose time is over.
pub const EXPIRED_SECRET: &str = "expired-canary-azure";
/// What a Kubernetes service account hands in for it.
pub const FEDERATED: &str = "federated-canary-azure";
/// Seconds a token lives.
const TOKEN_SECONDS: u64 = 3600;

/// Answers for the hosts `login.*`.
pub(super) fn token_endpoint(state: &State, request: &Request) -> Answer {
    let tenant = request.path.split('/').nth(1).unwrap_or_default();
    let base = format!("https://{}/{tenant}", request.host);
    if request.path.contains("/discovery/instance") {
        return json_answer(
            200,
            &json!({"tenant_discovery_endpoint": format!("https://{}/{TENANT}/v2.0/.well-known/openid-configuration", request.host), "api-version": "1.1", "metadata": []}),
        );
    }
    if request.path.ends_with("/.well-known/openid-configuration") {
        return json_answer(
            200,
            &json!({"issuer": format!("{base}/v2.0"), "authorization_endpoint": format!("{base}/oauth2/v2.0/authorize"), "token_endpoint": format!("{base}/oauth2/v2.0/token"), "jwks_uri": format!("{base}/discovery/v2.0/keys")}),
        );
    }
    if ![TENANT, OTHER_TENANT].contains(&tenant) {
        return refused(400, "invalid_request", 90002, &format!("Tenant '{tenant}' not found."));
    }
    let body = String::from_utf8_lossy(&request.body).into_owned();
    let form = form(&body);
    let field = |name: &str| form.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value.as_str());
    if field("client_id") != CLIENT {
        return refused(400, "unauthorized_client", 700_016, "Application was not found in the directory.");
    }
    let endpoint = format!("{base}/oauth2/v2.0/token");
    if let Err((code, why)) =
        authenticated(state, field("client_secret"), field("client_assertion"), &endpoint)
    {
        return refused(401, "invalid_client", code, why);
    }
    let Some(resource) = field("scope").split(' ').find_map(|s| s.strip_suffix("/.default")) else {
        return refused(400, "invalid_scope", 70011, "The provided value for scope is not valid.");
    };
    let token = issue(state, resource, tenant);
    json_answer(
        200,
        &json!({"token_type": "Bearer", "expires_in": TOKEN_SECONDS, "ext_expires_in": TOKEN_SECONDS, "access_token": token}),
    )
}

fn authenticated(
    state: &State,
    secret: &str,
    assertion: &str,
    endpoint: &str,
) -> Result<(), (u32, &'static str)> {
    match (secret, assertion) {
        (SECRET, "") | ("", FEDERATED) => Ok(()),
        (EXPIRED_SECRET, "") => Err((7_000_222, "The provided client secret keys are expired.")),
        ("", "") => Err((7_000_218, "The request body must contain client_assertion or client_secret.")),
        ("", jwt) if is_signed_with_a_certificate(jwt) => checked_assertion(state, jwt, endpoint)
            .ok_or((700_027, "Client assertion failed signature validation.")),
        ("", _) => Err((70_021, "No matching federated identity record found for presented assertion.")),
        _ => Err((7_000_215, "Invalid client secret provided.")),
    }
}

fn is_signed_with_a_certificate(jwt: &str) -> bool {
    let header = jwt.split('.').next().and_then(from_base64url);
    header.is_some_and(|header| String::from_utf8_lossy(&header).contains("x5t#S256"))
}

/// A client assertion (RFC 7523) signed with the registered certificate.
fn checked_assertion(state: &State, jwt: &str, endpoint: &str) -> Option<()> {
    let (signed, signature) = jwt.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let header: Value = serde_json::from_slice(&from_base64url(header)?).ok()?;
    let claims: Value = serde_json::from_slice(&from_base64url(claims)?).ok()?;
    let registered = state.client_certificate.as_ref()?;
    let thumbprint = base64url(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, registered).as_ref());
    let certificate = Certificate::from_der(registered).ok()?;
    let spki = certificate.tbs_certificate().subject_public_key_info().to_der().ok()?;
    let algorithm = match header["alg"].as_str()? {
        "PS256" => &RSA_PSS_2048_8192_SHA256,
        "RS256" => &RSA_PKCS1_2048_8192_SHA256,
        _ => return None,
    };
    let key = UnparsedPublicKey::new(algorithm, spki);
    key.verify(signed.as_bytes(), &from_base64url(signature)?).ok()?;
    let fresh = claims["exp"].as_u64()? > now() && claims["nbf"].as_u64()? <= now();
    let right = header["x5t#S256"] == json!(thumbprint)
        && claims["aud"] == json!(endpoint)
        && claims["iss"] == json!(CLIENT)
        && claims["sub"] == json!(CLIENT)
        && claims["jti"].as_str().is_some_and(|jti| !jti.is_empty());
    (fresh && right).then_some(())
}

/// Answers `/metadata/identity/oauth2/token`, as virtual machines (IMDS) and App Service have it.
pub(super) fn managed_identity(state: &State, request: &Request) -> Answer {
    let app_service = request.header("x-identity-header");
    if request.header("metadata") != "true" && app_service.is_empty() {
        return json_answer(
            400,
            &json!({"error": "invalid_request", "error_description": "Required metadata header not specified"}),
        );
    }
    let named = request.query("client_id");
    if state.identity.as_deref() != Some(named) {
        return json_answer(
            400,
            &json!({"error": "invalid_request", "error_description": "Identity not found"}),
        );
    }
    let token = issue(state, request.query("resource"), TENANT);
    let expires = (now() + TOKEN_SECONDS).to_string();
    json_answer(
        200,
        &json!({"access_token": token, "token_type": "Bearer", "expires_in": "3600", "expires_on": expires, "resource": request.query("resource")}),
    )
}

/// A token (RFC 7519) for a resource.
pub(super) fn issue(state: &State, resource: &str, tenant: &str) -> String {
    let claims = json!({"aud": resource, "iss": format!("https://sts.windows.net/{tenant}/"), "exp": now() + TOKEN_SECONDS, "epoch": state.epoch});
    let signed = format!(
        "{}.{}",
        base64url(br#"{"alg":"HS256","typ":"JWT"}"#),
        base64url(claims.to_string().as_bytes())
    );
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &state.token_key), signed.as_bytes());
    format!("{signed}.{}", base64url(tag.as_ref()))
}

/// Whether a bearer token opens the vault that is `resource`; why not, in Key Vault's words.
pub(super) fn accepted(state: &State, authorization: &str, resource: &str) -> Result<(), &'static str> {
    const MALFORMED: &str = "AKV10000: Request is missing a Bearer or PoP token.";
    let (signed, tag) =
        authorization.strip_prefix("Bearer ").and_then(|t| t.rsplit_once('.')).ok_or(MALFORMED)?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &state.token_key);
    let tag = from_base64url(tag).ok_or(MALFORMED)?;
    hmac::verify(&key, signed.as_bytes(), &tag)
        .map_err(|_| "AKV10046: Unable to resolve the key used for signature validation.")?;
    let claims = signed.split_once('.').and_then(|(_, claims)| from_base64url(claims)).ok_or(MALFORMED)?;
    let claims: Value = serde_json::from_slice(&claims).map_err(|_| MALFORMED)?;
    if claims["aud"] != json!(resource) {
        return Err("AKV10022: Invalid audience.");
    }
    if claims["iss"] != json!(format!("https://sts.windows.net/{TENANT}/")) {
        return Err("AKV10032: Invalid issuer.");
    }
    let expired =
        claims["exp"].as_u64().is_none_or(|until| until <= now()) || claims["epoch"] != json!(state.epoch);
    if expired { Err("AKV10001: [TokenExpired] Error validating token: 'S2S12086'.") } else { Ok(()) }
}

fn refused(status: u16, error: &str, code: u32, why: &str) -> Answer {
    let trace = "00000000-0000-0000-0000-000000000001";
    json_answer(
        status,
        &json!({"error": error, "error_description": format!("AADSTS{code}: {why} Trace ID: {trace}"), "error_codes": [code], "trace_id": trace, "correlation_id": trace}),
    )
}
