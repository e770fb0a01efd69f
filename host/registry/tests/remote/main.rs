//! Registries that behave and registries that do not, served from the test's own process.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod auth;
mod credentials;
mod fetch;
mod memory;
mod push;
mod redirects;
mod referrers;
mod server;
mod tag_schema;
mod tls;
