//! SDK for signing plugins of the Notary Project: one function and one trait, two transports.
//!
//! A plugin is an executable `notation-x`. It keeps no envelope and knows no registry: it is handed a digest and
//! returns a signature made by a key that stays in its vault. `SPEC.md` beside this crate is the normative text.

pub mod certificate;
mod error;
mod key;
pub mod limits;
pub mod message;
mod public_key;
mod request;
mod signature;
mod signing_key;

pub use certificate::CertificateChain;
pub use error::{Error, ErrorCode, UnknownErrorCode};
pub use key::{Digest, HashAlgorithm, KeySpec, SigningAlgorithm, UnknownName, WrongDigestLength};
pub use public_key::{PublicKey, PublicKeyError};
pub use request::{Deadline, InvalidPluginName, KeyId, KeyRequest, PluginName};
pub use signature::{RawSignature, SignatureError};
pub use signing_key::{OpenKey, SigningKey};
