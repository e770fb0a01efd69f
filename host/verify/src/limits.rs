//! Every limit of this room, with its reason.

/// Largest trust policy document, in bytes. Real ones are below 10 KiB; a thousand statements fit.
pub const POLICY_BYTES_MAX: u64 = 1024 * 1024;
/// Most statements in a trust policy document.
pub const STATEMENTS_MAX: usize = 1024;
/// Most registry scopes in one statement: a large organisation's repositories, listed one by one.
pub const SCOPES_MAX: usize = 10_000;
/// Most trust stores in one statement.
pub const STATEMENT_STORES_MAX: usize = 64;
/// Most trusted identities in one statement. Each is compared with each other for overlap.
pub const IDENTITIES_MAX: usize = 256;
/// Longest distinguished name that is read, in bytes. Real subjects are below 300.
pub const DISTINGUISHED_NAME_BYTES_MAX: usize = 8 * 1024;
/// Most files in one named trust store.
pub const STORE_FILES_MAX: usize = 1024;
/// Largest file in a trust store, in bytes: a bundle of some hundred roots.
pub const STORE_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Most certificates in one named trust store.
pub const STORE_CERTIFICATES_MAX: usize = 4096;
/// Most named trust stores that are listed per type.
pub const STORES_LISTED_MAX: usize = 4096;
/// Longest name of a trust store or of a file in it, in bytes: what file systems take.
pub const NAME_BYTES_MAX: usize = 255;
/// How far an authentic signing time may lie ahead of the clock here, in seconds: clocks that are synchronised at all
/// differ less, and a signing authority that vouches for a later time vouches for what it cannot know.
pub const SIGNING_TIME_AHEAD_SECONDS_MAX: i64 = 15 * 60;
/// Longest piece of hostile text (a subject, an attribute key) repeated in a reason, in bytes; the rest is cut.
pub const QUOTED_BYTES_MAX: usize = 512;
