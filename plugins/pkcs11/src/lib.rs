//! Notary signing plugin for keys in any PKCS#11 token: HSMs, smart cards, TPMs, software tokens.
//!
//! A key id is a PKCS#11 URI (RFC 7512). The crate is a library so that tests reach it; the plugin is the executable
//! `notation-pkcs11`. `README.md` is the operator's page.

pub mod certificate;
pub mod config;
pub mod error;
pub mod key;
pub mod limits;
pub mod vault;

pub use vault::Vault;
