//! `cert request`, `cert self-sign` and `cert install`: certificates for keys in a vault.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use der::pem::LineEnding;
use jiff::{SignedDuration, Timestamp};
use prokura_envelope::certificate::{Certificate, resolve};
use prokura_envelope::issue::{Subject, Unissued};
use prokura_plugin::{CertificateChain, PublicKey};
use prokura_signer::{KeyReference, Plugin, PluginOptions, Preference, describe_key};
use serde::Serialize;

use super::Scene;
use crate::cli::certificate::{InstallOptions, RequestOptions, SelfSignOptions};
use crate::cli::options::VaultKeyOptions;
use crate::exit::Failure;
use crate::limits::CERTIFICATE_FILE_BYTES_MAX;
use crate::output::{Output, Report, printable_line, shown};
use crate::plugin_start::{self, plugin_options};
use crate::signing::choose;
use crate::state_file;

/// JSON of `cert request` and `cert self-sign`: `{keyId, subject, pem?, path?, notAfter?}`; `pem` without `--file`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Issued<'a> {
    key_id: String,
    subject: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

impl Report for Issued<'_> {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        match (&self.pem, &self.path) {
            (Some(pem), _) => out.write_all(pem.as_bytes()),
            (None, Some(path)) => writeln!(out, "wrote {}", printable_line(path)),
            (None, None) => Ok(()),
        }
    }
}

/// Makes a certificate request.
pub(crate) async fn request(
    options: &RequestOptions,
    scene: &Scene<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let subject: Subject = options.subject.parse().map_err(|e| Failure::usage(format!("{e}")))?;
    check_writable(options.file.as_deref())?;
    let key = VaultKey::open(&options.key, scene, output).await?;
    let unissued = Unissued::request(&subject, &key.public).map_err(not_issued);
    let der = key.signed(unissued, scene).await?;
    let pem = pem("CERTIFICATE REQUEST", &der)?;
    written(
        Issued { key_id: key.id(), subject: &options.subject, not_after: None, pem: None, path: None },
        pem,
        options.file.as_deref(),
        output,
    )
}

/// Makes a self-signed certificate.
pub(crate) async fn self_sign(
    options: &SelfSignOptions,
    scene: &Scene<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let subject: Subject = options.subject.parse().map_err(|e| Failure::usage(format!("{e}")))?;
    let from = (scene.context.now)();
    let too_long = || Failure::usage(format!("a certificate cannot be valid for {:?}", options.validity.0));
    let validity = SignedDuration::try_from(options.validity.0).map_err(|_| too_long())?;
    let to = from.checked_add(validity).map_err(|_| too_long())?;
    check_writable(options.file.as_deref())?;
    let key = VaultKey::open(&options.key, scene, output).await?;
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial)
        .map_err(|_| Failure::infrastructure("the operating system gives no random bytes"))?;
    let unissued = Unissued::self_signed(&subject, &key.public, serial, from, to).map_err(not_issued);
    let der = key.signed(unissued, scene).await?;
    let pem = pem("CERTIFICATE", &der)?;
    let issued =
        Issued { key_id: key.id(), subject: &options.subject, not_after: Some(to), pem: None, path: None };
    written(issued, pem, options.file.as_deref(), output)
}

/// JSON of `cert install`: `{keyId, installed: [subject]}`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Installed {
    key_id: String,
    installed: Vec<String>,
}

impl Report for Installed {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "handed to the vault for key {}:", printable_line(&self.key_id))?;
        self.installed.iter().try_for_each(|subject| writeln!(out, "{}", printable_line(subject)))
    }
}

/// Puts a certificate into the vault.
pub(crate) async fn install(
    options: &InstallOptions,
    scene: &Scene<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let certificates = read(&options.path)?;
    let key = VaultKey::open(&options.key, scene, output).await?;
    let resolved = resolve(&key.public, &certificates, (scene.context.now)());
    let resolved = match resolved {
        Ok(resolved) => resolved,
        Err(reason) => {
            key.plugin.close().await;
            let path = shown(&options.path);
            return Err(Failure::usage(format!("{path}: {reason}; expected the certificate of this key")));
        }
    };
    let ders = resolved.chain.iter().map(|certificate| certificate.der().to_vec()).collect();
    let chain = CertificateChain::from_der(ders).map_err(|e| Failure::usage(e.to_string()))?;
    let installing = key.plugin.install_certificate(&key.reference, &chain);
    let installed = scene.progress.step("installing the certificate", installing).await;
    let id = key.id();
    key.plugin.close().await;
    installed?;
    output.report(&Installed {
        key_id: id,
        installed: resolved.chain.iter().map(Certificate::subject).collect(),
    })
}

/// A key whose public half is known, and its plugin.
struct VaultKey {
    plugin: Plugin,
    reference: KeyReference,
    public: PublicKey,
}

impl VaultKey {
    async fn open(
        options: &VaultKeyOptions,
        scene: &Scene<'_>,
        output: &mut Output<'_>,
    ) -> Result<Self, Failure> {
        let (name, reference) = choose(options, scene.context)?;
        // Contract 1.0 neither tells the public key nor signs without a certificate.
        let how = PluginOptions { transport: Preference::Grpc, ..plugin_options(scene) };
        let config = reference.plugin_config();
        let plugin = plugin_start::start(&name, config, &options.call, how, scene, output).await?;
        let described = scene.progress.step("asking for the key", describe_key(&plugin, &reference)).await;
        match described.map(|description| description.public_key) {
            Ok(Some(public)) => Ok(Self { plugin, reference, public }),
            Ok(None) => {
                plugin.close().await;
                Err(Failure::usage(format!("plugin {name} does not tell the public key")))
            }
            Err(error) => {
                plugin.close().await;
                Err(error.into())
            }
        }
    }

    fn id(&self) -> String {
        self.reference.key_id().to_string()
    }

    /// Has the vault sign what is unissued, and ends the plugin.
    async fn signed(
        &self,
        unissued: Result<Unissued, Failure>,
        scene: &Scene<'_>,
    ) -> Result<Vec<u8>, Failure> {
        let unissued = unissued?;
        let digest = unissued.digest();
        let signing = self.plugin.sign_digest(&self.reference, unissued.key_spec(), &digest);
        let signed = scene.progress.step("signing", signing).await;
        self.plugin.clone().close().await;
        unissued.finish(&signed?.signature).map_err(not_issued)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "map_err passes it")]
fn not_issued(error: prokura_envelope::issue::IssueError) -> Failure {
    Failure::usage(error.to_string())
}

fn pem(label: &str, der: &[u8]) -> Result<String, Failure> {
    der::pem::encode_string(label, LineEnding::LF, der).map_err(|e| Failure::usage(e.to_string()))
}

/// Asked before the vault signs: a PIN or a touch is not spent on what cannot be written.
fn check_writable(file: Option<&Path>) -> Result<(), Failure> {
    file.map_or(Ok(()), state_file::check_creatable)
}

/// Writes the PEM to a new file, or to standard output.
fn written(
    mut issued: Issued<'_>,
    pem: String,
    file: Option<&Path>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    match file {
        Some(path) => {
            let path: PathBuf = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            state_file::create(&path, pem.as_bytes(), 0o644)?;
            issued.path = Some(path.to_string_lossy().into_owned());
        }
        None => issued.pem = Some(pem),
    }
    output.report(&issued)
}

fn read(path: &Path) -> Result<Vec<Certificate>, Failure> {
    let refuse = |reason: String| Failure::usage(format!("{}: {reason}", shown(path)));
    let length = std::fs::metadata(path).map_err(|e| refuse(e.to_string()))?.len();
    if length > CERTIFICATE_FILE_BYTES_MAX {
        return Err(refuse(format!("{length} bytes, expected at most {CERTIFICATE_FILE_BYTES_MAX}")));
    }
    let bytes = std::fs::read(path).map_err(|e| refuse(e.to_string()))?;
    Certificate::from_pem_bundle(&bytes).map_err(|e| refuse(e.to_string()))
}
