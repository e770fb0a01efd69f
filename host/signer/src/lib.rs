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
//! at once.
//!
//! - On Linux a plugin ends with this process, however that ends (`SIGKILL`, a crash, `exit`), even if it hangs: the
//!   kernel kills it. What a killed host could not do, the next one does for it: it removes the private directory and
//!   ends what the plugin itself had started there.
//! - A descendant of the plugin that left the group (`setsid(2)`) is found by its working directory and killed, unless
//!   it went elsewhere, as a daemon does that is meant to stay. Only Linux tells working directories.
//! - A process in that directory that is no plugin's, say a person's shell, is killed with them.
//!
//! A binary still handles `SIGINT` and `SIGTERM` by dropping what is under way: then a serving plugin may log out.
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

mod chain;
pub mod checks;
mod child;
mod directory;
mod environment;
mod error;
mod grpc;
mod interaction;
pub mod limits;
mod plugin;
mod retry;
mod sign;
mod stdio;
mod supervisor;
pub mod text;
mod unfit;
mod vault;

pub use chain::{FetchIssuer, Fetched, complete_chain};
pub use directory::{Executable, Listed, Origin, PluginDirectory};
pub use error::{Blame, Error, Hints, Stream, Violation};
pub use interaction::{Answering, Interaction};
pub use plugin::{KeyReference, Plugin, PluginOptions, Preference, Transport};
pub use sign::{
    DigestSignature, KeyDescription, SignRequest, Signed, Timings, describe_key, describe_key_timed, sign,
    sign_described,
};
pub use supervisor::Supervision;
pub use unfit::{InvalidSha256, PinnedSha256, Unfit};
pub use vault::VaultKey;
