//! What the trials stand on: one filled server, one home, and ways to sign as a user and as a host.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use prokura_integration::backend::fault_proxy::FaultProxy;
use prokura_integration::backend::openbao::OpenBao;
use prokura_integration::home::Home;
use prokura_integration::program::{Missing, Run, executable, output};
use prokura_integration::served::request;
use prokura_plugin::message::PluginConfig;
use prokura_plugin::{Digest, KeySpec};
use prokura_signer::{KeyReference, Plugin, PluginDirectory, PluginOptions, Preference};

/// The key most trials sign with.
pub(crate) const KEY: &str = "ec-256";

/// The server, filled, and a home that trusts its root.
pub(crate) struct Ground {
    pub(crate) bao: OpenBao,
    pub(crate) home: Home,
    file: PathBuf,
}

/// The one of this process; the server ends with it.
pub(crate) fn shared() -> Result<&'static Ground> {
    static SHARED: OnceLock<Result<Ground, Reason>> = OnceLock::new();
    let ground = SHARED.get_or_init(|| {
        Ground::new().map_err(|error| match error.downcast_ref::<Missing>() {
            Some(missing) => Reason::Missing(missing.clone()),
            None => Reason::Failed(format!("{error:#}")),
        })
    });
    match ground {
        Ok(ground) => Ok(ground),
        Err(Reason::Missing(missing)) => Err(missing.clone().into()),
        Err(Reason::Failed(reason)) => Err(anyhow!("{reason}")),
    }
}

enum Reason {
    Missing(Missing),
    Failed(String),
}

impl Ground {
    fn new() -> Result<Self> {
        let bao = OpenBao::start()?;
        let home = Home::new()?;
        home.install("vault", &executable("notation-vault")?)?;
        home.trust(bao.authority.certificate(), "strict")?;
        let file = home.path().join("artifact");
        std::fs::write(&file, "what is signed")?;
        Ok(Self { bao, home, file })
    }

    /// A proxy before the server.
    pub(crate) fn proxy(&self) -> Result<FaultProxy> {
        FaultProxy::start(self.bao.server.plain)
    }

    /// A signature as a user makes it.
    pub(crate) fn signing(&self) -> Signing<'_> {
        Signing {
            ground: self,
            id: format!("transit/{KEY}"),
            config: Vec::new(),
            environment: vec![
                ("VAULT_ADDR".to_owned(), self.bao.server.address()),
                ("VAULT_TOKEN".to_owned(), self.bao.token().to_owned()),
            ],
            deadline: "20s",
        }
    }

    /// A host that keeps the plugin's process, as a broker does.
    pub(crate) fn host(&self, environment: &[(&str, &str)]) -> Result<Host> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let directory = PluginDirectory::new(self.home.plugins(), None);
        let executable = directory.find(&"vault".parse()?)?;
        let mut options = PluginOptions::new(Vec::new());
        options.transport = Preference::Grpc;
        options.deadline = Duration::from_secs(30);
        let own = [("VAULT_ADDR", self.bao.server.address()), ("VAULT_TOKEN", self.bao.token().to_owned())];
        options.environment = own.into_iter().map(|(n, v)| (n.into(), v.into())).collect();
        for (name, value) in environment {
            options.environment.retain(|(n, _)| n != name);
            options.environment.push((name.into(), value.into()));
        }
        let plugin = runtime.block_on(Plugin::start(executable, &PluginConfig::default(), options))?;
        Ok(Host { runtime, plugin })
    }
}

/// `prokura blob sign` with one thing wrong.
pub(crate) struct Signing<'a> {
    ground: &'a Ground,
    id: String,
    config: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    deadline: &'static str,
}

impl Signing<'_> {
    pub(crate) fn id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.id);
        self
    }

    #[expect(clippy::needless_pass_by_value, reason = "shorter where it is called")]
    pub(crate) fn config(mut self, name: &str, value: impl ToString) -> Self {
        self.config.push((name.to_owned(), value.to_string()));
        self
    }

    #[expect(clippy::needless_pass_by_value, reason = "shorter where it is called")]
    pub(crate) fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.environment.retain(|(n, _)| n != name);
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.environment.retain(|(n, _)| n != name);
        self
    }

    pub(crate) fn via(self, proxy: &FaultProxy) -> Self {
        self.env("VAULT_ADDR", proxy.url())
    }

    pub(crate) fn deadline(mut self, deadline: &'static str) -> Self {
        self.deadline = deadline;
        self
    }

    fn run(&self) -> Result<Run> {
        let directory = tempfile::tempdir_in(self.ground.home.path())?;
        let mut command = self.ground.home.command(&executable("prokura")?);
        command.envs(self.environment.iter().map(|(n, v)| (n, v)));
        command.args(["blob", "sign", "--plugin", "vault", "--id", &self.id, "--deadline", self.deadline]);
        for (name, value) in &self.config {
            command.arg("--plugin-config").arg(format!("{name}={value}"));
        }
        command.arg("--signature-directory").arg(directory.path()).arg(&self.ground.file);
        let run = output(&mut command)?;
        for (name, secret) in &self.environment {
            let is_secret = ["TOKEN", "SECRET_ID", "JWT"].iter().any(|part| name.ends_with(part));
            let told = run.stderr.contains(secret) || run.stdout.contains(secret);
            ensure!(!is_secret || secret.len() < 8 || !told, "the secret {name} is told: {}", run.stderr);
        }
        Ok(run)
    }

    /// It works all the same.
    pub(crate) fn works(&self) -> Result<String> {
        let begun = Instant::now();
        self.run()?.ok()?;
        Ok(format!("nobody notices, signed after {:.1} s", begun.elapsed().as_secs_f64()))
    }

    /// It is refused with all these words; returns the error.
    pub(crate) fn refused(&self, words: &[&str]) -> Result<String> {
        let run = self.run()?;
        ensure!(matches!(run.code, Some(1..=3)), "ended with {:?}: {}{}", run.code, run.stdout, run.stderr);
        says(&run.stderr, words)?;
        Ok(run.stderr.trim().to_owned())
    }
}

/// The error holds every word. The host quotes what a plugin says, and escapes the quotes in it.
pub(crate) fn says(said: &str, words: &[&str]) -> Result<()> {
    let said = &said.replace("\\\"", "\"");
    for word in words {
        ensure!(said.contains(word), "{word:?} is not said: {said}");
    }
    Ok(())
}

/// A host with its plugin running.
pub(crate) struct Host {
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) plugin: Plugin,
}

impl Host {
    pub(crate) fn key(id: &str, config: &[(&str, &str)]) -> Result<KeyReference> {
        let config = config.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Ok(KeyReference::new(id, PluginConfig(config))?)
    }

    /// Describes and signs; the envelope is verified by the host. Returns the version that signed.
    pub(crate) fn sign(&self, key: &KeyReference) -> Result<Option<String>> {
        Ok(self.runtime.block_on(prokura_signer::sign(&self.plugin, key, request()))?.key_version)
    }

    /// Describes.
    pub(crate) fn describe(&self, key: &KeyReference) -> Result<prokura_signer::KeyDescription> {
        Ok(self.runtime.block_on(prokura_signer::describe_key(&self.plugin, key))?)
    }

    /// One signature over a digest, made and nothing else.
    pub(crate) fn sign_digest(&self, key: &KeyReference) -> Result<()> {
        let digest = Digest::of(KeySpec::Ec256.hash_algorithm(), b"x");
        self.runtime.block_on(self.plugin.sign_digest(key, KeySpec::Ec256, &digest))?;
        Ok(())
    }

    /// Signs with what was described before.
    pub(crate) fn sign_described(
        &self,
        key: &KeyReference,
        description: &prokura_signer::KeyDescription,
    ) -> Result<Option<String>> {
        let signing = prokura_signer::sign_described(&self.plugin, key, description, request());
        Ok(self.runtime.block_on(signing)?.key_version)
    }
}

/// The error of something that must fail.
pub(crate) fn failure<T>(outcome: Result<T>) -> Result<String> {
    match outcome {
        Ok(_) => Err(anyhow!("it worked, expected an error")),
        Err(error) => Ok(format!("{error:#}")),
    }
}
