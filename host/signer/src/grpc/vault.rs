//! What a serving plugin can do with its vault besides signing: list keys, create one, install a certificate.

use std::ops::ControlFlow;
use std::time::Duration;

use prokura_plugin::limits::LISTED_KEYS_MAX;
use prokura_plugin::message::PluginConfig;
use prokura_plugin::{CertificateChain, KeyId, KeySpec};
use prokura_proto::plugin::v1 as wire;
use prokura_proto::plugin::v1::list_keys_response::Found;

use super::{Serving, check_size, described, listed, reference, status, timed};
use crate::error::{Error, Violation};
use crate::plugin::KeyReference;
use crate::sign::KeyDescription;
use crate::vault::VaultKey;

const LIST_KEYS: &str = "ListKeys";
const CREATE_KEY: &str = "CreateKey";
const INSTALL_CERTIFICATE: &str = "InstallCertificate";

impl Serving {
    /// Hands each listed key, or why one could not be looked at, to `found` as it comes.
    pub(crate) async fn list_keys(
        &self,
        config: &PluginConfig,
        limit: Duration,
        found: &mut (dyn FnMut(Result<VaultKey, Error>) -> ControlFlow<()> + Send),
    ) -> Result<(), Error> {
        let request = wire::ListKeysRequest { plugin_config: config.0.clone() };
        check_size(&request)?;
        let mut client = self.client.clone();
        let until = tokio::time::Instant::now() + limit;
        let mut keys =
            self.call(LIST_KEYS, limit, async move { client.list_keys(timed(request, limit)).await }).await?;
        for _ in 0..=LISTED_KEYS_MAX {
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            let next = async { keys.message().await.map(tonic::Response::new) };
            let Some(answer) = self.call(LIST_KEYS, left, next).await? else { return Ok(()) };
            let key = match answer.found {
                Some(Found::Key(key)) => {
                    vault_key(key, config, listed).map_err(|violation| violation.by(&self.plugin, LIST_KEYS))
                }
                Some(Found::Error(error)) => Err(status::refused_in_stream(&self.plugin, LIST_KEYS, error)),
                None => continue, // an answer of a later protocol
            };
            if found(key).is_break() {
                return Ok(());
            }
        }
        let message = format!("more than {LISTED_KEYS_MAX} keys were listed");
        Err(Violation::new("LIST-4", message).by(&self.plugin, LIST_KEYS))
    }

    /// Makes a key. Never repeated (SPEC CREATE-5).
    pub(crate) async fn create_key(
        &self,
        config: &PluginConfig,
        name: &KeyId,
        spec: KeySpec,
        limit: Duration,
    ) -> Result<VaultKey, Error> {
        let request = wire::CreateKeyRequest {
            plugin_config: config.0.clone(),
            name: name.to_string(),
            key_spec: spec.as_str().to_owned(),
        };
        check_size(&request)?;
        let mut client = self.client.clone();
        let answer = self
            .call(CREATE_KEY, limit, async move { client.create_key(timed(request, limit)).await })
            .await?;
        let key = vault_key(answer.key.unwrap_or_default(), config, described);
        let key = key.and_then(|key| match key.description.key_spec {
            found if found == spec => Ok(key),
            found => {
                Err(Violation::new("CREATE-3", format!("the key is an {found} key, asked for was {spec}")))
            }
        });
        key.map_err(|violation| violation.by(&self.plugin, CREATE_KEY))
    }

    /// Stores certificates beside their key.
    pub(crate) async fn install_certificate(
        &self,
        key: &KeyReference,
        chain: &CertificateChain,
        limit: Duration,
    ) -> Result<(), Error> {
        let request = wire::InstallCertificateRequest {
            key: Some(reference(key)),
            certificate_chain: chain.certificates().to_vec(),
        };
        check_size(&request)?;
        let mut client = self.client.clone();
        let answer = async move { client.install_certificate(timed(request, limit)).await };
        self.call(INSTALL_CERTIFICATE, limit, answer).await.map(|_| ())
    }
}

type Read = fn(wire::DescribeKeyResponse, &KeyReference) -> Result<KeyDescription, Violation>;

fn vault_key(
    answer: wire::DescribeKeyResponse,
    config: &PluginConfig,
    read: Read,
) -> Result<VaultKey, Violation> {
    let reference = KeyReference::new(answer.key_id.clone(), config.clone())
        .map_err(|error| Violation::new("LIST-1", format!("key_id: {error}")))?;
    Ok(VaultKey { description: read(answer, &reference)?, reference })
}
