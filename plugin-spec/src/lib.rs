//! SDK for signing plugins of the Notary Project: one function and one trait, two transports.
//!
//! A plugin is an executable `notation-x`. It keeps no envelope and knows no registry: it is handed a digest and
//! returns a signature made by a key that stays in its vault. `SPEC.md` beside this crate is the normative text.

pub mod certificate;
mod error;
#[cfg(feature = "grpc")]
pub mod grpc;
pub mod json;
mod key;
pub mod limits;
pub mod message;
mod operation;
mod public_key;
mod request;
mod serve;
mod signature;
mod signing_key;
pub mod stdio;
#[cfg(feature = "vectors")]
pub mod vector;

pub use certificate::CertificateChain;
pub use error::{Error, ErrorCode, UnknownErrorCode};
pub use key::{Digest, HashAlgorithm, KeySpec, SigningAlgorithm, UnknownName, WrongDigestLength};
pub use operation::CA_CERTS;
pub use public_key::{PublicKey, PublicKeyError};
pub use request::{Deadline, InvalidPluginName, KeyId, KeyRequest, PluginName};
pub use serve::{serve, serve_with_usage};
pub use signature::{RawSignature, SignatureError};
pub use signing_key::{OpenKey, SigningKey};

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
