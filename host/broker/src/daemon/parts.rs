//! The files that a config names, read and checked together: for the start, for a reload, for `prokurad check`.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use jiff::tz::Offset;

use super::DaemonError;
use crate::config::{Config, Problem};
use crate::identity::pinned::PinnedKeys;
use crate::identity::tls::{ServerIdentity, Tls, TlsError, certificates};
use crate::identity::token::Issuers;
use crate::identity::{Identifier, Trust};
use crate::limits::{POLICY_FILE_BYTES_MAX, POLICY_FILES_MAX, RECORDED_CLAIMS};
use crate::policy::{PolicySet, PolicyText};
use crate::service::Rules;
use crate::vaults::Vaults;

/// What can be read without asking anybody.
pub(super) struct Parts {
    pub(super) policies: PolicySet,
    pub(super) trust: Arc<Trust>,
    pub(super) issuers: Arc<Issuers>,
    pub(super) identity: Option<ServerIdentity>,
}

pub(super) fn problem(place: &str, message: impl Into<String>) -> Problem {
    Problem { place: place.to_owned(), message: message.into() }
}

pub(super) fn tls_problem(error: &TlsError) -> DaemonError {
    DaemonError::Parts(vec![problem("tls", error.to_string())])
}

/// Reads them all, and tells all that is wrong. `before` hands over keys of issuers. Blocks on the file system.
pub(super) fn read(config: &Config, before: Option<&Identifier>) -> Result<Parts, DaemonError> {
    let mut problems = Vec::new();
    let policies = policies(&config.policy_directory).map_err(|mut wrong| problems.append(&mut wrong)).ok();
    let trust = trust(config).map_err(|mut wrong| problems.append(&mut wrong)).ok();
    let none = Issuers::default();
    let known = before.map(Identifier::issuers);
    let issuers = Issuers::new(config.issuers.clone(), known.as_deref().unwrap_or(&none))
        .map_err(|error| problems.push(problem("oidc", error.to_string())))
        .ok();
    let identity = config.tls.as_ref().and_then(|tls| {
        ServerIdentity::read(&tls.certificate, &tls.key)
            .map_err(|error| problems.push(problem("tls", error.to_string())))
            .ok()
    });
    match (policies, trust, issuers) {
        (Some(policies), Some(trust), Some(issuers)) if problems.is_empty() => {
            Ok(Parts { policies, trust: Arc::new(trust), issuers: Arc::new(issuers), identity })
        }
        _ => Err(DaemonError::Parts(problems)),
    }
}

impl Parts {
    /// TLS for new connections; takes the broker's certificate and key out.
    pub(super) fn tls(&mut self) -> Result<Option<Tls>, DaemonError> {
        let Some(identity) = self.identity.take() else { return Ok(None) };
        let tls = Tls::new(identity, Arc::clone(&self.trust), !self.issuers.is_empty());
        tls.map(Some).map_err(|error| tls_problem(&error))
    }
}

/// What requests are judged by.
pub(super) fn rules(config: &Config, policies: PolicySet, vaults: Vaults) -> Rules {
    let recorded_claims = match config.audit.claims.as_slice() {
        [] => RECORDED_CLAIMS.iter().map(|name| (*name).to_owned()).collect(),
        chosen => chosen.to_vec(),
    };
    Rules { policies, vaults, sign_deadline: config.limits.sign_deadline, recorded_claims }
}

fn trust(config: &Config) -> Result<Trust, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut authorities = Vec::new();
    let (cas, pins) = config.tls.as_ref().map_or((&[][..], &[][..]), |tls| (&tls.client_cas, &tls.pins));
    for path in cas {
        match certificates(path) {
            Ok(found) => authorities.extend(found),
            Err(error) => problems.push(problem("tls.client_cas", error.to_string())),
        }
    }
    let pins = PinnedKeys::parse(pins)
        .map_err(|error| problems.push(problem("tls.pins", error.to_string())))
        .unwrap_or_default();
    let trust = Trust::new(authorities, pins)
        .map_err(|error| problems.push(problem("tls.client_cas", error.to_string())));
    trust.ok().filter(|_| problems.is_empty()).ok_or(problems)
}

fn policies(directory: &Path) -> Result<PolicySet, Vec<Problem>> {
    let place = |message: String| vec![problem("policy.directory", message)];
    let texts = policy_texts(directory)
        .map_err(|error| place(format!("{} cannot be read: {error}", directory.display())))?;
    if let Some(text) = texts.iter().find(|text| text.text.contains("context.counts")) {
        return Err(place(format!(
            "{} asks for context.counts, but this broker counts no signatures yet and the policy would always see 0; remove \
             that condition",
            text.file
        )));
    }
    PolicySet::load(&texts, Offset::UTC)
        .map_err(|error| error.problems().iter().map(|wrong| problem("policy", wrong.to_string())).collect())
}

/// Files `*.cedar`, in order of their names.
fn policy_texts(directory: &Path) -> std::io::Result<Vec<PolicyText>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "cedar") {
            paths.push(path);
        }
    }
    if paths.len() > POLICY_FILES_MAX {
        let message = format!("it holds {} policy files, at most {POLICY_FILES_MAX} are read", paths.len());
        return Err(std::io::Error::other(message));
    }
    paths.sort();
    paths.iter().map(|path| policy_text(path)).collect()
}

fn policy_text(path: &Path) -> std::io::Result<PolicyText> {
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut text = String::new();
    let limit = POLICY_FILE_BYTES_MAX as u64 + 1;
    let read = std::fs::File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text));
    read.map_err(|error| std::io::Error::other(format!("{file}: {error}")))?;
    Ok(PolicyText { file, text })
}
