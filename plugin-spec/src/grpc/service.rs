//! The service itself: requests parsed at the door, vendor calls on the blocking pool, errors as statuses.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use prokura_proto::plugin::v1;
use prokura_proto::plugin::v1::plugin_server::Plugin;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::open_keys::{OpenKeys, OpenedKey};
use super::status::status_from_error;
use crate::error::{Error, ErrorCode};
use crate::key::{Digest, KeySpec};
use crate::limits::SIGNATURES_IN_FLIGHT_MAX;
use crate::message::{Metadata, PluginConfig};
use crate::operation;
use crate::request::{Deadline, KeyRequest};
use crate::signing_key::OpenKey;
use crate::stdio::panicked;

/// The gRPC service of a plugin, without its socket: what tests and other servers call in-process.
///
/// Must be called inside a tokio runtime. A [`Deadline`] in a request's extensions is kept.
pub struct PluginService {
    metadata: Metadata,
    keys: Arc<OpenKeys>,
    turns: Arc<Semaphore>,
}

impl PluginService {
    /// A service that opens keys with `open_key` and keeps them open.
    pub fn new(metadata: Metadata, open_key: impl OpenKey) -> Self {
        let turns = Arc::new(Semaphore::new(SIGNATURES_IN_FLIGHT_MAX));
        Self { metadata, keys: OpenKeys::new(open_key), turns }
    }

    async fn describe(&self, request: KeyRequest) -> Result<v1::DescribeKeyResponse, Error> {
        let key = self.keys.open(&request).await?;
        self.with_vault(&request, key, |key, request| {
            let chain = operation::known_chain(key, request)?;
            Ok(v1::DescribeKeyResponse {
                key_id: request.key_id().to_string(),
                key_spec: key.public_key().spec().to_string(),
                public_key: key.public_key().spki_der().to_vec(),
                certificate_chain: chain.certificates().to_vec(),
            })
        })
        .await
    }

    async fn sign(
        &self,
        request: KeyRequest,
        spec: KeySpec,
        digest: Digest,
    ) -> Result<v1::SignDigestResponse, Error> {
        let key = self.keys.open(&request).await?;
        self.with_vault(&request, key, move |key, request| {
            let signature = operation::sign(key, request.key_id(), spec, &digest, request.deadline())?;
            Ok(v1::SignDigestResponse {
                key_id: request.key_id().to_string(),
                signature: signature.bytes().to_vec(),
                signing_algorithm: spec.signing_algorithm().to_string(),
                public_key: key.public_key().spki_der().to_vec(),
            })
        })
        .await
    }

    /// Runs a vendor call on the blocking pool when it is its turn; closes the key if it failed for good.
    async fn with_vault<T: Send + 'static>(
        &self,
        request: &KeyRequest,
        key: OpenedKey,
        call: impl FnOnce(&dyn crate::SigningKey, &KeyRequest) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(Error::internal)?;
        let (keys, request) = (Arc::clone(&self.keys), request.clone());
        let work = move || {
            // Held until the vendor returns, even if the caller has given up by then.
            let _turn = turn;
            let outcome = catch_unwind(AssertUnwindSafe(|| call(key.as_ref(), &request)));
            let outcome = outcome.unwrap_or_else(|_| Err(panicked()));
            if outcome.as_ref().is_err_and(|e| closes_key(e.code)) {
                keys.close(&request, &key);
            }
            outcome
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(panicked()))
    }
}

/// Whether the key may be to blame: a lost session or login is mended by opening the key again.
const fn closes_key(code: ErrorCode) -> bool {
    !matches!(code, ErrorCode::Throttled | ErrorCode::Timeout)
}

#[tonic::async_trait]
impl Plugin for PluginService {
    async fn get_metadata(
        &self,
        _: Request<v1::GetMetadataRequest>,
    ) -> Result<Response<v1::GetMetadataResponse>, Status> {
        let metadata = self.metadata.clone();
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
        let request = key_request(request.into_inner().key, deadline).map_err(status_from_error)?;
        answered(deadline, self.describe(request)).await
    }

    async fn sign_digest(
        &self,
        request: Request<v1::SignDigestRequest>,
    ) -> Result<Response<v1::SignDigestResponse>, Status> {
        let deadline = deadline(&request);
        let (request, spec, digest) =
            sign_request(request.into_inner(), deadline).map_err(status_from_error)?;
        answered(deadline, self.sign(request, spec, digest)).await
    }
}

async fn answered<T>(
    deadline: Deadline,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<Response<T>, Status> {
    let outcome = match deadline.remaining() {
        None => call.await,
        Some(left) => tokio::time::timeout(left, call).await.unwrap_or_else(|_| {
            Err(Error::timeout("the vault did not answer before the deadline of the call"))
        }),
    };
    outcome.map(Response::new).map_err(status_from_error)
}

fn deadline<T>(request: &Request<T>) -> Deadline {
    request.extensions().get().copied().unwrap_or(Deadline::NONE)
}

fn key_request(key: Option<v1::KeyReference>, deadline: Deadline) -> Result<KeyRequest, Error> {
    let key = key.ok_or_else(|| Error::validation("key is missing, expected a KeyReference"))?;
    KeyRequest::new(key.key_id, PluginConfig(key.plugin_config), deadline)
}

fn sign_request(
    request: v1::SignDigestRequest,
    deadline: Deadline,
) -> Result<(KeyRequest, KeySpec, Digest), Error> {
    let key = key_request(request.key, deadline)?;
    let (spec, hash) = operation::spec_and_hash(&request.key_spec, &request.hash_algorithm)?;
    let digest =
        Digest::from_bytes(hash, request.digest).map_err(|e| Error::validation(format!("digest: {e}")))?;
    Ok((key, spec, digest))
}
