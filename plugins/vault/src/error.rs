//! What the vault's refusals mean: ONE table from HTTP status and the vault's words to the contract's codes, what is
//! broken, whether waiting helps, and who must do what.

use std::time::Duration;

use prokura_plugin::{Error, ErrorCode, Scope};

use crate::config::ConnectionConfig;
use crate::limits::{REST, SHOWN_CHARS_MAX};
use crate::vault::client::{Call, Failure, Reply, Verb};
use crate::vault::session::Token;

/// Whether another attempt at the same call may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Done, or refused for good.
    Settled,
    /// Refused for now.
    Passing,
}

/// One line of the table. The first that fits counts.
struct Row {
    /// OpenBao says many a 400 as 500.
    statuses: &'static [u16],
    /// Part of the vault's words, in lower case; empty fits all.
    words: &'static str,
    code: ErrorCode,
    scope: Scope,
    standing: Standing,
    /// `{mount}` and `{key}` stand for those of the call, `{mounting}` and `{absent}` for what is to be done about them.
    advice: &'static str,
}

const fn row(
    statuses: &'static [u16],
    words: &'static str,
    code: ErrorCode,
    scope: Scope,
    advice: &'static str,
) -> Row {
    Row { statuses, words, code, scope, standing: Standing::Settled, advice }
}

const fn passing(
    statuses: &'static [u16],
    words: &'static str,
    code: ErrorCode,
    advice: &'static str,
) -> Row {
    Row { statuses, words, code, scope: Scope::Vault, standing: Standing::Passing, advice }
}

const TABLE: &[Row] = {
    use ErrorCode::{AccessDenied, Error as Other, Throttled, Timeout, ValidationError};
    use Scope::{Key, Request, Session, Vault};
    &[
        row(
            &[400, 500],
            "signing key not found",
            ValidationError,
            Key,
            "there is no such key; `bao list {mount}/keys` lists them",
        ),
        row(
            &[400, 500],
            "soft-deleted",
            ValidationError,
            Key,
            "whoever keeps the key brings it back with `bao write -f {mount}/keys/{key}/soft-delete-restore`",
        ),
        row(
            &[400, 500],
            "less than the minimum",
            ValidationError,
            Key,
            "the key's min_encryption_version forbids this version to sign; sign with a newer one, or have min_encryption_version lowered",
        ),
        row(&[400, 500], "higher than the latest", ValidationError, Key, "the key has no such version yet"),
        row(
            &[400, 500],
            "does not support signing",
            ValidationError,
            Key,
            "a key of type rsa-2048, rsa-3072, rsa-4096, ecdsa-p256, ecdsa-p384 or ecdsa-p521 is needed",
        ),
        row(
            &[400, 500],
            "derivation",
            ValidationError,
            Key,
            "derived keys cannot sign for Notary; use a key without derivation",
        ),
        row(&[400], "sealed", Other, Vault, "the operator must unseal the vault (`bao operator unseal`)"),
        row(
            &[400],
            "missing client token",
            AccessDenied,
            Session,
            "no token reached the vault; what stands in front of it must pass X-Vault-Token on",
        ),
        row(
            &[400],
            "namespace",
            ValidationError,
            Vault,
            "the namespace does not exist; check VAULT_NAMESPACE or plugin config namespace",
        ),
        row(&[400], "", ValidationError, Request, "the vault does not take this request"),
        row(&[401], "", AccessDenied, Session, "what stands in front of the vault wants another login"),
        row(
            &[404],
            "no handler for route",
            ValidationError,
            Vault,
            "nothing is mounted there in this namespace; {mounting}",
        ),
        row(
            &[404],
            "unsupported path",
            ValidationError,
            Vault,
            "this version of the server does not have that; a newer one may",
        ),
        row(&[404], "", ValidationError, Key, "{absent}"),
        row(&[405], "", ValidationError, Vault, "this version of the server does not have that"),
        passing(&[412], "", Timeout, "the node asked has not caught up with the others yet"),
        passing(
            &[429],
            "",
            Throttled,
            "the vault's rate limit (`bao read sys/quotas/rate-limit/NAME`) is used up for now",
        ),
        row(
            &[472],
            "",
            Other,
            Vault,
            "this is a disaster-recovery secondary; VAULT_ADDR must name the primary",
        ),
        passing(
            &[473],
            "",
            Other,
            "this is a standby that does not forward; VAULT_ADDR should name the active node",
        ),
        passing(&[500], "", Other, "the vault failed; its own log says why"),
        row(
            &[501],
            "",
            Other,
            Vault,
            "the vault is not initialised; its operator must run `bao operator init`",
        ),
        passing(&[502], "", Other, "what stands in front of the vault cannot reach it"),
        row(&[503], "sealed", Other, Vault, "the operator must unseal the vault (`bao operator unseal`)"),
        passing(&[503], "", Other, "the vault is not available for now"),
        passing(&[504], "", Timeout, "what stands in front of the vault waited too long for it"),
    ]
};

fn find(reply: &Reply) -> Option<&'static Row> {
    let status = reply.status.as_u16();
    let words = reply.errors().join(" ").to_lowercase();
    TABLE.iter().find(|row| row.statuses.contains(&status) && words.contains(row.words))
}

/// Whether to make the call again.
pub(crate) fn standing(reply: &Reply) -> Standing {
    find(reply).map_or(Standing::Settled, |row| row.standing)
}

/// A refusal in the contract's terms. For 403 there is [`denied`].
pub(crate) fn refused(call: &Call, reply: &Reply) -> Error {
    let status = reply.status.as_u16();
    let (code, scope, passing, advice) = match find(reply) {
        Some(row) => (row.code, row.scope, row.standing == Standing::Passing, row.advice),
        None if status == 403 => (ErrorCode::AccessDenied, Scope::Key, false, "the vault does not permit it"),
        None => (ErrorCode::Error, Scope::Vault, false, "the operator of the vault must look into it"),
    };
    let message =
        format!("cannot {}: HTTP {status}, {}: {}", call.doing, said(reply), filled(advice, &call.path));
    let error =
        Error::new(code, message).with_scope(scope).retryable(passing).vault_code(format!("HTTP {status}"));
    let error = match reply.request_id() {
        Some(id) => error.request_id(id),
        None => error,
    };
    match reply.retry_after {
        Some(pause) => error.retry_after(pause),
        None => error,
    }
}

/// A 403 although the token is good: which line a policy lacks.
pub(crate) fn denied(call: &Call, token: &Token) -> Error {
    Error::access_denied(format!(
        "cannot {}: HTTP 403, permission denied: the policies of the token ({}) lack {}; whoever \
         keeps them must add it. The vault says the same of a mount that does not exist",
        call.doing,
        token.from,
        lacking(call)
    ))
    .with_scope(Scope::Key)
    .vault_code("HTTP 403")
    .with("path", &call.path)
}

fn lacking(call: &Call) -> String {
    let capabilities = match call.verb {
        Verb::Create => r#""create", "update""#.to_owned(),
        other => format!("{:?}", other.capability()),
    };
    format!("`path \"{}\" {{ capabilities = [{capabilities}] }}`", call.path)
}

/// A 403 because of the token itself.
pub(crate) fn spent(call: &Call, token: &Token) -> Error {
    Error::access_denied(format!(
        "cannot {}: HTTP 403, permission denied: the vault does not accept the token ({}), not even to look itself up: \
         it is expired, revoked, of another vault or namespace, or bound to other addresses; log in again, or let the \
         plugin do so with plugin config auth. If the token is good, its policies lack {}",
        call.doing,
        token.from,
        lacking(call)
    ))
    .with_scope(Scope::Session)
    .vault_code("HTTP 403")
}

/// A call without an answer of the vault's, to a request that has waited for so long in all.
pub(crate) fn failed(call: &Call, failure: &Failure, waited: Duration) -> Error {
    let doing = &call.doing;
    let broken = |why: String| Error::internal(format!("cannot {doing}: {why}")).with_scope(Scope::Vault);
    match failure {
        Failure::Unreachable(why) => broken(format!(
            "the vault cannot be reached: {}; check VAULT_ADDR, the network, whether the vault runs, and whether it wants a \
             client certificate (VAULT_CLIENT_CERT)",
            shown(why)
        ))
        .retryable(true),
        Failure::Untrusted(why) => broken(format!(
            "TLS with the vault failed: {}; name the CA of its certificate in VAULT_CACERT, in VAULT_TLS_SERVER_NAME its \
             name if VAULT_ADDR has another, and in VAULT_CLIENT_CERT and VAULT_CLIENT_KEY your certificate if it \
             wants one",
            shown(why)
        ))
        .retryable(false),
        Failure::Slow => Error::timeout(format!(
            "cannot {doing}: the vault did not answer within {:.1} s; a retry may help, else its operator must look \
             into it",
            waited.as_secs_f64()
        ))
        .with_scope(Scope::Vault),
        Failure::Cut(why) => broken(format!("the vault's answer broke off: {}", shown(why))).retryable(true),
        Failure::TooLarge => broken(format!(
            "the vault's answer is larger than {} bytes; does VAULT_ADDR name a vault?",
            crate::limits::ANSWER_BYTES_MAX
        )),
        Failure::NotJson(status) => {
            broken(format!("HTTP {} with an answer that is no JSON; does VAULT_ADDR name a vault?", status.as_u16()))
        }
        Failure::Redirected(where_to) => broken(format!(
            "the vault redirects {}, which is not followed; VAULT_ADDR must name the active node or a proxy before it",
            shown(where_to)
        )),
    }
}

/// The vault answered with what no vault answers.
pub(crate) fn malformed(call: &Call, what: &str) -> Error {
    Error::internal(format!(
        "cannot {}: the vault answered without {what}; does VAULT_ADDR name a vault?",
        call.doing
    ))
    .with_scope(Scope::Vault)
}

/// The last error of a call whose time is up.
pub(crate) fn too_late(mut error: Error) -> Error {
    if error.code != ErrorCode::Throttled {
        error.code = ErrorCode::Timeout;
    }
    let rest = error.retry_after.map_or(REST, |asked| asked.max(REST));
    error.retry_after(rest)
}

/// A call that was not even made: others held the login.
pub(crate) fn waited(call: &Call, time: Duration) -> Error {
    Error::timeout(format!(
        "cannot {}: time was up after {:.1} s; a retry may help",
        call.doing,
        time.as_secs_f64()
    ))
    .with_scope(Scope::Vault)
    .retry_after(REST)
}

/// The vault's own words, quoted, cut, on one line.
pub(crate) fn said(reply: &Reply) -> String {
    match reply.errors().join("; ") {
        words if words.trim().is_empty() => "without a reason".to_owned(),
        words => format!("{:?}", shown(&words)),
    }
}

fn shown(text: &str) -> String {
    // "1 error occurred:\n\t* reason\n\n" is how the vault lists one reason.
    let text = text.replace("1 error occurred:", "");
    let words: Vec<&str> = text.split_whitespace().filter(|word| *word != "*").collect();
    words.join(" ").chars().filter(|c| !c.is_control()).take(SHOWN_CHARS_MAX).collect()
}

fn filled(advice: &str, path: &str) -> String {
    let split = path.rsplit_once("/keys/").or_else(|| path.rsplit_once("/sign/"));
    let (mount, key) = split.unwrap_or((path.split('/').next().unwrap_or(path), path));
    let key = key.split('/').next().unwrap_or(key);
    let is_transit = split.is_some();
    let advice = advice.replace("{mounting}", mounting(path, is_transit));
    let advice = advice.replace("{absent}", absent(is_transit));
    advice.replace("{mount}", mount).replace("{key}", key)
}

/// Who puts something where nothing is mounted.
fn mounting(path: &str, is_transit: bool) -> &'static str {
    if path.starts_with("auth/") {
        return "`bao auth list` shows what is; correct plugin config auth-mount, or have the operator enable the method";
    }
    if is_transit {
        return "`bao secrets list` shows what is; correct the key id or plugin config mount, or have the operator mount the \
                engine with `bao secrets enable -path={mount} transit`";
    }
    "`bao secrets list` shows what is; correct plugin config certificates, or have the operator mount the engine"
}

/// What is missing where something is mounted: a missing version is told by the key itself.
const fn absent(is_transit: bool) -> &'static str {
    if is_transit {
        return "the engine at {mount} has no key {key}; `bao list {mount}/keys` lists its keys, and `bao secrets list` shows \
                whether {mount} is a transit engine at all; correct the key id or plugin config mount, or make the key \
                with `prokura key create --plugin vault`";
    }
    "the engine is there and holds nothing of that name; store the certificates there, or correct plugin config certificates"
}

/// Adds where the vault is, for errors that concern the way to it.
pub(crate) fn located(mut error: Error, config: &ConnectionConfig) -> Error {
    let host = config.address.host_str().unwrap_or_default();
    let port = config.address.port_or_known_default().unwrap_or_default();
    let namespace = config.namespace.as_deref().map(|n| format!(", namespace {n}")).unwrap_or_default();
    error.message =
        format!("{} (vault {host}:{port} from {}{namespace})", error.message, config.address_from);
    error
}

#[cfg(test)]
mod tests;
