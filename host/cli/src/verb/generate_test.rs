//! `cert generate-test`: a key in a file with a self-signed certificate. For tests and first steps only.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use prokura_plugin::KeySpec;
use prokura_verify::store::StoreType;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, RsaKeySize};
use serde::Serialize;
use zeroize::Zeroizing;

use super::certificate::trust_store;
use super::{Scene, only};
use crate::cli::certificate::GenerateTestOptions;
use crate::cli::value::is_plain_name;
use crate::exit::Failure;
use crate::limits::TEST_VALIDITY_DAYS_MAX;
use crate::output::{Output, Report, shown};
use crate::signing_keys::{KeyEntry, SigningKeys};
use crate::state_file;

/// JSON of `cert generate-test`: `{name, keySpec, keyPath, certPath, notAfter, default}`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Generated<'a> {
    name: &'a str,
    key_spec: &'static str,
    #[serde(serialize_with = "super::path_text")]
    key_path: PathBuf,
    #[serde(serialize_with = "super::path_text")]
    cert_path: PathBuf,
    not_after: String,
    default: bool,
}

impl Report for Generated<'_> {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let name = self.name;
        match self.key_spec.split_once('-') {
            Some(("RSA", bits)) => writeln!(out, "generating RSA Key with {bits} bits")?,
            _ => writeln!(out, "generating {} key", self.key_spec)?,
        }
        writeln!(out, "generated certificate expiring on {}", self.not_after)?;
        writeln!(out, "wrote key: {}", shown(&self.key_path))?;
        writeln!(out, "wrote certificate: {}", shown(&self.cert_path))?;
        writeln!(out, "Successfully added {name}.crt to named store {name} of type ca")?;
        writeln!(out, "{name}: added to the key list")?;
        if self.default { writeln!(out, "{name}: marked as default signing key") } else { Ok(()) }
    }
}

/// Makes the key, its certificate, the entry in the key list and the entry in the trust store.
pub(crate) async fn run(
    options: &GenerateTestOptions,
    scene: &Scene<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let name = only(&options.names, "missing certificate common_name", "common names")?;
    if !is_plain_name(name) {
        return Err(Failure::usage("name needs to follow [a-zA-Z0-9_.-]+ format"));
    }
    let spec = key_spec(options)?;
    let directories = &scene.context.directories;
    let (key_path, cert_path) = directories.local_key(name);
    check_free(name, &[&key_path, &cert_path], scene)?;

    let (not_before, not_after) = validity(options, (scene.context.now)())?;
    let common_name = name.clone();
    let made = tokio::task::spawn_blocking(move || make(spec, &common_name, not_before, not_after));
    let made = scene.progress.step("generating the key", made).await.map_err(not_made)??;

    let entry = KeyEntry::local(name, text(&key_path)?, text(&cert_path)?);
    let mut undo = Undo::default();
    state_file::create(&key_path, made.key_pem.as_bytes(), 0o600)?;
    undo.0.push(key_path.clone());
    state_file::create(&cert_path, made.certificate_pem.as_bytes(), 0o644)?;
    undo.0.push(cert_path.clone());
    undo.0.push(trust_store(scene).add(StoreType::Ca, name, &cert_path)?);
    SigningKeys::update(directories, |keys| keys.add(entry, options.default))?;
    undo.0.clear();
    output.report(&Generated {
        name,
        key_spec: spec.as_str(),
        key_path,
        cert_path,
        not_after: not_after.to_string(),
        default: options.default,
    })
}

/// Files to remove again if a later step fails, so that nothing half-made stays.
#[derive(Default)]
struct Undo(Vec<PathBuf>);

impl Drop for Undo {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn key_spec(options: &GenerateTestOptions) -> Result<KeySpec, Failure> {
    let named = options.key_spec.clone().unwrap_or_else(|| format!("RSA-{}", options.bits));
    named.parse().map_err(|_| {
        let expected = KeySpec::ALL.map(KeySpec::as_str).join(", ");
        Failure::usage(format!("{named:?} is no key spec that can sign, expected one of {expected}"))
    })
}

/// Nothing is written unless everything can be: an earlier key of that name stays as it is.
fn check_free(name: &str, paths: &[&PathBuf], scene: &Scene<'_>) -> Result<(), Failure> {
    let keys = SigningKeys::load(&scene.context.directories)?;
    let how =
        format!("choose another name, or remove the earlier one with `prokura cert cleanup-test {name}`");
    if keys.find(Some(name)).is_ok() {
        return Err(Failure::usage(format!("signing key with name {name:?} already exists; {how}")));
    }
    if !trust_store(scene).list(Some(StoreType::Ca), Some(name))?.is_empty() {
        return Err(Failure::usage(format!(
            "trust store {name} of type ca already holds certificates; {how}"
        )));
    }
    match paths.iter().find(|path| path.symlink_metadata().is_ok()) {
        Some(path) => {
            Err(Failure::usage(format!("{} already exists and is not overwritten; {how}", shown(path))))
        }
        None => Ok(()),
    }
}

fn validity(options: &GenerateTestOptions, now: Timestamp) -> Result<(Timestamp, Timestamp), Failure> {
    let wanted = options.validity.0;
    if wanted < Duration::from_secs(60) || wanted > Duration::from_secs(TEST_VALIDITY_DAYS_MAX * 86_400) {
        return Err(Failure::usage(format!(
            "--validity is out of range for a test certificate, expected 1m to {TEST_VALIDITY_DAYS_MAX} days"
        )));
    }
    // X.509 times have whole seconds.
    let start = Timestamp::from_second(now.as_second()).map_err(not_made)?;
    Ok((start, start.checked_add(wanted).map_err(not_made)?))
}

struct Made {
    key_pem: Zeroizing<String>,
    certificate_pem: String,
}

/// The private key passes through rcgen's memory, which is wiped when its key pair is dropped.
fn make(spec: KeySpec, name: &str, not_before: Timestamp, not_after: Timestamp) -> Result<Made, Failure> {
    let mut key = generate(spec).map_err(not_made)?;
    let made = certificate(name, not_before, not_after)
        .and_then(|params| params.self_signed(&key).map_err(not_made))
        .map(|certificate| Made {
            key_pem: Zeroizing::new(key.serialize_pem()),
            certificate_pem: certificate.pem(),
        });
    zeroize::Zeroize::zeroize(&mut key);
    made
}

fn generate(spec: KeySpec) -> Result<KeyPair, rcgen::Error> {
    let rsa = |size| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size);
    match spec {
        KeySpec::Rsa2048 => rsa(RsaKeySize::_2048),
        KeySpec::Rsa3072 => rsa(RsaKeySize::_3072),
        KeySpec::Rsa4096 => rsa(RsaKeySize::_4096),
        KeySpec::Ec256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        KeySpec::Ec384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
        KeySpec::Ec521 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512),
    }
}

/// What `notation` generates: no CA, digital signature, code signing (certificate requirements of the Notary
/// signature specification).
fn certificate(
    name: &str,
    not_before: Timestamp,
    not_after: Timestamp,
) -> Result<CertificateParams, Failure> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    for (kind, value) in [
        (DnType::CountryName, "US"),
        (DnType::StateOrProvinceName, "WA"),
        (DnType::LocalityName, "Seattle"),
        (DnType::OrganizationName, "Notary"),
        (DnType::CommonName, name),
    ] {
        params.distinguished_name.push(kind, value);
    }
    let at = |time: Timestamp| {
        let seconds = u64::try_from(time.as_second()).map_err(not_made)?;
        Ok::<_, Failure>(rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds))
    };
    params.not_before = at(not_before)?;
    params.not_after = at(not_after)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    Ok(params)
}

fn text(path: &std::path::Path) -> Result<String, Failure> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Failure::usage(format!("{} is no UTF-8, as a path in signingkeys.json must be", shown(path)))
    })
}

fn not_made(error: impl Display) -> Failure {
    Failure::infrastructure(format!("cannot make the test key: {error}"))
}
