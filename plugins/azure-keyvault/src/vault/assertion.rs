//! Client assertions signed with an application's certificate (RFC 7523), as Microsoft Entra wants them.
//!
//! The SDK's own credential for this needs OpenSSL. Source: Microsoft identity platform, "Certificate credentials".

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PSS_SHA256;
use azure_core::base64::encode_url_safe;
use azure_core::error::ErrorKind;
use azure_core::http::ClientMethodOptions;
use azure_identity::ClientAssertion;
use prokura_plugin::Error;
use serde_json::json;
use zeroize::Zeroizing;

use crate::Surroundings;
use crate::limits::{ASSERTION_SECONDS, CLOCK_SKEW_SECONDS};

/// Signs a fresh assertion for each token.
pub(crate) struct CertificateAssertion {
    key: KeyPair,
    /// SHA-256 of the certificate, Base64url.
    thumbprint: String,
    client: String,
    endpoint: String,
    surroundings: Arc<Surroundings>,
}

impl fmt::Debug for CertificateAssertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAssertion").field("client", &self.client).finish_non_exhaustive()
    }
}

impl CertificateAssertion {
    /// From a PEM file with a certificate and its RSA private key.
    pub(crate) fn new(
        pem: &[u8],
        file: &Path,
        client: &str,
        endpoint: String,
        surroundings: Arc<Surroundings>,
    ) -> Result<Self, Error> {
        let refuse = |why: &str| {
            Error::access_denied(format!(
                "client certificate {}: {why}, expected a PEM file with CERTIFICATE and PRIVATE KEY (RSA, not encrypted); \
                 a PKCS#12 file is converted by openssl pkcs12 -in FILE -noenc -out FILE.pem",
                file.display()
            ))
        };
        let text = std::str::from_utf8(pem).map_err(|_| refuse("it is no text"))?;
        let certificate =
            block(text, |label| label == "CERTIFICATE").ok_or_else(|| refuse("it holds no certificate"))?;
        let private = block(text, |label| label == "PRIVATE KEY" || label == "RSA PRIVATE KEY");
        let private = private.ok_or_else(|| refuse("it holds no private key"))?;
        let key = KeyPair::from_pkcs8(&private).or_else(|_| KeyPair::from_der(&private));
        let key = key.map_err(|_| refuse("its private key is no RSA key"))?;
        let thumbprint = encode_url_safe(digest::digest(&digest::SHA256, &certificate).as_ref());
        Ok(Self { key, thumbprint, client: client.to_owned(), endpoint, surroundings })
    }

    fn signed(&self) -> Option<String> {
        let now = self.surroundings.now().as_secs();
        let mut id = [0; 16];
        aws_lc_rs::rand::fill(&mut id).ok()?;
        let header = json!({"alg": "PS256", "typ": "JWT", "x5t#S256": self.thumbprint});
        let claims = json!({
            "aud": self.endpoint, "iss": self.client, "sub": self.client, "jti": encode_url_safe(id),
            "nbf": now.saturating_sub(CLOCK_SKEW_SECONDS), "iat": now, "exp": now + ASSERTION_SECONDS,
        });
        let signed =
            format!("{}.{}", encode_url_safe(header.to_string()), encode_url_safe(claims.to_string()));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PSS_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).ok()?;
        Some(format!("{signed}.{}", encode_url_safe(signature)))
    }
}

#[async_trait]
impl ClientAssertion for CertificateAssertion {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        let failed = || {
            azure_core::Error::with_message(
                ErrorKind::Credential,
                "AWS-LC did not sign with the certificate's key",
            )
        };
        self.signed().ok_or_else(failed)
    }
}

/// The first PEM block (RFC 7468) whose label is wanted.
fn block(text: &str, wanted: impl Fn(&str) -> bool) -> Option<Zeroizing<Vec<u8>>> {
    let mut rest = text;
    while let Some(begin) = rest.find("-----BEGIN ") {
        let from = rest.get(begin..)?;
        let end = from.find("-----END ")?;
        let end = from.get(end..)?.find('\n').map_or(from.len(), |newline| end + newline + 1);
        let (whole, after) = from.split_at(end);
        if let Ok((label, der)) = der::pem::decode_vec(whole.as_bytes())
            && wanted(label)
        {
            return Some(Zeroizing::new(der));
        }
        rest = after;
    }
    None
}
