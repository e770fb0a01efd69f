//! OCI registries and OCI image layouts behind one type, for signing and verifying what they hold.
//!
//! [`Repository`] resolves a reference to a [`Descriptor`], fetches and stores content, stores a signature manifest
//! as a referrer of what was signed, and lists such manifests again. A registry is spoken to by the OCI
//! distribution specification 1.1, with the referrers tag schema where it has no referrers API.
//!
//! What a registry or a layout holds is hostile until its digest was checked: every body is bounded while it is
//! read, and every size, digest, list, redirect and challenge has a rule whose breach has an [`Error`] of its own.
//! The crate reads neither environment nor time of day; whatever it needs from there is an argument.

mod credentials;
mod descriptor;
mod digest;
mod error;
mod layout;
pub mod limits;
mod manifest;
mod reference;
mod remote;
mod repository;
mod text;

pub use credentials::{CredentialStores, Credentials, Secret};
pub use descriptor::{Descriptor, media_type};
pub use digest::{Digest, DigestAlgorithm};
pub use error::{Blame, Error};
pub use layout::{Layout, PackedFile};
pub use manifest::SignatureForm;
pub use reference::{LayoutReference, RegistryReference, Selector, Tag, is_localhost};
pub use remote::{ProxySettings, RemoteOptions, Retry, Timeouts, check_login};
pub use repository::{Pushed, Repository, Signature, SignatureList};
