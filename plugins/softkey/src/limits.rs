//! Every limit of this plugin, with its reason.

/// Largest key file, in bytes. An RSA-4096 key in PEM has about 3.2 KiB.
pub(crate) const KEY_FILE_BYTES_MAX: u64 = 64 * 1024;
/// Largest certificate file, in bytes: as many of the largest certificates as a chain may have, in PEM.
pub(crate) const CERTIFICATE_FILE_BYTES_MAX: u64 = 2 * 1024 * 1024;
