//! What one process keeps: a runtime, and a session with AWS per place, whose clients and credentials all keys share.

pub(crate) mod attempts;
pub(crate) mod credentials;
pub(crate) mod keys;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::config::retry::{RetryPartition, TokenBucket};
use aws_sdk_kms::config::{IdentityCache, Region};
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use prokura_plugin::{Deadline, Error, Scope};
use tokio::runtime::Runtime;

use crate::config::{CredentialSource, Place};
use crate::error::{Doing, out_of_time, refused};
use crate::limits::{
    ANSWER_MILLISECONDS, ATTEMPT_SECONDS_MAX, ATTEMPTS_MAX, CALL_SECONDS_MAX, CONNECT_SECONDS_MAX,
    CREDENTIALS_SECONDS_MAX, PAUSE_MILLISECONDS, PAUSE_SECONDS_MAX, SESSIONS_MAX, THREADS,
};
use attempts::Attempts;
use credentials::Chain;

/// All sessions of this process.
#[derive(Default)]
pub(crate) struct Vault {
    runtime: OnceLock<Result<Runtime, String>>,
    sessions: Mutex<HashMap<Place, Arc<Session>>>,
}

impl Vault {
    /// The session of a place, made now if there is none.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` if no region is known. Nothing is asked of AWS yet.
    pub(crate) fn session(&self, place: &Place) -> Result<Arc<Session>, Error> {
        if let Some(session) = self.sessions().get(place).filter(|s| !s.is_stale()) {
            return Ok(Arc::clone(session));
        }
        let session = Arc::new(self.runtime()?.block_on(Session::start(place))?);
        let mut sessions = self.sessions();
        if sessions.len() >= SESSIONS_MAX {
            sessions.clear();
        }
        sessions.insert(place.clone(), Arc::clone(&session));
        Ok(session)
    }

    /// Makes a call of AWS and waits for it, within `deadline`.
    ///
    /// # Errors
    /// What AWS says, in the words of [`crate::error`].
    pub(crate) fn call<T, E>(
        &self,
        session: &Session,
        doing: &Doing<'_>,
        deadline: Deadline,
        attempts: &Attempts<E>,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Error>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        self.runtime()?.block_on(session.call(doing, deadline, attempts, call))
    }

    /// The runtime all calls run on.
    ///
    /// # Errors
    /// `ERROR` if the system gives no threads.
    pub(crate) fn runtime(&self) -> Result<&Runtime, Error> {
        let start = || {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            runtime.worker_threads(THREADS).enable_all().build().map_err(|e| e.to_string())
        };
        self.runtime.get_or_init(start).as_ref().map_err(|e| Error::internal(format!("no runtime: {e}")))
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, HashMap<Place, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Clients of one place; credentials are fetched at the first call and kept until they expire.
pub(crate) struct Session {
    region: String,
    chain: Arc<Chain>,
    sdk: SdkConfig,
    kms: aws_sdk_kms::Client,
    /// AWS has accepted the credentials at least once.
    proven: AtomicBool,
    /// AWS has refused the credentials: the next key gets a new session.
    stale: AtomicBool,
}

impl Session {
    async fn start(place: &Place) -> Result<Self, Error> {
        let region = region(place).await?;
        let chain = Arc::new(Chain::of(place, &region));
        let sdk = sdk_config(place, &region, Arc::clone(&chain)).await;
        let mut kms = aws_sdk_kms::config::Builder::from(&sdk).retry_partition(retry_partition());
        if let Some(endpoint) = &place.endpoint {
            kms = kms.endpoint_url(endpoint);
        }
        let kms = aws_sdk_kms::Client::from_conf(kms.build());
        Ok(Self { region, chain, sdk, kms, proven: AtomicBool::new(false), stale: AtomicBool::new(false) })
    }

    /// The client of KMS.
    pub(crate) const fn kms(&self) -> &aws_sdk_kms::Client {
        &self.kms
    }

    /// The region that is asked.
    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    /// Configuration for clients of other services, in `region` if that is another one.
    pub(crate) fn sdk(&self, region: Option<&str>) -> SdkConfig {
        match region {
            Some(region) if region != self.region => {
                self.sdk.to_builder().region(Region::new(region.to_owned())).build()
            }
            _ => self.sdk.clone(),
        }
    }

    /// The source whose credentials are in use; none before the first call.
    pub(crate) fn credential_source(&self) -> Option<CredentialSource> {
        self.chain.chosen()
    }

    /// As [`Vault::call`], on its runtime.
    pub(crate) async fn call<T, E>(
        &self,
        doing: &Doing<'_>,
        deadline: Deadline,
        attempts: &Attempts<E>,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Error>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        deadline.check()?;
        match tokio::time::timeout(time_for(deadline), call).await {
            Ok(Ok(answer)) => {
                self.proven.store(true, Ordering::Relaxed);
                Ok(answer)
            }
            Ok(Err(error)) => Err(self.judged(refused(doing, self, &error))),
            Err(_) => Err(out_of_time(doing, &attempts.seen())),
        }
    }

    /// Credentials that worked before and no longer do have expired: a new session may fetch new ones. Credentials that
    /// never worked are wrong.
    fn judged(&self, error: Error) -> Error {
        if error.scope != Some(Scope::Session) {
            return error;
        }
        self.stale.store(true, Ordering::Relaxed);
        let retryable = self.proven.load(Ordering::Relaxed);
        error.retryable(retryable)
    }

    fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }
}

/// What is left for a call, less what the answer needs to travel.
fn time_for(deadline: Deadline) -> Duration {
    let left = deadline.remaining().unwrap_or(Duration::MAX).min(Duration::from_secs(CALL_SECONDS_MAX));
    left - Duration::from_millis(ANSWER_MILLISECONDS).min(left / 4)
}

/// The region config names, or that of the environment, or of the profile; that of EC2 only where it was asked for.
async fn region(place: &Place) -> Result<String, Error> {
    if let Some(region) = &place.region {
        return Ok(region.clone());
    }
    let profile = ProfileFileRegionProvider::builder();
    let profile = match &place.profile {
        Some(name) => profile.profile_name(name).build(),
        None => profile.build(),
    };
    let chain = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new()).or_else(profile);
    let chain = match place.credentials {
        CredentialSource::Metadata => chain.or_else(ImdsRegionProvider::builder().build()),
        _ => chain,
    };
    let found = tokio::time::timeout(Duration::from_secs(CREDENTIALS_SECONDS_MAX), chain.region()).await;
    found.ok().flatten().map(|region| region.to_string()).ok_or_else(|| {
        Error::validation(
            "no AWS region is known: name the key by its ARN, or set --plugin-config region=REGION, AWS_REGION or \
             region in the profile",
        )
    })
}

async fn sdk_config(place: &Place, region: &str, chain: Arc<Chain>) -> SdkConfig {
    let credentials_time = Duration::from_secs(CREDENTIALS_SECONDS_MAX);
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(Region::new(region.to_owned()))
        .credentials_provider(SharedCredentialsProvider::from(chain as Arc<dyn ProvideCredentials>))
        .identity_cache(IdentityCache::lazy().load_timeout(credentials_time).build())
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(ATTEMPTS_MAX)
                .with_initial_backoff(Duration::from_millis(PAUSE_MILLISECONDS))
                .with_max_backoff(Duration::from_secs(PAUSE_SECONDS_MAX)),
        )
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(Duration::from_secs(CONNECT_SECONDS_MAX))
                .operation_attempt_timeout(Duration::from_secs(ATTEMPT_SECONDS_MAX))
                .build(),
        );
    if let Some(fips) = place.fips {
        loader = loader.use_fips(fips);
    }
    if let Some(dual_stack) = place.dual_stack {
        loader = loader.use_dual_stack(dual_stack);
    }
    if let Some(profile) = &place.profile {
        loader = loader.profile_name(profile);
    }
    loader.load().await
}

/// The SDK stops retrying once many calls of a process have failed. Here each call ends by its own deadline, and pauses
/// between attempts grow and are drawn at random, so no such account is kept.
fn retry_partition() -> RetryPartition {
    RetryPartition::custom("prokura").token_bucket(TokenBucket::unlimited()).build()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_call_ends_before_the_host_stops_waiting() {
        assert_eq!(time_for(Deadline::NONE).as_secs(), CALL_SECONDS_MAX - 1);
        let soon = Deadline::at(Instant::now() + Duration::from_secs(5));
        assert!(time_for(soon) < Duration::from_millis(4_950));
        assert!(
            time_for(Deadline::at(Instant::now() + Duration::from_millis(150))) > Duration::from_millis(100)
        );
    }
}
