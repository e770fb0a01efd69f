//! One token of its own behind the fault module, and `prokura sign` with a key in it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use prokura_integration::backend::p11fault::{Faults, VARIABLE};
use prokura_integration::backend::token::{LABEL, Token, uri};
use prokura_integration::home::Home;
use prokura_integration::image::Image;
use prokura_integration::program::{Missing, Run, executable, output};
use prokura_integration::served::Served;

/// Nothing may take longer than the deadline given and what is granted for stopping.
const PATIENCE: Duration = Duration::from_secs(30);

/// What all scenes share.
pub(super) struct Stage {
    pub(super) home: Home,
    token: Token,
    image: Image,
    next: AtomicU32,
}

/// A stage that is made when first asked for, and taken down with the last test.
#[derive(Clone, Default)]
pub(super) struct Stages(Arc<OnceLock<Result<Arc<Stage>, Reason>>>);

/// Why there is no stage: what is missing, or what failed.
type Reason = (Option<Missing>, String);

impl Stages {
    /// The stage, or the same reason for all why there is none.
    pub(super) fn stage(&self) -> Result<Arc<Stage>> {
        let made = self.0.get_or_init(|| {
            let reason =
                |error: anyhow::Error| (error.downcast_ref::<Missing>().cloned(), format!("{error:#}"));
            Stage::new().map(Arc::new).map_err(reason)
        });
        made.clone().map_err(|(missing, reason)| missing.map_or_else(|| anyhow!("{reason}"), Into::into))
    }

    /// A copy of the token of one's own, with faults.
    pub(super) fn scene(&self) -> Result<Scene> {
        Scene::new(self.stage()?)
    }

    /// With these rules.
    pub(super) fn broken(&self, rules: &[&str]) -> Result<Scene> {
        let scene = self.scene()?;
        for rule in rules {
            scene.faults.add(rule)?;
        }
        Ok(scene)
    }
}

impl Stage {
    fn new() -> Result<Self> {
        Faults::module()?;
        let home = Home::new()?;
        let directory = home.path().join("odd");
        std::fs::create_dir(&directory)?;
        let token = Token::odd(&directory)?;
        home.trust(&std::fs::read_to_string(&token.root)?, "strict")?;
        let image = Image::create(home.path())?;
        Ok(Self { home, token, image, next: AtomicU32::new(0) })
    }

    /// An empty directory.
    pub(super) fn directory(&self) -> Result<PathBuf> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let directory = self.home.path().join(format!("scene-{number}"));
        std::fs::create_dir(&directory)?;
        Ok(directory)
    }

    /// A copy of the image of one's own.
    pub(super) fn layout(&self) -> Result<PathBuf> {
        self.image.copy(&self.directory()?.join("layout"))
    }
}

/// A copy of the token of one's own, with faults.
pub(super) struct Scene {
    pub(super) faults: Faults,
    pub(super) token: Token,
    pub(super) deadline: &'static str,
    stage: Arc<Stage>,
}

impl Scene {
    fn new(stage: Arc<Stage>) -> Result<Self> {
        let directory = stage.directory()?;
        let token = stage.token.copy(&directory)?;
        let faults = Faults::new(directory.join("faults"), &token.module, None)?;
        Ok(Self { faults, token, deadline: "20s", stage })
    }

    /// The id of the key with this label, reached through the fault module.
    pub(super) fn id(&self, label: &str) -> Result<String> {
        Ok(uri(LABEL, label, &Faults::module()?, &self.token.pin_file))
    }

    /// What the plugin's environment must hold.
    pub(super) fn environment(&self) -> Vec<(String, PathBuf)> {
        vec![
            (VARIABLE.to_owned(), self.faults.directory.clone()),
            (self.token.environment.0.to_owned(), self.token.environment.1.clone()),
        ]
    }

    /// `prokura sign` with a key id; `further` are more arguments.
    pub(super) fn sign(&self, id: &str, further: &[&str]) -> Result<Run> {
        let layout = self.stage.layout()?;
        let reference = format!("{}@{}", layout.display(), self.stage.image.digest);
        let mut command = self.stage.home.command(&executable("prokura")?);
        command.envs(self.environment());
        command.args(["sign", "--oci-layout", "--plugin", "pkcs11", "--deadline", self.deadline, "--id", id]);
        command.arg("--plugin-config").arg(format!("ca_certs={}", self.token.root.display()));
        command.args(further).arg(&reference);
        let begun = Instant::now();
        let run = output(&mut command)?;
        let took = begun.elapsed();
        ensure!(took < PATIENCE, "it took {took:?}: {}", run.stderr);
        self.nobody_survives().with_context(|| run.stderr.clone())?;
        if run.code == Some(0) {
            self.stage
                .home
                .prokura(["verify", "--oci-layout", "--scope", "tests/image", &reference])?
                .ok()?;
        }
        Ok(run)
    }

    /// The plugin, serving in this scene.
    pub(super) fn served(&self, deadline: Duration) -> Result<Served> {
        let environment = self.environment().into_iter().map(|(name, value)| (name.into(), value.into()));
        Served::start(self.stage.home.plugins(), "pkcs11", environment, deadline)
    }

    /// It signs, and the signature verifies. Returns what is said of it.
    pub(super) fn signs(&self, label: &str) -> Result<String> {
        self.sign(&self.id(label)?, &[])?.ok()?;
        Ok("signed".to_owned())
    }

    /// It refuses with an error that holds these words. Returns the error.
    pub(super) fn refuses(&self, label: &str, words: &[&str]) -> Result<String> {
        self.refuses_id(&self.id(label)?, words)
    }

    /// As [`Scene::refuses`], for any key id.
    pub(super) fn refuses_id(&self, id: &str, words: &[&str]) -> Result<String> {
        let run = self.sign(id, &[])?;
        let line = error_line(&run)?;
        for word in words {
            ensure!(line.contains(word), "{word:?} is missing in: {line}");
        }
        Ok(line)
    }

    /// No process that loaded the module is left.
    fn nobody_survives(&self) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(3);
        for pid in self.faults.pids()? {
            while is_running(pid) {
                ensure!(Instant::now() < until, "process {pid} of the plugin survived");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }
}

/// The error of a run that failed, on one line.
pub(super) fn error_line(run: &Run) -> Result<String> {
    ensure!(matches!(run.code, Some(1..=3)), "ended with {:?}: {}{}", run.code, run.stdout, run.stderr);
    let lines: Vec<&str> = run.stderr.lines().filter(|line| !line.trim().is_empty()).collect();
    ensure!(!lines.is_empty(), "it says nothing");
    Ok(lines.join(" "))
}

/// Whether a process runs; one that waits to be reaped does not.
pub(super) fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}
