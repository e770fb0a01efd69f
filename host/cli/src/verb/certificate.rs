//! `certificate`: the trust store.

use std::io::{self, Write};
use std::path::PathBuf;

use jiff::Timestamp;
use prokura_envelope::certificate::Certificate;
use prokura_verify::store::{Listed, StoreType, TrustStore};
use serde::Serialize;

use super::{Scene, only, vault_certificate};
use crate::cli::certificate::{
    CertificateAddOptions, CertificateCommand, CertificateDeleteOptions, CertificateListOptions,
    CertificateShowOptions, StoreOptions,
};
use crate::exit::Failure;
use crate::output::{Output, Report, printable_line, shown, table};
use crate::prompt;

/// Runs a verb on the trust store.
pub(crate) async fn run(
    command: &CertificateCommand,
    scene: &Scene<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    match command {
        CertificateCommand::Add(options) => add(options, scene, output),
        CertificateCommand::List(options) => list(options, scene, output),
        CertificateCommand::Show(options) => show(options, scene, output),
        CertificateCommand::Delete(options) => delete(options, scene, output).await,
        CertificateCommand::GenerateTest(options) => super::generate_test::run(options, scene, output).await,
        CertificateCommand::CleanupTest(options) => super::cleanup_test::run(options, scene, output).await,
        CertificateCommand::Request(options) => vault_certificate::request(options, scene, output).await,
        CertificateCommand::SelfSign(options) => vault_certificate::self_sign(options, scene, output).await,
        CertificateCommand::Install(options) => vault_certificate::install(options, scene, output).await,
    }
}

/// The trust store of this user.
pub(crate) fn trust_store(scene: &Scene<'_>) -> TrustStore {
    TrustStore::new(scene.context.directories.trust_store())
}

fn store_type(options: &StoreOptions) -> Result<StoreType, Failure> {
    options.store_type.parse().map_err(|error| Failure::usage(format!("{error}")))
}

/// JSON of `cert add`: `{storeType, store, added: [path], failed: [{path, error}]}`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Added<'a> {
    store_type: StoreType,
    store: &'a str,
    added: Vec<String>,
    failed: Vec<NotAdded>,
}

#[derive(Serialize)]
struct NotAdded {
    path: String,
    error: String,
}

impl Report for Added<'_> {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.added.is_empty() {
            return Ok(());
        }
        let (store, kind) = (printable_line(self.store), self.store_type);
        writeln!(out, "Successfully added following certificates to named store {store} of type {kind}:")?;
        self.added.iter().try_for_each(|path| writeln!(out, "{}", printable_line(path)))
    }
}

fn add(options: &CertificateAddOptions, scene: &Scene<'_>, output: &mut Output<'_>) -> Result<(), Failure> {
    if options.paths.is_empty() {
        return Err(Failure::usage("missing certificate path"));
    }
    let (store_type, store) = (store_type(&options.store)?, options.store.store.as_str());
    let trust_store = trust_store(scene);
    trust_store.path(store_type, store)?;
    let mut report = Added { store_type, store, added: Vec::new(), failed: Vec::new() };
    for path in &options.paths {
        match trust_store.add(store_type, store, path) {
            Ok(_) => report.added.push(path.to_string_lossy().into_owned()),
            Err(error) => {
                let path = path.to_string_lossy().into_owned();
                report.failed.push(NotAdded { path, error: error.to_string() });
            }
        }
    }
    output.report(&report)?;
    if report.failed.is_empty() {
        return Ok(());
    }
    let lines =
        report.failed.iter().map(|f| format!("\n{}, with error {:?}", printable_line(&f.path), f.error));
    let head = format!("Failed to add following certificates to named store {store} of type {store_type}:");
    Err(Failure::usage(head + &lines.collect::<String>()))
}

/// JSON of `cert list`: `{certificates: [{storeType, store, file}]}`.
#[derive(Serialize)]
struct List {
    certificates: Vec<Listed>,
}

impl Report for List {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.certificates.is_empty() {
            return Ok(());
        }
        let row = |c: &Listed| [c.store_type.to_string(), c.store.clone(), c.file.clone()];
        let rows: Vec<_> = self.certificates.iter().map(row).collect();
        table::write(out, ["STORE TYPE", "STORE NAME", "CERTIFICATE"], &rows)
    }
}

fn list(options: &CertificateListOptions, scene: &Scene<'_>, output: &mut Output<'_>) -> Result<(), Failure> {
    let store_type = match options.store_type.as_deref().filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => match text.parse::<StoreType>() {
            Ok(store_type) => Some(store_type),
            // As in notation: a store type that does not exist has no certificates.
            Err(_) => return output.report(&List { certificates: Vec::new() }),
        },
    };
    let store = options.store.as_deref().filter(|text| !text.is_empty());
    output.report(&List { certificates: trust_store(scene).list(store_type, store)? })
}

/// JSON of `cert show`: `{certificates: [{issuer, subject, validFrom, validTo, isCA, sha256Thumbprint}]}`.
#[derive(Serialize)]
struct Details {
    certificates: Vec<Detail>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    issuer: String,
    subject: String,
    valid_from: Timestamp,
    valid_to: Timestamp,
    #[serde(rename = "isCA")]
    is_ca: bool,
    sha256_thumbprint: String,
}

impl Detail {
    fn of(certificate: &Certificate) -> Self {
        Self {
            issuer: certificate.issuer(),
            subject: certificate.subject(),
            valid_from: certificate.not_before(),
            valid_to: certificate.not_after(),
            is_ca: certificate.is_ca(),
            sha256_thumbprint: certificate.sha256_fingerprint(),
        }
    }
}

const RULE: &str = "--------------------------------------------------------------------------------";

impl Report for Details {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        // Go prints a time like this when it is not told how.
        let time = |time: Timestamp| time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC");
        writeln!(out, "Certificate details")?;
        for certificate in &self.certificates {
            writeln!(out, "{RULE}")?;
            writeln!(out, "Issuer: {}", printable_line(&certificate.issuer))?;
            writeln!(out, "Subject: {}", printable_line(&certificate.subject))?;
            writeln!(out, "Valid from: {}", time(certificate.valid_from))?;
            writeln!(out, "Valid to: {}", time(certificate.valid_to))?;
            writeln!(out, "IsCA: {}", certificate.is_ca)?;
            writeln!(out, "SHA256 Thumbprint: {}", certificate.sha256_thumbprint)?;
        }
        Ok(())
    }
}

fn show(options: &CertificateShowOptions, scene: &Scene<'_>, output: &mut Output<'_>) -> Result<(), Failure> {
    let file = match options.names.as_slice() {
        [] => return Err(Failure::usage("missing certificate file name")),
        [file] => file,
        _ => return Err(Failure::usage("show only supports single certificate file")),
    };
    let certificates =
        trust_store(scene).show(store_type(&options.store)?, &options.store.store, file).map_err(
            |error| Failure::from(error).during(format!("failed to show details of certificate {file}")),
        )?;
    output.report(&Details { certificates: certificates.iter().map(Detail::of).collect() })
}

/// JSON of `cert delete`: `{storeType, store, deleted: path}`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Deleted<'a> {
    store_type: StoreType,
    store: &'a str,
    #[serde(serialize_with = "super::path_text")]
    deleted: PathBuf,
    #[serde(skip)]
    file: Option<&'a str>,
}

impl Report for Deleted<'_> {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let (store, kind) = (printable_line(self.store), self.store_type);
        match self.file {
            Some(file) => {
                let file = printable_line(file);
                writeln!(out, "Successfully deleted {file} from trust store {store} of type {kind}")
            }
            None => writeln!(out, "Successfully deleted {}", shown(&self.deleted)),
        }
    }
}

async fn delete(
    options: &CertificateDeleteOptions,
    scene: &Scene<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let (store_type, store) = (store_type(&options.store)?, options.store.store.as_str());
    let trust_store = trust_store(scene);
    trust_store.path(store_type, store)?;
    if options.all {
        let question = format!(
            "Are you sure you want to delete all certificates in {store:?} of type \"{store_type}\"?"
        );
        if !options.yes && !prompt::confirm(output, &question).await? {
            return Ok(());
        }
        let deleted = trust_store
            .delete_all(store_type, store)
            .map_err(|error| Failure::from(error).during("failed to delete the named trust store"))?;
        return output.report(&Deleted { store_type, store, deleted, file: None });
    }
    let missing = "delete requires either the certificate file name that needs to be deleted or --all flag to \
                   delete all certificates in the given named trust store";
    let file = only(&options.names, missing, "certificate file names")?;
    let question = format!("Are you sure you want to delete {file:?} in {store:?} of type \"{store_type}\"?");
    if !options.yes && !prompt::confirm(output, &question).await? {
        return Ok(());
    }
    let deleted = trust_store
        .delete(store_type, store, file)
        .map_err(|error| Failure::from(error).during("failed to delete the certificate file"))?;
    output.report(&Deleted { store_type, store, deleted, file: Some(file) })
}
