//! `key`: the key list.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use super::{Scene, only};
use crate::cli::key::{KeyAddOptions, KeyCommand, KeyDeleteOptions, KeyUpdateOptions};
use crate::cli::value::to_map;
use crate::exit::Failure;
use crate::output::{Output, Report, printable_line, table};
use crate::plugin_start::sounds_secret;
use crate::signing::from_here;
use crate::signing_keys::{KeyEntry, KeySource, SigningKeys};

/// Runs a verb on the key list.
pub(crate) async fn run(
    command: &KeyCommand,
    scene: &Scene<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    match command {
        KeyCommand::Add(options) => add(options, scene, output),
        KeyCommand::Update(options) => update(options, scene, output),
        KeyCommand::List => list(scene, output),
        KeyCommand::Delete(options) => delete(options, scene, output),
        KeyCommand::Discover(options) => super::vault_keys::discover(options, scene, output).await,
        KeyCommand::Create(options) => super::vault_keys::create(options, scene, output).await,
    }
}

/// JSON of `key add` and `key update`: `{name, default}`.
#[derive(Serialize)]
struct Changed<'a> {
    name: &'a str,
    default: bool,
}

impl Report for Changed<'_> {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let name = printable_line(self.name);
        if self.default { writeln!(out, "{name}: marked as default") } else { writeln!(out, "{name}") }
    }
}

fn add(options: &KeyAddOptions, scene: &Scene<'_>, output: &mut Output<'_>) -> Result<(), Failure> {
    let [name] = options.names.as_slice() else {
        return Err(Failure::usage("either missing key name or unnecessary parameters passed"));
    };
    let id = options.id.as_ref().ok_or_else(|| Failure::usage("missing key id; give it with --id"))?;
    // Whoever signs later is somewhere else.
    let config = from_here(to_map(&options.plugin_config));
    warn_of_stored_secrets(&config, output);
    super::plugin::check_installed(&options.plugin, scene)?;
    let entry = KeyEntry::plugin(name, id.as_str(), options.plugin.as_str(), config);
    SigningKeys::update(&scene.context.directories, |keys| keys.add(entry, options.default))?;
    output.report(&Changed { name, default: options.default })
}

/// Warns of every entry that sounds like a secret before it is put into the key list.
pub(super) fn warn_of_stored_secrets(config: &BTreeMap<String, String>, output: &mut Output<'_>) {
    for secret in config.keys().filter(|name| sounds_secret(name)) {
        output.warn(format_args!(
            "plugin config {secret:?} is stored in signingkeys.json in plain text; if its value is a secret, \
             use the plugin's way to take it from a file or the environment"
        ));
    }
}

fn update(options: &KeyUpdateOptions, scene: &Scene<'_>, output: &mut Output<'_>) -> Result<(), Failure> {
    let name = only(&options.names, "missing key name", "key names")?;
    if !options.default {
        output.warn("--default flag is not set, command did not take effect");
        return Ok(());
    }
    SigningKeys::update(&scene.context.directories, |keys| keys.set_default(name))?;
    output.report(&Changed { name, default: true })
}

/// JSON of `key list`: `{default, keys: [{name, keyPath, certPath} | {name, id, pluginName, pluginConfigNames,
/// pluginConfig}]}`. In the plugin config, [`MASKED`] stands for the value of a name that sounds like a secret.
#[derive(Serialize)]
struct List<'a> {
    default: Option<&'a str>,
    keys: Vec<Listed<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cert_path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    plugin_config_names: Vec<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    plugin_config: BTreeMap<&'a str, &'a str>,
}

/// Stands for a value that may be a secret.
const MASKED: &str = "***";

impl<'a> Listed<'a> {
    fn of(entry: &'a KeyEntry) -> Self {
        let plain = Self {
            name: entry.name(),
            key_path: None,
            cert_path: None,
            id: None,
            plugin_name: None,
            plugin_config_names: entry.plugin_config().map(|(name, _)| name).collect(),
            plugin_config: entry
                .plugin_config()
                .map(|(name, value)| (name, if sounds_secret(name) { MASKED } else { value }))
                .collect(),
        };
        match entry.source() {
            Ok(KeySource::Local { key_path, cert_path }) => {
                Self { key_path: Some(key_path), cert_path: Some(cert_path), ..plain }
            }
            Ok(KeySource::Plugin { id, plugin, .. }) => {
                Self { id: Some(id), plugin_name: Some(plugin), ..plain }
            }
            Err(_) => plain,
        }
    }
}

impl Report for List<'_> {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let cell = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let rows = self.keys.iter().map(|key| {
            let mark = if self.default == Some(key.name) { "* " } else { "" };
            [
                format!("{mark}{}", key.name),
                cell(key.key_path),
                cell(key.cert_path),
                cell(key.id),
                cell(key.plugin_name),
            ]
        });
        let rows: Vec<_> = rows.collect();
        table::write(out, ["NAME", "KEY PATH", "CERTIFICATE PATH", "ID", "PLUGIN NAME"], &rows)
    }
}

fn list(scene: &Scene<'_>, output: &mut Output<'_>) -> Result<(), Failure> {
    let keys = SigningKeys::load(&scene.context.directories)?;
    let listed = keys.entries().iter().map(Listed::of).collect();
    output.report(&List { default: keys.default_name(), keys: listed })
}

/// JSON of `key delete`: `{deleted: [{name, default}]}`.
#[derive(Serialize)]
struct Deleted<'a> {
    deleted: Vec<Changed<'a>>,
}

impl Report for Deleted<'_> {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        if let [one] = self.deleted.as_slice() {
            let kind = if one.default { "default key " } else { "" };
            let name = printable_line(one.name);
            return writeln!(
                out,
                "Removed {kind}{name} from Notation signing key list. The source key still exists."
            );
        }
        writeln!(
            out,
            "Removed the following keys from Notation signing key list. The source keys still exist."
        )?;
        for key in &self.deleted {
            let mark = if key.default { " (default)" } else { "" };
            writeln!(out, "{}{mark}", printable_line(key.name))?;
        }
        Ok(())
    }
}

fn delete(options: &KeyDeleteOptions, scene: &Scene<'_>, output: &mut Output<'_>) -> Result<(), Failure> {
    if options.names.is_empty() {
        return Err(Failure::usage("missing key names"));
    }
    let deleted = SigningKeys::update(&scene.context.directories, |keys| {
        let mut deleted = Vec::new();
        for name in &options.names {
            deleted.push(Changed { name, default: keys.remove(name)? });
        }
        Ok(deleted)
    })?;
    output.report(&Deleted { deleted })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletions_are_told_as_notation_tells_them() {
        let text = |deleted: Vec<Changed<'_>>| {
            let mut out = Vec::new();
            Deleted { deleted }.write_text(&mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            text(vec![Changed { name: "a", default: true }]),
            "Removed default key a from Notation signing key list. The source key still exists.\n"
        );
        assert_eq!(
            text(vec![Changed { name: "a", default: false }, Changed { name: "b", default: true }]),
            "Removed the following keys from Notation signing key list. The source keys still exist.\n\
             a\nb (default)\n"
        );
    }
}
