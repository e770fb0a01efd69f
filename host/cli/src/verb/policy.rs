//! `policy` and `blob policy`: the trust policies.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use prokura_verify::policy::{
    BlobPolicy, DocumentKind, Imported, OciPolicy, OldFile, PolicyError, PolicyFile,
};
use serde::Serialize;
use serde_json::Value;

use super::Scene;
use crate::cli::blob::{BlobPolicyCommand, InitOptions};
use crate::cli::policy::{ImportOptions, PolicyCommand};
use crate::exit::Failure;
use crate::limits::STATE_FILE_BYTES_MAX;
use crate::output::{Format, Output, Report, printable_file, shown};
use crate::{prompt, state_file};

/// Runs a verb on the trust policy for OCI artifacts.
pub(crate) async fn run(
    command: &PolicyCommand,
    scene: &Scene<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    match command {
        PolicyCommand::Import(options) => import(options, DocumentKind::Oci, scene, output).await,
        PolicyCommand::Show => show(DocumentKind::Oci, scene, output),
    }
}

/// Runs a verb on the trust policy for files.
pub(crate) async fn run_blob(
    command: &BlobPolicyCommand,
    scene: &Scene<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    match command {
        BlobPolicyCommand::Init(options) => init(options, scene, output).await,
        BlobPolicyCommand::Import(options) => import(options, DocumentKind::Blob, scene, output).await,
        BlobPolicyCommand::Show => show(DocumentKind::Blob, scene, output),
    }
}

/// How `notation` calls the two.
const fn title(kind: DocumentKind) -> &'static str {
    match kind {
        DocumentKind::Oci => "OCI",
        DocumentKind::Blob => "blob",
    }
}

const fn verb(kind: DocumentKind) -> &'static str {
    match kind {
        DocumentKind::Oci => "prokura policy import <path-to-policy.json>",
        DocumentKind::Blob => "prokura blob policy import <path-to-policy.json>",
    }
}

/// JSON of `policy import`, `blob policy import` and `blob policy init`: `{path, deletedOld}`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    #[serde(serialize_with = "super::path_text")]
    path: PathBuf,
    deleted_old: bool,
    #[serde(skip)]
    sentence: String,
}

impl Report for Written {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.deleted_old {
            writeln!(out, "Deleted old trust policy configuration trustpolicy.json.")?;
        }
        writeln!(out, "{} {}.", self.sentence, shown(&self.path))
    }
}

async fn import(
    options: &ImportOptions,
    kind: DocumentKind,
    scene: &Scene<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let [path] = options.paths.as_slice() else {
        let found = options.paths.len();
        return Err(Failure::usage(format!(
            "requires 1 argument but received {found}.\nUsage: {}",
            verb(kind)
        )));
    };
    let document = state_file::read_named(path, STATE_FILE_BYTES_MAX).map_err(|error| {
        error.during(format!("failed to read {} trust policy configuration", title(kind)))
    })?;
    check(kind, &document, path)
        .map_err(|error| {
            Failure::from(error)
                .during(format!("failed to validate {} trust policy configuration", title(kind)))
        })?
        .iter()
        .for_each(|member| output.warn(unknown_member(member)));
    if !may_replace(kind, options.force, scene, output).await? {
        return Ok(());
    }
    let config = scene.context.directories.config();
    let imported = match kind {
        DocumentKind::Oci => OciPolicy::import(config, &document, path)?,
        DocumentKind::Blob => BlobPolicy::import(config, &document, path)?,
    };
    report(imported, format!("Successfully imported {} trust policy configuration to", title(kind)), output)
}

fn report(imported: Imported, sentence: String, output: &mut Output<'_>) -> Result<(), Failure> {
    if let OldFile::Kept(error) = &imported.old {
        output
            .warn(format_args!("failed to delete old trust policy configuration trustpolicy.json: {error}"));
    }
    let deleted_old = matches!(imported.old, OldFile::Deleted);
    output.report(&Written { path: imported.path, deleted_old, sentence })
}

async fn may_replace(
    kind: DocumentKind,
    force: bool,
    scene: &Scene<'_>,
    output: &mut Output<'_>,
) -> Result<bool, Failure> {
    let title = title(kind);
    if !PolicyFile::exists(scene.context.directories.config(), kind) {
        return Ok(true);
    }
    if force {
        output.warn(format_args!("existing {title} trust policy configuration will be overwritten"));
        return Ok(true);
    }
    let question =
        format!("The {title} trust policy configuration already exists, do you want to overwrite it?");
    prompt::confirm(output, &question).await
}

/// Checks a document and gives the members that have no effect.
fn check(kind: DocumentKind, document: &[u8], origin: &Path) -> Result<Vec<String>, PolicyError> {
    Ok(match kind {
        DocumentKind::Oci => OciPolicy::parse(document, origin)?.unknown_members().to_vec(),
        DocumentKind::Blob => BlobPolicy::parse(document, origin)?.unknown_members().to_vec(),
    })
}

/// The warning for a member without effect.
pub(crate) fn unknown_member(member: &str) -> String {
    format!("the trust policy has a member {member:?}, which is unknown and has no effect")
}

/// JSON of `policy show`: `{path, policy}`.
#[derive(Serialize)]
struct Shown {
    #[serde(serialize_with = "super::path_text")]
    path: PathBuf,
    policy: Value,
    #[serde(skip)]
    bytes: Vec<u8>,
}

impl Report for Shown {
    /// The file, byte for byte unless for a terminal, so that it can be redirected into another one.
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&self.bytes)
    }
}

fn show(kind: DocumentKind, scene: &Scene<'_>, output: &mut Output<'_>) -> Result<(), Failure> {
    let title = title(kind);
    let file = match PolicyFile::read(scene.context.directories.config(), kind) {
        Ok(file) => file,
        Err(PolicyError::Absent { .. }) => {
            return Err(Failure::usage(format!(
                "failed to show {title} trust policy as it does not exist.\nYou can import one using `{}`",
                verb(kind)
            )));
        }
        Err(error) => return Err(Failure::from(error).during(format!("failed to show {title} trust policy"))),
    };
    if file.is_old {
        output.warn(
            "old trust policy `trustpolicy.json` is deprecated; please update the trust policy configuration via \
             `prokura policy import`.",
        );
    }
    let checked = check(kind, &file.bytes, &file.path);
    if checked.is_err() {
        output.note(format_args!(
            "Existing {title} trust policy configuration is invalid, you may update or create a new one via `{}`.",
            verb(kind)
        ));
        if output.format() == Format::Text {
            output.raw(printable_file(&file.bytes).as_bytes())?;
        }
    }
    checked?.iter().for_each(|member| output.warn(unknown_member(member)));
    let policy = serde_json::from_slice(&file.bytes).map_err(|error| Failure::usage(error.to_string()))?;
    let bytes = for_reader(file.bytes, scene.context.terminals.stdout);
    output.report(&Shown { path: file.path, policy, bytes })
}

/// A terminal obeys control characters; a file or a program gets what is there.
fn for_reader(bytes: Vec<u8>, is_terminal: bool) -> Vec<u8> {
    if is_terminal { printable_file(&bytes).into_bytes() } else { bytes }
}

async fn init(options: &InitOptions, scene: &Scene<'_>, output: &mut Output<'_>) -> Result<(), Failure> {
    let config = scene.context.directories.config();
    let path = PolicyFile::path_of(config, DocumentKind::Blob);
    let (stores, identities) = (&options.trust_store, &options.trusted_identity);
    let document = BlobPolicy::initial(&options.name, stores, identities, options.global, &path)
        .map_err(|error| Failure::from(error).during("invalid blob policy"))?;
    if !may_replace(DocumentKind::Blob, options.force, scene, output).await? {
        return Ok(());
    }
    let imported = BlobPolicy::import(config, &document, &path)?;
    report(imported, "Successfully initialized blob trust policy file to".to_owned(), output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_gets_escapes_instead_of_bytes() {
        let policy = "{\"name\": \"a\u{9b}2Jb\"}\r\n".as_bytes();
        assert_eq!(for_reader(policy.to_vec(), false), policy);
        assert_eq!(for_reader(policy.to_vec(), true), b"{\"name\": \"a\\u009b2Jb\"}\n");
    }
}
