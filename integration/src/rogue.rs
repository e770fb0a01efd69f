//! The rogue plugin: signs as the SDK does, but for one broken rule, chosen by plugin config `break`.
//!
//! Plugin config: `break` names a [`Break`]; `transport=grpc` makes it announce gRPC; `spec` is the key spec of the key
//! it makes up (EC-256); `at` is the command in which a [`Break`] of the process happens (`generate-signature`);
//! `pids` names a file into which every process of the rogue writes its id. It has no vault: each process makes a key,
//! unless `key` names a file in which it is kept.
//!
//! Over gRPC there is more: `lives` names a file that counts the serving processes, and the [`Break`] happens only up to
//! life `until`, or only after life `after`; `only` is the key id with which it happens; `signs` names a file into which
//! the process writes its id when it is asked to sign; `takes` is how many milliseconds a good signature takes; `touch`
//! is the touch policy it describes. `vault` names a [`VaultBreak`] and makes it a vault, with all that may be announced.

mod key;
mod process;
mod pss;
mod socket;
mod stdio;
mod switch;
mod vault;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum as _;
use prokura_plugin::KeySpec;
use prokura_plugin::message::{Metadata, PluginConfig, capability};

pub use switch::Break;
pub use vault::VaultBreak;

/// What the rogue was told by plugin config.
#[derive(Clone)]
struct Told {
    switch: Break,
    grpc: bool,
    spec: KeySpec,
    at: String,
    pids: Option<PathBuf>,
    key: Option<PathBuf>,
    life: Life,
    only: Option<String>,
    signs: Option<PathBuf>,
    takes: Duration,
    touch: String,
    vault: Option<VaultBreak>,
}

/// In which serving processes the switch has its effect.
#[derive(Clone, Default)]
struct Life {
    counter: Option<PathBuf>,
    until: Option<usize>,
    after: Option<usize>,
}

/// The whole program.
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["serve", "--socket", path] => socket::serve(path.as_ref()),
        [process::LINGER] => process::linger(),
        [socket::ELSEWHERE, path] => socket::serve_elsewhere(path.as_ref()),
        [command] => stdio::answer(command),
        _ => Err(anyhow::anyhow!("the rogue takes one command, found {arguments:?}")),
    };
    done.unwrap_or_else(|error| process::fail(&error))
}

impl Told {
    fn by(config: &PluginConfig) -> Result<Self> {
        let entry = |name: &str| config.0.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let switch = Break::from_str(entry("break").unwrap_or("nothing"), false);
        let vault = entry("vault").map(|word| VaultBreak::from_str(word, false));
        Ok(Self {
            switch: switch.map_err(|why| anyhow::anyhow!("plugin config break: {why}"))?,
            grpc: entry("transport") == Some("grpc"),
            spec: entry("spec").unwrap_or("EC-256").parse()?,
            at: entry("at").unwrap_or("generate-signature").to_owned(),
            pids: entry("pids").map(PathBuf::from),
            key: entry("key").map(PathBuf::from),
            life: Life {
                counter: entry("lives").map(PathBuf::from),
                until: entry("until").map(str::parse).transpose()?,
                after: entry("after").map(str::parse).transpose()?,
            },
            only: entry("only").map(str::to_owned),
            signs: entry("signs").map(PathBuf::from),
            takes: Duration::from_millis(entry("takes").unwrap_or("0").parse()?),
            touch: entry("touch").unwrap_or_default().to_owned(),
            vault: vault.transpose().map_err(|why| anyhow::anyhow!("plugin config vault: {why}"))?,
        })
    }

    /// As a serving process remembers it: without its switch in lives that are none of it.
    fn reborn() -> Result<Self> {
        let mut told = Self::remembered()?;
        process::note_pid(told.pids.as_deref())?;
        process::note_pid(told.life.counter.as_deref())?;
        let lives = told.life.counter.as_deref().map(std::fs::read_to_string).transpose()?;
        let life = lives.unwrap_or_default().lines().count();
        let Life { until, after, .. } = told.life;
        if until.is_some_and(|until| life > until) || after.is_some_and(|after| life <= after) {
            told.switch = Break::Nothing;
        }
        Ok(told)
    }

    /// `serve` is started without plugin config: the command before it leaves it beside the executable.
    fn remember(config: &PluginConfig) -> Result<()> {
        Ok(std::fs::write(Self::memory()?, serde_json::to_vec(config)?)?)
    }

    fn remembered() -> Result<Self> {
        let memory = Self::memory()?;
        let config = std::fs::read(&memory).with_context(|| memory.display().to_string())?;
        Self::by(&serde_json::from_slice(&config)?)
    }

    fn memory() -> Result<PathBuf> {
        Ok(std::env::current_exe()?.with_extension("told"))
    }

    fn metadata(&self) -> Metadata {
        let mut metadata = prokura_plugin::metadata!("rogue", "Breaks one rule. For tests");
        if !self.grpc {
            metadata.capabilities.retain(|c| c != capability::TRANSPORT_GRPC_1);
        }
        metadata.capabilities.extend(vault::capabilities(self.vault));
        match self.switch {
            Break::OtherName => metadata.name = "somebody-else".to_owned(),
            Break::EmptyVersion => metadata.version.clear(),
            Break::NoCapabilities => metadata.capabilities.clear(),
            Break::OtherContractVersion => metadata.supported_contract_versions = vec!["2.0".to_owned()],
            Break::GrpcSignsOtherBytes | Break::GrpcNeedsBytes => {
                metadata.capabilities.push(capability::TO_BE_SIGNED_1.to_owned());
            }
            Break::EscapesInMetadata => metadata.description = "a \u{1b}[31mred\u{1b}[0m plugin".to_owned(),
            _ => {}
        }
        metadata
    }
}
