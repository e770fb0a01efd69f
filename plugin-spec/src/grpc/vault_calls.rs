//! Calls a vendor need not offer: list keys, create a key, install a certificate.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use prokura_proto::plugin::v1;
use prokura_proto::plugin::v1::list_keys_response::Found;
use tokio::sync::mpsc;
use tonic::Status;

use super::status::{error_to_wire, status_from_error};
use super::wire::{description_to_wire, installable};
use crate::certificate::CertificateChain;
use crate::config_names::ConfigNames;
use crate::error::{Error, ErrorCode};
use crate::key_details::PublicHalf;
use crate::limits::LISTED_KEYS_MAX;
use crate::message::capability;
use crate::request::{CreateRequest, Deadline, KeyRequest, VaultRequest};
use crate::signing_key::{CreateKey, InstallCertificate, ListKeys, Listed, SigningKey};
use crate::stdio::panicked;

/// How many keys wait for a host that reads slowly.
const LISTED_AHEAD: usize = 16;

/// What the vendor gave besides opening keys.
#[derive(Clone, Default)]
pub(crate) struct VaultCalls {
    pub(crate) list_keys: Option<Arc<dyn ListKeys>>,
    pub(crate) create_key: Option<Arc<dyn CreateKey>>,
    pub(crate) install_certificate: Option<Arc<dyn InstallCertificate>>,
}

type Answer = Result<v1::ListKeysResponse, Status>;
type Answers = mpsc::Receiver<Answer>;
type Sender = mpsc::Sender<Answer>;

impl VaultCalls {
    /// Starts a listing; keys come as the vendor finds them. The stream ends with a status if the vendor fails or the
    /// deadline passes.
    pub(crate) fn list(&self, request: VaultRequest) -> Result<Answers, Error> {
        let list_keys =
            self.list_keys.clone().ok_or_else(|| not_served("ListKeys", capability::KEY_LIST_1))?;
        let deadline = request.deadline();
        // The vendor may find keys inside a runtime of its own, where tokio's channel refuses to block.
        let (found, waiting) = std::sync::mpsc::sync_channel(LISTED_AHEAD);
        let (sender, listed) = mpsc::channel(LISTED_AHEAD);
        tokio::task::spawn_blocking(move || listing(list_keys.as_ref(), &request, &found));
        tokio::task::spawn_blocking(move || {
            // Ends when the vendor is done, or when the host no longer listens: then the vendor's next key is refused.
            waiting.into_iter().all(|answer| sender.blocking_send(answer).is_ok())
        });
        let (sender, answers) = mpsc::channel(LISTED_AHEAD);
        tokio::spawn(until(deadline, listed, sender));
        Ok(answers)
    }

    /// The same calls, of plugin configs alone that hold nothing but `names`.
    pub(crate) fn checked(self, names: ConfigNames) -> Self {
        let Self { list_keys, create_key, install_certificate } = self;
        let list_keys = list_keys.map(|list| -> Arc<dyn ListKeys> {
            Arc::new(move |request: &VaultRequest, found: &mut dyn FnMut(Listed) -> ControlFlow<()>| {
                list.list_keys(&names.checked(request)?, found)
            })
        });
        let create_key = create_key.map(|create| -> Arc<dyn CreateKey> {
            Arc::new(move |request: &CreateRequest| {
                let vault = names.checked(request.vault())?;
                create.create_key(&CreateRequest::new(request.name().clone(), request.spec(), vault))
            })
        });
        let install_certificate = install_certificate.map(|install| -> Arc<dyn InstallCertificate> {
            Arc::new(move |request: &KeyRequest, chain: &CertificateChain| {
                let vault = names.checked(request.vault())?;
                install.install_certificate(&KeyRequest::of_vault(request.key_id().clone(), vault), chain)
            })
        });
        Self { list_keys, create_key, install_certificate }
    }

    /// Makes a key. Blocks.
    pub(crate) fn create(&self, request: &CreateRequest) -> Result<v1::CreateKeyResponse, Error> {
        let create_key =
            self.create_key.as_ref().ok_or_else(|| not_served("CreateKey", capability::KEY_CREATE_1))?;
        request.vault().deadline().check()?;
        let key = create_key.create_key(request)?;
        let asked = request.spec();
        let made = match &key.public_key {
            PublicHalf::Known(public_key) if public_key.spec() == asked => None,
            PublicHalf::Known(public_key) => Some(format!("an {} key", public_key.spec())),
            PublicHalf::Withheld(_) => Some("a key that cannot be used".to_owned()),
        };
        if let Some(made) = made {
            return Err(Error::internal(format!(
                "the plugin made {made} where an {asked} key was asked for; report this to its author"
            )));
        }
        Ok(v1::CreateKeyResponse { key: Some(description_to_wire(key)) })
    }

    /// What installs certificates, if the vendor gave it: asked before anybody logs in.
    pub(crate) fn check_installs(&self) -> Result<&Arc<dyn InstallCertificate>, Error> {
        let served = capability::CERTIFICATE_INSTALL_1;
        self.install_certificate.as_ref().ok_or_else(|| not_served("InstallCertificate", served))
    }

    /// Installs a certificate beside an opened key. Blocks.
    pub(crate) fn install(
        &self,
        key: &dyn SigningKey,
        request: &KeyRequest,
        certificates: Vec<Vec<u8>>,
    ) -> Result<(), Error> {
        let install = self.check_installs()?;
        let chain = installable(certificates, key.public_key())?;
        request.deadline().check()?;
        install.install_certificate(request, &chain)
    }
}

fn listing(list_keys: &dyn ListKeys, request: &VaultRequest, answers: &SyncSender<Answer>) {
    let mut count = 0;
    let mut found = |listed: Listed| {
        count += 1;
        let enough = count > LISTED_KEYS_MAX || request.deadline().check().is_err();
        if enough || answers.send(Ok(listed_to_wire(listed))).is_err() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| list_keys.list_keys(request, &mut found)));
    if let Err(error) = outcome.unwrap_or_else(|_| Err(panicked())) {
        let _ = answers.send(Err(status_from_error(error)));
    } else if count > LISTED_KEYS_MAX {
        let too_many = format!("the vault holds more than {LISTED_KEYS_MAX} keys, the rest is not listed");
        let _ = answers.send(Err(status_from_error(Error::validation(too_many))));
    }
}

/// Passes answers on until the deadline; then says so, whatever the vendor is doing.
async fn until(deadline: Deadline, mut listed: Answers, answers: Sender) {
    let over = async {
        match deadline.remaining() {
            Some(left) => tokio::time::sleep(left).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over);
    loop {
        let next = tokio::select! {
            next = listed.recv() => next,
            () = &mut over => {
                let late = Error::timeout("the vault did not list its keys before the deadline of the call");
                let _ = answers.send(Err(status_from_error(late))).await;
                return;
            }
        };
        let Some(next) = next else { return };
        if answers.send(next).await.is_err() {
            return;
        }
    }
}

fn listed_to_wire(listed: Listed) -> v1::ListKeysResponse {
    let found = match listed {
        Ok(key) => Found::Key(description_to_wire(key)),
        Err(error) => Found::Error(error_to_wire(error)),
    };
    v1::ListKeysResponse { found: Some(found) }
}

fn not_served(method: &str, capability: &str) -> Error {
    let message = format!("{method} is not served: this plugin does not announce {capability}");
    Error::new(ErrorCode::UnsupportedContractVersion, message)
}
