//! `sign`: signs artifacts and stores the signatures beside them.

use std::io::{self, Write};
use std::time::Instant;

use prokura_registry::Descriptor;
use serde::Serialize;

use super::{Scene, missing_reference};
use crate::artifact::{Artifact, Finder, Reference, TagWarning};
use crate::cli::artifact::SignOptions;
use crate::config::Config;
use crate::exit::Failure;
use crate::output::{Format, Output, Report, printable_line};
use crate::signature::Made;
use crate::signing::{SigningSession, manifest_annotations};

/// JSON of `sign`: `{signed: [...]}`, one member per reference that was signed, in their order. If a reference fails,
/// those before it are in the document, the exit code is not 0, and the reason is on standard error.
#[derive(Serialize)]
struct Signatures {
    signed: Vec<Done>,
}

/// `{artifact, mediaType, digest, size, signature, signatureDigest}` and the members of [`Made`].
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    artifact: String,
    media_type: String,
    digest: String,
    size: u64,
    signature: String,
    signature_digest: String,
    #[serde(flatten)]
    made: Made,
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
    let session = SigningSession::open(&options.signer, &config, scene, output).await?;
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
            Ok(done) if is_text => output.report_stored(&Signatures { signed: vec![done] })?,
            Ok(done) => all.signed.push(done),
            Err(failure) if references.len() > 1 => {
                result = Err(failure.during(format!("cannot sign {reference}")));
                break;
            }
            Err(failure) => return Err(failure),
        }
    }
    if !is_text {
        output.report_stored(&all)?;
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
    let phases = [("resolve", resolve), ("push", begun.elapsed())];
    let made = Made::of(&signed, session, signed.timings, phases);
    Ok(done(&artifact, &pushed.manifest, made))
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

fn done(artifact: &Artifact, manifest: &Descriptor, made: Made) -> Done {
    Done {
        artifact: artifact.reference(),
        media_type: artifact.descriptor.media_type.clone(),
        digest: artifact.descriptor.digest.to_string(),
        size: artifact.descriptor.size,
        signature: artifact.reference_of(&manifest.digest),
        signature_digest: manifest.digest.to_string(),
        made,
    }
}
