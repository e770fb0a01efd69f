//! One signature attempted with one plugin, and what must be true of every attempt, however it ends.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use prokura_integration::program::{Run, executable, output};
use prokura_integration::world::World;
use rustix::process::{Pid, test_kill_process};

/// Nothing may take longer: the deadline of one answer, and what is granted for stopping.
const PATIENCE: Duration = Duration::from_secs(25);
/// How long a process that was killed may take to vanish.
const VANISHING: Duration = Duration::from_secs(3);

/// A copy of the image, a plugin directory and a directory for temporary files of one attempt's own.
pub(crate) struct Scene {
    world: std::sync::Arc<World>,
    directory: PathBuf,
    layout: PathBuf,
    digest: String,
    before: BTreeMap<PathBuf, Vec<u8>>,
}

impl Scene {
    pub(crate) fn new(world: &std::sync::Arc<World>, name: &str) -> Result<Self> {
        let directory = world.home.path().join("scenes").join(name.replace("::", "-"));
        std::fs::create_dir_all(directory.join("plugins"))?;
        std::fs::create_dir(directory.join("tmp"))?;
        let image = world.image()?;
        let layout = image.copy(&directory.join("layout"))?;
        let before = files(&layout)?;
        let (world, digest) = (std::sync::Arc::clone(world), image.digest.clone());
        Ok(Self { world, directory, layout, digest, before })
    }

    /// Where the executable of a plugin belongs; its directory is made.
    pub(crate) fn place(&self, plugin: &str) -> Result<PathBuf> {
        let directory = self.directory.join("plugins").join(plugin);
        std::fs::create_dir(&directory)?;
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755))?;
        Ok(directory.join(format!("notation-{plugin}")))
    }

    /// Installs the rogue.
    pub(crate) fn install_rogue(&self) -> Result<PathBuf> {
        let place = self.place("rogue")?;
        // One copy for all: the executable is large.
        std::fs::hard_link(self.world.home.plugins().join("rogue/notation-rogue"), &place)?;
        Ok(place)
    }

    /// The file into which the rogue writes its process ids.
    pub(crate) fn pids(&self) -> PathBuf {
        self.directory.join("pids")
    }

    /// The file in which the rogue keeps its key.
    pub(crate) fn key(&self) -> String {
        self.directory.join("key").display().to_string()
    }

    /// The file into which the rogue writes that it was asked to sign, over gRPC.
    pub(crate) fn signs(&self) -> PathBuf {
        self.directory.join("signs")
    }

    /// `prokura sign --oci-layout` with these arguments, killed as soon as `is_there`: no process that is the host's own
    /// child outlives it, and the next host ends and removes whatever else is left.
    pub(crate) fn sign_killed(&self, arguments: &[String], is_there: impl Fn() -> bool) -> Result<()> {
        let mut prokura = self.prokura(["sign", "--oci-layout"])?;
        let mut prokura = prokura.args(arguments).arg(self.reference()).stdin(Stdio::null()).spawn()?;
        let until = Instant::now() + PATIENCE;
        while !is_there() {
            ensure!(Instant::now() < until, "the rogue does not get there");
            std::thread::sleep(Duration::from_millis(5));
        }
        let children = self.children_of(prokura.id())?;
        ensure!(!children.is_empty(), "the host has no plugin");
        prokura.kill()?;
        prokura.wait()?;
        for child in children {
            self.vanishes(child)?;
        }
        let tmp = self.directory.join("tmp");
        ensure!(std::fs::read_dir(&tmp)?.count() == 1, "there is nothing to clear away");
        output(&mut self.prokura(["plugin", "list"])?)?.ok()?;
        ensure!(std::fs::read_dir(&tmp)?.count() == 0, "the next host clears nothing away");
        self.nobody_survives()?;
        self.is_untouched()
    }

    fn prokura<const N: usize>(&self, arguments: [&str; N]) -> Result<Command> {
        let mut command: Command = self.world.home.command(&executable("prokura")?);
        command.env("NOTATION_LIBEXEC", &self.directory).env("TMPDIR", self.directory.join("tmp"));
        command.args(arguments);
        Ok(command)
    }

    /// The processes of the rogue that are children of this one.
    fn children_of(&self, parent: u32) -> Result<Vec<Pid>> {
        let lines = std::fs::read_to_string(self.pids())?;
        let pids = lines.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?));
        let is_child = |pid: &Pid| {
            let stat =
                std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
            let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
            fields.get(1) == Some(&parent.to_string().as_str())
        };
        Ok(pids.filter(is_child).collect())
    }

    /// `prokura sign --oci-layout` with these arguments. Checks all that does not depend on how it ended.
    pub(crate) fn sign(&self, arguments: &[String], surroundings: &[(&str, &str)]) -> Result<Run> {
        let mut command = self.prokura(["sign", "--oci-layout"])?;
        command.envs(surroundings.iter().copied()).args(arguments).arg(self.reference());
        let started = Instant::now();
        let run = output(&mut command)?;
        let took = started.elapsed();
        ensure!(took < PATIENCE, "it took {took:?}: {}", run.stderr);
        let control = |c: char| c.is_control() && c != '\n';
        ensure!(!run.stderr.contains(control), "control characters reached the terminal: {:?}", run.stderr);
        ensure!(!run.stdout.contains(control), "control characters reached the terminal: {:?}", run.stdout);
        self.nobody_survives().with_context(|| run.stderr.clone())?;
        let left = files(&self.directory.join("tmp"))?;
        ensure!(left.is_empty(), "temporary files were left: {:?}", left.keys());
        Ok(run)
    }

    /// `prokura` with these arguments, of a verb that signs nothing.
    pub(crate) fn run(&self, arguments: &[String]) -> Result<Run> {
        let run = output(self.prokura([])?.args(arguments))?;
        self.nobody_survives().with_context(|| run.stderr.clone())?;
        Ok(run)
    }

    pub(crate) fn reference(&self) -> String {
        format!("{}@{}", self.layout.display(), self.digest)
    }

    /// The signature is there and verifies but for the trust in its root.
    pub(crate) fn is_signed(&self) -> Result<()> {
        let run = self.world.home.prokura(["list", "--oci-layout", &self.reference()])?.ok()?;
        ensure!(run.matches("sha256:").count() == 2, "one artifact and one signature expected: {run}");
        Ok(())
    }

    pub(crate) fn is_untouched(&self) -> Result<()> {
        let after = files(&self.layout)?;
        let changed: Vec<_> = after
            .keys()
            .chain(self.before.keys())
            .filter(|path| self.before.get(*path) != after.get(*path))
            .collect();
        ensure!(changed.is_empty(), "the image layout was changed: {changed:?}");
        Ok(())
    }

    fn nobody_survives(&self) -> Result<()> {
        let Ok(pids) = std::fs::read_to_string(self.pids()) else { return Ok(()) };
        pids.lines().try_for_each(|line| self.vanishes(Pid::from_raw(line.parse()?).context("a process id")?))
    }

    fn vanishes(&self, pid: Pid) -> Result<()> {
        let until = Instant::now() + VANISHING;
        while is_running(pid) {
            ensure!(Instant::now() < until, "process {} of the plugin survived", pid.as_raw_nonzero());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// How many processes the rogue had.
    pub(crate) fn processes(&self) -> usize {
        std::fs::read_to_string(self.pids()).unwrap_or_default().lines().count()
    }
}

/// Whether a process runs. One that has ended and waits to be reaped by its new parent does not.
fn is_running(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    test_kill_process(pid).is_ok() && state != Some('Z')
}

/// Every file below a directory with its content.
fn files(directory: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            found.insert(path.clone(), Vec::new());
            found.extend(files(&path)?);
        } else {
            found.insert(path.clone(), std::fs::read(&path)?);
        }
    }
    Ok(found)
}
