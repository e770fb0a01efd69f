//! The connection: one to each broker for the life of the process, and the one way to ask it.

mod connect;
mod patience;
mod secret;
mod token;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use prokura_plugin::{Deadline, Error, VaultRequest};
use prokura_proto::broker::v1;
use prokura_proto::broker::v1::broker_client::BrokerClient;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::config::{ConnectionConfig, Environment};
use crate::error::{Failure, failed};
use crate::limits::{ANSWER_BYTES_MAX, ATTEMPTS_MAX, CONNECTIONS_MAX};
use token::Tokens;

/// All brokers this process talks to.
pub(crate) struct Brokers {
    environment: Environment,
    runtime: &'static tokio::runtime::Runtime,
    connections: Mutex<HashMap<ConnectionConfig, Arc<Broker>>>,
}

impl Brokers {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(crate) fn new(environment: Environment) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        // For the life of the process: a runtime must not be dropped where the last key may be, on a network thread.
        let runtime = Box::leak(Box::new(runtime));
        Ok(Self { environment, runtime, connections: Mutex::default() })
    }

    /// The broker that a request means; asks it nothing yet.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` if the config is unfit.
    pub(crate) fn broker(&self, request: &VaultRequest) -> Result<Arc<Broker>, Error> {
        let config = ConnectionConfig::read(request, &self.environment)?;
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(broker) = connections.get(&config) {
            return Ok(Arc::clone(broker));
        }
        if connections.len() >= CONNECTIONS_MAX {
            return Err(Error::validation(format!(
                "this process uses {CONNECTIONS_MAX} brokers or identities already, which is the most it may"
            )));
        }
        let channel = {
            let _inside = self.runtime.enter();
            connect::channel(&config)?
        };
        let broker = Arc::new(Broker {
            client: BrokerClient::new(channel)
                .max_decoding_message_size(ANSWER_BYTES_MAX)
                .max_encoding_message_size(ANSWER_BYTES_MAX),
            tokens: Tokens::new(config.token.clone(), self.environment.clone()),
            environment: self.environment.clone(),
            runtime: self.runtime,
            config: config.clone(),
        });
        connections.insert(config, Arc::clone(&broker));
        Ok(broker)
    }
}

/// One broker, seen by one identity.
pub(crate) struct Broker {
    config: ConnectionConfig,
    client: BrokerClient<Channel>,
    tokens: Tokens,
    environment: Environment,
    runtime: &'static tokio::runtime::Runtime,
}

impl Broker {
    /// Which key a name stands for.
    ///
    /// # Errors
    /// As the table in [`crate::error`] says.
    pub(crate) fn describe(&self, name: &str, deadline: Deadline) -> Result<v1::DescribeKeyResponse, Error> {
        let request = v1::DescribeKeyRequest { key_name: name.to_owned() };
        let call =
            |mut client: BrokerClient<Channel>, request| async move { client.describe_key(request).await };
        self.ask(&format!("read key {name}"), &request, deadline, call)
    }

    /// Signs. The idempotency key of the request makes it harmless that it may be sent several times.
    ///
    /// # Errors
    /// As [`Self::describe`].
    pub(crate) fn sign(
        &self,
        request: &v1::SignRequest,
        deadline: Deadline,
    ) -> Result<v1::SignResponse, Error> {
        let call = |mut client: BrokerClient<Channel>, request| async move { client.sign(request).await };
        self.ask(&format!("sign with key {}", request.key_name), request, deadline, call)
    }

    /// The names of the keys that the broker offers, at most [`prokura_plugin::limits::LISTED_KEYS_MAX`] and one.
    ///
    /// # Errors
    /// As [`Self::describe`].
    pub(crate) fn list(&self, deadline: Deadline) -> Result<Vec<String>, Error> {
        let call = |mut client: BrokerClient<Channel>, request| async move {
            let mut keys = client.list_keys(request).await?.into_inner();
            let mut names = Vec::new();
            while let Some(key) = keys.message().await? {
                names.push(key.key_name);
                if names.len() > prokura_plugin::limits::LISTED_KEYS_MAX {
                    break;
                }
            }
            Ok(Response::new(names))
        };
        self.ask("list the keys", &v1::ListKeysRequest {}, deadline, call)
    }

    /// Blocks until the broker answers or the deadline has passed.
    fn ask<Q: Clone, A, F>(
        &self,
        doing: &str,
        message: &Q,
        deadline: Deadline,
        call: impl Fn(BrokerClient<Channel>, Request<Q>) -> F,
    ) -> Result<A, Error>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        deadline.check()?;
        let until = patience::until(deadline);
        // Inside `block_on`, because the timer needs the runtime from the start.
        let in_time =
            async { tokio::time::timeout_at(until.into(), self.answered(message, until, call)).await };
        let answered = self.runtime.block_on(in_time).unwrap_or(Err(Failure::Slow));
        answered.map_err(|failure| failed(doing, &failure, &self.config, self.environment.now()))
    }

    /// Asks again where the connection broke, and once with a new token where the broker takes the old one no more.
    async fn answered<Q: Clone, A, F>(
        &self,
        message: &Q,
        until: Instant,
        call: impl Fn(BrokerClient<Channel>, Request<Q>) -> F,
    ) -> Result<A, Failure>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let mut attempt = 1;
        let mut is_renewed = false;
        loop {
            let token = self.tokens.token().await.map_err(Failure::Unfit)?;
            let mut request = Request::new(message.clone());
            request.set_timeout(until.saturating_duration_since(Instant::now()));
            if let Some(token) = &token {
                request.metadata_mut().insert("authorization", token.header().map_err(Failure::Unfit)?);
            }
            let status = match call(self.client.clone(), request).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => status,
            };
            match Failure::of(&status) {
                Failure::Refused(refusal)
                    if refusal.code == "UNAUTHENTICATED" && !is_renewed && self.tokens.forget() =>
                {
                    is_renewed = true;
                }
                lost @ Failure::Lost(_) => {
                    let pause = patience::back_off(attempt);
                    if attempt >= ATTEMPTS_MAX || Instant::now() + pause >= until {
                        return Err(lost);
                    }
                    tokio::time::sleep(pause).await;
                    attempt += 1;
                }
                failure => return Err(failure),
            }
        }
    }
}

#[cfg(test)]
mod tests;
