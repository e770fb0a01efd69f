//! Every limit of this plugin, with its reason. Limits of the protocol are those of the SDK.

use std::time::Duration;

/// Largest answer that is read, in bytes. A page of 25 keys has about 10 KiB, a certificate with its policy 8 KiB.
pub(crate) const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// How long a connection may take to be made. Within Azure it takes milliseconds, through a proxy a second.
pub(crate) const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// How long the instance metadata service may take to be connected to: it is one hop away, or not there at all.
pub(crate) const METADATA_CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// How long one HTTP request may take; one that stalls is made again. Signatures take below a second.
pub(crate) const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a call goes on in all where the host set no deadline (contract 1.0 has none).
pub(crate) const CALL_TIME_MAX: Duration = Duration::from_secs(60);
/// Most attempts at a request that the way to the vault or its servers broke: what lasts longer needs a person.
pub(crate) const ATTEMPTS_AFTER_FAILURE: u32 = 4;
/// Most attempts at a request that was throttled. The deadline usually ends them sooner.
pub(crate) const ATTEMPTS_WHEN_THROTTLED: u32 = 16;
/// What is kept of a deadline for the answer's way back, so that a host that is busy hears why instead of nothing; but at
/// most a quarter of what is left.
pub(crate) const ANSWER_MARGIN: Duration = Duration::from_secs(1);
/// How long a host is asked to rest after a call that ran out of time: longer than what was left for the answer, or it
/// would spend that on a call that can only fail.
pub(crate) const REST: Duration = Duration::from_secs(2);
/// The first pause where the vault names none; doubled each time, and cut at random to half of it.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause where the vault names none. Quotas are counted over 10 seconds.
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Most vaults and credentials one process keeps connections for; the rest are made anew each time.
pub(crate) const CONNECTIONS_MAX: usize = 64;
/// Most keys that are listed. Vaults have no limit; each key costs two requests.
pub(crate) const KEYS_LISTED_MAX: usize = 10_000;
/// Most pages of a list: of a vault whose pages are empty, none is the last.
pub(crate) const PAGES_MAX: usize = 4_000;
/// Longest name of a vault object, as Key Vault has it.
pub(crate) const NAME_BYTES_MAX: usize = 127;
/// Longest version. Key Vault's have 32 characters.
pub(crate) const VERSION_BYTES_MAX: usize = 64;
/// Largest file with a client secret, client certificate or federated token, in bytes.
pub(crate) const CREDENTIAL_FILE_BYTES_MAX: u64 = 64 * 1024;
/// How long a client assertion may be used, in seconds: Microsoft recommends 5 to 10 minutes.
pub(crate) const ASSERTION_SECONDS: u64 = 600;
/// How far the clock of this machine may run ahead of Entra's, in seconds.
pub(crate) const CLOCK_SKEW_SECONDS: u64 = 60;
/// Longest text of the service that an error repeats, in characters.
pub(crate) const SHOWN_CHARS_MAX: usize = 400;
