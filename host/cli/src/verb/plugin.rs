//! `plugin`: the plugins that are installed.

use std::io::{self, Write};

use prokura_plugin::PluginName;
use prokura_plugin::message::{Metadata, PluginConfig};
use prokura_signer::{Listed, Origin, Plugin};
use serde::Serialize;

use super::Scene;
use crate::exit::Failure;
use crate::output::{Output, Report, table};
use crate::plugin_start::{plugin_directory, plugin_options};

/// Refuses a plugin that is not there or not fit to be started. It is not run.
pub(crate) fn check_installed(name: &PluginName, scene: &Scene<'_>) -> Result<(), Failure> {
    plugin_directory(scene.context).find(name)?;
    Ok(())
}

/// JSON of `plugin list`: `{plugins: [{name, path, bundled, description?, version?, url?, capabilities?,
/// supportedContractVersions?, error?}]}`.
#[derive(Serialize)]
struct List {
    plugins: Vec<Shown>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    name: String,
    #[serde(serialize_with = "super::path_text")]
    path: std::path::PathBuf,
    bundled: bool,
    #[serde(flatten)]
    metadata: Option<About>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct About {
    description: String,
    version: String,
    url: String,
    supported_contract_versions: Vec<String>,
    capabilities: Vec<String>,
}

impl From<&Metadata> for About {
    fn from(metadata: &Metadata) -> Self {
        Self {
            description: metadata.description.clone(),
            version: metadata.version.clone(),
            url: metadata.url.clone(),
            supported_contract_versions: metadata.supported_contract_versions.clone(),
            capabilities: metadata.capabilities.clone(),
        }
    }
}

impl Report for List {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows: Vec<_> = self.plugins.iter().map(Shown::row).collect();
        table::write(out, ["NAME", "DESCRIPTION", "VERSION", "CAPABILITIES", "ERROR"], &rows)
    }
}

impl Shown {
    fn row(&self) -> [String; 5] {
        let about = self.metadata.as_ref();
        [
            self.name.clone(),
            about.map(|about| about.description.clone()).unwrap_or_default(),
            about.map(|about| about.version.clone()).unwrap_or_default(),
            format!("[{}]", about.map(|about| about.capabilities.join(" ")).unwrap_or_default()),
            self.error.clone().unwrap_or_else(|| "<nil>".to_owned()),
        ]
    }
}

/// Lists the plugins, asking each for its metadata.
pub(crate) async fn list(scene: &Scene<'_>, output: &mut Output<'_>) -> Result<(), Failure> {
    let mut plugins = Vec::new();
    for listed in plugin_directory(scene.context).list() {
        let what = format!("asking plugin {}", listed.name);
        plugins.push(scene.progress.step(&what, ask(listed, scene)).await);
    }
    output.report(&List { plugins })
}

async fn ask(listed: Listed, scene: &Scene<'_>) -> Shown {
    let answer = match listed.executable {
        Err(error) => Err(error),
        Ok(executable) => Plugin::start(executable, &PluginConfig::default(), plugin_options(scene)).await,
    };
    Shown {
        name: listed.name,
        path: listed.path,
        bundled: listed.origin == Origin::Bundled,
        metadata: answer.as_ref().ok().map(|plugin| About::from(plugin.metadata())),
        error: answer.err().map(|error| error.to_string()),
    }
}
