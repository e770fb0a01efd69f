//! The services of one socket, told apart by path; notes when each call arrived.
//!
//! Written by hand because tonic's own router brings a web framework along.

use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Instant;

use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;

/// When a call arrived. Taken before tonic starts its own timer for the same deadline, so that the answer at the
/// deadline is ours, with its details, and not tonic's bare CANCELLED.
#[derive(Clone, Copy)]
pub(super) struct Arrived(pub(super) Instant);

/// Sends a call to the broker or to the health service; everything else is unimplemented.
#[derive(Clone)]
pub struct Router<B, H> {
    broker: B,
    health: H,
}

impl<B, H> Router<B, H> {
    /// Of both.
    pub const fn new(broker: B, health: H) -> Self {
        Self { broker, health }
    }
}

type Request = http::Request<Body>;
type Response = http::Response<Body>;

impl<B, H> Service<Request> for Router<B, H>
where
    B: Service<Request, Response = Response, Error = Infallible> + NamedService,
    B::Future: Send + 'static,
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
        request.extensions_mut().insert(Arrived(Instant::now()));
        let service = request.uri().path().trim_start_matches('/').split('/').next();
        match service {
            Some(name) if name == B::NAME => Box::pin(self.broker.call(request)),
            Some(name) if name == H::NAME => Box::pin(self.health.call(request)),
            _ => {
                let status = tonic::Status::unimplemented("no such service");
                Box::pin(std::future::ready(Ok(status.into_http())))
            }
        }
    }
}
