//! One signature attempted with `prokura blob sign`, the real plugin and the corrected moto, and what the user is told.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use libtest_mimic::Trial;
use prokura_integration::backend::aws::{Kms, KmsKey};
use prokura_integration::home::Home;
use prokura_integration::program::{Missing, Run, executable, output};
use prokura_integration::suite;
use prokura_integration::vault::TestVault as _;
use prokura_plugin::message::PluginConfig;
use prokura_plugin::{Digest, KeySpec};
use prokura_signer::{KeyReference, Plugin, PluginDirectory, PluginOptions, Preference, describe_key};
use tempfile::TempDir;

/// Nothing may take longer than the deadline of a signature and this: starting the processes.
const SLACK: Duration = Duration::from_secs(5);

/// The emulator and a home with the plugin.
pub(crate) struct Stage {
    pub(crate) kms: Kms,
    home: Home,
}

/// The stage all trials share, set up by the first of them.
pub(crate) fn stage() -> Result<&'static Stage> {
    static STAGE: OnceLock<std::result::Result<Stage, (Option<Missing>, String)>> = OnceLock::new();
    let started = STAGE
        .get_or_init(|| Stage::start().map_err(|e| (e.downcast_ref::<Missing>().cloned(), format!("{e:#}"))));
    started.as_ref().map_err(|(missing, reason)| match missing {
        Some(missing) => missing.clone().into(),
        None => anyhow!("{reason}"),
    })
}

/// A trial on the shared stage.
pub(crate) fn trial(name: &str, test: impl FnOnce(&'static Stage) -> Result<()> + Send + 'static) -> Trial {
    suite::trial(format!("aws-kms::{name}"), move || test(stage()?))
}

impl Stage {
    /// An emulator of its own, for trials that change it for everybody.
    pub(crate) fn start() -> Result<Self> {
        Self::around(Kms::moto()?)
    }

    /// A home with the plugin for this emulator.
    pub(crate) fn around(kms: Kms) -> Result<Self> {
        let home = Home::new()?;
        home.install("aws-kms", &executable("notation-aws-kms")?)?;
        Ok(Self { kms, home })
    }

    /// A new key with its certificate.
    pub(crate) fn key(&self, spec: KeySpec) -> Result<KmsKey> {
        self.kms.create(spec, None)
    }

    /// An attempt to sign with `key`, called `id`.
    pub(crate) fn attempt(&self, id: &str, key: &KmsKey) -> Result<Attempt<'_>> {
        let directory = tempfile::tempdir()?;
        let (config, environment) = (self.kms.test_key(id, key).config, self.kms.environment());
        Ok(Attempt { stage: self, id: id.to_owned(), config, environment, deadline: 20, directory })
    }
}

/// What is to be signed, how, and in which surroundings.
pub(crate) struct Attempt<'a> {
    stage: &'a Stage,
    id: String,
    config: Vec<(String, String)>,
    environment: Vec<(&'static str, OsString)>,
    deadline: u64,
    directory: TempDir,
}

impl Attempt<'_> {
    /// Sets or replaces an entry of the plugin config; an empty value removes it.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.config.retain(|(known, _)| known != name);
        if !value.is_empty() {
            self.config.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Sets a variable of the environment; an empty value removes it.
    pub(crate) fn env(mut self, name: &'static str, value: &str) -> Self {
        self.environment.retain(|(known, _)| *known != name);
        if !value.is_empty() {
            self.environment.push((name, value.into()));
        }
        self
    }

    /// How long the host waits, in seconds.
    pub(crate) const fn within(mut self, seconds: u64) -> Self {
        self.deadline = seconds;
        self
    }

    /// A file in the directory of this attempt.
    pub(crate) fn file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// Runs the command line; returns also how many signatures it stored.
    fn run(&self) -> Result<(Run, usize)> {
        let fresh = tempfile::tempdir()?;
        let mut command = self.stage.home.command(&executable("prokura")?);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.args(["blob", "sign", "--plugin", "aws-kms", "--id", &self.id]);
        command.args(["--deadline", &format!("{}s", self.deadline), "--signature-format", "cose"]);
        for (name, value) in &self.config {
            command.args(["--plugin-config", &format!("{name}={value}")]);
        }
        command.arg(self.file("file", "to be signed")?).arg("--signature-directory").arg(fresh.path());
        let started = Instant::now();
        let run = output(&mut command)?;
        let took = started.elapsed();
        ensure!(took < Duration::from_secs(self.deadline) + SLACK, "it took {took:?}: {}", run.stderr);
        let stored = std::fs::read_dir(fresh.path())?.count();
        Ok((run, stored))
    }

    /// Signs. The host has verified the signature, or there would be none.
    pub(crate) fn signs(&self) -> Result<()> {
        let (run, stored) = self.run()?;
        run.ok()?;
        ensure!(stored == 1, "{stored} signatures were stored");
        Ok(())
    }

    /// Is refused with exit code `code` in words that hold all of `words`; nothing is stored.
    pub(crate) fn refused(&self, broken: &str, code: i32, words: &[&str]) -> Result<()> {
        let (run, stored) = self.run()?;
        let told = run.refused(code)?;
        for word in words {
            ensure!(told.contains(word), "{word:?} is missing in: {told}");
        }
        ensure!(stored == 0, "a signature was stored");
        tell(broken, &told)
    }

    /// The table of `prokura key discover`, which must end well.
    pub(crate) fn discovers(&self) -> Result<String> {
        let mut command = self.stage.home.command(&executable("prokura")?);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.args(["key", "discover", "--plugin", "aws-kms"]);
        for (name, value) in &self.config {
            command.args(["--plugin-config", &format!("{name}={value}")]);
        }
        output(&mut command)?.ok()
    }

    /// Starts the plugin itself, as contract 1.0 has it, to sign; returns its answer.
    pub(crate) fn alone(&self) -> Result<String> {
        let request = serde_json::json!({
            "contractVersion": "1.0",
            "keyId": self.id,
            "keySpec": "EC-256",
            "hashAlgorithm": "SHA-256",
            "payload": "dG8gYmUgc2lnbmVk",
            "pluginConfig": self.plugin_config(),
        });
        let mut command = self.stage.home.command(&executable("notation-aws-kms")?);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let mut child = command
            .arg("generate-signature")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child.stdin.take().context("stdin is a pipe")?.write_all(request.to_string().as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Signs so many times with one plugin process; the host verifies nothing here.
    pub(crate) fn warm(&self, signatures: usize) -> Result<()> {
        self.served(async |plugin, key| {
            let described = describe_key(&plugin, &key).await?;
            for n in 0..signatures {
                let digest = Digest::of(described.key_spec.hash_algorithm(), &n.to_be_bytes());
                plugin.sign_digest(&key, described.key_spec, &digest).await?;
            }
            Ok(())
        })
    }

    /// The plugin config as the host hands it over.
    pub(crate) fn plugin_config(&self) -> PluginConfig {
        self.config.iter().cloned().collect()
    }

    /// Does something with a plugin that serves gRPC.
    pub(crate) fn served<T>(&self, work: impl AsyncFnOnce(Plugin, KeyReference) -> Result<T>) -> Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let plugins = PluginDirectory::new(self.stage.home.plugins(), None);
            let config = self.plugin_config();
            let environment = self.environment.iter().map(|(name, value)| ((*name).into(), value.clone()));
            let options = PluginOptions {
                transport: Preference::Grpc,
                deadline: Duration::from_secs(self.deadline),
                ..PluginOptions::new(environment.collect())
            };
            let plugin = Plugin::start(plugins.find(&"aws-kms".parse()?)?, &config, options).await?;
            let done = work(plugin.clone(), KeyReference::new(self.id.as_str(), config)?).await;
            plugin.close().await;
            done
        })
    }
}

/// The line of a trial.
pub(crate) fn tell(broken: &str, told: &str) -> Result<()> {
    let line = told.split_whitespace().collect::<Vec<_>>().join(" ");
    writeln!(std::io::stdout(), "aws-kms: {broken} => {line}").context("stdout")
}
