//! What the broker accepts at most, and why.

/// A peer's id. A SPIFFE ID has at most 2048 bytes (SPIFFE ID, section 2); nothing longer names anybody.
pub const PEER_ID_BYTES_MAX: usize = 2048;

/// Claims of one peer. Tokens of GitHub Actions and GitLab have about 30.
pub const PEER_CLAIMS_MAX: usize = 128;

/// One claim's value. Kubernetes nests whole objects; the largest seen are below 2 KiB.
pub const PEER_CLAIM_BYTES_MAX: usize = 8 * 1024;

// What is to be signed (content.rs).

/// Bytes to be signed. Payloads are below 10 KiB with all their annotations; JWS adds a third, the header 1 KiB.
pub const CONTENT_BYTES_MAX: usize = 256 * 1024;

/// Annotations of one artifact. Each becomes a tag that every decision carries; builds set a dozen.
pub const ANNOTATIONS_MAX: usize = 256;

/// How old a signing time may be, in seconds: an envelope is prepared, then waits for its turn, at worst through an
/// outage of the vault.
pub const SIGNING_TIME_PAST_MAX_S: i64 = 60 * 60;

/// How far a signing time may be ahead, in seconds: clocks of build machines differ, but not by more.
pub const SIGNING_TIME_AHEAD_MAX_S: i64 = 5 * 60;
