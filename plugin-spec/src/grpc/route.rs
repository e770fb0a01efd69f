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
