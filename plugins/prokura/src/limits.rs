//! Every limit of this plugin, with its reason. Limits of the protocol are those of the SDK.

use std::time::Duration;

/// Largest answer taken from the broker, in bytes: a chain of 16 certificates of 64 KiB is the most that is signed under.
pub(crate) const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Most bytes handed to the broker to be signed: what it takes. A Notary envelope has some KiB.
pub(crate) const CONTENT_BYTES_MAX: usize = 256 * 1024;
/// How long a connection may take to come up, TLS included: milliseconds within a data centre.
pub(crate) const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// How often the connection is asked for a sign of life while calls wait on it; a broker that vanished is noticed so.
pub(crate) const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(10);
/// How long that sign may take.
pub(crate) const KEEP_ALIVE_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a call without a deadline of its own (contract 1.0 over stdio) may take with all its attempts.
pub(crate) const CALL_TIME_MAX: Duration = Duration::from_secs(60);
/// How long before its deadline a call gives up at the earliest, so that the host hears why.
pub(crate) const ANSWER_TIME: Duration = Duration::from_millis(500);
/// Most attempts of one call whose connection broke: a replica that restarts or dies costs one or two.
pub(crate) const ATTEMPTS_MAX: u32 = 4;
/// First pause between attempts; it doubles each time, and a random part of up to half is taken off.
pub(crate) const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// How long before its end a token is replaced, so that no call meets it expired on the way.
pub(crate) const TOKEN_MARGIN: jiff::SignedDuration = jiff::SignedDuration::from_secs(30);
/// How long asking GitHub for a token may take.
pub(crate) const TOKEN_TIME_MAX: Duration = Duration::from_secs(10);
/// Largest token, file with a token or answer that holds one, in bytes. Those of GitHub have about 2 KiB.
pub(crate) const TOKEN_BYTES_MAX: u64 = 16 * 1024;
/// Largest file with TLS certificates or a TLS key, in bytes: a system's whole bundle has about 256 KiB.
pub(crate) const TLS_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Most different brokers, or identities towards one, that one process keeps connections to.
pub(crate) const CONNECTIONS_MAX: usize = 32;
/// Longest name of a key at the broker.
pub(crate) const KEY_NAME_BYTES_MAX: usize = 128;
/// Most hashes of an inclusion proof: a log of 2^63 entries has no more.
pub(crate) const PROOF_HASHES_MAX: usize = 63;
/// Largest checkpoint or log entry in a receipt, in bytes.
pub(crate) const RECEIPT_BYTES_MAX: usize = 64 * 1024;
/// Most names of policies that are told.
pub(crate) const POLICIES_SHOWN_MAX: usize = 8;
/// Most of the broker's own words that are repeated in an error, in characters.
pub(crate) const SHOWN_CHARS_MAX: usize = 600;
/// How long what was described of a key counts as known; then a description asks the broker again.
pub(crate) const KNOWN_FOR: Duration = Duration::from_secs(5);
