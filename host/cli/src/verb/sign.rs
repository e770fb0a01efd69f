//! `sign`: signs artifacts and stores the signatures beside them.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use prokura_registry::Descriptor;
use prokura_signer::{Signed, Timings};
use serde::Serialize;

use super::{Scene, missing_reference};
use crate::artifact::{Artifact, Finder, Reference, TagWarning};
use crate::cli::artifact::SignOptions;
use crate::config::Config;
use crate::exit::Failure;
use crate::output::{Format, Output, Report, printable_line};
use crate::signing::{SigningSession, manifest_annotations};

/// JSON of `sign`: `{signed: [...]}`, one member per reference that was signed, in their order. If a reference fails,
/// those before it are in the document, the exit code is not 0, and the reason is on standard error.
#[derive(Serialize)]
struct Signatures {
    signed: Vec<Done>,
}

/// `{artifact, mediaType, digest, size, signature, signatureDigest, format, signingTime, plugin, keyId,
/// keyVersion?, vaultRequestId?, transport, timingsMs}`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    artifact: String,
    media_type: String,
    digest: String,
    size: u64,
    signature: String,
    signature_digest: String,
    format: &'static str,
    signing_time: Option<jiff::Timestamp>,
    plugin: String,
    key_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vault_request_id: Option<String>,
    transport: String,
    timings_ms: Milliseconds,
}

/// How long each phase took; the first four concern the plugin. One that was not needed took no time.
#[derive(Serialize)]
struct Milliseconds {
    metadata: f64,
    start: f64,
    describe: f64,
    sign: f64,
    resolve: f64,
    push: f64,
}

impl Milliseconds {
    fn of(timings: Timings, resolve: Duration, push: Duration) -> Self {
        // Whole microseconds: what is below is noise.
        let ms = |duration: Duration| (duration.as_secs_f64() * 1e6).round() / 1e3;
        Self {
            metadata: ms(timings.metadata),
            start: ms(timings.start),
            describe: ms(timings.describe),
            sign: ms(timings.sign),
            resolve: ms(resolve),
            push: ms(push),
        }
    }
}

impl Report for Signatures {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.signed.iter().try_for_each(|done| {
            writeln!(out, "Successfully signed {}", printable_line(&done.artifact))?;
            writeln!(out, "Pushed the signature to {}", printable_line(&done.signature))
        })
    }
}

/// Signs every reference with one key, one after the other.
pub(crate) async fn run(
    options: &SignOptions,
    scene: &Scene<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    if options.references.is_empty() {
        return Err(Failure::usage(missing_reference("sign")));
    }
    let parse = |text: &String| Reference::parse(text, options.layout.oci_layout);
    let references: Vec<Reference> = options.references.iter().map(parse).collect::<Result<_, _>>()?;
    if options.allow_referrers_api {
        output.warn(
            "flag --allow-referrers-api is deprecated: the referrers API is used wherever there is one",
        );
    }
    let config = Config::load(&scene.context.directories)?;
    let session = SigningSession::open(&options.signer, &config, scene).await?;
    session.warn_of_secrets(output);
    let finder = Finder::new(scene, &options.registry, &config, output);
    let signed = sign_all(&references, options, &session, &finder, scene, output).await;
    session.close(output).await;
    signed
}

async fn sign_all(
    references: &[Reference],
    options: &SignOptions,
    session: &SigningSession,
    finder: &Finder<'_>,
    scene: &Scene<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let is_text = output.format() == Format::Text;
    let mut all = Signatures { signed: Vec::new() };
    let mut result = Ok(());
    for reference in references {
        match sign_one(reference, options, session, finder, scene, output).await {
            // People see each signature when it is there; a program wants one document.
            Ok(done) if is_text => output.report(&Signatures { signed: vec![done] })?,
            Ok(done) => all.signed.push(done),
            Err(failure) if references.len() > 1 => {
                result = Err(failure.during(format!("cannot sign {reference}")));
                break;
            }
            Err(failure) => return Err(failure),
        }
    }
    if !is_text {
        output.report(&all)?;
    }
    result
}

async fn sign_one(
    reference: &Reference,
    options: &SignOptions,
    session: &SigningSession,
    finder: &Finder<'_>,
    scene: &Scene<'_>,
    output: &mut Output<'_>,
) -> Result<Done, Failure> {
    let begun = Instant::now();
    let artifact = finder.find(reference, TagWarning::Sign, output).await?;
    let resolve = begun.elapsed();
    let request = session.request(target(&artifact.descriptor));
    let signing = prokura_signer::sign(session.plugin(), session.key(), request);
    let signed = scene.progress.step("waiting for the signature", signing).await?;
    session.warn_of_expiry(&signed, output);
    let begun = Instant::now();
    let pushing = artifact.repository.push_signature(
        &artifact.descriptor,
        signed.envelope.format().media_type(),
        signed.envelope.bytes(),
        manifest_annotations(&signed),
        options.force_referrers_tag.unwrap_or(false),
    );
    let pushed = scene.progress.step("storing the signature", pushing).await;
    let pushed = pushed
        .map_err(|error| Failure::from(error).during("failed to push signature to registry with error"))?;
    pushed.warnings.iter().for_each(|warning| output.warn(warning));
    tracing::info!(artifact = artifact.reference(), signature = %pushed.manifest.digest, "signed");
    let timings_ms = Milliseconds::of(signed.timings, resolve, begun.elapsed());
    Ok(done(&artifact, &pushed.manifest, &signed, session, timings_ms))
}

/// What is signed: media type, digest and size, without the annotations of whoever listed the artifact.
fn target(descriptor: &Descriptor) -> prokura_envelope::Descriptor {
    prokura_envelope::Descriptor {
        media_type: descriptor.media_type.clone(),
        digest: descriptor.digest.to_string(),
        size: descriptor.size,
        annotations: std::collections::BTreeMap::new(),
    }
}

fn done(
    artifact: &Artifact,
    manifest: &Descriptor,
    signed: &Signed,
    session: &SigningSession,
    timings_ms: Milliseconds,
) -> Done {
    let content = signed.envelope.content();
    Done {
        artifact: artifact.reference(),
        media_type: artifact.descriptor.media_type.clone(),
        digest: artifact.descriptor.digest.to_string(),
        size: artifact.descriptor.size,
        signature: artifact.reference_of(&manifest.digest),
        signature_digest: manifest.digest.to_string(),
        format: signed.envelope.format().as_str(),
        signing_time: content.signing_time.or(content.authentic_signing_time),
        plugin: session.plugin().name().to_string(),
        key_id: session.key().key_id().to_string(),
        key_version: signed.key_version.clone(),
        vault_request_id: signed.vault_request_id.clone(),
        transport: signed.transport.to_string(),
        timings_ms,
    }
}
