//! Every limit of this plugin, with its reason. Limits of the protocol are those of the SDK.

use std::time::Duration;

/// Largest answer taken from the vault, in bytes. A transit key with hundreds of versions and chains stays below 1 MiB.
pub(crate) const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long a connection may take to come up: TCP and TLS within one data centre take milliseconds.
pub(crate) const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// How long one attempt may take before another is made on a new connection. An RSA-4096 signature takes milliseconds;
/// a vault behind a network HSM takes seconds.
pub(crate) const ATTEMPT_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a call without a deadline of its own (contract 1.0 over stdio) may take with all its retries.
pub(crate) const CALL_TIME_MAX: Duration = Duration::from_secs(60);
/// How long before its deadline a call gives up at the earliest, so that the host hears why.
pub(crate) const ANSWER_TIME: Duration = Duration::from_millis(500);
/// How long a host is asked to rest after a call that ran out of time: longer than what was left for the answer, or it
/// would spend that on a call that can only fail.
pub(crate) const REST: Duration = Duration::from_secs(1);
/// Most attempts of one call. Signing a digest twice does no harm, but a vault in trouble needs quiet.
pub(crate) const ATTEMPTS_MAX: u32 = 5;
/// First pause between attempts; it doubles each time, and a random part of up to half is taken off.
pub(crate) const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// Longest pause of our own making between attempts.
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Longest `Retry-After` that is waited for; above it the caller is told at once.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// How long before its end a token is renewed at the latest, so that no signature meets it expired.
pub(crate) const TOKEN_MARGIN: Duration = Duration::from_secs(10);
/// Most different vaults, or ways to log in, that one process keeps connections to.
pub(crate) const CONNECTIONS_MAX: usize = 32;
/// Most idle connections kept to one vault: what the SDK has in flight at once.
pub(crate) const IDLE_CONNECTIONS_MAX: usize = prokura_plugin::limits::SIGNATURES_IN_FLIGHT_MAX;
/// Largest file with a token, secret id or JWT, in bytes. Kubernetes tokens are about 1 KiB, batch tokens below 4 KiB.
pub(crate) const SECRET_BYTES_MAX: u64 = 16 * 1024;
/// Largest file with TLS certificates or a TLS key, in bytes: a system's whole bundle has about 256 KiB.
pub(crate) const TLS_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Most files read from a directory of TLS certificates.
pub(crate) const TLS_FILES_MAX: usize = 512;
/// Most sources of certificates one key may name.
pub(crate) const CERTIFICATE_SOURCES_MAX: usize = 8;
/// Longest path in the vault: mount, key name, KV path. OpenBao itself stops at 512 for most storage.
pub(crate) const PATH_BYTES_MAX: usize = 512;
/// Most of the vault's own words that are repeated in an error, in characters.
pub(crate) const SHOWN_CHARS_MAX: usize = 300;
/// How long what was read of a key counts as known. After it a description reads the key again and so notices a rotation
/// or a renewed certificate; signatures in between cost one call each.
pub(crate) const KNOWN_FOR: Duration = Duration::from_secs(5);
