//! Fetches issuer certificates from the URLs that certificates name, if the user asked for it.

use prokura_signer::{FetchIssuer, Fetched};

use crate::limits::{ISSUER_BYTES_MAX, ISSUER_DEADLINE, ISSUER_REDIRECTS_MAX};

/// An HTTP client for nothing else: bounded in size, time and redirects, without credentials.
pub(crate) struct IssuerClient(Result<reqwest::Client, String>);

impl IssuerClient {
    /// A client that has not connected yet.
    pub(crate) fn new() -> Self {
        let client = reqwest::Client::builder()
            .timeout(ISSUER_DEADLINE)
            .redirect(reqwest::redirect::Policy::limited(ISSUER_REDIRECTS_MAX))
            .build();
        Self(client.map_err(|error| error.to_string()))
    }
}

impl FetchIssuer for IssuerClient {
    fn fetch<'a>(&'a self, url: &'a str) -> Fetched<'a> {
        Box::pin(async move {
            let client = self.0.as_ref().map_err(Clone::clone)?;
            let failed = |error: reqwest::Error| error.without_url().to_string();
            let mut answer = client.get(url).send().await.map_err(failed)?;
            if !answer.status().is_success() {
                return Err(format!("status {}, expected 200", answer.status().as_u16()));
            }
            let mut body = Vec::new();
            while let Some(chunk) = answer.chunk().await.map_err(failed)? {
                body.extend_from_slice(&chunk);
                if body.len() > ISSUER_BYTES_MAX {
                    return Err(format!("more than {ISSUER_BYTES_MAX} bytes"));
                }
            }
            Ok(body)
        })
    }
}
