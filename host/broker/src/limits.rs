//! What the broker accepts at most, and why.

/// A peer's id. A SPIFFE ID has at most 2048 bytes (SPIFFE ID, section 2); nothing longer names anybody.
pub const PEER_ID_BYTES_MAX: usize = 2048;

/// Claims of one peer. Tokens of GitHub Actions and GitLab have about 30.
pub const PEER_CLAIMS_MAX: usize = 128;

/// One claim's value. Kubernetes nests whole objects; the largest seen are below 2 KiB.
pub const PEER_CLAIM_BYTES_MAX: usize = 8 * 1024;
