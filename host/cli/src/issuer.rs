//! Fetches issuer certificates from the URLs that certificates name, if the user asked for it.

use std::error::Error;
use std::time::Duration;

use prokura_signer::{FetchIssuer, Fetched};

use crate::limits::{ISSUER_BYTES_MAX, ISSUER_DEADLINE, ISSUER_REDIRECTS_MAX};

/// An HTTP client for nothing else: bounded in size, time and redirects, without credentials.
pub(crate) struct IssuerClient(Result<reqwest::Client, String>);

impl IssuerClient {
    /// A client that has not connected yet.
    pub(crate) fn new() -> Self {
        Self::within(ISSUER_DEADLINE)
    }

    fn within(deadline: Duration) -> Self {
        let client = reqwest::Client::builder()
            .timeout(deadline)
            .redirect(reqwest::redirect::Policy::limited(ISSUER_REDIRECTS_MAX))
            .build();
        Self(client.map_err(|error| error.to_string()))
    }
}

impl FetchIssuer for IssuerClient {
    fn fetch<'a>(&'a self, url: &'a str) -> Fetched<'a> {
        Box::pin(async move {
            let client = self.0.as_ref().map_err(Clone::clone)?;
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

/// The error and what caused it: reqwest's own words say only that it could not send.
fn failed(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        reason.push_str(&format!(": {error}"));
        cause = error.source();
    }
    reason
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// Serves as many connections as there are answers, one after the other; the address it has.
    fn server(answers: Vec<Vec<u8>>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for answer in answers {
                let Ok((mut stream, _)) = listener.accept() else { return };
                let mut request = [0; 1024];
                let _ = stream.read(&mut request);
                let _ = stream.write_all(&answer);
            }
        });
        address
    }

    fn answer(head: &str, body: &[u8]) -> Vec<u8> {
        [format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").as_bytes(), body].concat()
    }

    #[tokio::test]
    async fn a_body_has_a_size_and_a_status() {
        let client = IssuerClient::new();
        let most = vec![b'x'; ISSUER_BYTES_MAX];
        assert_eq!(client.fetch(&server(vec![answer("200 OK", &most)])).await.unwrap(), most);
        let too_large = answer("200 OK", &vec![b'x'; ISSUER_BYTES_MAX + 1]);
        let refused = client.fetch(&server(vec![too_large])).await.unwrap_err();
        assert_eq!(refused, format!("more than {ISSUER_BYTES_MAX} bytes"));
        let refused = client.fetch(&server(vec![answer("404 Not Found", b"gone")])).await.unwrap_err();
        assert_eq!(refused, "status 404, expected 200");
    }

    #[tokio::test]
    async fn redirects_end_and_stay_with_http() {
        let client = IssuerClient::new();
        let redirect = answer("302 Found\r\nLocation: /next", b"");
        let mut answers = vec![redirect.clone(); ISSUER_REDIRECTS_MAX];
        answers.push(answer("200 OK", b"found"));
        assert_eq!(client.fetch(&server(answers)).await.unwrap(), b"found");
        let mut answers = vec![redirect; ISSUER_REDIRECTS_MAX + 1];
        answers.push(answer("200 OK", b"found"));
        let refused = client.fetch(&server(answers)).await.unwrap_err();
        assert!(refused.contains("too many redirects"), "{refused}");
        let elsewhere = answer("302 Found\r\nLocation: file:///etc/hostname", b"");
        let refused = client.fetch(&server(vec![elsewhere])).await.unwrap_err();
        assert_eq!(refused, "status 302, expected 200");
    }

    #[tokio::test]
    async fn a_server_that_hangs_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let client = IssuerClient::within(Duration::from_millis(50));
        let told = tokio::time::timeout(Duration::from_secs(10), client.fetch(&address)).await;
        let refused = told.expect("the client's own deadline comes first").unwrap_err();
        assert!(refused.contains("timed out"), "{refused}");
    }
}
