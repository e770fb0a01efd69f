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
/// How long a token that was short of sessions is not asked for more than are open, in seconds.
pub const SESSIONS_SHORT_SECONDS: u64 = 30;
/// How often a token whose sessions are all held by other programs is asked again, in milliseconds.
pub const SESSION_POLL_MILLISECONDS: u64 = 50;
/// How long one call into a module may last before the module counts as lost, in seconds, unless configured. A
/// signature takes up to about two seconds in the slowest tokens; a search in a full network HSM takes longer.
pub const CALL_SECONDS_DEFAULT: u64 = 30;
/// Longest that may be configured, in seconds.
pub const CALL_SECONDS_MAX: u64 = 3600;
/// Longest making of a key pair, in seconds: smart cards look for RSA-4096 primes for minutes.
pub const GENERATE_SECONDS_MAX: u64 = 600;
/// How long a person is waited for, in seconds: at a prompt, or at the token's own keypad.
pub const PERSON_SECONDS_MAX: u64 = 180;
/// Longest interval between two signs of life, in seconds.
pub const KEEP_ALIVE_SECONDS_MAX: u64 = 24 * 3600;
/// Shortest time between two new beginnings of a module, in seconds: each one takes all sessions from all its tokens.
pub const REINITIALISE_SECONDS_MIN: u64 = 3;
/// New beginnings in vain after which the process is given up.
pub const REINITIALISE_FAILURES_MAX: u32 = 3;
/// When a failed request may be sent again, in seconds: not before the module may be begun anew, for until then the
/// answer is the same. Hosts ask four times, so that an HSM may be away for three times as long.
pub const RETRY_SECONDS: u64 = REINITIALISE_SECONDS_MIN;
/// Largest p11-kit module file, in bytes. Real ones have a few lines.
pub const MODULE_FILE_BYTES_MAX: u64 = 64 * 1024;
/// Most files in a directory of p11-kit's that are looked at.
pub const MODULE_FILES_MAX: usize = 256;
/// Length of the id a new key is given, in bytes: enough never to be given twice.
pub const NEW_ID_BYTES: usize = 16;
/// How long a token whose sessions are all held by other programs is waited for, in seconds: nobody of ours will give
/// one back.
pub const SESSIONS_GONE_SECONDS: u64 = 5;
/// By how many letters an unknown attribute of a URI may differ from the known one it is taken for a typo of.
pub const NAME_DISTANCE_MAX: usize = 2;
