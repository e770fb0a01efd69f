//! The gRPC service `prokura.broker.v1`: from a request to an answer or a refusal.
//!
//! ```text
//! Peer ─► answer given before? ─► key ─► Content ─► Permit ─► Recorded ─► signed, verified ─► receipt ─► reply
//! ```
//!
//! From the durable intent on, a request runs to its end even if its caller goes away: each intent has its outcome.
//!
//! | code | status | retry |
//! |---|---|---|
//! | UNAUTHENTICATED | UNAUTHENTICATED | if the issuer of the token was away |
//! | DENIED | PERMISSION_DENIED | no |
//! | INVALID | INVALID_ARGUMENT | no |
//! | NO_SUCH_KEY | NOT_FOUND | no |
//! | KEY_CHANGED | FAILED_PRECONDITION | if it changed while signing |
//! | OUT_OF_QUOTA | RESOURCE_EXHAUSTED | yes |
//! | TOO_LATE | DEADLINE_EXCEEDED | yes |
//! | VAULT | UNAVAILABLE | as the plugin says |
//! | LOG | UNAVAILABLE | no |
//! | INTERNAL | INTERNAL | no |

mod answers;
mod deadline;
mod keys;
mod refusal;
mod request;
mod route;
mod sign;
mod signing;
mod stream;

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prokura_proto::broker::v1;
use prokura_proto::broker::v1::broker_server::{Broker as Protocol, BrokerServer};
use tokio::sync::{Notify, Semaphore};
use tokio_stream::Stream;
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request, Response, Status, Streaming};

use crate::audit::Log;
use crate::identity::token::BearerToken;
use crate::identity::{Evidence, Identifier};
use crate::limits::{MESSAGE_BYTES_MAX, STREAM_MAX};
use crate::listen::ConnectionInfo;
use crate::peer::Peer;
use crate::policy::PolicySet;
use crate::vaults::Vaults;
use answers::Answers;

pub use refusal::{Refusal, RefusalCode};
pub use route::Router;

/// Tells the time of day.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What a reload replaces.
#[derive(Debug)]
pub struct Rules {
    /// Who may what.
    pub policies: PolicySet,
    /// With which keys.
    pub vaults: Vaults,
    /// How long one request may take if its caller does not say.
    pub sign_deadline: Duration,
    /// Names of claims that are recorded with a request.
    pub recorded_claims: Vec<String>,
}

/// The broker behind every listener. Cheap to clone.
#[derive(Clone)]
pub struct Broker(Arc<Inner>);

struct Inner {
    rules: RwLock<Arc<Rules>>,
    identifier: Arc<Identifier>,
    log: Arc<Log>,
    clock: Clock,
    answers: Answers,
    in_flight: Arc<Semaphore>,
    under_way: AtomicUsize,
    ended: Notify,
}

/// Counts a request that runs to its end.
struct UnderWay(Broker);

impl UnderWay {
    fn of(broker: &Broker) -> Self {
        broker.0.under_way.fetch_add(1, Ordering::SeqCst);
        Self(broker.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.0.0.under_way.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.0.ended.notify_waiters();
        }
    }
}

/// Of one call, for all its requests.
#[derive(Clone)]
struct Caller {
    peer: Peer,
    until: Instant,
}

impl Broker {
    /// Serves by `rules`; at most `in_flight` requests are under way at a time.
    pub fn new(
        rules: Rules,
        identifier: Arc<Identifier>,
        log: Arc<Log>,
        clock: Clock,
        in_flight: usize,
    ) -> Self {
        Self(Arc::new(Inner {
            rules: RwLock::new(Arc::new(rules)),
            identifier,
            log,
            clock,
            answers: Answers::default(),
            in_flight: Arc::new(Semaphore::new(in_flight.min(Semaphore::MAX_PERMITS))),
            under_way: AtomicUsize::new(0),
            ended: Notify::new(),
        }))
    }

    /// For a gRPC server; messages are bounded.
    pub fn server(&self) -> BrokerServer<Self> {
        BrokerServer::new(self.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// The rules in force.
    pub fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.0.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Judges requests that begin from now on by other rules; those under way keep theirs.
    pub fn replace(&self, rules: Rules) -> Arc<Rules> {
        let mut current = self.0.rules.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut current, Arc::new(rules))
    }

    /// How many requests hold an intent without an outcome, or are about to.
    pub fn under_way(&self) -> usize {
        self.0.under_way.load(Ordering::SeqCst)
    }

    /// Waits until no request is under way.
    pub async fn idle(&self) {
        loop {
            let ended = self.0.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.under_way() == 0 {
                return;
            }
            ended.await;
        }
    }

    fn now(&self) -> Timestamp {
        (self.0.clock)()
    }

    /// Who calls, and until when.
    async fn caller(&self, metadata: &MetadataMap, extensions: &Extensions) -> Result<Caller, Refusal> {
        let most = self.rules().sign_deadline;
        self.caller_for(metadata, extensions, most).await
    }

    /// As [`Broker::caller`], for a call that may last up to `most`.
    async fn caller_for(
        &self,
        metadata: &MetadataMap,
        extensions: &Extensions,
        most: Duration,
    ) -> Result<Caller, Refusal> {
        let arrived = extensions.get::<route::Arrived>().map_or_else(Instant::now, |arrived| arrived.0);
        let until = deadline::of(metadata, most, arrived);
        let token = BearerToken::from_metadata(metadata)?;
        let nothing = Evidence::Nothing;
        let evidence = extensions.get::<ConnectionInfo>().map_or(&nothing, |info| &info.evidence);
        let identify = self.0.identifier.identify(evidence, token.as_ref(), self.now());
        let peer = within(until, identify).await??;
        Ok(Caller { peer, until })
    }
}

/// What comes before the deadline.
async fn within<T>(until: Instant, future: impl Future<Output = T>) -> Result<T, Refusal> {
    tokio::time::timeout_at(until.into(), future).await.map_err(|_| Refusal::too_late())
}

/// A request's id: 128 random bits in hex, so that ids of several brokers do not meet.
fn request_id() -> String {
    let mut bytes = [0_u8; 16];
    // AWS-LC ends the process rather than give no random bytes; the error is there for other backends.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    hex(&bytes)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

type Outgoing<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Protocol for Broker {
    type ListKeysStream = Outgoing<v1::ListKeysResponse>;
    type SignStreamStream = Outgoing<v1::SignStreamResponse>;

    async fn who_am_i(
        &self,
        request: Request<v1::WhoAmIRequest>,
    ) -> Result<Response<v1::WhoAmIResponse>, Status> {
        let id = request_id();
        let caller = self.caller(request.metadata(), request.extensions()).await;
        let peer = caller.map(|caller| keys::peer(&caller.peer)).map_err(|refusal| refusal.status(&id))?;
        Ok(Response::new(v1::WhoAmIResponse { peer: Some(peer) }))
    }

    async fn list_keys(
        &self,
        request: Request<v1::ListKeysRequest>,
    ) -> Result<Response<Self::ListKeysStream>, Status> {
        let id = request_id();
        let caller = self.caller(request.metadata(), request.extensions()).await;
        let keys = caller.map(|caller| self.list(&caller)).map_err(|refusal| refusal.status(&id))?;
        Ok(Response::new(Box::pin(tokio_stream::iter(keys.into_iter().map(Ok)))))
    }

    async fn describe_key(
        &self,
        request: Request<v1::DescribeKeyRequest>,
    ) -> Result<Response<v1::DescribeKeyResponse>, Status> {
        let id = request_id();
        let answer = async {
            let caller = self.caller(request.metadata(), request.extensions()).await?;
            self.describe(&caller, &request.get_ref().key_name).await
        };
        answer.await.map(Response::new).map_err(|refusal: Refusal| refusal.status(&id))
    }

    async fn sign(&self, request: Request<v1::SignRequest>) -> Result<Response<v1::SignResponse>, Status> {
        let id = request_id();
        let answer = match self.caller(request.metadata(), request.extensions()).await {
            Ok(caller) => self.answer(&caller, request.into_inner(), id.clone()).await,
            Err(refusal) => {
                tracing::warn!(target: sign::LINE, request_id = id, code = refusal.code().as_str(), message = refusal.message(), "refused");
                Err(refusal)
            }
        };
        answer.map(Response::new).map_err(|refusal| refusal.status(&id))
    }

    async fn sign_stream(
        &self,
        request: Request<Streaming<v1::SignStreamRequest>>,
    ) -> Result<Response<Self::SignStreamStream>, Status> {
        let id = request_id();
        let caller = self.caller_for(request.metadata(), request.extensions(), STREAM_MAX).await;
        let caller = caller.map_err(|refusal| refusal.status(&id))?;
        Ok(Response::new(Box::pin(stream::answers(self.clone(), caller, request.into_inner()))))
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainResponse>, Status> {
        let id = request_id();
        let answer = async {
            let caller = self.caller(request.metadata(), request.extensions()).await?;
            self.tell(&caller, request.into_inner().request.unwrap_or_default()).await
        };
        answer.await.map(Response::new).map_err(|refusal: Refusal| refusal.status(&id))
    }
}
