//! The TLS side of the broker: its certificate, whom it asks for one, and how both change without a dropped connection.
//!
//! TLS 1.3, and 1.2 with ECDHE and AEAD alone; ALPN `h2`. A session is resumed from this process's memory and only
//! under the configuration that made it: after a reload each client shows its certificate again.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::ServerSessionMemoryCache;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use zeroize::Zeroizing;

use super::refusal::quoted;
use super::trust::{Trust, provider};
use crate::limits::{PEM_FILE_BYTES_MAX, SERVER_CHAIN_MAX, TLS_SESSIONS_MAX};

/// HTTP/2 (RFC 9113, section 3.3): gRPC speaks nothing else.
pub const ALPN: &[u8] = b"h2";

/// Others may neither read nor write a private key, and the group may not write it.
const KEY_MODE_FORBIDDEN: u32 = 0o037;

/// The broker's certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}; expected a PEM file that the broker's user may read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("{path}: found {found}; expected {expected}; correct the file")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What should be.
        expected: &'static str,
    },
    /// The key file is open to others.
    #[error(
        "{path} has mode {mode:04o} and belongs to user {owner}; expected at most 0640 and the broker's user or root; run `chmod 0600` and `chown` on it"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// Its owner.
        owner: u32,
    },
    /// Certificate and key cannot be served.
    #[error(
        "the certificate {certificate} and its key cannot be served: {reason}; expected the leaf first and its own key"
    )]
    Unusable {
        /// The file of the chain.
        certificate: PathBuf,
        /// What rustls found.
        reason: String,
    },
    /// Nobody could call.
    #[error(
        "found neither client CAs, nor pinned keys, nor token issuers for TLS; expected at least one; configure one, or no TCP listener"
    )]
    NoCallers,
}

/// The certificate by which clients know the broker, and its key.
pub struct ServerIdentity {
    path: PathBuf,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl ServerIdentity {
    /// Reads the chain (leaf first) and the key from PEM files. Blocks on the file system.
    ///
    /// # Errors
    /// [`TlsError`]; a key file that others may read is refused.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self { path: certificate.to_owned(), chain: certificates(certificate)?, key: private_key(key)? })
    }
}

/// Certificates of a PEM file, at least one. Blocks on the file system.
///
/// # Errors
/// [`TlsError::Unreadable`], [`TlsError::Content`].
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let content = |found: String| TlsError::Content {
        path: path.to_owned(),
        found,
        expected: "PEM blocks of type CERTIFICATE",
    };
    let pem = read(path, &open(path)?)?;
    let chain = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| content("PEM that cannot be decoded".to_owned()))?;
    match chain.len() {
        0 => Err(content("no certificate".to_owned())),
        1..=SERVER_CHAIN_MAX => Ok(chain),
        many => Err(content(format!("{many} certificates, more than {SERVER_CHAIN_MAX}"))),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let file = open(path)?;
    check_mode(path, &file)?;
    let pem = read(path, &file)?;
    // The reader's own error could quote the file.
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| TlsError::Content {
        path: path.to_owned(),
        found: "no private key".to_owned(),
        expected: "one PEM block of type PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY, not encrypted",
    })
}

fn open(path: &Path) -> Result<File, TlsError> {
    File::open(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })
}

fn read(path: &Path, file: &File) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let limit = u64::try_from(PEM_FILE_BYTES_MAX).unwrap_or(u64::MAX);
    let mut bytes = Zeroizing::new(Vec::with_capacity(PEM_FILE_BYTES_MAX + 1));
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })?;
    if bytes.len() <= PEM_FILE_BYTES_MAX {
        return Ok(bytes);
    }
    let found = format!("more than {PEM_FILE_BYTES_MAX} bytes");
    Err(TlsError::Content { path: path.to_owned(), found, expected: "a PEM file" })
}

/// The open file is asked, not the name, so that nobody exchanges it in between.
fn check_mode(path: &Path, file: &File) -> Result<(), TlsError> {
    let metadata =
        file.metadata().map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })?;
    let (mode, owner) = (metadata.mode() & 0o7777, metadata.uid());
    let ours = owner == 0 || owner == rustix::process::geteuid().as_raw();
    if ours && mode & KEY_MODE_FORBIDDEN == 0 {
        return Ok(());
    }
    Err(TlsError::Exposed { path: path.to_owned(), mode, owner })
}

/// The configuration in force for new connections.
pub struct Tls(RwLock<Arc<ServerConfig>>);

impl Tls {
    /// Serves as `identity` those whom `trust` accepts. With `tokens`, a client may come without a certificate: its
    /// token must name it then.
    ///
    /// # Errors
    /// [`TlsError::Unusable`], [`TlsError::NoCallers`].
    pub fn new(identity: ServerIdentity, trust: Arc<Trust>, tokens: bool) -> Result<Self, TlsError> {
        configuration(identity, trust, tokens).map(|config| Self(RwLock::new(config)))
    }

    /// Replaces the configuration for handshakes that begin from now on. On an error the old one stays; open
    /// connections stay in any case, their peers are judged by the identifier's own trust.
    ///
    /// # Errors
    /// As [`Tls::new`].
    pub fn reload(&self, identity: ServerIdentity, trust: Arc<Trust>, tokens: bool) -> Result<(), TlsError> {
        let config = configuration(identity, trust, tokens)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// For the next handshake.
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn configuration(
    identity: ServerIdentity,
    trust: Arc<Trust>,
    tokens: bool,
) -> Result<Arc<ServerConfig>, TlsError> {
    if trust.is_empty() && !tokens {
        return Err(TlsError::NoCallers);
    }
    let ServerIdentity { path, chain, key } = identity;
    let unusable =
        |e: rustls::Error| TlsError::Unusable { certificate: path, reason: quoted(&e.to_string()) };
    let build = || {
        let verifier = Arc::new(Callers { trust, tokens });
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = ServerSessionMemoryCache::new(TLS_SESSIONS_MAX);
        Ok(Arc::new(config))
    };
    build().map_err(unusable)
}

/// Decides in the handshake; the same [`Trust`] judges requests later.
#[derive(Debug)]
struct Callers {
    trust: Arc<Trust>,
    tokens: bool,
}

impl Callers {
    /// The error whose TLS alert tells the client most, such as `certificate_expired`.
    fn alert(&self, leaf: &CertificateDer<'_>, rest: &[CertificateDer<'_>], now: UnixTime) -> rustls::Error {
        let judged =
            self.trust.authorities().map(|authorities| authorities.verify_client_cert(leaf, rest, now));
        match judged {
            Some(Err(error)) => error,
            _ => CertificateError::ApplicationVerificationFailure.into(),
        }
    }
}

impl ClientCertVerifier for Callers {
    fn offer_client_auth(&self) -> bool {
        !self.trust.is_empty()
    }

    fn client_auth_mandatory(&self) -> bool {
        !self.tokens
    }

    /// With pins no CA is named: a client that looks for one would not show its pinned certificate.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        match self.trust.authorities() {
            Some(authorities) if !self.trust.has_pins() => authorities.root_hint_subjects(),
            _ => &[],
        }
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let chain: Vec<_> = std::iter::once(end_entity).chain(intermediates).cloned().collect();
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let time = Timestamp::from_second(seconds).map_err(|e| rustls::Error::General(e.to_string()))?;
        match self.trust.check(&chain, time) {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err(refusal) => {
                tracing::warn!(%refusal, "a client certificate was refused");
                Err(self.alert(end_entity, intermediates, now))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
