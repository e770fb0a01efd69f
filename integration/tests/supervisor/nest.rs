//! A place with the rogue and softkey in it, and what is seen of their processes from outside.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use prokura_integration::key::{KeyFiles, id};
use prokura_integration::program::{executable, install};
use prokura_integration::rogue::Break;
use prokura_plugin::message::PluginConfig;
use prokura_plugin::{Digest, HashAlgorithm, KeySpec};
use prokura_signer::{KeyReference, Plugin, PluginDirectory, PluginOptions};
use rustix::process::{Pid, Signal};

const PATIENCE: Duration = Duration::from_secs(30);

/// A plugin directory and the files by which the rogue tells what it was asked.
pub(crate) struct Nest(tempfile::TempDir);

impl Nest {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(tempfile::Builder::new().prefix("prokura-nest-").tempdir()?))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    async fn start(&self, name: &str, program: &str, config: &PluginConfig, deadline: u64) -> Result<Plugin> {
        use std::os::unix::fs::DirBuilderExt as _;
        let directory = self.path("plugins").join(name);
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&directory)?;
        let place = directory.join(format!("notation-{name}"));
        install(&executable(program)?, &place)?;
        let found = PluginDirectory::new(self.path("plugins"), None).find(&name.parse()?)?;
        let deadline = Duration::from_secs(deadline);
        Ok(Plugin::start(found, config, PluginOptions { deadline, ..PluginOptions::default() }).await?)
    }

    /// The rogue with a switch. It keeps its key, unless told otherwise, and tells its processes.
    pub(crate) async fn rogue(&self, switch: Break, more: &[(&str, &str)], deadline: u64) -> Result<Plugin> {
        let own = [("key", "key"), ("pids", "pids"), ("lives", "lives"), ("signs", "signs")];
        let own = own.map(|(name, file)| (name.to_owned(), self.path(file).display().to_string()));
        let mut config: PluginConfig = own.into_iter().collect();
        config.0.insert("break".to_owned(), switch.name());
        config.0.insert("transport".to_owned(), "grpc".to_owned());
        config.0.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        config.0.retain(|_, value| !value.is_empty());
        self.start("rogue", "rogue", &config, deadline).await
    }

    /// The real softkey, and its EC-256 key.
    pub(crate) async fn softkey(&self) -> Result<(Plugin, KeyReference)> {
        let directory = self.path("keys");
        std::fs::create_dir(&directory)?;
        let files = KeyFiles::create(&directory)?;
        let config: PluginConfig =
            [("dir".to_owned(), files.directory.display().to_string())].into_iter().collect();
        let plugin = self.start("softkey", "notation-softkey", &config, 10).await?;
        Ok((plugin, KeyReference::new(id(KeySpec::Ec256), config)?))
    }

    /// One signature by the rogue.
    pub(crate) async fn sign(&self, plugin: &Plugin) -> Result<()> {
        plugin.sign_digest(&key("good")?, KeySpec::Ec256, &digest(0)).await?;
        Ok(())
    }

    /// How often the rogue was asked to sign.
    pub(crate) fn asked_to_sign(&self) -> usize {
        std::fs::read_to_string(self.path("signs")).unwrap_or_default().lines().count()
    }

    /// Waits until no process of the rogue runs.
    pub(crate) async fn nobody_is_left(&self) -> Result<()> {
        let pids = std::fs::read_to_string(self.path("pids"))?;
        for line in pids.lines() {
            eventually("a process of the rogue is left", || (!is_running(line)).then_some(())).await?;
        }
        Ok(())
    }
}

pub(crate) fn key(id: &str) -> Result<KeyReference> {
    Ok(KeyReference::new(id, PluginConfig::default())?)
}

pub(crate) fn digest(n: u64) -> Digest {
    Digest::of(HashAlgorithm::Sha256, &n.to_be_bytes())
}

/// Runs all at once.
pub(crate) async fn together<T>(calls: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut calls: Vec<_> = calls.map(|call| (Box::pin(call), None)).collect();
    std::future::poll_fn(|context| {
        let mut is_ready = true;
        for (call, answer) in &mut calls {
            if answer.is_none() {
                match call.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *answer = Some(value),
                    std::task::Poll::Pending => is_ready = false,
                }
            }
        }
        if is_ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    calls.into_iter().filter_map(|(_, answer)| answer).collect()
}

/// Polls until there is something.
pub(crate) async fn eventually<T>(otherwise: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        ensure!(Instant::now() < until, "{otherwise}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(crate) fn kill(process: u32) -> Result<()> {
    let id = Pid::from_raw(process.cast_signed()).context("a process id")?;
    Ok(rustix::process::kill_process(id, Signal::KILL)?)
}

/// How many descriptors this process has.
pub(crate) fn descriptors() -> Result<usize> {
    Ok(std::fs::read_dir("/proc/self/fd")?.count())
}

/// How many children this process has, those that nobody has reaped included.
pub(crate) fn children() -> Result<usize> {
    let mut found = 0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        let children = std::fs::read_to_string(thread?.path().join("children"))?;
        found += children.split_whitespace().count();
    }
    Ok(found)
}

fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}
