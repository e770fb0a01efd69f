//! What goes wrong in the fake when a test says so: refusals, and good answers spoiled on their way.

use std::time::Duration;

use prokura_plugin::KeySpec;
use serde_json::{Value, json};

use super::entra::{CLIENT, TENANT};
use super::key::Version;
use super::server::{Answer, Mischief, Request};
use super::{Kind, State, base64url, from_base64url, json_answer, resource, rest};

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// HTTP 429, with `Retry-After` in seconds if the service says so.
    Throttled(Option<u64>),
    /// An HTTP 5xx.
    Broken(u16),
    /// HTTP 403: the vault's firewall does not let the caller in.
    Firewall,
    /// HTTP 401, as for a token that was revoked.
    Unauthorized,
    /// No answer ever.
    Stall,
    /// The connection is reset before an answer.
    Reset,
    /// The body ends in the middle although its length was announced.
    CutOff,
    /// A body of the announced length that is half a JSON text.
    HalfJson,
    /// A body that is no JSON.
    Garbage,
    /// A signature by another version of the key, which the answer names.
    OtherVersion,
    /// A signature by another key under the name of the right one.
    OtherKey,
    /// A signature that is one byte short.
    ShortSignature,
    /// An ECDSA signature as ASN.1 DER.
    DerSignature,
    /// The right answer, later.
    Late(Duration),
}

/// The answer of a service that does not do what it was asked.
pub(super) fn instead(fault: Fault, kind: Kind) -> Option<Answer> {
    match fault {
        Fault::Throttled(after) => Some(throttled(after)),
        Fault::Broken(status) => {
            Some(rest::error(status, "InternalServerError", "The service is unavailable.", None))
        }
        Fault::Firewall => Some(rest::error(
            403,
            "Forbidden",
            "Client address is not authorized and caller is not a trusted service.",
            Some("ForbiddenByFirewall"),
        )),
        Fault::Unauthorized => {
            Some(challenge(kind, "AKV10001: [TokenExpired] Error validating token: 'S2S12086'."))
        }
        _ => None,
    }
}

/// What comes out of a good answer when something goes wrong behind it.
pub(super) fn spoil(answer: &mut Answer, fault: Fault, state: &State, request: &Request, base: &str) {
    match fault {
        Fault::Stall => answer.mischief = Some(Mischief::Stall),
        Fault::Reset => answer.mischief = Some(Mischief::Reset),
        Fault::CutOff => answer.mischief = Some(Mischief::Truncate),
        Fault::HalfJson => answer.body.truncate(answer.body.len() / 2),
        Fault::Garbage => answer.body = b"<html>gateway</html>".to_vec(),
        Fault::OtherVersion | Fault::OtherKey | Fault::ShortSignature | Fault::DerSignature => {
            let Some(spoiled) = spoiled_signature(answer, fault, state, request, base) else { return };
            *answer = json_answer(200, &spoiled);
        }
        _ => {}
    }
}

fn spoiled_signature(
    answer: &Answer,
    fault: Fault,
    state: &State,
    request: &Request,
    base: &str,
) -> Option<Value> {
    let mut value: Value = serde_json::from_slice(&answer.body).ok()?;
    let mut signature = from_base64url(value["value"].as_str()?)?;
    let name = request.path.split('/').nth(2)?;
    match fault {
        Fault::OtherVersion => {
            let other = "0".repeat(32);
            value["kid"] = json!(format!("{base}/keys/{name}/{other}"));
        }
        Fault::OtherKey => {
            let own = state.keys.get(name)?.last()?.pair.public_key_raw().len();
            let asked: Value = serde_json::from_slice(&request.body).ok()?;
            let digest = from_base64url(asked["value"].as_str()?)?;
            let spec = KeySpec::ALL.into_iter().find(|s| crate::key::id(*s) == name)?;
            let other =
                Version::generate(spec, false).ok().filter(|v| v.pair.public_key_raw().len() == own)?;
            signature = other.sign(asked["alg"].as_str()?, &digest)?;
        }
        Fault::ShortSignature => {
            signature.pop();
        }
        _ => {
            signature =
                [&[0x30, 0x44, 0x02, 0x20], &signature[..32], &[0x02, 0x20], &signature[32..]].concat()
        }
    }
    value["value"] = json!(base64url(&signature));
    Some(value)
}

pub(super) fn challenge(kind: Kind, why: &str) -> Answer {
    let login = if kind == Kind::VaultUsGovernment {
        "login.microsoftonline.us"
    } else {
        "login.microsoftonline.com"
    };
    let mut answer = rest::error(401, "Unauthorized", why, None);
    let header =
        format!("Bearer authorization=\"https://{login}/{TENANT}\", resource=\"{}\"", resource(kind));
    answer.headers.push(("www-authenticate", header));
    answer
}

fn throttled(after: Option<u64>) -> Answer {
    let message = "Request was not processed because too many requests were received. Reason: VaultRequestTypeLimitReached";
    let mut answer = rest::error(429, "Throttled", message, Some("VaultRequestTypeLimitReached"));
    answer.headers.extend(after.map(|seconds| ("retry-after", seconds.to_string())));
    answer
}

pub(super) fn forbidden(permission: &str, kind: Kind, base: &str) -> Answer {
    if kind == Kind::ManagedHsm {
        return rest::error(
            403,
            "Forbidden",
            &format!("User is not authorized to perform operation {permission}."),
            Some("AccessDenied"),
        );
    }
    let message = format!(
        "Caller is not authorized to perform action on resource.\r\nCaller: appid={CLIENT}\r\nAction: 'Microsoft.KeyVault/vaults/{permission}/action'\r\nVault: {base}"
    );
    rest::error(403, "Forbidden", &message, Some("ForbiddenByRbac"))
}
