//! A signature that was made, as programs are told of it by every verb that signs.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use prokura_signer::{Signed, Timings};
use serde::Serialize;

use crate::signing::SigningSession;

/// The members `sign` and `blob sign` have in common: `{format, signingTime, plugin, keyId, keyVersion?, vaultRequestId?,
/// transport, timingsMs}`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Made {
    format: &'static str,
    signing_time: Option<Timestamp>,
    plugin: String,
    key_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vault_request_id: Option<String>,
    transport: String,
    timings_ms: Milliseconds,
}

impl Made {
    /// What is told of `signed`. `timings` are those of the plugin, `own` the phases of the verb.
    pub(crate) fn of(
        signed: &Signed,
        session: &SigningSession,
        timings: Timings,
        own: [(&'static str, Duration); 2],
    ) -> Self {
        let content = signed.envelope.content();
        Self {
            format: signed.envelope.format().as_str(),
            signing_time: content.signing_time.or(content.authentic_signing_time),
            plugin: session.plugin().name().to_string(),
            key_id: session.key().key_id().to_string(),
            key_version: signed.key_version.clone(),
            vault_request_id: signed.vault_request_id.clone(),
            transport: signed.transport.to_string(),
            timings_ms: Milliseconds::of(timings, own),
        }
    }
}

/// How long each phase took; the first four concern the plugin. One that was not needed took no time.
#[derive(Serialize)]
struct Milliseconds {
    metadata: f64,
    start: f64,
    describe: f64,
    sign: f64,
    #[serde(flatten)]
    own: BTreeMap<&'static str, f64>,
}

impl Milliseconds {
    fn of(timings: Timings, own: [(&'static str, Duration); 2]) -> Self {
        // Whole microseconds: what is below is noise.
        let ms = |duration: Duration| (duration.as_secs_f64() * 1e6).round() / 1e3;
        Self {
            metadata: ms(timings.metadata),
            start: ms(timings.start),
            describe: ms(timings.describe),
            sign: ms(timings.sign),
            own: own.into_iter().map(|(phase, took)| (phase, ms(took))).collect(),
        }
    }
}
