//! `notation-prokura`: signs with keys behind a Prokura broker.

mod certificate;
mod config;
mod error;
mod key;
mod limits;
mod vault;

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::Arc;

use config::{Environment, KeyConfig};
use key::BrokerKey;
use prokura_plugin::{Error, KeyRequest, ListKeys, Listed, OpenKey, Service, SigningKey, VaultRequest};
use vault::Brokers;

const USAGE: &str = "\
The key id is the name under which the broker offers the key.

Plugin config:
  address          https://HOST:PORT or unix:///PATH of the broker
  ca               PEM file of the CA of the broker's certificate; needed for https
  identity         PEM file of your client certificate, with its chain
  identity-key     PEM file of its key; by default it is in the file of identity
  token            file, github, gitlab, kubernetes or none; by default what the environment offers, unless identity is
                   set or the address is a UNIX socket
  token-file       file, kubernetes: file with the token, read for each call
  token-env        gitlab: variable with the id token; by default PROKURA_PLUGIN_ID_TOKEN
  audience         github: audience the token is asked for; by default the address
  expected-key     hex SHA-256 of the SubjectPublicKeyInfo the key must have
  allow-digest     yes: sign what is no Notary envelope by its digest, for which the broker's policy must permit it";

#[expect(
    clippy::disallowed_methods,
    reason = "a binary reads the environment and the clock and passes them down"
)]
fn main() -> ExitCode {
    let metadata = prokura_plugin::metadata!("prokura", "Signs with keys behind a Prokura broker");
    let environment = Environment::new(|name| std::env::var_os(name), jiff::Timestamp::now);
    let Ok(brokers) = Brokers::new(environment) else { return ExitCode::FAILURE };
    let plugin = Plugin(Arc::new(brokers));
    Service::new(metadata, plugin.clone())
        .usage(USAGE)
        .config_names(config::NAMES, &[])
        .reads_to_be_signed()
        .list_keys(plugin)
        .run()
}

/// All that this plugin does, over the brokers of one process.
#[derive(Clone)]
struct Plugin(Arc<Brokers>);

impl OpenKey for Plugin {
    fn open_key(&self, request: &KeyRequest) -> Result<Box<dyn SigningKey>, Error> {
        let config = KeyConfig::read(request)?;
        let broker = self.0.broker(request.vault())?;
        Ok(Box::new(BrokerKey::open(broker, config, request.deadline())?))
    }
}

impl ListKeys for Plugin {
    fn list_keys(
        &self,
        request: &VaultRequest,
        found: &mut dyn FnMut(Listed) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        key::list(&self.0.broker(request)?, request.deadline(), found)
    }
}
