//! Plugin processes (find, start, speak) and the signing story.
//!
//! A plugin is a child process and hostile: what it says is checked, bounded and verified before anything is made of
//! it. This crate reads no environment, no arguments and no clock of day; the binary passes them in.
//!
//! # Ending plugins
//!
//! A plugin runs in a process group of its own and in a private working directory. However a call ends, and also when
//! its future is dropped, the whole group gets `SIGKILL` and the directory is removed. A serving plugin whose
//! [`Plugin`] is dropped first has its stdin closed and the time to drain; if the runtime ends meanwhile, it is killed
//! at once. Two things are beyond this:
//!
//! - A descendant of the plugin that calls `setsid(2)` leaves the group and survives. The call is not held up by it,
//!   even where it keeps the plugin's pipes open.
//! - A host that ends without dropping (by `SIGKILL`, a signal it does not handle, or `exit`) ends nothing and leaves the
//!   directory behind; a serving plugin still ends, because its stdin closes. So a binary handles `SIGINT` and
//!   `SIGTERM` by dropping what is under way. `PR_SET_PDEATHSIG` is no help: it must be set in the child between
//!   fork and exec, which takes unsafe code.
//!
//! # Example
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
