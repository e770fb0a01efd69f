//! `key discover` and `key create`: the keys inside a vault.

use std::io::{self, Write};
use std::ops::ControlFlow;

use jiff::Timestamp;
use prokura_envelope::certificate::Certificate;
use prokura_plugin::KeyDetails;
use prokura_signer::{Error, Plugin, VaultKey};
use serde::Serialize;

use super::Scene;
use super::quickstart::quoted;
use crate::cli::key::{KeyCreateOptions, KeyDiscoverOptions, VaultOptions};
use crate::cli::value::to_map;
use crate::exit::{Exit, Failure};
use crate::output::{Output, Report, printable_line, table};
use crate::signing::{plugin_directory, plugin_options, vault_config};
use crate::signing_keys::{KeyEntry, SigningKeys};

/// JSON of `key discover`: `{plugin, keys: [KEY], problems: [sentence]}`, and of `key create`: `KEY`. A KEY is
/// `{id, exactId?, keySpec, version?, state?, label?, subject?, issuer?, notAfter?, pinPolicy?, touchPolicy?, exportable?,
/// attributes: {name: value}, attested}`.
#[derive(Serialize)]
struct Discovered<'a> {
    plugin: &'a str,
    keys: Vec<Shown>,
    problems: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    exact_id: Option<String>,
    key_spec: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pin_policy: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    touch_policy: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exportable: Option<bool>,
    attributes: std::collections::BTreeMap<String, String>,
    attested: bool,
}

impl Shown {
    fn of(key: VaultKey) -> Self {
        let VaultKey { reference, description } = key;
        let leaf = description.chain.as_ref().and_then(|chain| chain.certificates().first());
        let leaf = leaf.and_then(|der| Certificate::from_der(der).ok());
        let id = reference.key_id().to_string();
        let KeyDetails {
            version,
            state,
            pin_policy,
            touch_policy,
            exportable,
            label,
            exact_key_id,
            attributes,
            attestation,
        } = description.details;
        Self {
            exact_id: exact_key_id.map(|exact| exact.to_string()).filter(|exact| *exact != id),
            id,
            key_spec: description.key_spec.as_str(),
            version,
            state: state.map(|state| state.as_str()),
            label,
            subject: leaf.as_ref().map(Certificate::subject),
            issuer: leaf.as_ref().map(Certificate::issuer),
            not_after: leaf.as_ref().map(Certificate::not_after),
            pin_policy: pin_policy.map(|policy| policy.as_str()),
            touch_policy: touch_policy.map(|policy| policy.as_str()),
            exportable,
            attributes,
            attested: !attestation.is_empty(),
        }
    }

    fn row(&self) -> [String; 7] {
        let text = |text: Option<&str>| text.unwrap_or("-").to_owned();
        [
            self.id.clone(),
            self.key_spec.to_owned(),
            text(self.state),
            text(self.subject.as_deref()),
            self.not_after.map_or_else(|| "-".to_owned(), |at| at.strftime("%Y-%m-%d").to_string()),
            text(self.pin_policy),
            text(self.touch_policy),
        ]
    }
}

const HEAD: [&str; 7] = ["KEY ID", "KEY SPEC", "STATE", "CERTIFICATE SUBJECT", "EXPIRES", "PIN", "TOUCH"];

impl Report for Discovered<'_> {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows: Vec<_> = self.keys.iter().map(Shown::row).collect();
        table::write(out, HEAD, &rows)
    }
}

/// Lists the keys in a vault. What could not be looked at is a warning and makes the command fail at its end.
pub(crate) async fn discover(
    options: &KeyDiscoverOptions,
    scene: &Scene<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let plugin = start(&options.vault, scene).await?;
    let (mut keys, mut problems, mut exit) = (Vec::new(), Vec::new(), Exit::Refused);
    let config = vault_config(&options.vault.plugin_config);
    let mut found = |listed: Result<VaultKey, Error>| {
        match listed {
            Ok(key) => keys.push(Shown::of(key)),
            Err(error) => {
                let failure = Failure::from(error);
                problems.push(failure.to_string());
                if failure.exit == Exit::Infrastructure {
                    exit = Exit::Infrastructure;
                }
            }
        }
        ControlFlow::Continue(())
    };
    let listing = plugin.list_keys(&config, &mut found);
    let listed = scene.progress.step("listing the keys", listing).await;
    plugin.close().await;
    listed?;
    keys.sort_by(|a, b| a.id.cmp(&b.id));
    if keys.is_empty() && problems.is_empty() {
        output.warn(format!(
            "plugin {} found no key that can sign; make one with prokura key create, or look elsewhere with \
             --plugin-config",
            options.vault.plugin
        ));
    }
    for problem in &problems {
        output.warn(problem);
    }
    let incomplete = !problems.is_empty();
    output.report(&Discovered { plugin: options.vault.plugin.as_str(), keys, problems })?;
    if incomplete {
        let error = anyhow::Error::msg("some keys could not be looked at; the warnings say why");
        return Err(Failure::new(exit, error));
    }
    Ok(())
}

/// A key that was made: in JSON a KEY.
#[derive(Serialize)]
struct Created<'a> {
    #[serde(flatten)]
    key: Shown,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip)]
    plugin: &'a str,
    /// Whether plugin config was given, which the key list needs too.
    #[serde(skip)]
    configured: bool,
}

impl Report for Created<'_> {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let (id, spec) = (printable_line(&self.key.id), self.key.key_spec);
        writeln!(out, "made an {spec} key: {id}")?;
        match self.name {
            Some(name) => writeln!(out, "{}: added to the key list", printable_line(name)),
            None => writeln!(
                out,
                "add it to the key list with{}: prokura key add --plugin {} --id {} KEY_NAME",
                if self.configured { " the same --plugin-config and" } else { "" },
                self.plugin,
                quoted(&id)
            ),
        }
    }
}

/// Makes a key inside a vault.
pub(crate) async fn create(
    options: &KeyCreateOptions,
    scene: &Scene<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    if let Some(name) = &options.add
        && SigningKeys::load(&scene.context.directories)?.find(Some(name)).is_ok()
    {
        return Err(Failure::usage(format!(
            "signing key with name {name:?} already exists; no key was made"
        )));
    }
    let plugin = start(&options.vault, scene).await?;
    let config = vault_config(&options.vault.plugin_config);
    let making = plugin.create_key(&config, &options.name, options.key_spec);
    let made = scene.progress.step("making the key", making).await;
    plugin.close().await;
    let key = Shown::of(made?);
    let plugin = options.vault.plugin.as_str();
    if let Some(name) = &options.add {
        let entry = KeyEntry::plugin(name, &key.id, plugin, to_map(&options.vault.plugin_config));
        SigningKeys::update(&scene.context.directories, |keys| keys.add(entry, false))?;
    }
    let configured = !options.vault.plugin_config.is_empty();
    output.report(&Created { key, name: options.add.as_deref(), plugin, configured })
}

async fn start(options: &VaultOptions, scene: &Scene<'_>) -> Result<Plugin, Failure> {
    let executable = plugin_directory(scene.context).find(&options.plugin)?;
    let mut how = plugin_options(scene);
    how.deadline = options.deadline.0;
    let config = vault_config(&options.plugin_config);
    let starting = Plugin::start(executable, &config, how);
    Ok(scene.progress.step("starting the plugin", starting).await?)
}
