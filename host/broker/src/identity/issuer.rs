//! Which OIDC issuers are trusted for what, as the operator configures it, with presets for the common ones.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use url::{Host, Url};

use super::algorithm::Algorithm;
use super::refusal::quoted;
use crate::limits::{AUDIENCES_MAX, ISSUER_URL_BYTES_MAX, REQUIRED_CLAIMS_MAX, TOKEN_LIFETIME_MAX};

const GITHUB: &str = "https://token.actions.githubusercontent.com";

/// One trusted issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerConfig {
    /// Compared with `iss` byte for byte; the discovery document is at `<issuer>/.well-known/openid-configuration`.
    pub issuer: String,
    /// `aud` must hold one of them.
    pub audiences: Vec<String>,
    /// `alg` must be one of them.
    pub algorithms: Vec<Algorithm>,
    /// DER certificates of the CAs that alone are trusted for fetching. Empty: those of the system.
    pub authorities: Vec<Vec<u8>>,
    /// Claims that every token must have, with one of the values. Text, or the JSON of a boolean or number.
    pub required_claims: BTreeMap<String, Vec<String>>,
    /// `exp` minus `iat` at most.
    pub lifetime_max: Duration,
    /// Lets the issuer be reached by http on the loopback address, for tests.
    pub plain_http_on_loopback: bool,
}

/// An issuer that cannot be used as configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("issuer {issuer:?}: found {found}; expected {expected}; correct the configuration of the broker")]
pub struct IssuerError {
    /// As configured.
    pub issuer: String,
    /// What is wrong.
    pub found: String,
    /// What should be.
    pub expected: String,
}

impl IssuerConfig {
    /// An issuer with discovery, RS256 and ES256, and tokens of at most an hour.
    pub fn new(issuer: &str, audience: &str) -> Self {
        Self {
            issuer: issuer.to_owned(),
            audiences: vec![audience.to_owned()],
            algorithms: vec![Algorithm::Rs256, Algorithm::Es256],
            authorities: Vec::new(),
            required_claims: BTreeMap::new(),
            lifetime_max: Duration::from_secs(3600),
            plain_http_on_loopback: false,
        }
    }

    /// GitHub Actions. Claims for policies: `repository`, `repository_id`, `repository_owner`, `ref`, `ref_type`,
    /// `ref_protected`, `sha`, `workflow_ref`, `job_workflow_ref`, `environment`, `event_name`, `run_id`, `actor`,
    /// `runner_environment`; all are text.
    /// Source: GitHub Docs, "OpenID Connect reference". The job needs `permissions: id-token: write`.
    pub fn github_actions(audience: &str) -> Self {
        Self { algorithms: vec![Algorithm::Rs256], ..Self::new(GITHUB, audience) }
    }

    /// GitLab at `url`, such as `https://gitlab.com`. Claims for policies: `project_path`, `project_id`,
    /// `namespace_path`, `ref`, `ref_type`, `ref_path`, `ref_protected`, `pipeline_source`, `ci_config_ref_uri`,
    /// `environment`, `user_login`, `sha`; all are text. Tokens live as long as the job may.
    /// Source: GitLab Docs, "OpenID Connect (OIDC) Authentication Using ID Tokens".
    pub fn gitlab(url: &str, audience: &str) -> Self {
        let lifetime_max = Duration::from_secs(24 * 3600);
        Self { algorithms: vec![Algorithm::Rs256], lifetime_max, ..Self::new(url, audience) }
    }

    /// Projected service account tokens of the Kubernetes cluster whose `--service-account-issuer` is `url`; its
    /// documents must be readable without login (ClusterRole `system:service-account-issuer-discovery` bound to
    /// `system:unauthenticated`), or be published elsewhere under that URL. Claims for policies: `sub`
    /// (`system:serviceaccount:<namespace>:<name>`) and `kubernetes.io` with `namespace`, `pod`, `serviceaccount`.
    /// Source: Kubernetes Docs, "Configure Service Accounts for Pods", "Managing Service Accounts".
    pub fn kubernetes(url: &str, audience: &str) -> Self {
        Self { lifetime_max: Duration::from_secs(24 * 3600), ..Self::new(url, audience) }
    }

    /// Checks what the types leave open.
    ///
    /// # Errors
    /// [`IssuerError`].
    pub fn check(&self) -> Result<(), IssuerError> {
        self.check_url(&self.issuer)?;
        if self.issuer.contains(['?', '#', '|']) {
            return Err(self.error("a URL with '?', '#' or '|'", "one without"));
        }
        self.within("audiences", self.audiences.len(), 1, AUDIENCES_MAX)?;
        if self.audiences.iter().any(String::is_empty) {
            return Err(self.error("an empty audience", "the text that callers ask their tokens for"));
        }
        self.within("algorithms", self.algorithms.len(), 1, Algorithm::ALL.len())?;
        self.within("required claims", self.required_claims.len(), 0, REQUIRED_CLAIMS_MAX)?;
        if self.lifetime_max.is_zero() || self.lifetime_max > TOKEN_LIFETIME_MAX {
            let found = format!("a longest lifetime of {} s", self.lifetime_max.as_secs());
            return Err(self.error(&found, &format!("1 to {} s", TOKEN_LIFETIME_MAX.as_secs())));
        }
        Ok(())
    }

    /// Whether documents may be fetched from there: https, or http to this machine if the operator said so.
    pub(crate) fn check_url(&self, text: &str) -> Result<Url, IssuerError> {
        let expected = "an https URL of at most 1024 bytes without user and password";
        let wrong = || self.error(&format!("the URL {:?}", quoted(text)), expected);
        if text.len() > ISSUER_URL_BYTES_MAX {
            return Err(wrong());
        }
        let url = Url::parse(text).map_err(|_| wrong())?;
        let loopback = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
            Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
            Some(Host::Domain(_)) => false,
            None => return Err(wrong()),
        };
        let plain = url.scheme() == "http" && loopback && self.plain_http_on_loopback;
        let anonymous = url.username().is_empty() && url.password().is_none();
        if anonymous && (url.scheme() == "https" || plain) { Ok(url) } else { Err(wrong()) }
    }

    fn within(&self, what: &str, found: usize, least: usize, most: usize) -> Result<(), IssuerError> {
        if (least..=most).contains(&found) {
            return Ok(());
        }
        Err(self.error(&format!("{found} {what}"), &format!("{least} to {most}")))
    }

    fn error(&self, found: &str, expected: &str) -> IssuerError {
        IssuerError { issuer: quoted(&self.issuer), found: found.to_owned(), expected: expected.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_legal() {
        IssuerConfig::github_actions("prokura").check().unwrap();
        IssuerConfig::gitlab("https://gitlab.example", "prokura").check().unwrap();
        IssuerConfig::kubernetes("https://kubernetes.default.svc", "prokura").check().unwrap();
    }

    #[test]
    fn only_https_or_loopback_by_option() {
        let mut config = IssuerConfig::new("https://ci.example", "a");
        for url in [
            "http://ci.example",
            "http://127.0.0.1:1",
            "ftp://ci.example",
            "https://a:b@ci.example",
            "ci",
            "",
        ] {
            assert!(config.check_url(url).is_err(), "{url}");
        }
        config.plain_http_on_loopback = true;
        assert!(config.check_url("http://127.0.0.1:1").is_ok() && config.check_url("http://[::1]:1").is_ok());
        assert!(
            config.check_url("http://ci.example").is_err() && config.check_url("http://localhost:1").is_err()
        );
    }

    #[test]
    fn nonsense_is_refused() {
        let good = IssuerConfig::new("https://ci.example", "a");
        for bad in [
            IssuerConfig { issuer: "https://ci.example/?x".into(), ..good.clone() },
            IssuerConfig { issuer: "https://ci.example/a|b".into(), ..good.clone() },
            IssuerConfig { audiences: vec![], ..good.clone() },
            IssuerConfig { audiences: vec![String::new()], ..good.clone() },
            IssuerConfig { algorithms: vec![], ..good.clone() },
            IssuerConfig { lifetime_max: Duration::ZERO, ..good.clone() },
            IssuerConfig { lifetime_max: TOKEN_LIFETIME_MAX + Duration::from_secs(1), ..good.clone() },
        ] {
            assert!(bad.check().unwrap_err().to_string().contains("expected"));
        }
    }
}
