//! Names of the header parameters that the Notary Project defines, common to JWS and COSE.
//!
//! Source: Notary Project signature specification, "Signature Envelope"; the JWS and COSE envelope specifications.

/// Media type of the payload, the only content type there is.
pub const PAYLOAD_MEDIA_TYPE: &str = "application/vnd.cncf.notary.payload.v1+json";
/// Which of the two signing schemes; critical.
pub const SIGNING_SCHEME: &str = "io.cncf.notary.signingScheme";
/// When the signer says it signed; only under `notary.x509`.
pub const SIGNING_TIME: &str = "io.cncf.notary.signingTime";
/// When a signing authority vouches it signed; only under `notary.x509.signingAuthority`; critical.
pub const AUTHENTIC_SIGNING_TIME: &str = "io.cncf.notary.authenticSigningTime";
/// From when on the signature is no longer good; critical.
pub const EXPIRY: &str = "io.cncf.notary.expiry";
/// Name of a plugin that must take part in verification; an extended attribute here.
pub const VERIFICATION_PLUGIN: &str = "io.cncf.notary.verificationPlugin";
/// Lowest version of that plugin.
pub const VERIFICATION_PLUGIN_MIN_VERSION: &str = "io.cncf.notary.verificationPluginMinVersion";
/// RFC 3161 token over the signature; unsigned.
pub const TIMESTAMP_SIGNATURE: &str = "io.cncf.notary.timestampSignature";
/// Software that made the envelope; unsigned.
pub const SIGNING_AGENT: &str = "io.cncf.notary.signingAgent";

/// Names of signed attributes this crate reads itself, so that they cannot be extended attributes.
pub(crate) const SYSTEM: [&str; 4] = [SIGNING_SCHEME, SIGNING_TIME, AUTHENTIC_SIGNING_TIME, EXPIRY];
