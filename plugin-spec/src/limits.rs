//! Every limit of the plugin protocol, with its reason. SPEC.md section 9 is tested against this table.

/// Largest answer (stdout) or error (stderr) of one stdio command, in bytes: the 64 MiB of contract 1.0.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Largest request a plugin reads from stdin, in bytes. A request holds a payload of at most 32 MiB in Base64.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Largest gRPC message either side accepts, in bytes: digests, keys and chains; for plugins with
/// `TO_BE_SIGNED.1` also what was hashed, which for a Notary envelope is some KiB.
pub const GRPC_MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Most calls one gRPC connection has open at once; more wait in the host.
pub const GRPC_STREAMS_MAX: u32 = 256;
/// Largest status details of a failed call, in bytes; above it the error travels without its metadata. Details are
/// Base64 in an HTTP/2 header, and 16 KiB of headers is what common clients accept.
pub const GRPC_DETAILS_BYTES_MAX: usize = 4096;
/// How long a plugin waits after the host closed its stdin for calls in flight, in seconds.
pub const DRAIN_SECONDS_MAX: u64 = 5;
/// Longest key id, in bytes. The longest known (a Key Vault or ARN id) is below 400; PKCS#11 URIs are longer.
pub const KEY_ID_BYTES_MAX: usize = 4096;
/// Longest plugin name, in bytes: it becomes part of a file name (255 on Linux) behind `notation-`.
pub const PLUGIN_NAME_BYTES_MAX: usize = 128;
/// Most entries of a plugin config.
pub const PLUGIN_CONFIG_ENTRIES_MAX: usize = 256;
/// Longest name or value in a plugin config, in bytes.
pub const PLUGIN_CONFIG_VALUE_BYTES_MAX: usize = 64 * 1024;
/// Most certificates in a chain. Public code-signing chains have two to four.
pub const CERTIFICATES_MAX: usize = 16;
/// Largest certificate, in bytes of DER. Real ones are 1-3 KiB.
pub const CERTIFICATE_BYTES_MAX: usize = 64 * 1024;
/// Most candidate certificates in a bundle file from which a chain is completed.
pub const BUNDLE_CERTIFICATES_MAX: usize = 512;
/// Largest bundle file, in bytes.
pub const BUNDLE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Longest error message a host shows, in bytes; the rest is cut.
pub const ERROR_MESSAGE_BYTES_MAX: usize = 2048;
/// Most open keys a long-lived plugin keeps; the least recently used is closed first.
pub const OPEN_KEYS_MAX: usize = 256;
/// Most signatures a long-lived plugin makes at once; more wait their turn within their deadline.
pub const SIGNATURES_IN_FLIGHT_MAX: usize = 64;
/// Longest text shown to a person, in bytes; the rest is cut.
pub const PROMPT_BYTES_MAX: usize = 512;
/// Most questions of one plugin that wait for a person at once; further ones count as declined.
pub const QUESTIONS_OPEN_MAX: usize = 16;
/// Most keys a host takes from one listing; a vault with more is listed by a narrower plugin config.
pub const LISTED_KEYS_MAX: usize = 10_000;
/// Most attributes in the details of a key.
pub const KEY_ATTRIBUTES_MAX: usize = 64;
/// Longest text in the details of a key (version, label, name or value of an attribute), in bytes.
pub const KEY_DETAIL_BYTES_MAX: usize = 4096;
/// Most open requests of one stream of signatures; the plugin stops reading until one is answered.
pub const STREAM_REQUESTS_OPEN_MAX: usize = 256;

// The limits below are no part of the protocol's table.

/// By how many letters a name in a plugin config may differ from the known one it is taken for a typo of.
pub(crate) const CONFIG_NAME_DISTANCE_MAX: usize = 2;
/// How much of an unknown name is shown, in characters, and the longest that is compared with the known ones.
pub(crate) const CONFIG_NAME_SHOWN_CHARS_MAX: usize = 64;

/// Longest PIN, in bytes. Tokens allow at most 255.
pub(crate) const PIN_BYTES_MAX: usize = 255;
/// Largest PIN file, in bytes: one line and what an editor leaves behind it.
#[cfg(feature = "pin")]
pub(crate) const PIN_FILE_BYTES_MAX: u64 = 4096;
/// How long a person is waited for, in seconds. A deadline that ends sooner goes first.
#[cfg(feature = "pin")]
pub(crate) const PERSON_SECONDS_MAX: u64 = 120;
/// Longest line of pinentry, in bytes: what Assuan allows.
#[cfg(feature = "pin")]
pub(crate) const ASSUAN_LINE_BYTES_MAX: usize = 1000;
