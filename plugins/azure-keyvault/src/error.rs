//! What a refusal means: the answers of Key Vault, Managed HSM and Entra in terms of the contract, and who must act.

use azure_core::http::headers::HeaderName;
use prokura_plugin::{Error, ErrorCode, Scope};

mod operation;
mod refusal;

use crate::config::key_name::VaultHost;
use operation::{not_found, permission_missing};

use refusal::By;

pub(crate) use operation::Operation;
pub(crate) use refusal::{Again, Refusal, cause, shown};

/// The id under which Azure logs a request.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");

/// What was attempted when something went wrong.
pub(crate) struct Attempt<'a> {
    pub(crate) operation: Operation,
    pub(crate) host: &'a VaultHost,
    /// The identifier of the key, certificate or vault.
    pub(crate) object: &'a str,
    /// The credential, as shown to people.
    pub(crate) source: &'a str,
    /// Whether this credential has opened this vault before.
    pub(crate) proven: bool,
}

impl Refusal {
    /// The one table: a refusal as the contract says it.
    pub(crate) fn into_error(self, attempt: &Attempt<'_>) -> Error {
        let doing = format!("cannot {} {}", attempt.operation.doing(), attempt.object);
        let (code, scope, retryable, advice) = self.meaning(attempt);
        let said = self.said();
        let id = self.request_id.as_ref().map(|id| format!(" (request id {id})")).unwrap_or_default();
        let mut error =
            Error::new(code, format!("{doing}: {said}{id}; {advice}")).with_scope(scope).retryable(retryable);
        if let Some(pause) = self.retry_after {
            error = error.retry_after(pause);
        }
        if let Some(id) = self.request_id {
            error = error.request_id(id);
        }
        match [self.inner, self.code].into_iter().find(|code| !code.is_empty()) {
            Some(code) => error.vault_code(shown(&code)),
            None => error,
        }
    }

    fn said(&self) -> String {
        let code = if self.inner.is_empty() { &self.code } else { &self.inner };
        let code = if code.is_empty() { String::new() } else { format!(" {}", shown(code)) };
        let message = shown(&self.message);
        match self.by {
            By::Vault(status) => format!("Key Vault answered {}{code}: {message}", u16::from(status)),
            By::Authority(status) => {
                format!("no token: the authority answered {}{code}: {message}", u16::from(status))
            }
            By::Credential => format!("no token: {message}"),
            By::Network => format!("the connection failed: {message}"),
            By::Clock => message,
            By::Answer => format!("the answer is none of Key Vault's: {message}"),
        }
    }

    fn meaning(&self, attempt: &Attempt<'_>) -> (ErrorCode, Scope, bool, String) {
        use ErrorCode::{AccessDenied, Error as Other, Throttled, Timeout, ValidationError};
        let host = attempt.host;
        match self.by {
            By::Vault(status) => match u16::from(status) {
                400 | 409 => (ValidationError, Scope::Key, false, self.conflict().to_owned()),
                401 => self.unauthorized(attempt),
                403 => self.forbidden(attempt),
                404 => (ValidationError, Scope::Key, false, not_found(attempt)),
                408 => (Timeout, Scope::Vault, true, "try again".to_owned()),
                429 => (
                    Throttled,
                    Scope::Vault,
                    true,
                    format!(
                        "{host} is over its quota for this kind of key; try again later, sign less at once, or spread the load over several vaults"
                    ),
                ),
                500..=599 => (
                    Other,
                    Scope::Vault,
                    true,
                    "Azure failed; try again, and see https://azure.status.microsoft".to_owned(),
                ),
                _ => (
                    Other,
                    Scope::Request,
                    false,
                    "the administrator of the vault must look into it".to_owned(),
                ),
            },
            By::Authority(status) if u16::from(status) == 429 => (
                Throttled,
                Scope::Vault,
                true,
                format!("{} is asked for too often; try again later", attempt.source),
            ),
            By::Authority(status) if u16::from(status) >= 500 => {
                (Other, Scope::Vault, true, "try again".to_owned())
            }
            By::Authority(_) | By::Credential => (AccessDenied, Scope::Vault, false, self.no_token(attempt)),
            By::Network => (Other, Scope::Vault, !self.is_about_trust(), self.no_way(attempt)),
            By::Clock => (Timeout, Scope::Vault, true, "try again, or allow more time".to_owned()),
            By::Answer => (
                Other,
                Scope::Vault,
                true,
                format!("check that {host} is a Key Vault and not a proxy, and try again"),
            ),
        }
    }

    fn no_way(&self, attempt: &Attempt<'_>) -> String {
        if self.is_about_trust() {
            return "no authority this machine trusts vouches for the server; where a proxy looks into TLS, name the proxy's \
                    authority with SSL_CERT_FILE"
                .to_owned();
        }
        let host = attempt.host;
        format!(
            "check the name {host}, the way there (HTTPS_PROXY, private endpoint, firewall) and try again"
        )
    }

    fn conflict(&self) -> &'static str {
        if self.inner == "ObjectIsDeletedButRecoverable" {
            return "a deleted key keeps its name: recover it (az keyvault key recover) or purge it, or take another name";
        }
        "whoever wrote key id and plugin config must correct it"
    }

    fn unauthorized(&self, attempt: &Attempt<'_>) -> (ErrorCode, Scope, bool, String) {
        if attempt.proven {
            let advice = format!(
                "the token has expired or was revoked; a new one is asked for with {}",
                attempt.source
            );
            return (ErrorCode::AccessDenied, Scope::Session, true, advice);
        }
        let advice = format!(
            "the vault does not take tokens of this tenant or cloud: {} must belong to the tenant of the vault; set \
             tenant_id to that tenant (az keyvault show --name {} --query properties.tenantId)",
            attempt.source,
            attempt.host.short_name()
        );
        (ErrorCode::AccessDenied, Scope::Vault, false, advice)
    }

    fn forbidden(&self, attempt: &Attempt<'_>) -> (ErrorCode, Scope, bool, String) {
        let key = |advice: &str| (ErrorCode::AccessDenied, Scope::Key, false, advice.to_owned());
        let says = |word: &str| self.inner.contains(word) || self.message.contains(word);
        if says("Disabled") || says("disabled key") {
            return key(
                "enable the key version (az keyvault key set-attributes --enabled true) or sign with another",
            );
        }
        if says("NotYetValid") || says("not yet valid") {
            return key(
                "the key version may be used from its activation date on; wait, or change it (az keyvault key set-attributes --not-before)",
            );
        }
        if says("KeyExpired") || says("expired key") {
            return key(
                "the key version is past its expiration date; rotate the key and sign with the new version",
            );
        }
        if says("not permitted on this key") {
            return key(
                "the key may not sign; allow it (az keyvault key set-attributes --ops sign verify) or use another",
            );
        }
        if says("ForbiddenByFirewall") || says("ForbiddenByConnection") {
            let advice = format!(
                "the firewall of {} does not let this machine in; its administrator must allow its address or give it a \
                 private endpoint (az keyvault network-rule add)",
                attempt.host
            );
            return (ErrorCode::AccessDenied, Scope::Vault, false, advice);
        }
        (ErrorCode::AccessDenied, Scope::Key, false, permission_missing(attempt))
    }

    /// By the codes of "Microsoft Entra authentication and authorization error codes".
    fn no_token(&self, attempt: &Attempt<'_>) -> String {
        let source = attempt.source;
        let advice = |code: &str| self.message.contains(code);
        if advice("AADSTS7000222") {
            return format!("the {source} has expired; make a new one (az ad app credential reset)");
        }
        if advice("AADSTS7000215") {
            return format!(
                "the {source} is wrong; set the secret's value, not its id, as AZURE_CLIENT_SECRET"
            );
        }
        if advice("AADSTS700027") {
            return format!("the {source} is not registered with the application, or it has expired");
        }
        if advice("AADSTS700016") || advice("AADSTS90002") {
            return format!(
                "there is no such application or tenant; check client_id and tenant_id of {source}"
            );
        }
        if advice("AADSTS70021") || advice("AADSTS7002") {
            return format!(
                "no federated credential of the application matches the token of {source}; issuer, subject and audience must be equal"
            );
        }
        if advice("az login") || advice("not found on PATH") {
            return "log in with az login, or set plugin config credential_type to another credential"
                .to_owned();
        }
        if advice("challenge resource") {
            return "the vault asks for tokens of another service; check its name, and set verify_challenge_resource=false only for a vault that is yours under a name that is not Azure's".to_owned();
        }
        format!(
            "{source} was used, by plugin config credential_type or the environment; correct it or choose another"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use azure_core::error::ErrorKind;
    use azure_core::http::RawResponse;
    use azure_core::http::headers::Headers;

    use super::*;
    use crate::config::cloud::Cloud;
    use crate::limits::SHOWN_CHARS_MAX;

    fn refusal(status: u16, headers: &[(&'static str, &str)], body: &str, credential: bool) -> Refusal {
        let mut all = Headers::new();
        for (name, value) in headers {
            all.insert(*name, (*value).to_owned());
        }
        let raw = RawResponse::from_bytes(status.into(), all, body.as_bytes().to_vec());
        let kind = ErrorKind::HttpResponse {
            status: status.into(),
            error_code: None,
            raw_response: Some(Box::new(raw)),
        };
        let error = azure_core::Error::with_message(kind, "said by the SDK");
        Refusal::of(&if credential {
            azure_core::Error::with_error(ErrorKind::Credential, error, "no")
        } else {
            error
        })
    }

    fn error(operation: Operation, host: &str, refusal: Refusal) -> Error {
        let host = VaultHost::parse(host, Cloud::Public).unwrap();
        let attempt = Attempt { operation, host: &host, object: "OBJECT", source: "SOURCE", proven: false };
        refusal.into_error(&attempt)
    }

    #[test]
    fn every_operation_names_the_permission_it_lacks() {
        use Operation as O;
        let all = [
            O::GetKey,
            O::ListKeys,
            O::CreateKey,
            O::Sign,
            O::GetCertificate,
            O::MergeCertificate,
            O::GetSecret,
        ];
        for operation in all {
            let body =
                r#"{"error":{"code":"Forbidden","message":"no","innererror":{"code":"ForbiddenByRbac"}}}"#;
            let refused = error(operation, "https://v.vault.azure.net", refusal(403, &[], body, false));
            let (policy, action, role) = operation.permission();
            for part in [policy, action, role, "az role assignment create", "set-policy --name v", "SOURCE"] {
                assert!(refused.message.contains(part), "{operation:?} {part}: {refused}");
            }
            assert_eq!((refused.code, refused.may_retry()), (ErrorCode::AccessDenied, false));
            assert_eq!(refused.vault_code.as_deref(), Some("ForbiddenByRbac"));
            let refused = error(operation, "https://h.managedhsm.azure.net", refusal(403, &[], body, false));
            assert!(refused.message.contains("Managed HSM Crypto User"), "{refused}");
        }
    }

    #[test]
    fn the_states_of_a_key_are_told_apart() {
        for (inner, message, advice) in [
            ("KeyDisabled", "Operation sign is not allowed on a disabled key.", "--enabled true"),
            ("KeyNotYetValid", "", "activation date"),
            ("KeyExpired", "", "expiration date"),
            ("", "Operation sign is not permitted on this key.", "--ops sign verify"),
            ("ForbiddenByFirewall", "", "firewall"),
        ] {
            let body = serde_json::json!({"error": {"code": "Forbidden", "message": message, "innererror": {"code": inner}}});
            let refused = error(Operation::Sign, "v", refusal(403, &[], &body.to_string(), false));
            assert!(refused.message.contains(advice), "{refused}");
        }
    }

    #[test]
    fn throttling_carries_the_pause_the_vault_asks_for() {
        let body = r#"{"error":{"code":"Throttled","message":"no","innererror":{"code":"VaultRequestTypeLimitReached"}}}"#;
        let throttled = refusal(429, &[("retry-after", "7"), ("x-ms-request-id", "abc")], body, false);
        assert_eq!(throttled.again(), Again::WhenThrottled(Some(Duration::from_secs(7))));
        let throttled = error(Operation::Sign, "v", throttled);
        assert_eq!(
            (throttled.code, throttled.retry_after),
            (ErrorCode::Throttled, Some(Duration::from_secs(7)))
        );
        assert_eq!(throttled.request_id.as_deref(), Some("abc"));
        assert!(throttled.message.contains("(request id abc)"), "{throttled}");
        let milliseconds = refusal(429, &[("retry-after-ms", "1500"), ("retry-after", "2")], body, false);
        assert_eq!(milliseconds.again(), Again::WhenThrottled(Some(Duration::from_millis(1500))));
    }

    #[test]
    fn what_passes_by_itself_is_tried_again_and_nothing_else() {
        for status in [408, 500, 502, 503, 504] {
            assert_eq!(refusal(status, &[], "", false).again(), Again::AfterFailure, "{status}");
        }
        for status in [400, 401, 403, 404, 409, 501] {
            assert_eq!(refusal(status, &[], "", false).again(), Again::No, "{status}");
        }
        assert_eq!(refusal(400, &[], "", true).again(), Again::No);
    }

    #[test]
    fn a_host_does_not_spend_on_asking_again_what_is_left_for_the_answer() {
        let late = error(Operation::Sign, "v", Refusal::late(Duration::from_secs(4)));
        assert_eq!((late.code, late.may_retry()), (ErrorCode::Timeout, true));
        assert!(late.retry_after.is_some_and(|rest| rest > crate::limits::ANSWER_MARGIN), "{late:?}");
    }

    #[test]
    fn what_entra_says_is_passed_on_with_what_to_do() {
        let body =
            r#"{"error":"invalid_client","error_description":"AADSTS7000222: expired.\r\nTrace ID: x"}"#;
        let refused = error(Operation::Sign, "v", refusal(401, &[], body, true));
        assert!(refused.message.contains("AADSTS7000222: expired. Trace ID: x"), "{refused}");
        assert!(refused.message.contains("az ad app credential reset"), "{refused}");
        assert_eq!(refused.vault_code.as_deref(), Some("invalid_client"));
    }

    #[test]
    fn texts_of_the_service_are_cut_and_cannot_control_a_terminal() {
        let text = shown(&format!("a\u{1b}[2J\r\n{}", "b".repeat(SHOWN_CHARS_MAX)));
        assert!(
            text.starts_with("a[2J b") && text.ends_with('…') && text.chars().count() == SHOWN_CHARS_MAX + 1
        );
    }
}
