//! What a vendor implements: one trait, three methods.

use crate::certificate::CertificateChain;
use crate::error::Error;
use crate::key::Digest;
use crate::public_key::PublicKey;
use crate::request::{Deadline, KeyRequest};
use crate::signature::RawSignature;

/// A private key in its vault, opened and ready to sign.
///
/// The SDK opens a key once and calls it from several threads at a time: over gRPC one opened key serves many
/// signatures. All methods may block; the SDK calls them off its network threads. No method is optional.
pub trait SigningKey: Send + Sync {
    /// The public key. Its spec decides hash and signing algorithm. Must be that of the private key that signs.
    fn public_key(&self) -> &PublicKey;

    /// The certificates the vault holds for this key, in any order, possibly partial or empty.
    ///
    /// The SDK orders them and completes them from the bundle that plugin config `ca_certs` names.
    ///
    /// # Errors
    /// If the vault refuses to hand them out. An absent certificate is no error.
    fn certificate_chain(&self) -> Result<CertificateChain, Error>;

    /// Signs a digest with the algorithm that belongs to the key: RSASSA-PSS with MGF1 over the digest's hash and a
    /// salt as long as the digest, or ECDSA.
    ///
    /// The digest's hash is the one of the key's spec: the SDK has checked it. Give up when `deadline` has passed.
    ///
    /// # Errors
    /// With the code that tells the host whether a retry may help, see [`crate::ErrorCode`].
    fn sign_digest(&self, digest: &Digest, deadline: Deadline) -> Result<RawSignature, Error>;
}

/// Finds a key in the vault and logs in if needed: the function a vendor gives to [`crate::serve`].
///
/// Whatever calls share (a session pool, a client, a token cache) is captured by it.
pub trait OpenKey: Send + Sync + 'static {
    /// Opens the key that `request` names.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` if there is no such key, `ACCESS_DENIED` if the vault refuses, and so on.
    fn open_key(&self, request: &KeyRequest) -> Result<Box<dyn SigningKey>, Error>;
}

impl<F> OpenKey for F
where
    F: Fn(&KeyRequest) -> Result<Box<dyn SigningKey>, Error> + Send + Sync + 'static,
{
    fn open_key(&self, request: &KeyRequest) -> Result<Box<dyn SigningKey>, Error> {
        self(request)
    }
}
