//! `prokura.plugin.v1` over a UNIX socket: one process for many signatures. Deadlines travel as `grpc-timeout`.

mod answer;
mod hangs;
mod interact;
mod process;
mod sign_stream;
mod status;
mod vault;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prokura_plugin::limits::GRPC_MESSAGE_BYTES_MAX;
use prokura_plugin::{Digest, KeySpec, PluginName};
use prokura_proto::plugin::v1 as wire;
use prokura_proto::plugin::v1::plugin_client::PluginClient;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::child::Program;
use crate::error::{Error, Violation};
use crate::interaction::Interaction;
use crate::limits::USEFUL_LIFE;
use crate::plugin::KeyReference;
use crate::sign::{DigestSignature, KeyDescription};
use answer::{described, listed, signed};
use hangs::Hangs;
use process::Process;

pub(crate) use process::SERVE;

/// Name of the method in errors.
pub(crate) const DESCRIBE_KEY: &str = "DescribeKey";
/// Name of the method in errors.
pub(crate) const SIGN_DIGEST: &str = "SignDigest";

/// A plugin that serves. Calls run in parallel. Dropping it stops the process in the background.
pub(crate) struct Serving {
    plugin: PluginName,
    channel: Channel,
    client: PluginClient<Channel>,
    process: Option<Process>,
    generation: u64,
    since: Instant,
    /// A signature was made or refused: whatever happens later, the process can work.
    has_answered: AtomicBool,
    hangs: Hangs,
    /// The plugin's way to the person.
    listener: Option<JoinHandle<()>>,
    /// Why the process is of no more use, though it may still run.
    end: OnceLock<Error>,
}

impl Serving {
    /// Starts `notation-x serve --socket PATH`, waits for its ready line and connects.
    pub(crate) async fn start(program: &Program, limit: Duration) -> Result<Self, Error> {
        let (process, channel) = process::start(program, limit).await?;
        let client = PluginClient::new(channel.clone())
            .max_decoding_message_size(GRPC_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(GRPC_MESSAGE_BYTES_MAX);
        Ok(Self {
            plugin: program.executable.name().clone(),
            channel,
            client,
            process: Some(process),
            generation: 0,
            since: Instant::now(),
            has_answered: AtomicBool::new(false),
            hangs: Hangs::default(),
            listener: None,
            end: OnceLock::new(),
        })
    }

    /// Lets the plugin ask this person. A plugin that does not take the call goes on without.
    pub(crate) async fn introduce(&mut self, person: Arc<dyn Interaction>) {
        match interact::open(self.client.clone(), self.plugin.clone(), person).await {
            Ok(listener) => self.listener = Some(listener),
            Err(error) => tracing::warn!(%error, "the plugin cannot ask anybody"),
        }
    }

    pub(crate) fn set_generation(&mut self, generation: u64) {
        self.generation = generation;
    }

    /// Which of the plugin's processes it is, counted from 1.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn plugin(&self) -> &PluginName {
        &self.plugin
    }

    pub(crate) fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Whether new calls may use it.
    pub(crate) fn is_alive(&self) -> bool {
        self.end.get().is_none() && self.process.as_ref().is_some_and(|process| process.exit_name().is_none())
    }

    /// Whether it made or refused a signature, or lived so long that its end is an accident of its own.
    pub(crate) fn was_of_use(&self) -> bool {
        self.has_answered.load(Ordering::Relaxed) || self.since.elapsed() >= USEFUL_LIFE
    }

    /// Why it is of no more use, for people.
    pub(crate) fn end(&self) -> Error {
        let died = || Some(self.process.as_ref()?.death(&self.plugin, SERVE));
        let stopped = || Violation::new("GRPC-1", "the process was stopped").by(&self.plugin, SERVE);
        self.end.get().cloned().or_else(died).unwrap_or_else(stopped)
    }

    /// Kills the process, which ends the calls that still wait for it. The first reason is kept.
    pub(crate) fn give_up(&self, reason: Error) {
        tracing::warn!(plugin = %self.plugin, %reason, "the plugin's process is killed");
        let _ = self.end.set(reason);
        if let Some(process) = &self.process {
            process.kill();
        }
    }

    /// Whether a call failed with `error` because the process ended, or was lost sight of, during it.
    pub(crate) fn is_lost_with(&self, error: &Error) -> bool {
        match error {
            Error::Died { .. } => true,
            Error::Malformed { rule, .. } => *rule == status::BROKEN && self.end.get().is_some(),
            _ => false,
        }
    }

    /// A signature with this key was made or refused.
    pub(crate) fn answered(&self, key: &KeyReference) {
        self.has_answered.store(true, Ordering::Relaxed);
        self.hangs.over(key);
    }

    /// A call with this key ran into its deadline. Whether these are too many.
    pub(crate) fn hung(&self, key: &KeyReference) -> bool {
        self.hangs.add(key)
    }

    /// Completes as soon as the process answers anything, be it that it knows no health service.
    pub(crate) fn health_check(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        let mut client = HealthClient::new(self.channel.clone());
        let service = "prokura.plugin.v1.Plugin".to_owned();
        self.is_alive().then_some(async move {
            let _ = client.check(HealthCheckRequest { service }).await;
        })
    }

    /// Stops the process and waits for its end.
    pub(crate) async fn stop(mut self) {
        if let Some(process) = self.process.take() {
            if let Some(listener) = self.listener.take() {
                listener.abort();
                // An open call would be waited for by the plugin.
                let _ = listener.await;
            }
            drop(self);
            process.stop().await;
        }
    }

    pub(crate) async fn describe_key(
        &self,
        key: &KeyReference,
        limit: Duration,
    ) -> Result<KeyDescription, Error> {
        let request = wire::DescribeKeyRequest { key: Some(reference(key)) };
        check_size(&request)?;
        let mut client = self.client.clone();
        let answer = self
            .call(DESCRIBE_KEY, limit, async move { client.describe_key(timed(request, limit)).await })
            .await?;
        described(answer, key).map_err(|violation| violation.by(&self.plugin, DESCRIBE_KEY))
    }

    pub(crate) async fn sign_digest(
        &self,
        key: &KeyReference,
        spec: KeySpec,
        digest: &Digest,
        to_be_signed: Option<&[u8]>,
        limit: Duration,
    ) -> Result<DigestSignature, Error> {
        let request = wire::SignDigestRequest {
            key: Some(reference(key)),
            key_spec: spec.as_str().to_owned(),
            hash_algorithm: digest.algorithm().as_str().to_owned(),
            digest: digest.bytes().to_vec(),
            to_be_signed: to_be_signed.unwrap_or_default().to_vec(),
        };
        check_size(&request)?;
        let mut client = self.client.clone();
        let answer = self
            .call(SIGN_DIGEST, limit, async move { client.sign_digest(timed(request, limit)).await })
            .await?;
        self.judged(answer, key, spec, SIGN_DIGEST)
    }

    /// An answer whose form is right, from a key of the spec that was asked for.
    fn judged(
        &self,
        answer: wire::SignDigestResponse,
        key: &KeyReference,
        spec: KeySpec,
        call: &'static str,
    ) -> Result<DigestSignature, Error> {
        match signed(answer, key, spec) {
            Ok(Ok(signature)) => Ok(signature),
            Ok(Err(other)) => Err(Error::KeyChanged {
                plugin: self.plugin.clone(),
                key_id: key.key_id().to_string(),
                described_by: DESCRIBE_KEY,
                signed_by: call,
                described: spec,
                signed: other,
            }),
            Err(violation) => Err(violation.by(&self.plugin, call)),
        }
    }

    async fn call<T>(
        &self,
        call: &'static str,
        limit: Duration,
        answer: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, Error> {
        let begun = Instant::now();
        let answer = tokio::time::timeout(limit, answer).await;
        let (took_ms, ok) = (begun.elapsed().as_millis(), matches!(answer, Ok(Ok(_))));
        tracing::debug!(plugin = %self.plugin, transport = "grpc", call, took_ms, ok, "plugin call");
        let status = match answer {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) if !status::is_own_timeout(&status) => status,
            Ok(Err(_)) | Err(_) => {
                return Err(Error::TooSlow { plugin: self.plugin.clone(), call, limit });
            }
        };
        if let Some(refused) = status::refused(&self.plugin, call, &status) {
            return Err(refused);
        }
        // The connection breaks a moment before the end of the process can be seen.
        if let Some(process) = &self.process
            && let Some(died) = process.died(&self.plugin, call).await
        {
            return Err(died);
        }
        let broken = status::broken(&self.plugin, call, &status);
        if status::is_lost_connection(&status) {
            self.give_up(broken.clone());
        }
        Err(broken)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(listener) = self.listener.take() {
            listener.abort();
        }
        if let (Some(process), Ok(runtime)) = (self.process.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(process.stop());
        }
    }
}

fn reference(key: &KeyReference) -> wire::KeyReference {
    wire::KeyReference {
        key_id: key.key_id().to_string(),
        plugin_config: key.plugin_config().0.clone().into_iter().collect(),
    }
}

fn check_size(request: &impl prost::Message) -> Result<(), Error> {
    let found = request.encoded_len();
    if found <= GRPC_MESSAGE_BYTES_MAX {
        return Ok(());
    }
    Err(Error::InvalidRequest(format!(
        "key id, plugin config and what is signed have {found} bytes together, at most {GRPC_MESSAGE_BYTES_MAX} are allowed"
    )))
}

fn timed<T>(message: T, limit: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(limit);
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_above_the_limit_are_not_sent() {
        let config = (0..17).map(|n| (n.to_string(), "v".repeat(64 * 1024))).collect();
        let large = KeyReference::new("k", config).unwrap();
        let small = KeyReference::new("k", Default::default()).unwrap();
        let check = |key: &KeyReference| check_size(&wire::DescribeKeyRequest { key: Some(reference(key)) });
        assert!(check(&small).is_ok());
        let to_be_signed = vec![0; GRPC_MESSAGE_BYTES_MAX];
        assert!(check_size(&wire::SignDigestRequest { to_be_signed, ..Default::default() }).is_err());
        let error = check(&large).unwrap_err();
        assert!(error.to_string().contains("at most 1048576 are allowed; correct the request"), "{error}");
    }
}
