//! What a vendor implements: one trait with three methods, and a function for each thing the vault can do besides.

use std::ops::ControlFlow;

use crate::certificate::CertificateChain;
use crate::error::Error;
use crate::key::Digest;
use crate::key_details::{KeyDescription, KeyDetails};
use crate::public_key::PublicKey;
use crate::request::{CreateRequest, Deadline, KeyRequest, VaultRequest};
use crate::signature::RawSignature;
use crate::to_be_signed::ToBeSigned;

/// A private key in its vault, opened and ready to sign.
///
/// The SDK opens a key once and calls it from several threads at a time: over gRPC one opened key serves many
/// signatures. All methods may block; the SDK calls them off its network threads.
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

    /// Signs a digest of which the vault wants to see what was hashed: a signing service that judges it, or that hashes
    /// itself. Everywhere else the default does, which hands the digest on.
    ///
    /// A plugin that implements it calls [`crate::Service::reads_to_be_signed`], or hosts send no more than the digest
    /// over gRPC. The bytes may be missing all the same: then the key signs the digest, or refuses with
    /// `VALIDATION_ERROR`. The SDK has checked that bytes and digest belong together.
    ///
    /// # Errors
    /// As for [`Self::sign_digest`].
    fn sign_content(&self, content: &ToBeSigned, deadline: Deadline) -> Result<RawSignature, Error> {
        self.sign_digest(content.digest(), deadline)
    }

    /// What the vault says of the key besides: version, state, policies. Nothing, unless implemented.
    fn details(&self) -> KeyDetails {
        KeyDetails::default()
    }
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

/// A key that was found, or why one (or a part of the vault) could not be looked at.
pub type Listed = Result<KeyDescription, Error>;

/// Lists the keys in the vault that can sign; optional, see [`crate::Service::list_keys`].
pub trait ListKeys: Send + Sync + 'static {
    /// Hands each key to `found` as soon as it is known and ends early when that says so. Keys that cannot sign, or are
    /// of none of the six specs, are left out.
    ///
    /// # Errors
    /// If nothing can be listed at all; what concerns one key goes to `found`.
    fn list_keys(
        &self,
        request: &VaultRequest,
        found: &mut dyn FnMut(Listed) -> ControlFlow<()>,
    ) -> Result<(), Error>;
}

impl<F> ListKeys for F
where
    F: Fn(&VaultRequest, &mut dyn FnMut(Listed) -> ControlFlow<()>) -> Result<(), Error>
        + Send
        + Sync
        + 'static,
{
    fn list_keys(
        &self,
        request: &VaultRequest,
        found: &mut dyn FnMut(Listed) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self(request, found)
    }
}

/// Makes a key inside the vault; optional, see [`crate::Service::create_key`].
pub trait CreateKey: Send + Sync + 'static {
    /// Makes a key that can sign and cannot leave, and waits until it can be used. Never replaces one.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` if the name is taken or the vault has no such keys, `ACCESS_DENIED` naming the permission.
    fn create_key(&self, request: &CreateRequest) -> Result<KeyDescription, Error>;
}

impl<F> CreateKey for F
where
    F: Fn(&CreateRequest) -> Result<KeyDescription, Error> + Send + Sync + 'static,
{
    fn create_key(&self, request: &CreateRequest) -> Result<KeyDescription, Error> {
        self(request)
    }
}

/// Puts certificates into the vault beside their key; optional, see [`crate::Service::install_certificate`].
pub trait InstallCertificate: Send + Sync + 'static {
    /// Stores the leaf, and the others where the vault has a place for them. The SDK has checked that the leaf holds the
    /// key's public key.
    ///
    /// # Errors
    /// As for the other calls.
    fn install_certificate(&self, request: &KeyRequest, chain: &CertificateChain) -> Result<(), Error>;
}

impl<F> InstallCertificate for F
where
    F: Fn(&KeyRequest, &CertificateChain) -> Result<(), Error> + Send + Sync + 'static,
{
    fn install_certificate(&self, request: &KeyRequest, chain: &CertificateChain) -> Result<(), Error> {
        self(request, chain)
    }
}
