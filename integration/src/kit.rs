//! The conformance kit: every test vector against a real plugin executable, and against our own host.
//!
//! A verdict per vector and transport, citing the rule of `plugin-spec/SPEC.md`. Vendors run it on their own plugin
//! with the binary `kit`.

mod host;
mod plugin;
mod properties;
mod socket;
mod stdio;
mod vault;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use prokura_plugin::KeySpec;
use prokura_plugin::message::capability::TRANSPORT_GRPC_1;
use prokura_plugin::message::{Metadata, PluginConfig};
use prokura_plugin::vector::{Direction, Transport, Vector, load_dir};

pub use host::check_host;

/// A plugin under test and the key it is tested with.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The executable, named `notation-x`.
    pub program: PathBuf,
    /// Key id, as a user would configure it.
    pub key_id: String,
    /// Plugin config, as a user would configure it.
    pub config: PluginConfig,
    /// Added to the environment, such as where a PKCS#11 module finds its token.
    pub environment: Vec<(String, PathBuf)>,
}

/// Whether a rule was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was.
    Kept,
    /// It was not: what was found and what was expected.
    Broken(String),
    /// It could not be told: what is missing.
    Skipped(String),
}

/// What came of one vector over one transport.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Id of the rule in SPEC.md.
    pub rule: String,
    /// Name of the vector.
    pub vector: String,
    /// What was tried and had to happen.
    pub comment: String,
    /// `stdio`, `grpc` or `host`.
    pub side: &'static str,
    /// Whether it did.
    pub outcome: Outcome,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, why) = match &self.outcome {
            Outcome::Kept => ("ok", None),
            Outcome::Broken(why) => ("FAIL", Some(why)),
            Outcome::Skipped(why) => ("skip", Some(why)),
        };
        write!(f, "{word:<5} {:<10} {:<5}  {}", self.rule, self.side, self.comment)?;
        why.map_or(Ok(()), |why| write!(f, ": {why}"))
    }
}

/// Where the vectors of this source tree are.
pub fn vectors_directory() -> PathBuf {
    crate::program::workspace().join("plugin-spec/vectors")
}

/// The vectors of a directory.
///
/// # Errors
/// If one of them cannot be read.
pub fn load(directory: &Path) -> Result<Vec<Vector>> {
    Ok(load_dir(directory)?)
}

impl Subject {
    /// The plugin's name: `x` of `notation-x`.
    ///
    /// # Errors
    /// If the file is named otherwise.
    pub fn name(&self) -> Result<&str> {
        let file = self.program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let name = file.strip_prefix("notation-");
        name.with_context(|| format!("the executable is named {file:?}, expected notation-x"))
    }
}

/// Runs the vectors for plugins on one plugin and one transport.
///
/// # Errors
/// If the plugin cannot be started at all, or does not tell the spec of its key; nothing can be said then.
pub fn check_plugin(subject: &Subject, vectors: &[Vector], transport: Transport) -> Result<Vec<Verdict>> {
    subject.name()?;
    let spec = plugin::key_spec(subject).context("the plugin does not describe its key over stdio")?;
    let mine = vectors.iter().filter(|v| v.direction == Direction::Plugin && v.transport == transport);
    let verdicts = match transport {
        Transport::Stdio => mine.map(|v| plugin::over_stdio(subject, v, spec)).collect(),
        Transport::Grpc => plugin::over_grpc(subject, mine, spec),
    };
    let verdicts: Vec<Verdict> = verdicts;
    ensure!(!verdicts.is_empty(), "there are no vectors for plugins over {transport:?}");
    Ok(verdicts)
}

/// Whether the plugin announces `TRANSPORT.GRPC.1`; one that does not is not asked to serve (SPEC VER-1).
///
/// # Errors
/// If it cannot be started.
pub fn announces_grpc(subject: &Subject) -> Result<bool> {
    let answer = stdio::run(subject, &["get-plugin-metadata"], b"{}")?;
    let metadata: Result<Metadata, _> = serde_json::from_slice(&answer.stdout);
    Ok(metadata.is_ok_and(|metadata| metadata.has(TRANSPORT_GRPC_1)))
}

/// What the vectors want signed.
const PAYLOAD: &[u8] = b"to be signed by the plugin under test";

fn skipped_spec(vector: &Vector, spec: KeySpec) -> Option<Outcome> {
    let wanted = vector.key_spec.filter(|_| !vector.applies_to(spec))?;
    Some(Outcome::Skipped(format!("it is about {wanted} keys, the key is {spec}")))
}

fn skipped_capability(vector: &Vector, announced: &[String]) -> Option<Outcome> {
    let wanted = vector.capability.as_ref().filter(|wanted| !announced.contains(wanted))?;
    Some(Outcome::Skipped(format!("it is about plugins with {wanted}")))
}

fn verdict(vector: &Vector, side: &'static str, outcome: Outcome) -> Verdict {
    Verdict {
        rule: vector.rule.clone(),
        vector: vector.name.clone(),
        comment: vector.comment.clone(),
        side,
        outcome,
    }
}

/// What was found and expected, as an outcome.
fn outcome(result: Result<()>) -> Outcome {
    match result {
        Ok(()) => Outcome::Kept,
        Err(why) => Outcome::Broken(format!("{why:#}")),
    }
}
