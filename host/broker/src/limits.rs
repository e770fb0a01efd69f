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
// config

/// The config file. 10,000 keys of 100 bytes have 1 MB; a plugin config may have some more.
pub const CONFIG_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// One text in the config: paths have at most 4096 bytes, key ids are limited by the plugin protocol.
pub const CONFIG_TEXT_BYTES_MAX: usize = 16 * 1024;

/// One list in the config.
pub const CONFIG_LIST_MAX: usize = 1024;

/// Keys of one broker. Each is described at the start; memory is about 10 KiB for each.
pub const KEYS_MAX: usize = 10_000;

/// A key's name, as the protocol says.
pub const KEY_NAME_BYTES_MAX: usize = 128;

/// Open connections: each has a task, buffers and a descriptor, of which systemd gives 524,288 at most.
pub const CONNECTIONS_MAX: u64 = 100_000;

/// Open connections unless the operator says otherwise.
pub const CONNECTIONS_DEFAULT: u64 = 4096;

/// Requests to sign that are under way: each holds up to two messages of some 100 KiB.
pub const IN_FLIGHT_MAX: u64 = 65_536;

/// Requests to sign under way unless the operator says otherwise.
pub const IN_FLIGHT_DEFAULT: u64 = 1024;

/// How long one request may take: an hour, for vaults behind a quota.
pub const SIGN_DEADLINE_MAX_S: u64 = 3600;

/// How long one request may take if neither caller nor operator says.
pub const SIGN_DEADLINE_DEFAULT_S: u64 = 60;

/// How long the end may be delayed by requests under way.
pub const DRAIN_MAX_S: u64 = 3600;

/// The default is below systemd's TimeoutStopSec= of 90 s, after which it kills.
pub const DRAIN_DEFAULT_S: u64 = 60;
