//! `verify`: whether the trust policy accepts a signature of an artifact.

use std::collections::BTreeMap;
use std::io::{self, Write};

use prokura_registry::Descriptor;
use prokura_verify::{
    AllRefused, Attempts, OciPolicy, Outcome, Refused, RefusedBecause, Statement, Target, TrustStore,
    VerifiedSignature, VerifyInput, verify_signature,
};
use serde::Serialize;

use super::certificate::trust_store;
use super::policy::unknown_member;
use super::{Scene, missing_reference, only};
use crate::artifact::{Artifact, Finder, Reference, TagWarning};
use crate::cli::artifact::VerifyOptions;
use crate::cli::options::VerifierOptions;
use crate::cli::value::to_map;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::output::{Format, Output, Report, printable_line, table};

/// How a verification ended.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Verdict {
    /// A signature was accepted.
    Verified,
    /// None was.
    Refused,
    /// The trust policy says not to look.
    Skipped,
}

/// JSON of `verify`: `{reference, result, statement, level, signature?: {digest, outcome}, userMetadata?,
/// refused: [{digest, outcome | notFetched}], limitReached?}`. An outcome holds every check with its reasons.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Verification<'a> {
    reference: &'a str,
    result: Verdict,
    statement: &'a str,
    level: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<&'a VerifiedSignature>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_metadata: Option<&'a BTreeMap<String, String>>,
    refused: &'a [Refused],
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_reached: Option<usize>,
    #[serde(skip)]
    after_warning: bool,
}

impl Report for Verification<'_> {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        match self.result {
            // The reasons are the error.
            Verdict::Refused => Ok(()),
            Verdict::Skipped => write_success(out, self.reference, None, true, self.after_warning),
            Verdict::Verified => {
                write_success(out, self.reference, self.user_metadata, false, self.after_warning)
            }
        }
    }
}

/// The success text of `verify` and `blob verify`, word for word as in `notation`.
pub(crate) fn write_success(
    out: &mut dyn Write,
    artifact: &str,
    metadata: Option<&BTreeMap<String, String>>,
    skipped: bool,
    after_warning: bool,
) -> io::Result<()> {
    let artifact = printable_line(artifact);
    if after_warning {
        writeln!(out)?;
    }
    if skipped {
        return writeln!(out, "Trust policy is configured to skip signature verification for {artifact}");
    }
    writeln!(out, "Successfully verified signature for {artifact}")?;
    let Some(metadata) = metadata.filter(|metadata| !metadata.is_empty()) else { return Ok(()) };
    writeln!(out, "\nThe artifact was signed with the following user metadata.\n")?;
    let rows: Vec<_> = metadata.iter().map(|(key, value)| [key.clone(), value.clone()]).collect();
    table::write(out, ["KEY", "VALUE"], &rows)
}

/// Verifies an artifact.
pub(crate) async fn run(
    options: &VerifyOptions,
    scene: &Scene<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let reference = only(&options.references, &missing_reference("verify"), "references")?;
    let reference = Reference::parse(reference, options.oci_layout)?;
    let config = Config::load(&scene.context.directories)?;
    let policy = OciPolicy::load(scene.context.directories.config())?;
    policy.unknown_members().iter().for_each(|member| output.warn(unknown_member(member)));
    warn_of_plugin_config(&options.verifier, output);

    let finder = Finder::new(scene, &options.registry, &config, output);
    let artifact = finder.find(&reference, TagWarning::Read("verify"), output).await?;
    let scope = options.scope.clone().unwrap_or_else(|| reference.place());
    let statement = policy.applicable(&format!("{scope}@{}", artifact.descriptor.digest))?;
    let shown = artifact.reference();
    if statement.level().is_skip() {
        return output.report(&verification(&shown, Verdict::Skipped, statement, output));
    }
    let judge =
        Judge { statement, store: trust_store(scene), required: to_map(&options.verifier.user_metadata) };
    let trying = judge.attempt(&artifact, options.limits.max_signatures, scene);
    match scene.progress.step("verifying the signatures", trying).await? {
        Ok((verified, refused)) => accept(&shown, statement, &verified, &refused, output),
        Err(refused) => refuse(&shown, statement, &refused, output),
    }
}

/// A verification plugin is what this flag is for; none is run, and nobody should believe otherwise.
pub(crate) fn warn_of_plugin_config(options: &VerifierOptions, output: &mut Output<'_>) {
    if !options.plugin_config.is_empty() {
        output.warn("--plugin-config has no effect: verification plugins are not run by this version");
    }
}

fn verification<'a>(
    reference: &'a str,
    result: Verdict,
    statement: &'a Statement,
    output: &Output<'_>,
) -> Verification<'a> {
    Verification {
        reference,
        result,
        statement: statement.name(),
        level: statement.level().name(),
        signature: None,
        user_metadata: None,
        refused: &[],
        limit_reached: None,
        after_warning: output.warned(),
    }
}

fn accept(
    reference: &str,
    statement: &Statement,
    verified: &VerifiedSignature,
    refused: &[Refused],
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    warn_of_logged(&verified.outcome, output);
    output.report(&Verification {
        signature: Some(verified),
        user_metadata: verified.outcome.payload().map(|payload| &payload.target().annotations),
        refused,
        ..verification(reference, Verdict::Verified, statement, output)
    })
}

/// Tells what failed but is only logged under the level.
pub(crate) fn warn_of_logged(outcome: &Outcome, output: &mut Output<'_>) {
    for check in outcome.warnings() {
        output.warn(format_args!(
            "{} was set to \"{}\" and failed with error: {}",
            check.check_type,
            check.action,
            check.explanation()
        ));
    }
}

fn refuse(
    reference: &str,
    statement: &Statement,
    refused: &AllRefused,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    if output.format() == Format::Json {
        output.report(&Verification {
            refused: &refused.refused,
            limit_reached: refused.limit_reached,
            ..verification(reference, Verdict::Refused, statement, output)
        })?;
    }
    let not_fetched = |r: &Refused| matches!(r.because, RefusedBecause::NotFetched(_));
    if refused.refused.is_empty() {
        return Err(Failure::refused(format!("signature verification failed: {refused}")));
    }
    // If no signature could even be looked at, nothing was judged.
    let exit = if refused.refused.iter().all(not_fetched) { Exit::Infrastructure } else { Exit::Refused };
    Err(Failure::new(exit, refused.clone()))
}

/// What all signatures of an artifact are judged by.
struct Judge<'a> {
    statement: &'a Statement,
    store: TrustStore,
    required: BTreeMap<String, String>,
}

type Attempted = Result<(VerifiedSignature, Vec<Refused>), AllRefused>;

impl Judge<'_> {
    /// Fetches and judges one signature after the other until one is accepted.
    async fn attempt(
        &self,
        artifact: &Artifact,
        max: usize,
        scene: &Scene<'_>,
    ) -> Result<Attempted, Failure> {
        let found = artifact.repository.signatures(&artifact.descriptor, max).await?;
        let target = target(&artifact.descriptor);
        let now = (scene.context.now)();
        let mut attempts = Attempts::new(max);
        for manifest in &found.manifests {
            if !attempts.wants_next() {
                break;
            }
            let digest = manifest.digest.to_string();
            match artifact.repository.fetch_signature(&artifact.descriptor, manifest).await {
                Err(error) => attempts.record_not_fetched(digest, &error),
                Ok(signature) => attempts.record(
                    digest,
                    verify_signature(&VerifyInput {
                        media_type: &signature.envelope_media_type,
                        envelope: &signature.envelope,
                        statement: self.statement,
                        store: &self.store,
                        now,
                        target: &target,
                        required_metadata: &self.required,
                    }),
                ),
            }
        }
        if found.truncated {
            attempts.wants_next();
        }
        Ok(attempts.finish(&artifact.reference()))
    }
}

fn target(descriptor: &Descriptor) -> Target {
    Target::Oci {
        media_type: descriptor.media_type.clone(),
        digest: descriptor.digest.to_string(),
        size: descriptor.size,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_is_told_as_notation_tells_it() {
        let text = |metadata: &[(&str, &str)], skipped, after_warning| {
            let metadata = metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let mut out = Vec::new();
            write_success(&mut out, "r/x@sha256:1", Some(&metadata), skipped, after_warning).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(&[], false, false), "Successfully verified signature for r/x@sha256:1\n");
        assert_eq!(
            text(&[("io.k", "v"), ("b", "w")], false, true),
            "\nSuccessfully verified signature for r/x@sha256:1\n\n\
             The artifact was signed with the following user metadata.\n\n\
             KEY    VALUE   \nb      w       \nio.k   v       \n"
        );
        assert_eq!(
            text(&[], true, false),
            "Trust policy is configured to skip signature verification for r/x@sha256:1\n"
        );
    }
}
