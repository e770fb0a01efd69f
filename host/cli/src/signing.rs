//! The key a command signs with: chosen by name or id, its plugin started once and kept open.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use prokura_envelope::EnvelopeFormat;
use prokura_envelope::certificate::Certificate;
use prokura_plugin::PluginName;
use prokura_plugin::message::PluginConfig;
use prokura_signer::{FetchIssuer, KeyReference, Plugin, SignRequest, Signed};

use crate::artifact::AGENT;
use crate::cli::options::{SignatureFormat, SignerOptions, VaultKeyOptions};
use crate::cli::value::{KeyValue, to_map};
use crate::config::Config;
use crate::context::Context;
use crate::exit::Failure;
use crate::issuer::IssuerClient;
use crate::limits::EXPIRY_WARNING;
use crate::output::Output;
use crate::plugin_start::{self, plugin_options};
use crate::signing_keys::{KeySource, SigningKeys};
use crate::verb::Scene;

/// The bundled plugin for keys in files: the host itself never reads a private key.
const LOCAL_KEY_PLUGIN: &str = "softkey";

/// Everything that is the same for all signatures of a run.
pub(crate) struct SigningSession {
    plugin: Plugin,
    key: KeyReference,
    format: EnvelopeFormat,
    options: SignerOptions,
    now: fn() -> Timestamp,
    warned_of_expiry: Cell<bool>,
}

impl SigningSession {
    /// Chooses key and format and starts the plugin.
    ///
    /// # Errors
    /// If there is no such key, or the plugin is not there or does not start.
    pub(crate) async fn open(
        options: &SignerOptions,
        config: &Config,
        scene: &Scene<'_>,
        output: &mut Output<'_>,
    ) -> Result<Self, Failure> {
        refuse_timestamping(options)?;
        let format =
            match options.signature_format.map_or_else(|| config.signature_format(), |f| Ok(Some(f)))? {
                Some(SignatureFormat::Cose) => EnvelopeFormat::Cose,
                Some(SignatureFormat::Jws) | None => EnvelopeFormat::Jws,
            };
        let (name, key) = choose(&options.key, scene.context)?;
        let mut how = plugin_options(scene);
        how.fetch_issuers =
            options.fetch_issuers.then(|| Arc::new(IssuerClient::new()) as Arc<dyn FetchIssuer>);
        let plugin =
            plugin_start::start(&name, key.plugin_config(), &options.key.call, how, scene, output).await?;
        Ok(Self {
            plugin,
            key,
            format,
            options: options.clone(),
            now: scene.context.now,
            warned_of_expiry: Cell::new(false),
        })
    }

    /// The plugin.
    pub(crate) const fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// The key.
    pub(crate) const fn key(&self) -> &KeyReference {
        &self.key
    }

    /// The envelope format.
    pub(crate) const fn format(&self) -> EnvelopeFormat {
        self.format
    }

    /// What to sign, now.
    pub(crate) fn request(&self, target: prokura_envelope::Descriptor) -> SignRequest {
        let now = (self.now)();
        SignRequest {
            format: self.format,
            target,
            user_metadata: to_map(&self.options.user_metadata),
            expiry: self.options.expiry.map(|duration| duration.0).filter(|duration| !duration.is_zero()),
            // The specification's times have whole seconds.
            signing_time: Timestamp::from_second(now.as_second()).unwrap_or(now),
            agent: AGENT.to_owned(),
        }
    }

    /// Warns once of certificates that end soon: without a countersignature the signature ends with them.
    pub(crate) fn warn_of_expiry(&self, signed: &Signed, output: &mut Output<'_>) {
        let now = (self.now)();
        let soon = signed.envelope.content().chain.iter().find(|certificate| ends_soon(certificate, now));
        let Some(certificate) = soon.filter(|_| !self.warned_of_expiry.replace(true)) else { return };
        output.warn(format_args!(
            "the certificate of {:?} ends at {}, and this signature with it; have the next one issued (prokura cert \
             request)",
            certificate.subject(),
            certificate.not_after()
        ));
    }

    /// Ends the plugin's process. A plugin that announces gRPC and fails at it costs time and is worth a look, so it is
    /// said even though the signature is as good.
    pub(crate) async fn close(self, output: &mut Output<'_>) {
        if let Some(reason) = self.plugin.fallback_reason() {
            output.warn(format!("the plugin was spoken to over stdio, gRPC failed: {reason}"));
        }
        self.plugin.close().await;
    }
}

/// Whether a certificate ends within a month; one made for a short time, within the last third of it.
fn ends_soon(certificate: &Certificate, now: Timestamp) -> bool {
    let whole = certificate.not_after().duration_since(certificate.not_before());
    let left = certificate.not_after().duration_since(now);
    left < SignedDuration::try_from(EXPIRY_WARNING).unwrap_or(SignedDuration::MAX).min(whole / 3)
}

/// Without a countersignature, a signature is only good while its certificate is. Whoever asks for one must not believe
/// to have it.
fn refuse_timestamping(options: &SignerOptions) -> Result<(), Failure> {
    match options.timestamp_url.as_deref() {
        None => Ok(()),
        Some("") => Err(Failure::usage("timestamping: tsa url cannot be empty")),
        Some(_) => Err(Failure::usage(
            "timestamping is not supported yet by this version; nothing was signed. Leave out --timestamp-url and \
             --timestamp-root-cert to sign without a timestamp",
        )),
    }
}

/// The plugin config of a command that names a vault and no key.
pub(crate) fn vault_config(given: &[KeyValue]) -> PluginConfig {
    PluginConfig(from_here(to_map(given)))
}

/// The plugin and key a command line means.
///
/// # Errors
/// If there is no such key in the key list.
pub(crate) fn choose(
    options: &VaultKeyOptions,
    context: &Context,
) -> Result<(PluginName, KeyReference), Failure> {
    let given = to_map(&options.call.plugin_config);
    if let (Some(plugin), Some(id)) = (&options.plugin, &options.id) {
        return Ok((plugin.clone(), KeyReference::new(id.as_str(), PluginConfig(from_here(given)))?));
    }
    let keys = SigningKeys::load(&context.directories)?;
    let entry = keys.find(options.key.as_deref())?;
    match entry.source()? {
        KeySource::Plugin { id, plugin, config } => {
            let plugin = plugin.parse().map_err(|error| {
                Failure::usage(format!("key {:?} in signingkeys.json: {error}", entry.name()))
            })?;
            let key = KeyReference::new(
                id,
                PluginConfig(from_here(merged(config.cloned().unwrap_or_default(), given))),
            );
            Ok((plugin, key?))
        }
        KeySource::Local { key_path, cert_path } => {
            let files = BTreeMap::from([
                ("keyPath".to_owned(), absolute(key_path)),
                ("certPath".to_owned(), absolute(cert_path)),
            ]);
            let plugin = LOCAL_KEY_PLUGIN.parse().map_err(|error| Failure::usage(format!("{error}")))?;
            Ok((plugin, KeyReference::new(entry.name(), PluginConfig(from_here(merged(files, given))))?))
        }
    }
}

/// What is given for one command holds before what is stored with the key.
fn merged(mut stored: BTreeMap<String, String>, given: BTreeMap<String, String>) -> BTreeMap<String, String> {
    stored.extend(given);
    stored
}

/// The entry of a plugin config that names a certificate bundle, for every plugin.
const CA_CERTIFICATES: &str = "ca_certs";

/// Relative paths as seen from here. `notation` runs a plugin in the user's working directory, this host in a private
/// one; a value that starts with `./` or `../`, and any relative `ca_certs`, means the same file in both.
pub(crate) fn from_here(mut config: BTreeMap<String, String>) -> BTreeMap<String, String> {
    for (name, value) in &mut config {
        if value.starts_with("./")
            || value.starts_with("../")
            || (name == CA_CERTIFICATES && !value.is_empty())
        {
            *value = absolute(value);
        }
    }
    config
}

/// A path that means the same file from any working directory. One that cannot be made so stays as it is.
fn absolute(path: &str) -> String {
    let found = std::path::absolute(path).ok().and_then(|path| path.to_str().map(str::to_owned));
    found.unwrap_or_else(|| path.to_owned())
}

/// The annotations of the signature manifest: the plugin's, and the two that `notation` writes.
///
/// Source: signature specification, "OCI Signatures". The thumbprints are lower-case, as `notation` writes them.
pub(crate) fn manifest_annotations(signed: &Signed) -> BTreeMap<String, String> {
    let content = signed.envelope.content();
    let thumbprints: Vec<String> =
        content.chain.iter().map(|certificate| format!("{:?}", certificate.sha256_fingerprint())).collect();
    let mut annotations = signed.annotations.clone();
    annotations.insert(
        "io.cncf.notary.x509chain.thumbprint#S256".to_owned(),
        format!("[{}]", thumbprints.join(",")),
    );
    if let Some(time) = content.signing_time.or(content.authentic_signing_time) {
        annotations.insert("org.opencontainers.image.created".to_owned(), time.to_string());
    }
    annotations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_seen_from_here() {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let here = from_here(map(&[
            ("a", "./x"),
            ("ca_certs", "ca.pem"),
            ("b", "x"),
            ("c", "/x"),
            ("u", "pkcs11:./x"),
        ]));
        let cwd = std::path::absolute(".").unwrap();
        assert_eq!(here["a"], cwd.join("x").to_str().unwrap());
        assert_eq!(here["ca_certs"], cwd.join("ca.pem").to_str().unwrap());
        assert_eq!((here["b"].as_str(), here["c"].as_str(), here["u"].as_str()), ("x", "/x", "pkcs11:./x"));
    }

    #[test]
    fn what_is_given_for_one_command_wins() {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let merged = merged(map(&[("a", "1"), ("b", "2")]), map(&[("b", "3"), ("c", "4")]));
        assert_eq!(merged, map(&[("a", "1"), ("b", "3"), ("c", "4")]));
    }
}
