//! Every limit of this crate in one place, each with its reason.

use std::time::Duration;

/// Largest manifest or index that is read, in bytes: 4 MiB.
///
/// The distribution specification asks registries to accept manifests of at least 4 MiB, and `notation`
/// refuses a larger signature manifest.
pub const MANIFEST_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Largest signature envelope that is read or written, in bytes: 32 MiB, the limit of `notation`.
pub const ENVELOPE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Referrers read from one registry answer chain, matching or not. A list this long is either abuse or noise.
pub const REFERRERS_ENTRIES_MAX: usize = 10_000;

/// Pages of a referrers list that are followed. Real registries send 100 to 1000 entries on a page.
pub const REFERRERS_PAGES_MAX: usize = 200;

/// Manifests looked at while walking one image layout; more than any layout written by a build.
pub const LAYOUT_MANIFESTS_MAX: usize = 10_000;

/// Depth of indexes inside indexes that is followed in an image layout. Real ones have one or two.
pub const LAYOUT_DEPTH_MAX: usize = 8;

/// How long a writer waits for another writer of the same image layout.
pub const LAYOUT_LOCK_WAIT: Duration = Duration::from_secs(10);

/// Largest `oci-layout` file, in bytes. It holds one version string.
pub const LAYOUT_FILE_BYTES_MAX: u64 = 4096;

/// Redirects followed for one request: enough for a registry, its front door and a storage host.
pub const REDIRECTS_MAX: usize = 5;

/// Largest token answer, in bytes. Tokens of large organisations reach some tens of kilobytes.
pub const TOKEN_BYTES_MAX: u64 = 256 * 1024;

/// Largest error answer that is read for its message, in bytes; the rest of the body is dropped.
pub const ERROR_BYTES_MAX: u64 = 64 * 1024;

/// Characters of a registry's own words that are shown in an error.
pub const FOREIGN_TEXT_CHARS_MAX: usize = 400;

/// Largest `WWW-Authenticate` value that is parsed, in bytes.
pub const CHALLENGE_BYTES_MAX: usize = 8 * 1024;

/// Longest wait that a `Retry-After` may ask for; a longer one ends the call with an error saying so.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Attempts to get one entry into a referrers tag that others write at the same time.
pub const TAG_SCHEMA_ATTEMPTS_MAX: usize = 8;
/// How often a writer looks again while others keep writing the same referrers tag, before it believes that its entry
/// stays.
pub const TAG_SCHEMA_LOOKS_MAX: usize = 12;

/// Longest pause before a referrers tag is read a second time to see that the entry is still there.
pub const TAG_SCHEMA_SETTLE_MAX: Duration = Duration::from_secs(2);

/// Largest docker `config.json` or `auth.json`, in bytes.
pub const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// Time a credential helper has to answer; it may have to ask its user for a passphrase.
pub const HELPER_DEADLINE: Duration = Duration::from_secs(30);

/// Largest answer of a credential helper, in bytes.
pub const HELPER_BYTES_MAX: u64 = 64 * 1024;
/// How often the two blobs and the manifest of a signature are pushed if the registry loses sight of a blob.
pub const SIGNATURE_PUSHES_MAX: u32 = 4;
/// Pause before the second of these pushes; the third waits twice as long, and so on.
pub const SIGNATURE_PUSH_PAUSE: Duration = Duration::from_millis(150);
