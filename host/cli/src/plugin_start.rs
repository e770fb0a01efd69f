//! Starts the plugin a command needs, the same way for every verb: where it is looked for, how long it may take, whom it
//! may ask, and what is said of secrets in its config.

use prokura_plugin::PluginName;
use prokura_plugin::message::PluginConfig;
use prokura_signer::{Plugin, PluginDirectory, PluginOptions};

use crate::cli::options::PluginCallOptions;
use crate::cli::value::to_map;
use crate::context::Context;
use crate::exit::Failure;
use crate::output::Output;
use crate::person;
use crate::verb::Scene;

/// Where this user's plugins are.
pub(crate) fn plugin_directory(context: &Context) -> PluginDirectory {
    PluginDirectory::new(context.directories.plugins(), context.bundled_plugins())
}

/// How plugins are run for this command.
pub(crate) fn plugin_options(scene: &Scene<'_>) -> PluginOptions {
    let person = person::present(scene.context, &scene.progress);
    PluginOptions { person, ..PluginOptions::new(scene.context.environment.for_plugins()) }
}

/// Starts a plugin with the config of the key or vault it is asked for.
///
/// # Errors
/// If the plugin is not there or does not start.
pub(crate) async fn start(
    name: &PluginName,
    config: &PluginConfig,
    call: &PluginCallOptions,
    how: PluginOptions,
    scene: &Scene<'_>,
    output: &mut Output<'_>,
) -> Result<Plugin, Failure> {
    let executable = plugin_directory(scene.context).find(name)?;
    warn_of_secrets(config, call, output);
    let how = PluginOptions { deadline: call.deadline.0, ..how };
    let starting = Plugin::start(executable, config, how);
    Ok(scene.progress.step("starting the plugin", starting).await?)
}

/// Warns of every entry of the plugin config that sounds like a secret, each time it is used.
fn warn_of_secrets(config: &PluginConfig, call: &PluginCallOptions, output: &mut Output<'_>) {
    let given = to_map(&call.plugin_config);
    for secret in config.0.keys().filter(|name| sounds_secret(name)) {
        let place = match given.contains_key(secret) {
            true => "on the command line, where other users of this machine can read it",
            false => "in signingkeys.json in plain text",
        };
        output.warn(format_args!(
            "plugin config {secret:?} is given {place}; if its value is a secret, use the plugin's way to take it \
             from a file or the environment"
        ));
    }
}

/// Names under which plugins take secrets that should not lie in a file everybody copies around.
pub(crate) fn sounds_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let told_elsewhere =
        ["file", "source", "env", "id", "name", "path"].iter().any(|end| name.ends_with(end));
    let secret = ["password", "passphrase", "secret"].iter().any(|word| name.contains(word));
    name == "pin" || secret && !told_elsewhere
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_secrets_are_no_secrets() {
        assert!(sounds_secret("PIN") && sounds_secret("password"));
        assert!(sounds_secret("client_secret") && sounds_secret("aws_secret_access_key"));
        assert!(!sounds_secret("secret-id-file") && !sounds_secret("client_secret_file"));
        assert!(!sounds_secret("pin-source") && !sounds_secret("keyPath") && !sounds_secret("token"));
    }
}
