//! What the broker's refusals mean: ONE table from its codes to those of the contract, what is broken, and who must do
//! what. A build log is all that the reader has.

pub(crate) mod status;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use prokura_plugin::{Error, ErrorCode, Scope};
use prokura_proto::broker::v1::Refusal;
use tonic::{Code, Status};

use crate::config::ConnectionConfig;
use crate::limits::{POLICIES_SHOWN_MAX, SHOWN_CHARS_MAX};

/// One line of the table.
struct Row {
    refusal: &'static str,
    code: ErrorCode,
    scope: Scope,
    advice: &'static str,
}

const fn row(refusal: &'static str, code: ErrorCode, scope: Scope, advice: &'static str) -> Row {
    Row { refusal, code, scope, advice }
}

const TABLE: &[Row] = {
    use ErrorCode::{AccessDenied, Error as Other, Throttled, Timeout, ValidationError};
    use Scope::{Key, Request, Session, Vault};
    &[
        row(
            "UNAUTHENTICATED",
            AccessDenied,
            Session,
            "check plugin config identity and token, or have the broker's operator add this caller",
        ),
        row(
            "DENIED",
            AccessDenied,
            Request,
            "have the broker's operator change the policy, or sign what it permits",
        ),
        row("INVALID", ValidationError, Request, "whoever made the request must correct it"),
        row(
            "NO_SUCH_KEY",
            ValidationError,
            Key,
            "`prokura key discover` lists the keys that the broker offers you",
        ),
        row(
            "KEY_CHANGED",
            ValidationError,
            Key,
            "the broker has another key under this name by now; sign again, or correct plugin config expected-key",
        ),
        row("OUT_OF_QUOTA", Throttled, Vault, "wait, or have the operator raise the quota"),
        row("TOO_LATE", Timeout, Vault, "allow more time, or have the operator look at the broker's queue"),
        row("VAULT", Other, Vault, "the keeper of the vault behind the broker must act, unless it passes"),
        row("LOG", Other, Vault, "the broker signs nothing that it cannot record; its operator must act"),
        row(
            "INTERNAL",
            Other,
            Vault,
            "this is a defect of the broker; its operator knows more by the request id",
        ),
    ]
};

const UNKNOWN: Row =
    row("", ErrorCode::Error, Scope::Vault, "this plugin does not know the broker's code; a newer one may");

/// Why a call has no answer.
pub(crate) enum Failure {
    /// The broker said why.
    Refused(Box<Refusal>),
    /// The connection broke, or never came up: another attempt may help.
    Lost(String),
    /// TLS failed.
    Untrusted(String),
    /// The plugin itself has what it cannot connect with.
    Unfit(Error),
    /// Time was up.
    Slow,
    /// The server is no broker of this protocol, or said something that no broker says.
    Strange(String),
}

/// What stopped the plugin's own connector, carried through tonic.
#[derive(Debug)]
pub(crate) struct Unfit(pub(crate) Error);

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Unfit {}

impl Failure {
    /// Reads a status: the broker's refusal in its details, else what the transport says.
    pub(crate) fn of(status: &Status) -> Self {
        if let Some(refusal) = status::refusal(status.details()) {
            return Self::Refused(Box::new(refusal));
        }
        let reason = Reason::of(status);
        if let Some(unfit) = reason.unfit {
            return Self::Unfit(unfit);
        }
        if reason.is_tls {
            return Self::Untrusted(reason.text);
        }
        match status.code() {
            Code::DeadlineExceeded | Code::Cancelled => Self::Slow,
            Code::Unavailable | Code::Unknown => Self::Lost(reason.text),
            code => Self::Strange(format!("{code:?}: {}", reason.text)),
        }
    }
}

/// The causes behind a status.
struct Reason {
    text: String,
    is_tls: bool,
    unfit: Option<Error>,
}

impl Reason {
    fn of(status: &Status) -> Self {
        let mut reason = Self { text: shown(status.message()), is_tls: false, unfit: None };
        let mut next = std::error::Error::source(status);
        while let Some(cause) = next {
            reason.text = shown(&cause.to_string());
            reason.is_tls |= cause.is::<rustls::Error>();
            if let Some(Unfit(error)) = cause.downcast_ref() {
                reason.unfit = Some(error.clone());
            }
            // An `io::Error` shows what it wraps only this way; its source is the source of that.
            let wrapped = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            next = match wrapped {
                Some(wrapped) => Some(wrapped),
                None => cause.source(),
            };
        }
        reason
    }
}

/// The error of a call that failed; `now` dates the end of a pause.
pub(crate) fn failed(doing: &str, failure: &Failure, config: &ConnectionConfig, now: Timestamp) -> Error {
    let broken = |why: String| Error::internal(format!("cannot {doing}: {why}")).with_scope(Scope::Vault);
    let mut error = match failure {
        Failure::Refused(refusal) => refused(doing, refusal, config, now),
        Failure::Unfit(error) => return error.clone(),
        Failure::Lost(why) => broken(format!(
            "the broker cannot be reached: {why}; check plugin config address, the network, whether prokurad runs, and whether it \
             takes the client certificate of plugin config identity: with TLS 1.3 it hangs up on others"
        ))
        .retryable(true),
        Failure::Untrusted(why) => broken(format!(
            "TLS with the broker failed: {why}; check plugin config ca (who vouches for the broker), identity (whom the broker \
             takes you for) and whether the broker's certificate names the host of address"
        ))
        .retryable(false),
        Failure::Slow => Error::timeout(format!(
            "cannot {doing}: the broker did not answer in time; a retry may help, else its operator must look into it"
        ))
        .with_scope(Scope::Vault),
        Failure::Strange(why) => {
            broken(format!("the answer is none of a broker's: {why}; does plugin config address name one?"))
        }
    };
    error.message = format!("{} (broker {})", error.message, config.address);
    error
}

fn refused(doing: &str, refusal: &Refusal, config: &ConnectionConfig, now: Timestamp) -> Error {
    let row = TABLE.iter().find(|row| row.refusal == refusal.code).unwrap_or(&UNKNOWN);
    let code = shown(&refusal.code);
    let mut message = format!("cannot {doing}: {code}: {}", shown(&refusal.message));
    if refusal.code == "DENIED" {
        message.push_str(&denied_by(&refusal.policies));
    }
    if refusal.code == "UNAUTHENTICATED" {
        message.push_str(&format!("; shown was {}", evidence(config)));
    }
    let pause = Duration::from_millis(refusal.retry_after_ms);
    if refusal.retry_after_ms > 0 {
        message.push_str(&until(pause, now));
    }
    message.push_str(match refusal.retryable {
        true => "; the same request may succeed later",
        false => "; a retry does not help",
    });
    message = format!("{message}; {}", row.advice);
    let mut error = Error::new(row.code, message)
        .with_scope(row.scope)
        .retryable(refusal.retryable)
        .vault_code(code)
        .with("policies", shown(&refusal.policies.join(",")));
    if refusal.retry_after_ms > 0 {
        error = error.retry_after(pause);
    }
    if !refusal.request_id.is_empty() {
        let id = shown(&refusal.request_id);
        error.message = format!("{}; request id {id}", error.message);
        error = error.request_id(id);
    }
    error
}

fn denied_by(policies: &[String]) -> String {
    if policies.is_empty() {
        return "; no policy permits it".to_owned();
    }
    let names: Vec<String> = policies.iter().take(POLICIES_SHOWN_MAX).map(|name| shown(name)).collect();
    format!("; denied by policy {}", names.join(", "))
}

fn evidence(config: &ConnectionConfig) -> String {
    let certificate = match &config.identity {
        Some((file, _)) => format!("the certificate in {}", file.display()),
        None => "no certificate".to_owned(),
    };
    format!("{certificate} and {}", config.token.described())
}

/// `; not before 2026-11-21T13:40:07Z, in 12.3 s`.
fn until(pause: Duration, now: Timestamp) -> String {
    let seconds = pause.as_secs_f64();
    let at = SignedDuration::try_from(pause).ok().and_then(|pause| now.checked_add(pause).ok());
    let at = at.and_then(|at| at.round(jiff::Unit::Second).ok());
    match at {
        Some(at) => format!("; not before {at}, in {seconds:.1} s"),
        None => format!("; not before {seconds:.1} s from now"),
    }
}

/// The broker answered with what no broker answers.
pub(crate) fn malformed(doing: &str, what: &str) -> Error {
    let what = shown(what);
    Error::internal(format!("cannot {doing}: the broker's answer {what}; this is a defect of the broker"))
        .with_scope(Scope::Vault)
}

/// Foreign words, cut, on one line, without control characters.
fn shown(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().filter(|c| !c.is_control()).take(SHOWN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;
