//! A backend with a user's home around it: plugin installed, root trusted, an image, a registry. Started when first
//! asked for.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow};
use prokura_integration::backend::registry::Registry;
use prokura_integration::home::Home;
use prokura_integration::image::Image;
use prokura_integration::program::executable;
use prokura_integration::vault::{Backend, Running, TestKey, TestVault};
use prokura_plugin::KeySpec;

/// A backend and, once a test runs, everything around it.
pub(crate) struct Scene {
    pub(crate) backend: &'static Backend,
    running: Running,
    around: OnceLock<Result<(Home, Image, Registry), String>>,
}

/// What is there once it runs.
pub(crate) struct Started<'a> {
    pub(crate) vault: &'a dyn TestVault,
    pub(crate) image: &'a Image,
    pub(crate) registry: &'a Registry,
    pub(crate) home: &'a Home,
}

impl Scene {
    pub(crate) const fn new(backend: &'static Backend) -> Self {
        Self { backend, running: Running::new(backend), around: OnceLock::new() }
    }

    /// The running backend.
    pub(crate) fn started(&self) -> Result<Started<'_>> {
        let vault = self.running.vault()?;
        let around = self.around.get_or_init(|| around(vault).map_err(|error| format!("{error:#}")));
        let (home, image, registry) = around.as_ref().map_err(|reason| anyhow!("{reason}"))?;
        Ok(Started { vault, image, registry, home })
    }
}

/// A home with the plugin and its root of trust, an image and a registry.
fn around(vault: &dyn TestVault) -> Result<(Home, Image, Registry)> {
    let mut home = Home::new()?;
    let plugin = vault.plugin();
    home.install(plugin, &executable(&format!("notation-{plugin}"))?)?;
    for (name, value) in vault.environment() {
        home.set(name, PathBuf::from(value));
    }
    home.trust(&std::fs::read_to_string(vault.root())?, "strict")?;
    let image = Image::create(home.path())?;
    Ok((home, image, Registry::olareg(true)?))
}

impl Started<'_> {
    /// `--plugin`, `--id` and `--plugin-config` for a key.
    pub(crate) fn key_arguments(&self, key: &TestKey) -> Vec<String> {
        let mut arguments = self.vault_arguments(&key.config);
        arguments.extend(["--id".to_owned(), key.id.clone()]);
        arguments
    }

    /// `--plugin` and `--plugin-config` for the vault as a whole.
    pub(crate) fn vault_arguments(&self, config: &[(String, String)]) -> Vec<String> {
        let mut arguments = vec!["--plugin".to_owned(), self.vault.plugin().to_owned()];
        for (name, value) in config {
            arguments.extend(["--plugin-config".to_owned(), format!("{name}={value}")]);
        }
        arguments
    }

    /// Runs `prokura` with the words of a verb and further arguments; its standard output.
    pub(crate) fn prokura(&self, verb: &[&str], arguments: &[String]) -> Result<String> {
        let words = verb.iter().map(OsString::from).chain(arguments.iter().map(OsString::from));
        self.home.prokura(words)?.ok()
    }

    /// As [`Self::prokura`], read as JSON.
    pub(crate) fn json(&self, verb: &[&str], arguments: &[String]) -> Result<serde_json::Value> {
        let mut words = verb.to_vec();
        words.extend(["--output", "json"]);
        let said = self.prokura(&words, arguments)?;
        serde_json::from_str(&said).with_context(|| format!("no JSON: {said}"))
    }

    /// The key of a spec.
    pub(crate) fn key(&self, spec: KeySpec) -> TestKey {
        self.vault.key(spec)
    }
}
