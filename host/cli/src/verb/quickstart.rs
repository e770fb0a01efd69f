//! `quickstart`: a first signature from nothing, each step a command that is shown and can be repeated.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use prokura_registry::{Layout, Selector, Tag};
use serde::Serialize;

use super::Scene;
use crate::cli::quickstart::{QuickstartOptions, QuickstartStep};
use crate::exit::{Exit, Failure};
use crate::output::{Format, Output, Report, shown};
use crate::plugin_start::plugin_directory;

mod artifact;
mod place;
mod step;

use place::Place;
pub(crate) use step::quoted;
use step::{Runner, Step};

/// The tag of the packed artifact and of its tampered copy.
const TAG: &str = "v1";
/// Common name of the test key.
const KEY: &str = "quickstart";
/// The scope of the trust policy's only statement.
const SCOPE: &str = "local/quickstart";

/// JSON of `quickstart`: `{directory, environment, steps: [{title, command, exitCode, result?, error?}], verified,
/// tamperedRefused}`. `result` is the JSON of the step's command.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Quickstart {
    #[serde(serialize_with = "super::path_text")]
    directory: PathBuf,
    environment: BTreeMap<&'static str, String>,
    steps: Vec<Step>,
    verified: bool,
    tampered_refused: bool,
}

impl Report for Quickstart {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "\nDone: the signature was verified, and the tampered copy was refused.")?;
        writeln!(out, "Everything lies in {}; remove it when you like.", shown(&self.directory))
    }
}

/// Runs the quickstart, or one of its steps.
pub(crate) async fn run(
    options: &QuickstartOptions,
    scene: &Scene<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    match &options.step {
        None => guide(options, scene, output).await,
        Some(QuickstartStep::Pack { layout, files }) => artifact::pack(layout, files, output),
        Some(QuickstartStep::Tamper { layout, copy }) => artifact::tamper(layout, copy, output).await,
    }
}

async fn guide(
    options: &QuickstartOptions,
    scene: &Scene<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let plugin = "softkey".parse().map_err(|error| Failure::usage(format!("{error}")))?;
    plugin_directory(scene.context).find(&plugin)?;
    let place = Place::prepare(&options.dir)?;
    let files = if options.files.is_empty() {
        place.default_files(scene.context)?
    } else {
        absolute(&options.files)?
    };

    let config = place.config();
    let environment = scene.context.environment.with("NOTATION_CONFIG", config.as_os_str());
    let context = scene.context.with_environment(environment)?;
    let mut runner = Runner::new(&context, output);
    runner.introduce(&place)?;
    let steps = walk(&place, &files, &mut runner).await;
    let steps = match steps {
        Ok(()) => runner.finish(),
        Err(failure) => return Err(failure.during("the quickstart stopped")),
    };
    output.report(&Quickstart {
        directory: place.root().to_owned(),
        environment: BTreeMap::from([("NOTATION_CONFIG", config.to_string_lossy().into_owned())]),
        steps,
        verified: true,
        tampered_refused: true,
    })
}

/// The steps, in order. Every one but the last must succeed; the last must be refused.
async fn walk(place: &Place, files: &[PathBuf], runner: &mut Runner<'_, '_>) -> Result<(), Failure> {
    let (layout, tampered) = (place.layout(), place.tampered());
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();

    let make = words(&["cert", "generate-test", "--key-spec", "EC-256", "--default", KEY]);
    runner
        .must("Make a test key in a file, with a certificate that is trusted. Not for production", make)
        .await?;
    let import = words(&["policy", "import", &text(&place.policy()?)]);
    runner.must("Say what is trusted: signatures made with that certificate", import).await?;
    let mut pack = words(&["quickstart", "pack", "--layout", &format!("{}:{TAG}", text(&layout))]);
    pack.extend(files.iter().map(|path| text(path)));
    runner.must("Pack files into an OCI image layout", pack).await?;

    let original = by_digest(&layout)?;
    let sign = words(&["sign", "--oci-layout", &original]);
    runner.must("Sign the artifact; the key stays in its plugin", sign).await?;
    let verify = words(&["verify", "--oci-layout", &original, "--scope", SCOPE]);
    runner.must("Verify it", verify).await?;

    let copy = format!("{}:{TAG}", text(&tampered));
    let tamper = words(&["quickstart", "tamper", "--layout", &original, "--copy", &copy]);
    runner.must("Tamper: copy it with one byte changed, and the signature of the original", tamper).await?;
    let verify = words(&["verify", "--oci-layout", &by_digest(&tampered)?, "--scope", SCOPE]);
    runner.must_be_refused("Verify the tampered copy; this must be refused", verify).await
}

/// `PATH@DIGEST` of what the tag names.
fn by_digest(layout: &Path) -> Result<String, Failure> {
    let tag: Tag = TAG.parse()?;
    let descriptor = Layout::open(layout)?.resolve(&Selector::Tag(tag))?;
    Ok(format!("{}@{}", layout.to_string_lossy(), descriptor.digest))
}

fn absolute(files: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let one = |path: &PathBuf| {
        std::path::absolute(path)
            .map_err(|error| Failure::new(Exit::Usage, error).during(format!("cannot find {}", shown(path))))
    };
    files.iter().map(one).collect()
}

/// Whether steps are shown as they run: a program wants one document at the end.
fn is_shown(output: &Output<'_>) -> bool {
    output.format() == Format::Text
}
