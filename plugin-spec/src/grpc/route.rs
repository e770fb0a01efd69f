//! Two services on one socket, told apart by path; notes when each call must be answered.
//!
//! Written by hand because tonic's own router brings a web framework along.

use std::convert::Infallible;
use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;

use super::deadline::deadline_of;

/// Sends a call to `plugin` or `health`; everything else is unimplemented.
#[derive(Clone)]
pub(crate) struct Router<P, H> {
    plugin: P,
    health: H,
}

impl<P, H> Router<P, H> {
    pub(crate) const fn new(plugin: P, health: H) -> Self {
        Self { plugin, health }
    }
}

type Request = http::Request<Body>;
type Response = http::Response<Body>;

impl<P, H> Service<Request> for Router<P, H>
where
    P: Service<Request, Response = Response, Error = Infallible> + NamedService,
    P::Future: Send + 'static,
    H: Service<Request, Response = Response, Error = Infallible> + NamedService,
    H::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(())) // generated services are always ready
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        // Taken here, before tonic starts its own timer for the same header: so the answer at the deadline is
        // ours, with code and details, and not tonic's bare CANCELLED.
        let deadline = deadline_of(request.headers());
        request.extensions_mut().insert(deadline);
        let service = request.uri().path().trim_start_matches('/').split('/').next();
        match service {
            Some(name) if name == P::NAME => Box::pin(self.plugin.call(request)),
            Some(name) if name == H::NAME => Box::pin(self.health.call(request)),
            _ => {
                let status = tonic::Status::unimplemented("no such service");
                Box::pin(std::future::ready(Ok(status.into_http())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use prokura_proto::plugin::v1;
    use prokura_proto::plugin::v1::plugin_client::PluginClient;
    use prokura_proto::plugin::v1::plugin_server::PluginServer;

    use super::*;
    use crate::error::{Error, ErrorCode};
    use crate::grpc::{PluginService, error_from_status};
    use crate::message::Metadata;
    use crate::request::KeyRequest;
    use crate::signing_key::SigningKey;

    /// Looks for the key until a second after the deadline.
    fn slow(request: &KeyRequest) -> Result<Box<dyn SigningKey>, Error> {
        let left = request.deadline().remaining().expect("the deadline of the call reaches the vendor");
        std::thread::sleep(left + Duration::from_secs(1));
        Err(Error::internal("too late"))
    }

    #[tokio::test]
    async fn at_the_deadline_the_answer_is_a_timeout_with_details() {
        let metadata = Metadata::of_plugin("demo", "Demo", "1.0.0", "https://example.org/");
        let (_, health) = tonic_health::server::health_reporter();
        let router = Router::new(PluginServer::new(PluginService::new(metadata, slow)), health);
        let key = v1::KeyReference { key_id: "k".to_owned(), ..Default::default() };
        let mut request = tonic::Request::new(v1::DescribeKeyRequest { key: Some(key) });
        request.set_timeout(Duration::from_millis(50));
        let started = Instant::now();
        let status = PluginClient::new(router).describe_key(request).await.unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
        assert!(!status.details().is_empty());
        assert_eq!(error_from_status(&status).code, ErrorCode::Timeout);
    }

    #[tokio::test]
    async fn other_services_are_unimplemented() {
        let metadata = Metadata::of_plugin("demo", "Demo", "1.0.0", "https://example.org/");
        let (_, health) = tonic_health::server::health_reporter();
        let mut router = Router::new(PluginServer::new(PluginService::new(metadata, slow)), health);
        for path in ["/", "/prokura.plugin.v2.Plugin/GetMetadata", "/prokura.plugin.v1.Plugin/Unknown"] {
            let request = http::Request::builder().uri(path).body(Body::empty()).unwrap();
            let response = router.call(request).await.unwrap();
            assert_eq!(response.headers()["grpc-status"], "12", "{path}");
        }
    }
}
