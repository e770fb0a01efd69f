//! The connection: clients and credentials shared by keys, requests that are made again within their deadline.

mod assertion;
mod cached;
pub(crate) mod create;
mod credential;
pub(crate) mod list;
mod retry;
mod transport;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use azure_core::http::{ClientOptions, RetryOptions, Transport};
use azure_security_keyvault_certificates::{CertificateClient, CertificateClientOptions};
use azure_security_keyvault_keys::{KeyClient, KeyClientOptions};
use azure_security_keyvault_secrets::{SecretClient, SecretClientOptions};
use prokura_plugin::{Deadline, Error, KeyRequest, OpenKey, SigningKey};
use tokio::runtime::Runtime;

use crate::Surroundings;
use crate::config::Config;
use crate::config::key_name::VaultHost;
use crate::config::source::Source;
use crate::error::{Attempt, Operation, Refusal};
use crate::key::VaultKey;
use crate::limits::{ANSWER_MARGIN, CALL_TIME_MAX, CONNECTIONS_MAX};

/// All vaults this process talks to.
#[derive(Clone)]
pub(crate) struct Vault(Arc<Shared>);

struct Shared {
    surroundings: Arc<Surroundings>,
    engine: Mutex<Option<Engine>>,
    connections: Mutex<HashMap<Name, Arc<Connection>>>,
}

/// What makes two connections the same.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Name {
    host: VaultHost,
    source: Source,
    authority: String,
    verify_challenge_resource: bool,
}

/// What carries requests: started when first needed, for most commands need none.
#[derive(Clone)]
struct Engine {
    runtime: Arc<Running>,
    to_azure: Transport,
}

struct Running(Option<Runtime>);

impl Drop for Running {
    fn drop(&mut self) {
        // Whoever drops the last key may be a task itself, which must not wait for a runtime to end.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// One vault and one credential.
pub(crate) struct Connection {
    pub(crate) keys: KeyClient,
    pub(crate) certificates: CertificateClient,
    pub(crate) secrets: SecretClient,
    pub(crate) host: VaultHost,
    /// The credential, as shown to people.
    pub(crate) source: String,
    runtime: Arc<Running>,
    /// The vault has taken a token of this connection.
    proven: AtomicBool,
    /// The vault takes the token no longer.
    stale: AtomicBool,
}

impl Vault {
    /// Connects to nothing yet.
    pub(crate) fn new(surroundings: Surroundings) -> Self {
        let (engine, connections) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Shared { surroundings: Arc::new(surroundings), engine, connections }))
    }

    pub(crate) fn surroundings(&self) -> &Surroundings {
        &self.0.surroundings
    }

    /// The connection to `host` with the credential that `config` chooses. Asks nobody yet.
    pub(crate) fn connect(&self, host: &VaultHost, config: &Config) -> Result<Arc<Connection>, Error> {
        let name = Name {
            host: host.clone(),
            source: config.source.clone(),
            authority: config.authority(host),
            verify_challenge_resource: config.verify_challenge_resource,
        };
        let mut connections = locked(&self.0.connections);
        connections.retain(|_, connection| !connection.stale.load(Ordering::Relaxed));
        if let Some(connection) = connections.get(&name) {
            return Ok(Arc::clone(connection));
        }
        let connection = Arc::new(Connection::new(&name, self.engine()?, &self.0.surroundings)?);
        if connections.len() < CONNECTIONS_MAX {
            connections.insert(name, Arc::clone(&connection));
        }
        Ok(connection)
    }

    fn engine(&self) -> Result<Engine, Error> {
        let mut engine = locked(&self.0.engine);
        if let Some(engine) = &*engine {
            return Ok(engine.clone());
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime =
            runtime.map_err(|e| Error::internal(format!("no thread for requests can be started: {e}")))?;
        let started = Engine { runtime: Arc::new(Running(Some(runtime))), to_azure: transport::to_azure()? };
        *engine = Some(started.clone());
        Ok(started)
    }
}

impl OpenKey for Vault {
    fn open_key(&self, request: &KeyRequest) -> Result<Box<dyn SigningKey>, Error> {
        Ok(Box::new(VaultKey::open(self, request)?))
    }
}

impl Connection {
    fn new(name: &Name, engine: Engine, surroundings: &Arc<Surroundings>) -> Result<Self, Error> {
        let Engine { runtime, to_azure } = engine;
        let token = credential::credential(&name.source, &name.authority, to_azure.clone(), surroundings)?;
        let client_options = ClientOptions {
            transport: Some(to_azure),
            retry: RetryOptions::none(),
            ..ClientOptions::default()
        };
        let verify_challenge_resource = Some(name.verify_challenge_resource);
        let url = name.host.url();
        let refuse = |e: azure_core::Error| Error::validation(format!("vault {url}: {e}"));
        let keys = KeyClientOptions {
            client_options: client_options.clone(),
            verify_challenge_resource,
            ..KeyClientOptions::default()
        };
        let certificates = CertificateClientOptions {
            client_options: client_options.clone(),
            verify_challenge_resource,
            ..CertificateClientOptions::default()
        };
        let secrets = SecretClientOptions {
            client_options,
            verify_challenge_resource,
            ..SecretClientOptions::default()
        };
        Ok(Self {
            keys: KeyClient::new(&url, Arc::clone(&token), Some(keys)).map_err(refuse)?,
            certificates: CertificateClient::new(&url, Arc::clone(&token), Some(certificates))
                .map_err(refuse)?,
            secrets: SecretClient::new(&url, token, Some(secrets)).map_err(refuse)?,
            host: name.host.clone(),
            source: name.source.to_string(),
            runtime,
            proven: AtomicBool::new(false),
            stale: AtomicBool::new(false),
        })
    }

    /// Makes a request, again where that may help and the deadline allows. Blocks.
    ///
    /// # Errors
    /// The last refusal, in the contract's words.
    pub(crate) fn call<T, F>(
        &self,
        operation: Operation,
        object: &impl fmt::Display,
        deadline: Deadline,
        request: impl Fn() -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = azure_core::Result<T>>,
    {
        self.try_call(deadline, request)?.map_err(|refusal| self.refused(operation, object, refusal))
    }

    /// [`Self::call`] for requests whose refusal is not the last word.
    ///
    /// # Errors
    /// `TIMEOUT` if the deadline has passed already.
    pub(crate) fn try_call<T, F>(
        &self,
        deadline: Deadline,
        request: impl Fn() -> F,
    ) -> Result<Result<T, Refusal>, Error>
    where
        F: Future<Output = azure_core::Result<T>>,
    {
        deadline.check()?;
        let Some(runtime) = &self.runtime.0 else { return Err(Error::internal("the connection is closed")) };
        let started = Instant::now();
        let left = deadline.remaining().map(|left| left.saturating_sub(ANSWER_MARGIN.min(left / 4)));
        let allowed = left.unwrap_or(CALL_TIME_MAX);
        let outcome = runtime.block_on(async {
            let mut attempts = 0;
            loop {
                attempts += 1;
                let left = allowed.saturating_sub(started.elapsed());
                let refusal = match tokio::time::timeout(left, request()).await {
                    Ok(Ok(value)) => return Ok(value),
                    Ok(Err(error)) => Refusal::of(&error),
                    Err(_) => Refusal::late(started.elapsed()),
                };
                let left = allowed.saturating_sub(started.elapsed());
                match retry::pause(refusal.again(), attempts, retry::chance()).filter(|pause| *pause < left) {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Err(refusal),
                }
            }
        });
        match &outcome {
            Ok(_) => self.proven.store(true, Ordering::Relaxed),
            Err(refusal) if refusal.is_about_the_token() => self.stale.store(true, Ordering::Relaxed),
            Err(_) => {}
        }
        Ok(outcome)
    }

    /// A refusal in the contract's words.
    pub(crate) fn refused(
        &self,
        operation: Operation,
        object: &impl fmt::Display,
        refusal: Refusal,
    ) -> Error {
        let object = object.to_string();
        let proven = self.proven.load(Ordering::Relaxed);
        let attempt = Attempt { operation, host: &self.host, object: &object, source: &self.source, proven };
        refusal.into_error(&attempt)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
