//! How requests travel: one HTTP client for vaults and Entra, one for the machine's own metadata service.

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::{AsyncRawResponse, HttpClient, Request, Transport};
use futures_util::StreamExt as _;
use prokura_plugin::Error;
use url::Url;

use crate::limits::{ANSWER_BYTES_MAX, CONNECT_TIME_MAX, METADATA_CONNECT_TIME_MAX, REQUEST_TIME_MAX};

/// The way to vaults and to Entra: TLS only, through the proxy the environment names.
pub(crate) fn to_azure() -> Result<Transport, Error> {
    let client =
        builder().connect_timeout(CONNECT_TIME_MAX).https_only(true).build().map_err(|e| unusable(&e))?;
    Ok(Transport::new(Arc::new(Bounded { client, metadata: false, elsewhere: None })))
}

/// The way to the metadata service of this machine: never through a proxy, which would ask for its own machine.
///
/// `elsewhere` is where it is if not at its usual address.
pub(crate) fn to_metadata_service(elsewhere: Option<Url>) -> Result<Transport, Error> {
    let client =
        builder().connect_timeout(METADATA_CONNECT_TIME_MAX).no_proxy().build().map_err(|e| unusable(&e))?;
    Ok(Transport::new(Arc::new(Bounded { client, metadata: true, elsewhere })))
}

fn builder() -> reqwest::ClientBuilder {
    // A redirect would carry a token or a secret to another place; none of these services sends any.
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none())
}

fn unusable(error: &reqwest::Error) -> Error {
    Error::internal(format!("no HTTP client can be made: {}", crate::error::cause(error)))
}

/// A client whose answers are bounded in size and time.
#[derive(Debug)]
struct Bounded {
    client: reqwest::Client,
    metadata: bool,
    elsewhere: Option<Url>,
}

#[async_trait]
impl HttpClient for Bounded {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let mut request = request.clone();
        if let Some(elsewhere) = &self.elsewhere {
            let _ = request.url_mut().set_host(elsewhere.host_str());
            let _ = request.url_mut().set_port(elsewhere.port());
        }
        let answered = tokio::time::timeout(REQUEST_TIME_MAX, self.exchange(&request)).await;
        answered.unwrap_or_else(|_| {
            Err(failed(ErrorKind::Io, format!("no answer within {} s", REQUEST_TIME_MAX.as_secs())))
        })
    }
}

impl Bounded {
    async fn exchange(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let response = self.client.execute_request(request).await;
        let response = response.map_err(|error| if self.metadata { absent(&error) } else { error })?;
        let (status, headers, mut stream) = response.deconstruct();
        let mut body = Vec::new();
        while let Some(part) = stream.next().await {
            body.extend_from_slice(&part?);
            if body.len() > ANSWER_BYTES_MAX {
                return Err(failed(
                    ErrorKind::Other,
                    format!("an answer of more than {ANSWER_BYTES_MAX} bytes"),
                ));
            }
        }
        Ok(AsyncRawResponse::from_bytes(status, headers, body))
    }
}

/// No metadata service is no fault that passes: said at once, not tried for a minute as the SDK would.
fn absent(error: &azure_core::Error) -> azure_core::Error {
    let cause = crate::error::cause(error);
    failed(
        ErrorKind::Credential,
        format!(
            "the metadata service that knows this machine's identity does not answer ({cause}): has it a managed identity?"
        ),
    )
}

fn failed(kind: ErrorKind, message: String) -> azure_core::Error {
    azure_core::Error::with_message(kind, message)
}
