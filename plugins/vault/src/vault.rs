//! The connection: clients and logins shared by all keys of one process, and the one way to ask a vault.

pub(crate) mod client;
pub(crate) mod credentials;
pub(crate) mod keys;
mod patience;
pub(crate) mod session;
mod tls;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use prokura_plugin::{Deadline, Error, VaultRequest};
use serde_json::Value;

use crate::config::{ConnectionConfig, Environment};
use crate::error::{denied, located, malformed, refused, spent, waited};
use crate::limits::CONNECTIONS_MAX;
use client::{Call, Client, Reply};
use patience::Until;
use session::{AfterRefusal, Session, Token};

/// All vaults this process talks to.
pub(crate) struct Vaults {
    environment: Environment,
    long_lived: bool,
    runtime: &'static tokio::runtime::Runtime,
    connections: Mutex<HashMap<ConnectionConfig, Arc<Vault>>>,
}

impl Vaults {
    /// Connects to nothing yet. `long_lived`: whether many signatures will share a login.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(crate) fn new(environment: Environment, long_lived: bool) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        // For the life of the process: a runtime must not be dropped where the last key may be, on a network thread.
        let runtime = Box::leak(Box::new(runtime));
        Ok(Self { environment, long_lived, runtime, connections: Mutex::default() })
    }

    /// The vault that a request means; asks it nothing yet.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` if config or environment are unfit.
    pub(crate) fn vault(&self, request: &VaultRequest) -> Result<Arc<Vault>, Error> {
        let config = ConnectionConfig::read(request, &self.environment)?;
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(vault) = connections.get(&config) {
            return Ok(Arc::clone(vault));
        }
        if connections.len() >= CONNECTIONS_MAX {
            return Err(Error::validation(format!(
                "this process uses {CONNECTIONS_MAX} vaults or logins already, which is the most it may"
            )));
        }
        let vault = Arc::new(Vault {
            client: Client::new(&config)?,
            session: Session::new(config.auth.clone(), self.environment.clone(), self.long_lived),
            runtime: self.runtime,
            config: config.clone(),
        });
        connections.insert(config, Arc::clone(&vault));
        Ok(vault)
    }
}

/// One vault, seen by one login.
pub(crate) struct Vault {
    config: ConnectionConfig,
    client: Client,
    session: Session,
    runtime: &'static tokio::runtime::Runtime,
}

/// A good answer.
pub(crate) struct Answer {
    /// The `data` of the answer; null if there is none.
    pub(crate) data: Value,
    /// The vault's id of the request, under which its audit log has it.
    pub(crate) request_id: Option<String>,
    /// Where the token comes from that was let in.
    pub(crate) token_from: String,
}

impl Vault {
    /// Asks the vault. Blocks until it answers or the deadline has passed; repeats what waiting may heal and logs in
    /// again if the token is spent.
    ///
    /// # Errors
    /// As the table in [`crate::error`] says.
    pub(crate) fn ask(&self, call: &Call, deadline: Deadline) -> Result<Answer, Error> {
        deadline.check()?;
        let until = Until::of(deadline);
        // Inside `block_on`, because the timer needs the runtime from the start.
        let in_time = async { tokio::time::timeout_at(until.end.into(), self.permitted(call, until)).await };
        let answered = self.runtime.block_on(in_time);
        let answered = answered.unwrap_or_else(|_| Err(waited(call, until.started.elapsed())));
        answered.map_err(|error| located(error, &self.config))
    }

    /// Which login is used, for messages.
    pub(crate) fn auth(&self) -> String {
        self.config.auth.described()
    }

    async fn permitted(&self, call: &Call, until: Until) -> Result<Answer, Error> {
        let mut token = self.session.token(&self.client, until).await?;
        let mut reply = patience::call(&self.client, call, Some(token.value()), until).await?;
        if reply.status.as_u16() == 403 {
            match self.session.after_refusal(&token, &self.client, until).await? {
                AfterRefusal::Good => return Err(denied(call, &token)),
                AfterRefusal::Spent => return Err(spent(call, &token)),
                AfterRefusal::Replaced(fresh) => token = fresh,
            }
            reply = patience::call(&self.client, call, Some(token.value()), until).await?;
        }
        answer(call, reply, &token)
    }
}

fn answer(call: &Call, mut reply: Reply, token: &Token) -> Result<Answer, Error> {
    match reply.status.as_u16() {
        403 => Err(denied(call, token)),
        // 204: done, and nothing to say.
        204 => Ok(Answer { data: Value::Null, request_id: None, token_from: token.from.clone() }),
        _ if !reply.status.is_success() => Err(refused(call, &reply)),
        _ => {
            let request_id = reply.request_id().map(str::to_owned);
            let data = reply.json.as_mut().and_then(|json| json.get_mut("data")).map(Value::take);
            let data = data.ok_or_else(|| malformed(call, "data"))?;
            Ok(Answer { data, request_id, token_from: token.from.clone() })
        }
    }
}
