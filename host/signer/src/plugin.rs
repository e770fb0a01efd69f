//! A plugin that answered: its metadata, its transport, its calls. Cheap to clone; clones share one serving process.

use std::ffi::OsString;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prokura_plugin::message::{Command, Metadata, MetadataRequest, PluginConfig, capability};
use prokura_plugin::{Deadline, ErrorCode, KeyId, KeyRequest, PluginName};
use tokio::time::Instant;

use crate::chain::FetchIssuer;
use crate::checks;
use crate::child::{self, Program};
use crate::directory::Executable;
use crate::environment::Environment;
use crate::error::Error;
use crate::grpc::Serving;
use crate::interaction::Interaction;
use crate::limits::{METADATA_DEADLINE, READY_DEADLINE, SIGN_DEADLINE};
use crate::retry::with_retries;
use crate::stdio;
use crate::supervisor::{Patience, Supervision, Supervisor};
use crate::unfit::PinnedSha256;

/// Which transport a host wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preference {
    /// gRPC where the plugin announces it and serves it, else stdio.
    #[default]
    Auto,
    /// stdio.
    Stdio,
    /// gRPC, or an error.
    Grpc,
}

/// Which transport was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Contract 1.0, one process per command.
    Stdio,
    /// `prokura.plugin.v1`, one process for many signatures.
    Grpc,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stdio => "stdio",
            Self::Grpc => "grpc",
        })
    }
}

/// How a plugin is run.
#[derive(Clone)]
pub struct PluginOptions {
    /// The environment as the binary read it. The plugin gets of it what the allow-list names.
    pub environment: Vec<(OsString, OsString)>,
    /// How long one signature may take, retries included.
    pub deadline: Duration,
    /// Which transport.
    pub transport: Preference,
    /// The SHA-256 the executable must have, compared before each start of a process.
    pub pinned_sha256: Option<PinnedSha256>,
    /// Fetches missing issuers from the URLs that certificates name; `None`: they are not fetched.
    pub fetch_issuers: Option<Arc<dyn FetchIssuer>>,
    /// The person whom a serving plugin may ask; `None`: there is nobody.
    pub person: Option<Arc<dyn Interaction>>,
}

impl PluginOptions {
    /// The defaults: [`SIGN_DEADLINE`], [`Preference::Auto`], nothing pinned, nothing fetched, nobody to ask.
    pub const fn new(environment: Vec<(OsString, OsString)>) -> Self {
        Self {
            environment,
            deadline: SIGN_DEADLINE,
            transport: Preference::Auto,
            pinned_sha256: None,
            fetch_issuers: None,
            person: None,
        }
    }
}

impl Default for PluginOptions {
    /// Without any environment.
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

/// A key as a plugin knows it: its id and the plugin config, both within the limits of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyReference {
    key_id: KeyId,
    plugin_config: PluginConfig,
}

impl KeyReference {
    /// Checks and takes what the user configured.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] if the key id is empty, too long or holds control characters, or the config is larger
    /// than a plugin reads.
    pub fn new(key_id: impl Into<String>, plugin_config: PluginConfig) -> Result<Self, Error> {
        let checked = KeyRequest::new(key_id, plugin_config, Deadline::NONE)
            .map_err(|error| Error::InvalidRequest(error.message))?;
        Ok(Self { key_id: checked.key_id().clone(), plugin_config: checked.plugin_config().clone() })
    }

    /// The key id.
    pub const fn key_id(&self) -> &KeyId {
        &self.key_id
    }

    /// The plugin config.
    pub const fn plugin_config(&self) -> &PluginConfig {
        &self.plugin_config
    }
}

/// A plugin whose metadata was read and is valid.
#[derive(Clone)]
pub struct Plugin(Arc<Inner>);

struct Inner {
    program: Arc<Program>,
    metadata: Metadata,
    metadata_took: Duration,
    deadline: Duration,
    transport: Preference,
    supervisor: Supervisor,
    /// Why gRPC was given up for stdio.
    fallback: OnceLock<String>,
    fetch_issuers: Option<Arc<dyn FetchIssuer>>,
}

/// The way to the plugin that was found open.
pub(crate) enum Wire {
    Stdio,
    Grpc(Arc<Serving>),
}

impl Wire {
    pub(crate) const fn transport(&self) -> Transport {
        match self {
            Self::Stdio => Transport::Stdio,
            Self::Grpc(_) => Transport::Grpc,
        }
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Plugin").field(&self.0.program.executable.path()).finish()
    }
}

impl Plugin {
    /// Runs `get-plugin-metadata` and checks the answer. A process that serves gRPC is started with the first call that
    /// needs it. Must be called in a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// [`Error::NotRunnable`] if the executable has not the pinned SHA-256 or does not start; otherwise whatever the
    /// plugin did wrong.
    pub async fn start(
        executable: Executable,
        config: &PluginConfig,
        options: PluginOptions,
    ) -> Result<Self, Error> {
        let environment = Environment::allowed(&options.environment);
        let program = Program { executable, environment, pinned_sha256: options.pinned_sha256 };
        let program = Arc::new(program);
        let begun = Instant::now();
        let limit = METADATA_DEADLINE.min(options.deadline);
        let request = MetadataRequest { plugin_config: config.clone() };
        let name = program.executable.name();
        let asking = with_retries(begun + limit, |left| {
            let read = |answer: &[u8]| checks::metadata(answer, name);
            stdio::call(&program, Command::GetPluginMetadata, &request, left, read)
        });
        // Meanwhile, for the plugin takes longer.
        let (metadata, ()) = tokio::join!(asking, child::clear_stale(&program.environment));
        let metadata = metadata.map_err(|error| with_limit(error, limit))?;
        tracing::debug!(plugin = %name, version = %metadata.version, path = %program.executable.path().display(), "plugin found");
        let person = options.person.filter(|_| metadata.has(capability::INTERACTION_1));
        Ok(Self(Arc::new(Inner {
            metadata,
            metadata_took: begun.elapsed(),
            deadline: options.deadline,
            transport: options.transport,
            // Half, so that time is left for stdio.
            supervisor: Supervisor::new(
                Arc::clone(&program),
                READY_DEADLINE.min(options.deadline / 2),
                person,
            ),
            fallback: OnceLock::new(),
            fetch_issuers: options.fetch_issuers,
            program,
        })))
    }

    /// What the plugin says of itself, cleaned.
    pub fn metadata(&self) -> &Metadata {
        &self.0.metadata
    }

    /// The plugin's name.
    pub fn name(&self) -> &PluginName {
        self.0.program.executable.name()
    }

    /// Its executable.
    pub fn executable(&self) -> &Executable {
        &self.0.program.executable
    }

    /// Why stdio is used although the plugin announces gRPC, if that is so.
    pub fn fallback_reason(&self) -> Option<&str> {
        self.0.fallback.get().map(String::as_str)
    }

    /// How the serving process has fared.
    pub fn supervision(&self) -> Supervision {
        self.0.supervisor.report()
    }

    /// Ends the serving process: closes its stdin, gives it [`crate::limits::STOP_GRACE`] to finish its calls, kills
    /// what is left of its group. Without it, dropping the last clone does the same in the background as long as the
    /// runtime lives, and kills at once when it does not.
    pub async fn close(self) {
        self.0.supervisor.stop().await;
    }

    pub(crate) fn supervisor(&self) -> &Supervisor {
        &self.0.supervisor
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.0.deadline
    }

    pub(crate) fn fetch_issuers(&self) -> Option<&Arc<dyn FetchIssuer>> {
        self.0.fetch_issuers.as_ref()
    }

    pub(crate) fn metadata_took(&self) -> Duration {
        self.0.metadata_took
    }

    /// One stdio command, repeated where the plugin asks for it.
    pub(crate) async fn command<T>(
        &self,
        command: Command,
        request: &impl serde::Serialize,
        deadline: Instant,
        read: impl Fn(&[u8]) -> Result<T, crate::error::Violation>,
    ) -> Result<T, Error> {
        let call = |left| stdio::call(&self.0.program, command, request, left, &read);
        with_retries(deadline, call).await.map_err(|error| with_limit(error, self.0.deadline))
    }

    /// The serving process if gRPC is wanted and works, started now if need be; one that is of no more use is replaced.
    pub(crate) async fn wire(&self) -> Result<Wire, Error> {
        let announced = self.metadata().has(capability::TRANSPORT_GRPC_1);
        match self.0.transport {
            Preference::Stdio => return Ok(Wire::Stdio),
            Preference::Auto if !announced => return Ok(Wire::Stdio),
            Preference::Grpc if !announced => {
                return Err(self.incapable(capability::TRANSPORT_GRPC_1, "the transport asked for takes"));
            }
            Preference::Auto | Preference::Grpc => {}
        }
        if self.0.fallback.get().is_some() {
            return Ok(Wire::Stdio);
        }
        // A plugin that served once has its process replaced; stdio stands in for one that never did.
        let may_fall_back = self.0.transport == Preference::Auto && self.supervision().generation == 0;
        let patience = if may_fall_back { Patience::One } else { Patience::Several };
        match self.0.supervisor.serving(Instant::now() + self.0.deadline, patience).await {
            Ok(serving) => Ok(Wire::Grpc(serving)),
            Err(error) if may_fall_back && stdio_may_do(&error) => {
                tracing::warn!(plugin = %self.name(), %error, "gRPC does not work, falling back to stdio");
                let _ = self.0.fallback.set(error.to_string());
                Ok(Wire::Stdio)
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) fn incapable(&self, needed: &'static str, purpose: &'static str) -> Error {
        let found = format!("{:?}", self.metadata().capabilities);
        Error::Incapable { plugin: self.name().clone(), needed, purpose, found }
    }
}

/// A vault that refuses would refuse over stdio too, and a wrong PIN would cost another of its tries.
fn stdio_may_do(error: &Error) -> bool {
    !matches!(error, Error::Refused { code, .. } if *code != ErrorCode::UnsupportedContractVersion)
}

/// A call that came late in the story was given what was left; people are told the whole limit.
pub(crate) fn with_limit(error: Error, whole: Duration) -> Error {
    match error {
        Error::TooSlow { plugin, call, .. } => Error::TooSlow { plugin, call, limit: whole },
        other => other,
    }
}
