//! `key discover` and `key create`: the keys inside a vault.

mod shown;

use std::io::{self, Write};
use std::ops::ControlFlow;

use prokura_plugin::message::capability;
use prokura_signer::{Error, Plugin, VaultKey};
use serde::Serialize;

use self::shown::Shown;
use super::Scene;
use super::key::warn_of_stored_secrets;
use super::quickstart::quoted;
use crate::cli::key::{KeyCreateOptions, KeyDiscoverOptions, VaultOptions};
use crate::cli::value::to_map;
use crate::exit::{Exit, Failure};
use crate::output::{Output, Report, printable_line};
use crate::plugin_start::{self, plugin_options};
use crate::signing::{from_here, vault_config};
use crate::signing_keys::{KeyEntry, SigningKeys};

/// JSON of `key discover`: `{plugin, keys: [KEY], problems: [sentence]}`.
#[derive(Serialize)]
struct Discovered<'a> {
    plugin: &'a str,
    keys: Vec<Shown>,
    problems: Vec<String>,
    /// Whether the plugin can make a key.
    #[serde(skip)]
    makes_keys: bool,
}

impl Report for Discovered<'_> {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        if !self.keys.is_empty() {
            return shown::write_table(out, &self.keys);
        }
        // What could not be looked at may well be able to sign.
        let anywhere = if self.problems.is_empty() { "no key found that can sign" } else { "no key listed" };
        let make = if self.makes_keys { "make one with prokura key create, or " } else { "" };
        writeln!(out, "{anywhere}; {make}name another place in the vault with --plugin-config")
    }
}

/// Lists the keys in a vault. What could not be looked at is a warning and makes the command fail at its end.
pub(crate) async fn discover(
    options: &KeyDiscoverOptions,
    scene: &Scene<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let plugin = start(&options.vault, scene, output).await?;
    let (mut keys, mut problems, mut exit) = (Vec::new(), Vec::new(), Exit::Refused);
    let config = vault_config(&options.vault.call.plugin_config);
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
    let makes_keys = plugin.metadata().has(capability::KEY_CREATE_1);
    let listing = plugin.list_keys(&config, &mut found);
    let listed = scene.progress.step("listing the keys", listing).await;
    plugin.close().await;
    listed?;
    keys.sort_by(|a, b| a.id.cmp(&b.id));
    for problem in &problems {
        output.warn(problem);
    }
    let incomplete = !problems.is_empty();
    let plugin = options.vault.plugin.as_str();
    output.report(&Discovered { plugin, keys, problems, makes_keys })?;
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
    if let Some(name) = &options.add {
        let addable = SigningKeys::check_addable(&scene.context.directories, name);
        addable.map_err(|failure| failure.during("no key was made"))?;
    }
    let plugin = start(&options.vault, scene, output).await?;
    let config = vault_config(&options.vault.call.plugin_config);
    let making = plugin.create_key(&config, &options.name, options.key_spec);
    let made = scene.progress.step("making the key", making).await;
    plugin.close().await;
    let key = Shown::of(made?);
    let plugin = options.vault.plugin.as_str();
    if let Some(name) = &options.add {
        let config = from_here(to_map(&options.vault.call.plugin_config));
        warn_of_stored_secrets(&config, output);
        let entry = KeyEntry::plugin(name, &key.id, plugin, config);
        let added = SigningKeys::update(&scene.context.directories, |keys| keys.add(entry, false));
        added.map_err(|failure| {
            failure.during(format!("key {} was made and is not in the key list", printable_line(&key.id)))
        })?;
    }
    let configured = !options.vault.call.plugin_config.is_empty();
    output.report(&Created { key, name: options.add.as_deref(), plugin, configured })
}

async fn start(
    options: &VaultOptions,
    scene: &Scene<'_>,
    output: &mut Output<'_>,
) -> Result<Plugin, Failure> {
    let config = vault_config(&options.call.plugin_config);
    plugin_start::start(&options.plugin, &config, &options.call, plugin_options(scene), scene, output).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(problems: &[&str], makes_keys: bool) -> String {
        let problems = problems.iter().map(|problem| (*problem).to_owned()).collect();
        let mut out = Vec::new();
        Discovered { plugin: "p", keys: Vec::new(), problems, makes_keys }.write_text(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_empty_list_is_a_sentence_that_says_what_to_do() {
        assert_eq!(
            text(&[], true),
            "no key found that can sign; make one with prokura key create, or name another place in the vault with \
             --plugin-config\n"
        );
        assert_eq!(
            text(&[], false),
            "no key found that can sign; name another place in the vault with --plugin-config\n"
        );
        assert!(text(&["x"], true).starts_with("no key listed; "), "a key that was not looked at may sign");
    }
}
