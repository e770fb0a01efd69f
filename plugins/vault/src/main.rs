//! `notation-vault`: signs with keys in the transit engine of HashiCorp Vault and OpenBao.

mod certificate;
mod config;
mod error;
mod key;
mod limits;
mod vault;

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::Arc;

use config::{CertificateSource, Environment, TransitId};
use key::TransitKey;
use prokura_plugin::{
    CertificateChain, CreateKey, CreateRequest, Error, InstallCertificate, KeyDescription, KeyRequest,
    ListKeys, Listed, OpenKey, Service, SigningKey, VaultRequest,
};
use vault::Vaults;

const USAGE: &str = "\
The key id is KEY, MOUNT/KEY or hashivault://KEY, with ?version=N or @vN behind it to pin a version.
Address and token are found as the vault's own tools find them: VAULT_ADDR, VAULT_TOKEN, VAULT_NAMESPACE, VAULT_CACERT,
VAULT_CLIENT_CERT, VAULT_CLIENT_KEY, VAULT_TLS_SERVER_NAME (or BAO_...), ~/.vault-token.

Plugin config:
  address          instead of VAULT_ADDR
  namespace        instead of VAULT_NAMESPACE
  mount            where the transit engine is mounted; by default transit
  auth             token (default), approle, kubernetes or jwt
  auth-mount       where the auth method is mounted; by default its name
  token-file       file with the token
  role-id          AppRole: the role id
  secret-id-file   AppRole: file with the secret id; by default the variable PROKURA_PLUGIN_VAULT_SECRET_ID,
                   or the one that secret-id-env names
  role             Kubernetes, JWT: the role
  jwt-file         Kubernetes, JWT: file with the JWT; by default that of the pod's service account, for jwt the
                   variable PROKURA_PLUGIN_VAULT_JWT, or the one that jwt-env names
  certificates     where certificates are, by comma: transit (with the key, default), kv:PATH#FIELD,
                   pki:MOUNT/issuer/NAME, pki:MOUNT/cert/SERIAL
  tls-ca-file, tls-client-cert-file, tls-client-key-file, tls-server-name
                   instead of VAULT_CACERT and so on
  plain-http       true: allow http to another machine";

#[expect(clippy::disallowed_methods, reason = "a binary reads the environment and passes it down")]
fn main() -> ExitCode {
    let long_lived = std::env::args_os().nth(1).is_some_and(|command| command == "serve");
    let metadata = prokura_plugin::metadata!(
        "vault",
        "Signs with keys in the transit engine of HashiCorp Vault and OpenBao"
    );
    let environment = Environment::new(|name| std::env::var_os(name));
    let Ok(vaults) = Vaults::new(environment, long_lived) else { return ExitCode::FAILURE };
    let plugin = Plugin(Arc::new(vaults));
    Service::new(metadata, plugin.clone())
        .usage(USAGE)
        .config_names(config::NAMES, config::NAMES_OF_SECRETS)
        .list_keys(plugin.clone())
        .create_key(plugin.clone())
        .install_certificate(plugin)
        .run()
}

/// All that this plugin does, over the vaults of one process.
#[derive(Clone)]
struct Plugin(Arc<Vaults>);

impl OpenKey for Plugin {
    fn open_key(&self, request: &KeyRequest) -> Result<Box<dyn SigningKey>, Error> {
        let id = TransitId::parse(request.key_id().as_str(), request.config_optional("mount"))?;
        let sources = CertificateSource::read(request.vault())?;
        let vault = self.0.vault(request.vault())?;
        Ok(Box::new(TransitKey::open(vault, id, sources, request.deadline())?))
    }
}

impl ListKeys for Plugin {
    fn list_keys(
        &self,
        request: &VaultRequest,
        found: &mut dyn FnMut(Listed) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        vault::keys::list(&self.0, request, found)
    }
}

impl CreateKey for Plugin {
    fn create_key(&self, request: &CreateRequest) -> Result<KeyDescription, Error> {
        vault::keys::create(&self.0, request)
    }
}

impl InstallCertificate for Plugin {
    fn install_certificate(&self, request: &KeyRequest, chain: &CertificateChain) -> Result<(), Error> {
        certificate::install(&self.0, request, chain)
    }
}
