//! What the tests of the whole house share: real backends, certificates, a user's home, and the conformance kit.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start real programs and read the environment CI gives them"
)]

pub mod backend;
pub mod bench;
pub mod home;
pub mod image;
pub mod key;
pub mod kit;
pub mod pki;
pub mod program;
pub mod rogue;
pub mod served;
pub mod signature;
pub mod soak;
pub mod suite;
pub mod vault;
pub mod world;
