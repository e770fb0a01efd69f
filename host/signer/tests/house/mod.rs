//! A plugin directory in a temporary place, filled with plugins that are shell scripts.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot prepare its files fails")]

pub(crate) mod signing;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use prokura_signer::{Error, Plugin, PluginDirectory, PluginOptions};
use rustix::process::{Pid, test_kill_process};

pub(crate) const RAW: &str = "SIGNATURE_GENERATOR.RAW";

pub(crate) struct House {
    home: tempfile::TempDir,
}

impl House {
    pub(crate) fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    /// A place outside the plugin directory where scripts leave traces.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn directory(&self) -> PluginDirectory {
        PluginDirectory::new(self.home.path().join("plugins"), None)
    }

    /// Installs `notation-x` with these bytes.
    pub(crate) fn install(&self, bytes: impl AsRef<[u8]>) -> PathBuf {
        let directory = self.home.path().join("plugins/x");
        fs::create_dir_all(&directory).unwrap();
        for made in [self.home.path().join("plugins"), directory.clone()] {
            fs::set_permissions(made, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let path = directory.join("notation-x");
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Installs a script that answers `get-plugin-metadata` properly and runs `body` for anything else. In it `$traces`
    /// is the directory of [`House::path`].
    pub(crate) fn script(&self, capabilities: &str, body: &str) -> PathBuf {
        let traces = self.home.path().display();
        let metadata = metadata(capabilities);
        self.install(format!(
            "#!/bin/sh\ntraces='{traces}'\nif [ \"$1\" = get-plugin-metadata ]; then\ncat >/dev/null\necho '{metadata}'\nexit 0\nfi\n{body}\n"
        ))
    }

    pub(crate) async fn start(&self, options: PluginOptions) -> Result<Plugin, Error> {
        let executable = self.directory().find(&"x".parse().unwrap())?;
        Plugin::start(executable, &Default::default(), options).await
    }
}

pub(crate) fn metadata(capabilities: &str) -> String {
    let capabilities = capabilities.replace(' ', "\",\"");
    format!(
        r#"{{"name":"x","description":"d","version":"1.2.3","url":"u","supportedContractVersions":["1.0"],"capabilities":["{capabilities}"]}}"#
    )
}

/// `PATH` alone, so that scripts find their tools.
pub(crate) fn options() -> PluginOptions {
    PluginOptions::new(vec![variable("PATH", "/usr/local/bin:/usr/bin:/bin")])
}

pub(crate) fn variable(name: &str, value: &str) -> (OsString, OsString) {
    (name.into(), value.into())
}

/// Waits until the process that wrote its id to `path` is gone.
pub(crate) fn assert_gone(path: &Path) {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let id = Pid::from_raw(text.trim().parse().unwrap()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while is_running(id) {
        assert!(Instant::now() < deadline, "process {id:?} is still there");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A zombie that its new parent has not reaped yet runs no more.
fn is_running(id: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", id.as_raw_pid())).unwrap_or_default();
    test_kill_process(id).is_ok() && !stat.contains(") Z ")
}
