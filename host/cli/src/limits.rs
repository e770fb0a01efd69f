//! Every limit of the command line, with its reason.

use std::time::Duration;

/// Largest `config.json`, `signingkeys.json` or trust policy, in bytes. A thousand keys take a quarter of it.
pub(crate) const STATE_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Largest certificate file given on the command line, in bytes: hundreds of certificates in PEM.
pub(crate) const CERTIFICATE_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Largest detached signature that is read, in bytes: the limit of contract 1.0 for an envelope.
pub(crate) const SIGNATURE_FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Longest answer read from standard input (a password, a user name, `y`), in bytes.
pub(crate) const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// How long `verify`, `list` and `inspect` may take in all unless told otherwise, as Go writes it. Each answer of a
/// registry has limits of its own; a hundred slow ones together would still hold up a build for hours.
pub(crate) const COMMAND_DEADLINE: &str = "5m";
/// How long another process may hold the lock of a state file; a change takes milliseconds.
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(10);
/// Pause between two attempts to take a lock.
pub(crate) const LOCK_RETRY: Duration = Duration::from_millis(20);
/// A step that lasts longer than this shows on a terminal that it is running.
pub(crate) const PROGRESS_AFTER: Duration = Duration::from_secs(1);
/// How many signatures of one artifact are looked at unless asked otherwise (CVE-2023-33958: there must be an end).
pub(crate) const SIGNATURES_DEFAULT: usize = 100;
/// Longest validity of a test certificate, in days: nobody should come to rely on one.
pub(crate) const TEST_VALIDITY_DAYS_MAX: u64 = 366;
/// Largest file that the quickstart packs or copies, in bytes; files are held in memory.
pub(crate) const PACKED_FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Largest body fetched for an issuer's certificate, in bytes: a certificate or a PKCS#7 message with a few.
pub(crate) const ISSUER_BYTES_MAX: usize = 256 * 1024;
/// Longest time one fetch of an issuer's certificate may take.
pub(crate) const ISSUER_DEADLINE: Duration = Duration::from_secs(10);
/// Most redirects followed for an issuer's certificate.
pub(crate) const ISSUER_REDIRECTS_MAX: usize = 3;
/// How long before the end of a certificate a signature made with it is worth a warning.
pub(crate) const EXPIRY_WARNING: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a pinentry program is waited for: it cannot be taken back earlier.
pub(crate) const PINENTRY_LIMIT: Duration = Duration::from_secs(120);
/// Largest `gpg-agent.conf` that is looked at, in bytes; real ones have a few lines.
pub(crate) const GPG_AGENT_CONF_BYTES_MAX: u64 = 64 * 1024;
/// Longest line read from the terminal at once, in bytes: the longest PIN (255), its line end, and one more so that a
/// longer one is seen as such.
pub(crate) const TERMINAL_LINE_BYTES_MAX: usize = 257;
