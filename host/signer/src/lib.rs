//! Plugin processes (find, start, speak) and the signing story.
//!
//! A plugin is a child process and hostile: what it says is checked, bounded and verified before anything is made of
//! it. This crate reads no environment, no arguments and no clock of day; the binary passes them in.
//!
//! ```no_run
//! # async fn example(request: prokura_signer::SignRequest) -> Result<(), prokura_signer::Error> {
//! use prokura_signer::{KeyReference, Plugin, PluginDirectory, PluginOptions, sign};
//!
//! let directory = PluginDirectory::new("/home/me/.config/notation/plugins".into(), None);
//! let executable = directory.find(&"pkcs11".parse()?)?;
//! let plugin = Plugin::start(executable, &Default::default(), PluginOptions::default()).await?;
//! let key = KeyReference::new("pkcs11:object=release", Default::default())?;
//! let signed = sign(&plugin, &key, request).await?;
//! plugin.close().await;
//! # Ok(()) }
//! ```

pub mod checks;
mod child;
mod directory;
mod environment;
mod error;
mod grpc;
pub mod limits;
mod plugin;
mod retry;
mod sign;
mod stdio;
pub mod text;
mod unfit;

pub use directory::{Executable, Listed, Origin, PluginDirectory};
pub use error::{Blame, Error, Stream, Violation};
pub use plugin::{KeyReference, Plugin, PluginOptions, Preference, Transport};
pub use sign::{
    DigestSignature, KeyDescription, SignRequest, Signed, Timings, describe_key, sign, sign_described,
};
pub use unfit::{InvalidSha256, PinnedSha256, Unfit};
