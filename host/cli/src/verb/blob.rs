//! `blob`: signs and verifies files by detached signatures.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use prokura_envelope::ParsedEnvelope;
use prokura_plugin::{HashAlgorithm, KeySpec, SigningAlgorithm};
use prokura_verify::{BlobPolicy, Outcome, Target, VerifyInput, verify_signature};
use serde::Serialize;

use super::certificate::trust_store;
use super::policy::unknown_member;
use super::verify::{Verdict, warn_of_logged, warn_of_plugin_config, write_success};
use super::{Scene, only};
use crate::blob_file::{format_of, measure};
use crate::cli::blob::{BlobCommand, BlobInspectOptions, BlobSignOptions, BlobVerifyOptions};
use crate::cli::value::to_map;
use crate::config::Config;
use crate::exit::Failure;
use crate::inspection::Inspection;
use crate::limits::SIGNATURE_FILE_BYTES_MAX;
use crate::output::{Format, Output, Report, shown};
use crate::signature::Made;
use crate::signing::SigningSession;
use crate::{prompt, state_file};

/// Runs a verb on files.
pub(crate) async fn run(
    command: &BlobCommand,
    scene: &Scene<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    match command {
        BlobCommand::Sign(options) => sign(options, scene, output).await,
        BlobCommand::Verify(options) => verify(options, scene, output).await,
        BlobCommand::Inspect(options) => inspect(options, output),
        BlobCommand::Policy(command) => super::policy::run_blob(command, scene, output).await,
    }
}

/// JSON of `blob sign`: `{path, mediaType, digest, size, signaturePath}` and the members of [`Made`].
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    #[serde(serialize_with = "super::path_text")]
    path: PathBuf,
    media_type: String,
    digest: String,
    size: u64,
    #[serde(serialize_with = "super::path_text")]
    signature_path: PathBuf,
    #[serde(flatten)]
    made: Made,
}

impl Report for Done {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        // The space at the start of the second line is notation's.
        writeln!(out, "Successfully signed {}", shown(&self.path))?;
        writeln!(out, " Signature file written to {}", shown(&self.signature_path))
    }
}

async fn sign(options: &BlobSignOptions, scene: &Scene<'_>, output: &mut Output<'_>) -> Result<(), Failure> {
    let missing = "missing file path to the blob artifact: use `prokura blob sign --help` to see what parameters are \
                   required";
    let path = only(&options.paths, missing, "files")?;
    if path.as_os_str().is_empty() {
        return Err(Failure::usage("blob path cannot be empty"));
    }
    let config = Config::load(&scene.context.directories)?;
    let session = SigningSession::open(&options.signer, &config, scene, output).await?;
    let done = sign_with(&session, options, path, scene, output).await;
    session.close(output).await;
    done.and_then(|done| done.map_or(Ok(()), |done| output.report_stored(&done)))
}

/// Asks before it signs: a signature nobody keeps should not cost a touch of a device.
async fn sign_with(
    session: &SigningSession,
    options: &BlobSignOptions,
    path: &Path,
    scene: &Scene<'_>,
    output: &mut Output<'_>,
) -> Result<Option<Done>, Failure> {
    let signature_path = signature_path(options, path, session.format().as_str())?;
    let question = "The signature file already exists, do you want to overwrite it?";
    let is_there = || signature_path.symlink_metadata().is_ok();
    if !options.force && is_there() && !prompt::confirm(output, question).await? {
        return Ok(None);
    }
    let describing = prokura_signer::describe_key_timed(session.plugin(), session.key());
    let (key, asked) = scene.progress.step("asking for the key", describing).await?;
    let begun = Instant::now();
    let measured = measured(path, key.key_spec.hash_algorithm(), scene).await?;
    let hash = begun.elapsed();
    let request = session.request(prokura_envelope::Descriptor {
        media_type: options.media_type.clone(),
        digest: measured.digest.clone(),
        size: measured.size,
        annotations: BTreeMap::new(),
    });
    let signing = prokura_signer::sign_described(session.plugin(), session.key(), &key, request);
    let signed = scene.progress.step("waiting for the signature", signing).await?;
    session.warn_of_expiry(&signed, output);
    if options.force && is_there() {
        output.warn("existing signature file will be overwritten");
    }
    let begun = Instant::now();
    state_file::replace(&signature_path, signed.envelope.bytes(), 0o600)
        .map_err(|error| error.during("failed to write signature to file"))?;
    let phases = [("hash", hash), ("write", begun.elapsed())];
    let made = Made::of(&signed, session, signed.timings.after(asked), phases);
    Ok(Some(Done {
        path: path.to_owned(),
        media_type: options.media_type.clone(),
        digest: measured.digest,
        size: measured.size,
        signature_path,
        made,
    }))
}

/// Hashes a file away from the runtime's thread, so that the spinner turns.
async fn measured(
    path: &Path,
    algorithm: HashAlgorithm,
    scene: &Scene<'_>,
) -> Result<crate::blob_file::Measured, Failure> {
    let path = path.to_owned();
    let hashing = tokio::task::spawn_blocking(move || measure(&path, algorithm));
    let hashed = scene.progress.step("hashing the file", hashing).await;
    hashed.map_err(|error| Failure::infrastructure(error.to_string()))?
}

fn signature_path(options: &BlobSignOptions, path: &Path, format: &str) -> Result<PathBuf, Failure> {
    let name = path.file_name().ok_or_else(|| {
        Failure::usage(format!("{} names no file, expected the path of a file to sign", shown(path)))
    })?;
    let mut name = name.to_owned();
    name.push(format!(".{format}.sig"));
    let directory = match &options.signature_directory {
        Some(directory) if directory.as_os_str().is_empty() => {
            return Err(Failure::usage("signature directory cannot be empty"));
        }
        Some(directory) => directory.clone(),
        None => path.parent().map(Path::to_owned).unwrap_or_default(),
    };
    if !directory.as_os_str().is_empty() && !directory.is_dir() {
        return Err(Failure::usage(format!("{} is no directory that exists", shown(&directory))));
    }
    Ok(directory.join(name))
}

/// JSON of `blob verify`: `{path, signaturePath, result, outcome, userMetadata?}`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Verification<'a> {
    #[serde(serialize_with = "super::path_text")]
    path: &'a Path,
    #[serde(serialize_with = "super::path_text")]
    signature_path: &'a Path,
    result: Verdict,
    outcome: &'a Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_metadata: Option<&'a BTreeMap<String, String>>,
    #[serde(skip)]
    after_warning: bool,
}

impl Report for Verification<'_> {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.result == Verdict::Refused {
            return Ok(());
        }
        let skipped = self.result == Verdict::Skipped;
        let artifact = self.path.to_string_lossy();
        write_success(out, &artifact, self.user_metadata, skipped, self.after_warning)
    }
}

async fn verify(
    options: &BlobVerifyOptions,
    scene: &Scene<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let missing = "missing path to the blob artifact: use `prokura blob verify --help` to see what parameters are \
                   required";
    let path = only(&options.paths, missing, "files")?;
    if options.signature.as_os_str().is_empty() {
        return Err(Failure::usage("filepath of the signature cannot be empty"));
    }
    let policy = BlobPolicy::load(scene.context.directories.config())?;
    policy.unknown_members().iter().for_each(|member| output.warn(unknown_member(member)));
    let statement = policy.applicable(options.policy_name.as_deref())?;
    warn_of_plugin_config(&options.verifier, output);

    let format = format_of(&options.signature)?;
    let envelope = state_file::read_named(&options.signature, SIGNATURE_FILE_BYTES_MAX)?;
    // The hash belongs to the key that signed. An envelope that does not parse is refused by the verification, with
    // its reason; which hash is compared then does not matter.
    let hash = ParsedEnvelope::parse(format, &envelope)
        .map_or(HashAlgorithm::Sha256, |parsed| hash_of(parsed.content().algorithm));
    let measured = measured(path, hash, scene).await?;
    let outcome = verify_signature(&VerifyInput {
        media_type: format.media_type(),
        envelope: &envelope,
        statement,
        store: &trust_store(scene),
        now: (scene.context.now)(),
        target: &Target::Blob {
            media_type: options.media_type.clone(),
            digest: measured.digest,
            size: measured.size,
        },
        required_metadata: &to_map(&options.verifier.user_metadata),
    });
    conclude(path, &options.signature, &outcome, output)
}

fn hash_of(algorithm: SigningAlgorithm) -> HashAlgorithm {
    let of_key = KeySpec::ALL.into_iter().find(|spec| spec.signing_algorithm() == algorithm);
    of_key.map_or(HashAlgorithm::Sha256, KeySpec::hash_algorithm)
}

fn conclude(
    path: &Path,
    signature_path: &Path,
    outcome: &Outcome,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let result = match outcome.verdict() {
        prokura_verify::Verdict::Verified => Verdict::Verified,
        prokura_verify::Verdict::Refused => Verdict::Refused,
        prokura_verify::Verdict::Skipped => Verdict::Skipped,
    };
    warn_of_logged(outcome, output);
    let user_metadata = outcome.payload().filter(|_| outcome.is_verified()).map(|p| &p.target().annotations);
    let after_warning = output.warned();
    let report = Verification { path, signature_path, result, outcome, user_metadata, after_warning };
    if result != Verdict::Refused || output.format() == Format::Json {
        output.report(&report)?;
    }
    match outcome.failure() {
        Some(check) if result == Verdict::Refused => Err(Failure::refused(format!(
            "signature verification failed: {}: {} (file {}, signature {})",
            check.check_type,
            check.explanation(),
            shown(path),
            shown(signature_path)
        ))),
        _ => Ok(()),
    }
}

/// JSON of `blob inspect`: one signature as in `inspect`, without a digest.
#[derive(Serialize)]
struct Inspected {
    #[serde(flatten)]
    signature: Inspection,
    #[serde(skip)]
    path: PathBuf,
}

impl Report for Inspected {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.signature.tree(&self.path.to_string_lossy()).write(out)
    }
}

fn inspect(options: &BlobInspectOptions, output: &mut Output<'_>) -> Result<(), Failure> {
    let missing =
        "missing signature path: use `prokura blob inspect --help` to see what parameters are required";
    let path = only(&options.paths, missing, "signatures")?;
    let format = format_of(path)?;
    let bytes = state_file::read_named(path, SIGNATURE_FILE_BYTES_MAX)
        .map_err(|error| error.during("failed to read signature file"))?;
    let signature = ParsedEnvelope::parse(format, &bytes)
        .map_err(|error| error.to_string())
        .and_then(|envelope| Inspection::of(&envelope, None))
        .map_err(|error| Failure::refused(format!("failed to parse signature: {error}")))?;
    output.report(&Inspected { signature, path: path.clone() })
}
