//! `notation-azure-keyvault`: keys in Azure Key Vault and Managed HSM sign for the Notary Project.

mod certificate;
mod config;
mod error;
mod key;
mod limits;
mod vault;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prokura_plugin::Service;
use vault::Vault;

const USAGE: &str = "\
The key id is a Key Vault identifier, with or without its version:
  https://VAULT.vault.azure.net/keys/NAME[/VERSION]
  https://VAULT.vault.azure.net/certificates/NAME[/VERSION]
  https://HSM.managedhsm.azure.net/keys/NAME[/VERSION]
  azurekms://VAULT/NAME, or NAME in the vault that plugin config vault names

Plugin config:
  credential_type  environment, workloadid, managedid, azurecli, azd, clientsecret or clientcertificate; without it
                   the environment decides: AZURE_CLIENT_SECRET, AZURE_CLIENT_CERTIFICATE_PATH,
                   AZURE_FEDERATED_TOKEN_FILE, IDENTITY_ENDPOINT, then the login of az
  tenant_id, client_id, client_certificate, client_secret_file, federated_token_file, object_id, resource_id,
  subscription     details of the credential; AZURE_TENANT_ID, AZURE_CLIENT_ID and so on where they are not given
  ca_certs         PEM file of certificates that complete the chain
  self_signed      true: the certificate is its own root
  chain_from       certificate (default; needs certificates/get), secret (needs secrets/get), bundle (needs neither)
  vault            the vault of bare names, and the one whose keys are listed and made
  cloud            public, usgovernment or china; known from the vault's name otherwise
  authority_host   who issues tokens, if not the vault's cloud
  protection       hsm or software, for keys that are made
  verify_challenge_resource  false: send tokens to a vault under a name that is none of Azure's";

type ReadVariable = dyn Fn(&str) -> Option<OsString> + Send + Sync;

/// What the process lends to the plugin.
pub(crate) struct Surroundings {
    variable: Box<ReadVariable>,
    now: fn() -> Duration,
}

impl Surroundings {
    /// From a way to read the environment and a clock, as time since 1970.
    pub(crate) fn new(
        variable: impl Fn(&str) -> Option<OsString> + Send + Sync + 'static,
        now: fn() -> Duration,
    ) -> Self {
        Self { variable: Box::new(variable), now }
    }

    /// An environment variable.
    pub(crate) fn variable(&self, name: &str) -> Option<OsString> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    /// An environment variable that is text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.variable(name)?.into_string().ok()
    }

    /// Time since 1970.
    pub(crate) fn now(&self) -> Duration {
        (self.now)()
    }
}

#[expect(clippy::disallowed_methods, reason = "a binary reads environment and clock and passes them down")]
fn main() -> ExitCode {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let vault = Vault::new(Surroundings::new(|name| std::env::var_os(name), now));
    let (lister, maker, installer) = (vault.clone(), vault.clone(), vault.clone());
    let metadata = prokura_plugin::metadata!(
        "azure-keyvault",
        "Notary signing plugin for keys in Azure Key Vault and Managed HSM"
    );
    Service::new(metadata, vault)
        .usage(USAGE)
        .config_names(config::NAMES, config::NAMES_OF_SECRETS)
        .list_keys(move |request: &_, found: &mut dyn FnMut(_) -> _| {
            vault::list::list_keys(&lister, request, found)
        })
        .create_key(move |request: &_| vault::create::create_key(&maker, request))
        .install_certificate(move |request: &_, chain: &_| certificate::install(&installer, request, chain))
        .run()
}
