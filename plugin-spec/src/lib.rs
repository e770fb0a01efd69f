//! SDK for signing plugins of the Notary Project: one function and one trait, two transports.
//!
//! A plugin is an executable `notation-x`. It keeps no envelope and knows no registry: it is handed a digest and
//! returns a signature made by a key that stays in its vault. `SPEC.md` beside this crate is the normative text.
//!
//! # A whole plugin
//!
//! P-256 keys in the files `<dir>/<key id>.der` (PKCS#8), their certificates in `<dir>/<key id>.crt` (PEM):
//!
//! ```no_run
//! use std::{fs, path::PathBuf, process::ExitCode};
//!
//! use aws_lc_rs::{digest, signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair}};
//! use prokura_plugin::{
//!     CertificateChain, Deadline, Digest, Error, KeyRequest, KeySpec, PublicKey, RawSignature, SigningKey,
//! };
//!
//! fn main() -> ExitCode {
//!     prokura_plugin::serve(prokura_plugin::metadata!("files", "Signs with keys in files"), open_key)
//! }
//!
//! fn open_key(request: &KeyRequest) -> Result<Box<dyn SigningKey>, Error> {
//!     let path = PathBuf::from(request.config("dir")?).join(request.key_id().as_file_name()?);
//!     let der = fs::read(path.with_extension("der")).map_err(|e| Error::validation(e.to_string()))?;
//!     let private = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).map_err(Error::internal)?;
//!     let public = PublicKey::from_ec_point(KeySpec::Ec256, private.public_key().as_ref());
//!     Ok(Box::new(FileKey { private, public: public.map_err(Error::internal)?, path }))
//! }
//!
//! struct FileKey {
//!     private: EcdsaKeyPair,
//!     public: PublicKey,
//!     path: PathBuf,
//! }
//!
//! impl SigningKey for FileKey {
//!     fn public_key(&self) -> &PublicKey {
//!         &self.public
//!     }
//!
//!     fn certificate_chain(&self) -> Result<CertificateChain, Error> {
//!         let pem = fs::read(self.path.with_extension("crt")).map_err(Error::internal)?;
//!         CertificateChain::from_pem(&pem).map_err(|e| Error::validation(e.to_string()))
//!     }
//!
//!     fn sign_digest(&self, digest: &Digest, _: Deadline) -> Result<RawSignature, Error> {
//!         let digest = digest::Digest::import_less_safe(digest.bytes(), &digest::SHA256).map_err(Error::internal)?;
//!         let signature = self.private.sign_digest(&digest).map_err(Error::internal)?;
//!         Ok(RawSignature::from_fixed_width(KeySpec::Ec256, signature.as_ref().to_vec())?)
//!     }
//! }
//! ```
//!
//! What its author never meets: arguments, stdin, JSON, Base64, contract versions, hashing, the echo of the key id,
//! the order and completion of chains, error objects, exit codes, sockets, gRPC. What is left to do: map the vault's
//! errors to the six codes of [`ErrorCode`], so that a host knows whether a retry may help, and run the vectors.
//!
//! # Where things are
//!
//! - [`serve`] is the process, [`Service`] one that also lists and makes keys; [`stdio::answer`] and `grpc::PluginService` are the two transports without one.
//! - [`SigningKey`] and [`OpenKey`] are what a vendor implements; [`KeyRequest`], [`Digest`], [`ToBeSigned`], [`PublicKey`],
//!   [`CertificateChain`] and [`RawSignature`] are what passes through them, checked by construction.
//! - [`KeyDetails`] says what else a vault knows of a key, [`Person`] asks for a PIN or a touch, [`Error`] says who must
//!   act and whether a retry may help.
//! - [`message`] holds the JSON messages, [`limits`] every limit.
//!
//! Features: `grpc` (on by default) adds the second transport and with it an async runtime; without it the crate
//! stays small. `pin` adds the sources a PIN may come from. `vectors` adds the reader of the test vectors, for runners.

pub mod certificate;
mod config_names;
mod error;
#[cfg(feature = "grpc")]
pub mod grpc;
pub mod json;
mod key;
mod key_details;
pub mod limits;
pub mod message;
mod operation;
mod person;
pub mod pin;
mod protocol_stream;
mod public_key;
mod request;
mod serve;
mod signature;
mod signing_key;
pub mod stdio;
mod to_be_signed;
#[cfg(feature = "vectors")]
pub mod vector;

pub use certificate::CertificateChain;
pub use error::{Error, ErrorCode, Scope, UnknownErrorCode};
pub use key::{Digest, HashAlgorithm, KeySpec, SigningAlgorithm, UnknownName, WrongDigestLength};
pub use key_details::{
    CERTIFICATE_ADVICE, KeyDescription, KeyDetails, KeyState, PinPolicy, PublicHalf, TouchPolicy, UnknownText,
};
pub use operation::CA_CERTS;
pub use person::{Interaction, Notice, Person, PinPrompt, Shown};
pub use pin::Pin;
pub use public_key::{PublicKey, PublicKeyError};
pub use request::{CreateRequest, Deadline, InvalidPluginName, KeyId, KeyRequest, PluginName, VaultRequest};
pub use serve::{Service, serve};
pub use signature::{RawSignature, SignatureError};
pub use signing_key::{CreateKey, InstallCertificate, ListKeys, Listed, OpenKey, SigningKey};
pub use to_be_signed::ToBeSigned;

/// The [`message::Metadata`] of the plugin whose crate this is written in: name and description as given, version and
/// URL from its `Cargo.toml` (`repository` must be set there).
#[macro_export]
macro_rules! metadata {
    ($name:literal, $description:literal) => {{
        const URL: &str = ::core::env!("CARGO_PKG_REPOSITORY");
        const { ::core::assert!(!URL.is_empty(), "set `repository` in Cargo.toml: a plugin must tell its URL") }
        $crate::message::Metadata::of_plugin($name, $description, ::core::env!("CARGO_PKG_VERSION"), URL)
    }};
}
