//! The built executable, run as a user runs it, in directories of its own.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where something is not as expected"
)]

mod artifacts;
mod documented;
mod home;
mod interruption;
mod keys;
mod trust;
mod usage;
