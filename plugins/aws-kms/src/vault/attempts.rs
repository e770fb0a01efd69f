//! What became of the attempts of one call, for the message when time runs out between them.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_kms::config::interceptors::FinalizerInterceptorContextRef;
use aws_sdk_kms::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kms::error::{BoxError, ProvideErrorMetadata};

use crate::error::root_cause;

/// The attempts of one call whose errors are `E`. Cheap to clone: one copy goes into the call.
pub(crate) struct Attempts<E> {
    seen: Arc<Mutex<Seen>>,
    error: PhantomData<fn(E)>,
}

/// How many attempts there were, and how the last one ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Attempts that ended.
    pub(crate) count: u32,
    /// AWS's name for the last error.
    pub(crate) code: Option<String>,
    /// Why the last one had no answer.
    pub(crate) trouble: Option<String>,
    /// AWS's id of the last request.
    pub(crate) request_id: Option<String>,
}

impl<E> Attempts<E> {
    /// None yet.
    pub(crate) fn none() -> Self {
        Self { seen: Arc::default(), error: PhantomData }
    }

    /// What there was so far.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<E> Clone for Attempts<E> {
    fn clone(&self) -> Self {
        Self { seen: Arc::clone(&self.seen), error: PhantomData }
    }
}

impl<E> fmt::Debug for Attempts<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Attempts")
    }
}

impl<E> Intercept for Attempts<E>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    fn name(&self) -> &'static str {
        "attempts"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let error = context.output_or_error().and_then(Result::err);
        let named = error.and_then(|e| e.as_operation_error()).and_then(|e| e.downcast_ref::<E>());
        let request_id = context.response().and_then(|r| r.headers().get("x-amzn-requestid"));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.count += 1;
        seen.trouble = error.and_then(|e| e.as_connector_error()).map(|e| root_cause(e));
        seen.code = named.and_then(|e| e.meta().code()).map(str::to_owned);
        seen.request_id = request_id.map(str::to_owned);
        Ok(())
    }
}
