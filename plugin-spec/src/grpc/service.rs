//! The service itself: requests parsed at the door, vendor calls on the blocking pool, errors as statuses.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;

use prokura_proto::plugin::v1;
use prokura_proto::plugin::v1::plugin_server::Plugin;
use tokio::sync::Semaphore;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::open_keys::{OpenKeys, OpenedKey};
use super::questions::{Asker, Questions};
use super::sign_stream;
use super::status::status_from_error;
use super::vault_calls::VaultCalls;
use super::wire::details_to_wire;
use crate::error::{Error, ErrorCode, Scope};
use crate::key::{Digest, KeySpec};
use crate::limits::SIGNATURES_IN_FLIGHT_MAX;
use crate::message::{Metadata, PluginConfig};
use crate::operation;
use crate::person::Person;
use crate::request::{CreateRequest, Deadline, KeyId, KeyRequest, VaultRequest};
use crate::serve::Service;
use crate::signing_key::{OpenKey, SigningKey};
use crate::stdio::panicked;
use crate::to_be_signed::ToBeSigned;

type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The gRPC service of a plugin, without its socket: what tests and other servers call in-process.
///
/// Must be called inside a tokio runtime. A [`Deadline`] in a request's extensions is kept. Cheap to clone.
#[derive(Clone)]
pub struct PluginService(Arc<Inner>);

struct Inner {
    metadata: Metadata,
    keys: Arc<OpenKeys>,
    turns: Arc<Semaphore>,
    vault_calls: VaultCalls,
    questions: Arc<Questions>,
    person: Person,
}

impl PluginService {
    /// A service that opens keys with `open_key` and keeps them open.
    pub fn new(metadata: Metadata, open_key: impl OpenKey) -> Self {
        Self::of(Service::new(metadata, open_key))
    }

    /// The gRPC service of all that `service` does.
    pub fn of(service: Service) -> Self {
        let Service { metadata, open_key, vault_calls, .. } = service.checked();
        let questions = Arc::new(Questions::default());
        Self(Arc::new(Inner {
            metadata,
            keys: OpenKeys::new(open_key),
            turns: Arc::new(Semaphore::new(SIGNATURES_IN_FLIGHT_MAX)),
            vault_calls,
            person: Person::reached_by(Arc::new(Asker(Arc::clone(&questions)))),
            questions,
        }))
    }

    async fn describe(&self, request: KeyRequest) -> Result<v1::DescribeKeyResponse, Error> {
        self.with_key(
            &request,
            |_| true,
            |key, request| {
                let chain = operation::known_chain(key, request)?;
                Ok(v1::DescribeKeyResponse {
                    key_id: request.key_id().to_string(),
                    key_spec: key.public_key().spec().to_string(),
                    public_key: key.public_key().spki_der().to_vec(),
                    certificate_chain: chain.certificates().to_vec(),
                    details: details_to_wire(key.details()),
                })
            },
        )
        .await
    }

    async fn sign(
        &self,
        request: KeyRequest,
        spec: KeySpec,
        content: ToBeSigned,
    ) -> Result<v1::SignDigestResponse, Error> {
        self.with_key(
            &request,
            |key| key.details().may_repeat(),
            move |key, request| {
                let signature = operation::sign(key, request.key_id(), spec, &content, request.deadline())?;
                Ok(v1::SignDigestResponse {
                    key_id: request.key_id().to_string(),
                    signature: signature.bytes().to_vec(),
                    signing_algorithm: spec.signing_algorithm().to_string(),
                    public_key: key.public_key().spki_der().to_vec(),
                    key_version: signature.key_version().unwrap_or_default().to_owned(),
                    vault_request_id: signature.request_id().unwrap_or_default().to_owned(),
                })
            },
        )
        .await
    }

    async fn install(
        &self,
        request: KeyRequest,
        certificates: Vec<Vec<u8>>,
    ) -> Result<v1::InstallCertificateResponse, Error> {
        let (calls, keys) = (self.0.vault_calls.clone(), Arc::clone(&self.0.keys));
        calls.check_installs()?;
        let key = keys.open(&request).await?;
        self.in_turn(move || {
            calls.install(key.as_ref(), &request, certificates)?;
            // The next description shows the certificate.
            keys.forget(&request);
            Ok(v1::InstallCertificateResponse {})
        })
        .await
    }

    /// [`Self::sign`] of a request as it came, within its deadline.
    pub(crate) async fn sign_one(
        &self,
        request: v1::SignDigestRequest,
        deadline: Deadline,
    ) -> Result<v1::SignDigestResponse, Error> {
        let (request, spec, content) = self.sign_request(request, deadline)?;
        in_time(deadline, self.sign(request, spec, content)).await
    }

    /// Opens the key and calls the vendor; once more with the key opened anew if the vendor says that this may help.
    async fn with_key<T: Send + 'static>(
        &self,
        request: &KeyRequest,
        may_repeat: fn(&dyn SigningKey) -> bool,
        call: impl Fn(&dyn SigningKey, &KeyRequest) -> Result<T, Error> + Send + Sync + 'static,
    ) -> Result<T, Error> {
        let call = Arc::new(call);
        let key = self.0.keys.open(request).await?;
        match self.with_vault(request, Arc::clone(&key), Arc::clone(&call)).await {
            // The vendor's answer to `may_repeat` may block as every other.
            Err(error)
                if error.may_reopen() && self.in_turn(move || Ok(may_repeat(key.as_ref()))).await? =>
            {
                request.deadline().check().map_err(|_| error)?;
                let key = self.0.keys.open(request).await?;
                self.with_vault(request, key, call).await
            }
            outcome => outcome,
        }
    }

    /// Runs a vendor call on the blocking pool when it is its turn; closes the key if it failed for good.
    async fn with_vault<T: Send + 'static>(
        &self,
        request: &KeyRequest,
        key: OpenedKey,
        call: Arc<impl Fn(&dyn SigningKey, &KeyRequest) -> Result<T, Error> + Send + Sync + 'static>,
    ) -> Result<T, Error> {
        let keys = Arc::clone(&self.0.keys);
        let request = request.clone();
        self.in_turn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| call(key.as_ref(), &request)));
            let outcome = outcome.unwrap_or_else(|_| Err(panicked()));
            if outcome.as_ref().is_err_and(closes_key) {
                keys.close(&request, &key);
            }
            outcome
        })
        .await
    }

    /// Runs `work` on the blocking pool when it is its turn.
    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let turn = Arc::clone(&self.0.turns).acquire_owned().await.map_err(Error::internal)?;
        let work = move || {
            // Held until the vendor returns, even if the caller has given up by then.
            let _turn = turn;
            catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(panicked()))
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(panicked()))
    }

    fn key_request(&self, key: Option<v1::KeyReference>, deadline: Deadline) -> Result<KeyRequest, Error> {
        let key = key.ok_or_else(|| Error::validation("key is missing, expected a KeyReference"))?;
        let request = KeyRequest::new(key.key_id, PluginConfig(key.plugin_config), deadline)?;
        Ok(request.with_person(self.0.person.clone()))
    }

    fn vault_request(
        &self,
        config: std::collections::BTreeMap<String, String>,
        deadline: Deadline,
    ) -> Result<VaultRequest, Error> {
        Ok(VaultRequest::new(PluginConfig(config), deadline)?.with_person(self.0.person.clone()))
    }

    fn sign_request(
        &self,
        request: v1::SignDigestRequest,
        deadline: Deadline,
    ) -> Result<(KeyRequest, KeySpec, ToBeSigned), Error> {
        let key = self.key_request(request.key, deadline)?;
        let (spec, hash) = operation::spec_and_hash(&request.key_spec, &request.hash_algorithm)?;
        let digest = Digest::from_bytes(hash, request.digest)
            .map_err(|e| Error::validation(format!("digest: {e}")))?;
        Ok((key, spec, ToBeSigned::checked(digest, request.to_be_signed)?))
    }

    fn create_request(
        &self,
        request: v1::CreateKeyRequest,
        deadline: Deadline,
    ) -> Result<CreateRequest, Error> {
        let name = KeyId::new(request.name).map_err(|e| Error::validation(format!("name: {}", e.message)))?;
        let spec = request.key_spec.parse().map_err(|e| Error::validation(format!("key_spec: {e}")))?;
        Ok(CreateRequest::new(name, spec, self.vault_request(request.plugin_config, deadline)?))
    }
}

/// Whether the key may be to blame: a lost session or login is mended by opening the key again.
fn closes_key(error: &Error) -> bool {
    match error.scope {
        Some(Scope::Request) => false,
        Some(Scope::Session | Scope::Key) => true,
        _ => !matches!(error.code, ErrorCode::Throttled | ErrorCode::Timeout),
    }
}

#[tonic::async_trait]
impl Plugin for PluginService {
    type SignDigestsStream = BoxStream<v1::SignDigestsResponse>;
    type ListKeysStream = BoxStream<v1::ListKeysResponse>;
    type InteractStream = BoxStream<v1::InteractRequest>;

    async fn get_metadata(
        &self,
        _: Request<v1::GetMetadataRequest>,
    ) -> Result<Response<v1::GetMetadataResponse>, Status> {
        let metadata = self.0.metadata.clone();
        Ok(Response::new(v1::GetMetadataResponse {
            name: metadata.name,
            description: metadata.description,
            version: metadata.version,
            url: metadata.url,
            supported_contract_versions: metadata.supported_contract_versions,
            capabilities: metadata.capabilities,
        }))
    }

    async fn describe_key(
        &self,
        request: Request<v1::DescribeKeyRequest>,
    ) -> Result<Response<v1::DescribeKeyResponse>, Status> {
        let deadline = deadline(&request);
        let request = self.key_request(request.into_inner().key, deadline).map_err(status_from_error)?;
        answered(deadline, self.describe(request)).await
    }

    async fn sign_digest(
        &self,
        request: Request<v1::SignDigestRequest>,
    ) -> Result<Response<v1::SignDigestResponse>, Status> {
        let deadline = deadline(&request);
        let signed = self.sign_one(request.into_inner(), deadline).await;
        signed.map(Response::new).map_err(status_from_error)
    }

    async fn sign_digests(
        &self,
        request: Request<Streaming<v1::SignDigestsRequest>>,
    ) -> Result<Response<Self::SignDigestsStream>, Status> {
        let deadline = deadline(&request);
        let answers = sign_stream::start(self.clone(), request.into_inner(), deadline);
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn list_keys(
        &self,
        request: Request<v1::ListKeysRequest>,
    ) -> Result<Response<Self::ListKeysStream>, Status> {
        let deadline = deadline(&request);
        let request = self.vault_request(request.into_inner().plugin_config, deadline);
        let answers = request.and_then(|r| self.0.vault_calls.list(r)).map_err(status_from_error)?;
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn create_key(
        &self,
        request: Request<v1::CreateKeyRequest>,
    ) -> Result<Response<v1::CreateKeyResponse>, Status> {
        let deadline = deadline(&request);
        let request = self.create_request(request.into_inner(), deadline).map_err(status_from_error)?;
        let calls = self.0.vault_calls.clone();
        answered(deadline, self.in_turn(move || calls.create(&request))).await
    }

    async fn install_certificate(
        &self,
        request: Request<v1::InstallCertificateRequest>,
    ) -> Result<Response<v1::InstallCertificateResponse>, Status> {
        let deadline = deadline(&request);
        let v1::InstallCertificateRequest { key, certificate_chain } = request.into_inner();
        let request = self.key_request(key, deadline).map_err(status_from_error)?;
        answered(deadline, self.install(request, certificate_chain)).await
    }

    async fn interact(
        &self,
        request: Request<Streaming<v1::InteractResponse>>,
    ) -> Result<Response<Self::InteractStream>, Status> {
        let (listener, asked) = self.0.questions.host_listens().map_err(status_from_error)?;
        let questions = Arc::clone(&self.0.questions);
        let mut answers = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(answer)) = answers.message().await {
                questions.answered(answer);
            }
            questions.host_left(listener);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(asked))))
    }
}

async fn answered<T>(
    deadline: Deadline,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<Response<T>, Status> {
    in_time(deadline, call).await.map(Response::new).map_err(status_from_error)
}

async fn in_time<T>(deadline: Deadline, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match deadline.remaining() {
        None => call.await,
        Some(left) => tokio::time::timeout(left, call).await.unwrap_or_else(|_| {
            Err(Error::timeout("the vault did not answer before the deadline of the call"))
        }),
    }
}

fn deadline<T>(request: &Request<T>) -> Deadline {
    request.extensions().get().copied().unwrap_or(Deadline::NONE)
}
