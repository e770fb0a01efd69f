//! `list`: which signatures an artifact has.

use std::io::{self, Write};

use prokura_registry::media_type;
use serde::Serialize;

use super::{Scene, missing_reference, only};
use crate::artifact::{Finder, Reference, TagWarning};
use crate::cli::artifact::ReadOptions;
use crate::config::Config;
use crate::exit::Failure;
use crate::output::tree::Node;
use crate::output::{Output, Report, printable_line};

/// JSON of `list`: `{reference, mediaType, truncated, signatures: [{digest, mediaType, size, annotations}]}`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List {
    reference: String,
    media_type: String,
    truncated: bool,
    signatures: Vec<Listed>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    digest: String,
    media_type: String,
    size: u64,
    annotations: std::collections::BTreeMap<String, String>,
}

impl Report for List {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.signatures.is_empty() {
            return writeln!(out, "{} has no associated signatures", printable_line(&self.reference));
        }
        let mut kind = Node::new(media_type::SIGNATURE);
        self.signatures.iter().for_each(|signature| kind.add(Node::new(&signature.digest)));
        let mut root = Node::new(&self.reference);
        root.add(kind);
        root.write(out)
    }
}

/// Lists the signatures of an artifact.
pub(crate) async fn run(
    options: &ReadOptions,
    scene: &Scene<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let reference = only(&options.references, &missing_reference("list"), "references")?;
    let reference = Reference::parse(reference, options.layout.oci_layout)?;
    let config = Config::load(&scene.context.directories)?;
    let finder = Finder::new(scene, &options.registry, &config, output);
    let artifact = finder.find(&reference, TagWarning::Read("list"), output).await?;
    let max = options.limits.max_signatures;
    let listing = artifact.repository.signatures(&artifact.descriptor, max);
    let found = scene.progress.step("listing the signatures", listing).await?;
    if found.truncated {
        output.warn(too_many(max));
    }
    let listed = found.manifests.into_iter().map(|manifest| Listed {
        digest: manifest.digest.to_string(),
        media_type: manifest.media_type,
        size: manifest.size,
        annotations: manifest.annotations,
    });
    output.report(&List {
        reference: artifact.reference(),
        media_type: artifact.descriptor.media_type.clone(),
        truncated: found.truncated,
        signatures: listed.collect(),
    })
}

/// What `notation` says when there are more signatures than it may look at.
pub(crate) fn too_many(max: usize) -> String {
    format!("exceeded configured limit of max signatures {max} to examine")
}
