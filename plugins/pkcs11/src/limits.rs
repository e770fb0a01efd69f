//! Every limit of this plugin, with its reason. Limits of the protocol are those of the SDK.

/// Most sessions with one token. More threads than this wait their turn; few tokens gain from more.
pub const SESSIONS_MAX: usize = 32;
/// How long a call without a deadline waits for a session, in seconds. The slowest tokens sign in about two.
pub const SESSION_WAIT_SECONDS: u64 = 60;
/// Most modules one process loads: each brings foreign code and threads into it.
pub const MODULES_MAX: usize = 16;
/// Most slots of a module that are looked at. Network HSMs show up to about a hundred partitions.
pub const SLOTS_MAX: usize = 256;
/// Most objects a search returns before it counts as too broad.
pub const OBJECTS_MAX: usize = 1024;
/// Most tokens or keys an error message lists.
pub const LISTED_MAX: usize = 10;
/// Most certificates with one subject that are read from a token: renewals of one certificate.
pub const SAME_SUBJECT_MAX: usize = 64;
/// Longest text from a token or a URI that is repeated in an error message, in characters.
pub const SHOWN_CHARS_MAX: usize = 64;
/// How long a process waits for others that log in to SoftHSM tokens, in seconds. A login takes milliseconds.
pub const TURN_WAIT_SECONDS: u64 = 10;
/// How often it looks whether its turn has come, in milliseconds.
pub const TURN_POLL_MILLISECONDS: u64 = 2;
