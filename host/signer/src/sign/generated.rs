//! Signing with a plugin that makes whole envelopes (ENVELOPE). Always over stdio.

use prokura_plugin::message::{
    Base64, CONTRACT_VERSION, Command, GenerateEnvelopeRequest, PAYLOAD_MEDIA_TYPE,
};
use tokio::time::Instant;

use super::{Prepared, Signed, Timings};
use crate::checks::{EnvelopeRequest, GeneratedEnvelope, generate_envelope};
use crate::error::Error;
use crate::plugin::{KeyReference, Plugin, Transport};
use crate::text::cleaned;

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
    let GeneratedEnvelope { envelope, annotations, added } =
        plugin.command(Command::GenerateEnvelope, &request, deadline, read).await?;
    if !added.is_empty() {
        let added = listed(&added);
        tracing::warn!(plugin = %plugin.name(), %added, "the plugin signed annotations that nobody asked for");
    }
    let timings = Timings { metadata: plugin.metadata_took(), sign: begun.elapsed(), ..Timings::default() };
    let (envelope, transport) = (envelope.into_envelope(), Transport::Stdio);
    Ok(Signed { envelope, annotations, transport, timings, key_version: None, vault_request_id: None })
}

/// Names that a plugin chose, quoted and fit for a log, bounded as a whole.
fn listed(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("{:?}", cleaned(name))).collect();
    cleaned(&quoted.join(", "))
}

#[cfg(test)]
mod tests {
    use prokura_plugin::limits::ERROR_MESSAGE_BYTES_MAX;

    use super::*;

    #[test]
    fn names_of_added_annotations_are_fit_for_a_log() {
        let names = ["com.example".to_owned(), "\u{1b}[31mred\u{202e}\n\", x".to_owned()];
        assert_eq!(listed(&names), r#""com.example", "red \", x""#);
        assert!(listed(&vec!["name".to_owned(); 100_000]).len() <= ERROR_MESSAGE_BYTES_MAX + 3);
    }
}
