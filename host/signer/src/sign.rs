//! The signing story: describe the key, prepare the envelope, have the plugin sign, verify, hand out.
//!
//! RAW is preferred where a plugin has both capabilities: then the host makes the envelope and the plugin sees only
//! what a signature needs.

mod generated;
mod raw;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use prokura_envelope::{Attributes, Descriptor, Envelope, EnvelopeFormat, Payload, SigningScheme};
use prokura_plugin::message::capability;
use prokura_plugin::{CertificateChain, KeyDetails, KeySpec, PublicKey};
use tokio::time::Instant;

use crate::error::Error;
use crate::plugin::{KeyReference, Plugin, Transport};

pub use raw::DigestSignature;

/// What is to be signed, and how. Pure data: the time is the caller's.
#[derive(Clone, Debug)]
pub struct SignRequest {
    /// Envelope format.
    pub format: EnvelopeFormat,
    /// What is signed.
    pub target: Descriptor,
    /// Added to the target's annotations.
    pub user_metadata: BTreeMap<String, String>,
    /// From the signing time on; whole seconds. `None`: the signature does not expire.
    pub expiry: Option<Duration>,
    /// The time now.
    pub signing_time: Timestamp,
    /// The program that signs, such as `prokura/0.1.0`; the plugin and its version are added.
    pub agent: String,
}

/// A signature.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The envelope, verified.
    pub envelope: Envelope,
    /// What the plugin adds to the signature manifest; nothing the host writes itself.
    pub annotations: BTreeMap<String, String>,
    /// How the plugin was reached.
    pub transport: Transport,
    /// Where the time went.
    pub timings: Timings,
    /// The version of the key that signed, as the vault calls it, if the plugin tells.
    pub key_version: Option<String>,
    /// The id under which the vault logged the request, if the plugin tells.
    pub vault_request_id: Option<String>,
}

/// How long each phase of a signature took. A phase that was not needed took no time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Starting the process that serves gRPC, if this call did.
    pub start: Duration,
    /// `get-plugin-metadata`, done once when the plugin was started.
    pub metadata: Duration,
    /// Describing the key.
    pub describe: Duration,
    /// Making the signature or envelope.
    pub sign: Duration,
}

impl Timings {
    /// With what went before: starting the process and describing the key in an earlier call.
    #[must_use]
    pub fn after(self, before: Self) -> Self {
        Self { start: self.start + before.start, describe: self.describe + before.describe, ..self }
    }
}

/// What a plugin says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDescription {
    /// Decides hash and signing algorithm.
    pub key_spec: KeySpec,
    /// The public key; contract 1.0 over stdio does not tell it.
    pub public_key: Option<PublicKey>,
    /// The certificate chain, leaf first, possibly incomplete; contract 1.0 over stdio tells it only with a signature.
    pub chain: Option<CertificateChain>,
    /// What else the vault says; nothing over stdio.
    pub details: KeyDetails,
}

/// Signs with whatever the plugin can: RAW if it has that capability, else ENVELOPE.
///
/// # Errors
/// [`Error::Incapable`] if it has neither, [`Error::InvalidRequest`] if the request makes no payload, otherwise whatever
/// the plugin did wrong.
pub async fn sign(plugin: &Plugin, key: &KeyReference, request: SignRequest) -> Result<Signed, Error> {
    let metadata = plugin.metadata();
    if metadata.has(capability::SIGNATURE_GENERATOR_RAW) {
        let prepared = Prepared::new(plugin, request)?;
        raw::sign(plugin, key, &prepared, None).await
    } else if metadata.has(capability::SIGNATURE_GENERATOR_ENVELOPE) {
        let prepared = Prepared::new(plugin, request)?;
        generated::sign(plugin, key, &prepared).await
    } else {
        Err(plugin.incapable("SIGNATURE_GENERATOR.RAW or SIGNATURE_GENERATOR.ENVELOPE", "signing takes"))
    }
}

/// Signs with a key that was described before, as a blob must be: its digest is made with the hash of the key.
///
/// # Errors
/// As for [`sign`]; [`Error::Incapable`] for plugins that only make whole envelopes; [`Error::KeyChanged`] if the key
/// is another one by now.
pub async fn sign_described(
    plugin: &Plugin,
    key: &KeyReference,
    description: &KeyDescription,
    request: SignRequest,
) -> Result<Signed, Error> {
    raw::check_capability(plugin)?;
    let prepared = Prepared::new(plugin, request)?;
    raw::sign(plugin, key, &prepared, Some(description.clone())).await
}

/// Asks the plugin which key this is.
///
/// # Errors
/// [`Error::Incapable`] for plugins that only make whole envelopes; otherwise whatever the plugin did wrong.
pub async fn describe_key(plugin: &Plugin, key: &KeyReference) -> Result<KeyDescription, Error> {
    describe_key_timed(plugin, key).await.map(|(description, _)| description)
}

/// As [`describe_key`], and where the time went.
///
/// # Errors
/// As for [`describe_key`].
pub async fn describe_key_timed(
    plugin: &Plugin,
    key: &KeyReference,
) -> Result<(KeyDescription, Timings), Error> {
    raw::check_capability(plugin)?;
    let begun = Instant::now();
    let wire = plugin.wire().await?;
    let start = begun.elapsed();
    let description = raw::describe(plugin, &wire, key, begun + plugin.deadline()).await?;
    let timings = Timings {
        start,
        metadata: plugin.metadata_took(),
        describe: begun.elapsed() - start,
        sign: Duration::ZERO,
    };
    Ok((description, timings))
}

/// A request whose payload is made.
struct Prepared {
    format: EnvelopeFormat,
    payload: Payload,
    expiry: Option<Duration>,
    signing_time: Timestamp,
    agent: String,
}

impl Prepared {
    fn new(plugin: &Plugin, request: SignRequest) -> Result<Self, Error> {
        let payload = Payload::new(request.target, request.user_metadata)
            .map_err(|error| Error::InvalidRequest(error.to_string()))?;
        if request.expiry.is_some_and(|expiry| expiry.as_secs() == 0) {
            return Err(Error::InvalidRequest(
                "the expiry is below one second, expected at least one".to_owned(),
            ));
        }
        let agent = agent(&request.agent, plugin);
        let SignRequest { format, expiry, signing_time, .. } = request;
        Ok(Self { format, payload, expiry, signing_time, agent })
    }

    fn attributes(&self) -> Result<Attributes, Error> {
        let too_far = || Error::InvalidRequest("the expiry is too far in the future".to_owned());
        let expiry = match self.expiry {
            None => None,
            Some(expiry) => {
                let expiry =
                    SignedDuration::try_from(Duration::from_secs(expiry.as_secs())).map_err(|_| too_far())?;
                Some(self.signing_time.checked_add(expiry).map_err(|_| too_far())?)
            }
        };
        Ok(Attributes {
            scheme: SigningScheme::X509,
            signing_time: self.signing_time,
            expiry,
            extended: Vec::new(),
            signing_agent: Some(self.agent.clone()),
        })
    }
}

/// `prokura/0.1.0 softkey/0.1.0`. The plugin's version is its own text: only what may stand in such a name is kept.
fn agent(program: &str, plugin: &Plugin) -> String {
    const VERSION_CHARS_MAX: usize = 64;
    let version = plugin.metadata().version.chars();
    let version: String =
        version.filter(|c| c.is_ascii_graphic() && *c != '/').take(VERSION_CHARS_MAX).collect();
    format!("{program} {}/{version}", plugin.name())
}
