//! Signing with a plugin that makes whole envelopes (ENVELOPE). Always over stdio.

use prokura_plugin::message::{
    Base64, CONTRACT_VERSION, Command, GenerateEnvelopeRequest, PAYLOAD_MEDIA_TYPE,
};
use tokio::time::Instant;

use super::{Prepared, Signed, Timings};
use crate::checks::{EnvelopeRequest, GeneratedEnvelope, generate_envelope};
use crate::error::Error;
use crate::plugin::{KeyReference, Plugin, Transport};

pub(super) async fn sign(plugin: &Plugin, key: &KeyReference, prepared: &Prepared) -> Result<Signed, Error> {
    let begun = Instant::now();
    let request = GenerateEnvelopeRequest {
        contract_version: CONTRACT_VERSION.to_owned(),
        key_id: key.key_id().to_string(),
        payload_type: PAYLOAD_MEDIA_TYPE.to_owned(),
        signature_envelope_type: prepared.format.media_type().to_owned(),
        payload: Base64(prepared.payload.bytes().to_vec()),
        expiry_duration_in_seconds: prepared.expiry.map_or(0, |expiry| expiry.as_secs()),
        plugin_config: key.plugin_config().clone(),
    };
    let expected = EnvelopeRequest {
        format: prepared.format,
        payload: &prepared.payload,
        signing_time: prepared.signing_time,
        expiry: prepared.expiry,
    };
    let read = |answer: &[u8]| generate_envelope(answer, &expected);
    let deadline = begun + plugin.deadline();
    let GeneratedEnvelope { envelope, annotations } =
        plugin.command(Command::GenerateEnvelope, &request, deadline, read).await?;
    let timings = Timings { metadata: plugin.metadata_took(), sign: begun.elapsed(), ..Timings::default() };
    Ok(Signed { envelope: envelope.into_envelope(), annotations, transport: Transport::Stdio, timings })
}
