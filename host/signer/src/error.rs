//! Why a plugin did not sign, blame first: the variant says who must act, the text what was found and expected.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prokura_plugin::{ErrorCode, InvalidPluginName, KeySpec, PluginName, Scope};

use crate::unfit::Unfit;

pub use prokura_envelope::Blame;

/// Which output of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Where answers are written.
    Stdout,
    /// Where errors are written.
    Stderr,
}

impl std::fmt::Display for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        })
    }
}

/// A broken rule of the protocol. Pure checks return it without knowing which plugin answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (rule {rule})")]
pub struct Violation {
    /// Id of the rule, such as `SIG-2`; see [`crate::checks`].
    pub rule: &'static str,
    /// What was found and what was expected. Text of the plugin in it is cleaned and quoted.
    pub message: String,
}

impl Violation {
    pub(crate) fn new(rule: &'static str, message: impl Into<String>) -> Self {
        Self { rule, message: message.into() }
    }

    /// Says which plugin broke the rule and in which call.
    pub(crate) fn by(self, plugin: &PluginName, call: &'static str) -> Error {
        Error::Malformed { plugin: plugin.clone(), call, rule: self.rule, message: self.message }
    }
}

/// Why there is no signature.
///
/// `plugin` is the plugin's name, `call` the command (stdio) or method (gRPC) that was under way. Texts that a plugin
/// wrote are cleaned by [`crate::text::cleaned`] and shown quoted.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The name cannot be a plugin's. The user must act. Retry: no.
    #[error("{0}; correct the name of the plugin")]
    InvalidName(#[from] InvalidPluginName),

    /// There is no such plugin. The operator must act. Retry: no.
    #[error(
        "plugin {plugin} is not installed: found no {}; whoever keeps this machine must put the plugin's executable there",
        path.display()
    )]
    NotInstalled {
        /// Which plugin.
        plugin: PluginName,
        /// Where its executable belongs.
        path: PathBuf,
    },

    /// The directory that holds the plugins cannot be read. The operator must act. Retry: no.
    #[error("plugin directory {} cannot be read: {source}; whoever keeps this machine must act", path.display())]
    UnreadableDirectory {
        /// Which directory.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },

    /// The plugin is there and may or can not be started. The operator must act. Retry: no.
    #[error("plugin {plugin} is not started: {} {reason}", path.display())]
    NotRunnable {
        /// Which plugin.
        plugin: PluginName,
        /// The file or directory that is unfit.
        path: PathBuf,
        /// What is wrong with it, and who must act.
        reason: Unfit,
    },

    /// The operating system did not give what starting a plugin takes. The operator must act. Retry: no.
    #[error("plugin {plugin} could not be started: {what}: {source}; whoever keeps this machine must act")]
    System {
        /// Which plugin.
        plugin: PluginName,
        /// What was attempted.
        what: &'static str,
        /// What the system said.
        source: Arc<io::Error>,
    },

    /// The plugin has not the capability this takes. The user must choose another plugin. Retry: no.
    #[error(
        "plugin {plugin} lacks {needed}, which {purpose}; it announces {found}; use a plugin that has it"
    )]
    Incapable {
        /// Which plugin.
        plugin: PluginName,
        /// The capability or capabilities.
        needed: &'static str,
        /// What it is needed for.
        purpose: &'static str,
        /// What the plugin announces.
        found: String,
    },

    /// The request cannot be sent to any plugin. The user must act. Retry: no.
    #[error("{0}; correct the request")]
    InvalidRequest(String),

    /// The plugin or its vault said no. Who must act follows from the code. Retry: as [`ErrorCode::may_retry`] says.
    #[error(
        "plugin {plugin} refused {call} with {}{}{}{}",
        vendor_code.as_deref().unwrap_or(code.as_str()), reason(message), facts(metadata, hints), refused_advice(*code, hints.retryable)
    )]
    Refused {
        /// Which plugin.
        plugin: PluginName,
        /// Which call.
        call: &'static str,
        /// One of the six; [`ErrorCode::Error`] for a vendor's own.
        code: ErrorCode,
        /// The vendor's own code, if it is none of the six.
        vendor_code: Option<String>,
        /// What the plugin says.
        message: String,
        /// Further facts.
        metadata: BTreeMap<String, String>,
        /// What helps to decide about a retry.
        hints: Box<Hints>,
    },

    /// The plugin broke a rule of the protocol. Its author must act. Retry: no.
    #[error("plugin {plugin} broke rule {rule} in {call}: {message}; its author must act")]
    Malformed {
        /// Which plugin.
        plugin: PluginName,
        /// Which call.
        call: &'static str,
        /// Id of the rule, such as `META-7`.
        rule: &'static str,
        /// What was found and what was expected.
        message: String,
    },

    /// The plugin ended without an answer and without an error of the contract. Its author must act. Retry: no.
    #[error("plugin {plugin} ended with {status} during {call}{}; its author must act", said(stderr))]
    Died {
        /// Which plugin.
        plugin: PluginName,
        /// Which call.
        call: &'static str,
        /// Exit status or signal.
        status: String,
        /// What it wrote to stderr, cleaned; empty if nothing.
        stderr: String,
    },

    /// The plugin's processes ended one after the other. Who must act: as for the last. Retry: no, it is started again
    /// after a while.
    #[error(
        "plugin {plugin} was started {processes} times and ended each time before it was of use; it is started again no \
         sooner than {} s after the last time: {last}", crate::limits::GIVEN_UP_REST.as_secs()
    )]
    GivenUp {
        /// Which plugin.
        plugin: PluginName,
        /// How many processes there were.
        processes: u32,
        /// How the last one ended.
        last: Box<Self>,
    },

    /// The plugin gave no answer in time; the call was ended, over stdio with its process. Retry: no, the vault may have
    /// locked up.
    #[error(
        "plugin {plugin} gave no answer to {call} within {} s and the call was ended; if its device waits for a PIN or a touch, \
         give it; if the vault is slow, its keeper must act or a longer deadline be set",
        limit.as_secs_f64()
    )]
    TooSlow {
        /// Which plugin.
        plugin: PluginName,
        /// Which call.
        call: &'static str,
        /// How long it was waited for.
        limit: Duration,
    },

    /// The plugin wrote more than allowed and was ended. Its author must act. Retry: no.
    #[error(
        "plugin {plugin} wrote more than {limit} bytes to {stream} during {call} and was ended; its author must act"
    )]
    Flooded {
        /// Which plugin.
        plugin: PluginName,
        /// Which call.
        call: &'static str,
        /// Where it wrote.
        stream: Stream,
        /// How much is allowed, in bytes.
        limit: usize,
    },

    /// Between the description of the key and the signature the key id came to mean another key. Retry: yes.
    #[error(
        "the key changed between {described_by} and {signed_by}: key id {key_id:?} of plugin {plugin} was an {described} \
         key, the signature is by {} {signed} key; nothing was signed, sign again, or have the vault's keeper pin the \
         key version", if described == signed { "another" } else { "an" }
    )]
    KeyChanged {
        /// Which plugin.
        plugin: PluginName,
        /// Which key.
        key_id: String,
        /// The call that described it.
        described_by: &'static str,
        /// The call that signed.
        signed_by: &'static str,
        /// The key before.
        described: KeySpec,
        /// The key after; perhaps another of the same spec.
        signed: KeySpec,
    },

    /// The key's certificates make no chain to a root. Whoever configured the key must act. Retry: no.
    #[error("the certificate chain of key {key_id:?} cannot be completed: {reason}")]
    Chain {
        /// Which key.
        key_id: String,
        /// What is missing, and where to put it.
        reason: String,
    },

    /// What the plugin signed makes no valid envelope. Who must act: see [`Error::blame`]. Retry: no.
    #[error("with what plugin {plugin} returned from {call} no valid envelope can be made: {source}{}", envelope_advice(source.blame()))]
    Envelope {
        /// Which plugin.
        plugin: PluginName,
        /// Which call.
        call: &'static str,
        /// What is wrong with it.
        source: Box<prokura_envelope::Error>,
    },
}

/// What a plugin says of a failure besides code and text (SPEC section 8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// Overrides what the code says about a retry.
    pub retryable: Option<bool>,
    /// How long the vault asks to wait before one.
    pub retry_after: Option<Duration>,
    /// What is broken.
    pub scope: Option<Scope>,
    /// The vault's own name for the error, cleaned.
    pub vault_code: Option<String>,
    /// The id under which the vault logged the request, cleaned.
    pub request_id: Option<String>,
}

impl Error {
    /// Who must act.
    pub fn blame(&self) -> Blame {
        match self {
            Self::InvalidName(_) | Self::Incapable { .. } | Self::InvalidRequest(_) | Self::Chain { .. } => {
                Blame::User
            }
            Self::NotInstalled { .. }
            | Self::UnreadableDirectory { .. }
            | Self::NotRunnable { .. }
            | Self::System { .. } => Blame::Operator,
            Self::Refused { code, .. } => match code {
                ErrorCode::ValidationError => Blame::User,
                ErrorCode::UnsupportedContractVersion | ErrorCode::AccessDenied => Blame::Operator,
                ErrorCode::Timeout | ErrorCode::Throttled | ErrorCode::Error => Blame::Vault,
            },
            Self::Malformed { .. } | Self::Died { .. } | Self::Flooded { .. } => Blame::PluginAuthor,
            Self::GivenUp { last, .. } => last.blame(),
            Self::TooSlow { .. } | Self::KeyChanged { .. } => Blame::Vault,
            Self::Envelope { source, .. } => source.blame(),
        }
    }

    /// Whether the same request may succeed later without anybody acting.
    pub fn may_retry(&self) -> bool {
        match self {
            Self::Refused { code, hints, .. } => hints.retryable.unwrap_or_else(|| code.may_retry()),
            Self::KeyChanged { .. } => true,
            _ => false,
        }
    }

    /// Id of the rule that was broken, if a rule was: of the plugin protocol (`META-7`, `SIG-6`) or of certificate
    /// chains (`CERT-3`).
    pub fn rule(&self) -> Option<&'static str> {
        use prokura_envelope::Error as Envelope;
        match self {
            Self::Malformed { rule, .. } => Some(rule),
            Self::Envelope { source, .. } => match &**source {
                Envelope::Chain(violation) => Some(violation.rule),
                Envelope::NoCertificates => Some("CERT-1"),
                Envelope::WrongSignature { .. } => Some("SIG-6"),
                Envelope::WrongLeafKey { .. } => Some("CHAIN-2"),
                _ => None,
            },
            _ => None,
        }
    }
}

fn said(stderr: &str) -> String {
    if stderr.is_empty() {
        return " and wrote nothing to stderr".to_owned();
    }
    format!(" and wrote to stderr: {stderr:?}")
}

fn reason(message: &str) -> String {
    if message.is_empty() {
        return " without saying why".to_owned();
    }
    format!(": {message:?}")
}

const fn envelope_advice(blame: Blame) -> &'static str {
    match blame {
        Blame::Operator => "; whoever configured the key and its certificates must act",
        Blame::User => "; correct the request",
        Blame::Vault | Blame::Network => "; the vault's keeper must act",
        Blame::PluginAuthor | Blame::Publisher => "; its author must act",
    }
}

fn facts(metadata: &BTreeMap<String, String>, hints: &Hints) -> String {
    let own = [("vault code", &hints.vault_code), ("request id", &hints.request_id)];
    let own = own.into_iter().filter_map(|(name, value)| Some(format!("{name}: {}", value.as_ref()?)));
    let facts: Vec<String> =
        own.chain(metadata.iter().map(|(name, value)| format!("{name:?}: {value:?}"))).collect();
    if facts.is_empty() { String::new() } else { format!(" {{{}}}", facts.join(", ")) }
}

const fn refused_advice(code: ErrorCode, retryable: Option<bool>) -> &'static str {
    match code {
        ErrorCode::Timeout | ErrorCode::Throttled if matches!(retryable, Some(false)) => "; try later",
        ErrorCode::Error if matches!(retryable, Some(true)) => {
            "; asking again did not help: the vault's keeper must act if it stays so"
        }
        ErrorCode::ValidationError => "; correct the key id or the plugin config",
        ErrorCode::UnsupportedContractVersion => "; whoever keeps this machine must update the plugin",
        ErrorCode::AccessDenied => "; whoever keeps the credentials of the vault must act",
        ErrorCode::Timeout => "; the vault was asked again without success, try later",
        ErrorCode::Throttled => {
            "; the vault was asked again without success, try later or have its keeper raise the quota"
        }
        ErrorCode::Error => "; the vault's keeper or the plugin's author must act",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: ErrorCode) -> Error {
        Error::Refused {
            plugin: "x".parse().unwrap(),
            call: "describe-key",
            code,
            vendor_code: None,
            message: "no \"such\" key".to_owned(),
            metadata: BTreeMap::from([("http".to_owned(), "404".to_owned())]),
            hints: Box::default(),
        }
    }

    #[test]
    fn every_code_has_somebody_who_must_act() {
        let blames = ErrorCode::ALL.map(|code| (refused(code).blame(), refused(code).may_retry()));
        assert_eq!(
            blames,
            [
                (Blame::User, false),
                (Blame::Operator, false),
                (Blame::Operator, false),
                (Blame::Vault, true),
                (Blame::Vault, true),
                (Blame::Vault, false)
            ]
        );
    }

    #[test]
    fn text_of_a_plugin_is_quoted_and_attributed() {
        let text = refused(ErrorCode::ValidationError).to_string();
        assert_eq!(
            text,
            r#"plugin x refused describe-key with VALIDATION_ERROR: "no \"such\" key" {"http": "404"}; correct the key id or the plugin config"#
        );
    }
}
