//! Listeners met by real clients.

mod floods;
mod harness;
mod tls;
