//! `inspect`: what is inside the signatures of an artifact.

use std::io::{self, Write};

use prokura_envelope::{EnvelopeFormat, ParsedEnvelope};
use prokura_registry::{Signature, media_type};
use serde::Serialize;

use super::list::too_many;
use super::{Scene, missing_reference, only};
use crate::artifact::{Finder, Reference, TagWarning};
use crate::cli::artifact::ReadOptions;
use crate::config::Config;
use crate::exit::Failure;
use crate::inspection::Inspection;
use crate::output::tree::Node;
use crate::output::{Output, Report, printable_line};

/// JSON of `inspect`: `{mediaType, signatures: [...]}`, as `notation` 2 writes it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Inspected {
    media_type: String,
    signatures: Vec<Inspection>,
    #[serde(skip)]
    reference: String,
}

impl Report for Inspected {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.signatures.is_empty() {
            return writeln!(out, "{} has no associated signature", printable_line(&self.reference));
        }
        let mut kind = Node::new(media_type::SIGNATURE);
        for signature in &self.signatures {
            kind.add(signature.tree(signature.digest.as_deref().unwrap_or_default()));
        }
        let mut root = Node::new(&self.reference);
        root.add(kind);
        writeln!(out, "Inspecting all signatures for signed artifact")?;
        root.write(out)
    }
}

/// Shows the signatures of an artifact.
pub(crate) async fn run(
    options: &ReadOptions,
    scene: &Scene<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let reference = only(&options.references, &missing_reference("inspect"), "references")?;
    let reference = Reference::parse(reference, options.layout.oci_layout)?;
    let config = Config::load(&scene.context.directories)?;
    let finder = Finder::new(scene, &options.registry, &config, output);
    let artifact = finder.find(&reference, TagWarning::Read("inspect"), output).await?;
    let max = options.limits.max_signatures;
    let listing = artifact.repository.signatures(&artifact.descriptor, max);
    let found = scene.progress.step("listing the signatures", listing).await?;
    let (mut signatures, mut skipped) = (Vec::new(), false);
    for manifest in &found.manifests {
        let fetching = artifact.repository.fetch_signature(&artifact.descriptor, manifest);
        match scene.progress.step("fetching a signature", fetching).await {
            Err(error) => {
                output.warn(format_args!(
                    "unable to fetch signature {} due to error: {error}",
                    manifest.digest
                ));
                skipped = true;
            }
            Ok(signature) => match inspect(&signature) {
                Ok(inspection) => signatures.push(inspection),
                Err(error) => {
                    output.warn(format_args!(
                        "Skipping signature {} because of error: {error}",
                        manifest.digest
                    ));
                    skipped = true;
                }
            },
        }
    }
    let media_type = artifact.descriptor.media_type.clone();
    output.report(&Inspected { media_type, signatures, reference: artifact.reference() })?;
    if found.truncated {
        output.warn(too_many(max));
    }
    if skipped {
        return Err(Failure::refused("at least one signature was skipped and not displayed"));
    }
    Ok(())
}

fn inspect(signature: &Signature) -> Result<Inspection, String> {
    let format =
        EnvelopeFormat::from_media_type(&signature.envelope_media_type).map_err(|e| e.to_string())?;
    let envelope = ParsedEnvelope::parse(format, &signature.envelope).map_err(|error| error.to_string())?;
    Inspection::of(&envelope, Some(signature.manifest.digest.to_string()))
}
