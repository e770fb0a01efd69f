//! A user's home for one test, and the executable run in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A user's home: configuration, working directory, and nothing from the real environment.
pub(crate) struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn config(&self, name: &str) -> PathBuf {
        self.path().join("notation").join(name)
    }

    #[expect(clippy::disallowed_methods, reason = "the test runs the executable under test")]
    pub(crate) fn run_with(&self, arguments: &[&str], input: &str, environment: &[(&str, &str)]) -> Output {
        self.spawned(Command::new(env!("CARGO_BIN_EXE_prokura")), arguments, input, environment)
    }

    /// As [`Home::run_with`], without the rights over other processes that root has, should the test run as root.
    #[expect(clippy::disallowed_methods, reason = "the test runs the executable under test")]
    pub(crate) fn run_unprivileged(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        let mut command = Command::new("/usr/bin/setpriv");
        command.args(["--bounding-set=-all", "--inh-caps=-all", env!("CARGO_BIN_EXE_prokura")]);
        if !rustix::process::geteuid().is_root() {
            command = Command::new(env!("CARGO_BIN_EXE_prokura"));
        }
        self.spawned(command, arguments, "", environment)
    }

    fn spawned(
        &self,
        mut command: Command,
        arguments: &[&str],
        input: &str,
        environment: &[(&str, &str)],
    ) -> Output {
        use std::io::Write;
        let mut child = command
            .args(arguments)
            .env_clear()
            .env("NOTATION_CONFIG", self.path().join("notation"))
            .envs(environment.iter().copied())
            .current_dir(self.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that asks nothing may end before it reads.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(arguments, "", &[])
    }

    /// Runs a command that must succeed; its standard output.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must succeed with `-o json`.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    /// Runs a command that must fail with `code`; its standard error.
    pub(crate) fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
        assert!(message.contains("Error: "), "{arguments:?}: {message}");
        message
    }
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) const POLICY: &str = r#"{"version":"1.0","trustPolicies":[{"name":"p","registryScopes":["*"],
  "signatureVerification":{"level":"strict"},"trustStores":["ca:t"],"trustedIdentities":["*"]}]}"#;

impl Home {
    /// Installs an executable that is only looked at.
    pub(crate) fn plugin(&self, name: &str) {
        use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
        let dir = self.config(&format!("plugins/{name}"));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).unwrap();
        let path = dir.join(format!("notation-{name}"));
        std::fs::write(&path, "#!/bin/sh\nexit 1\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

impl Home {
    pub(crate) fn test_certificate(&self) -> String {
        let json = self.json(&["cert", "generate-test", "--key-spec", "EC-256", "t"]);
        json["certPath"].as_str().unwrap().to_owned()
    }
}

impl Home {
    /// A layout with one unsigned artifact; its reference by tag.
    pub(crate) fn layout(&self) -> String {
        std::fs::write(self.path().join("file.txt"), "content").unwrap();
        self.ok(&["quickstart", "pack", "--layout", "layout:v1", "file.txt"]);
        "layout:v1".to_owned()
    }

    /// Installs a shell script as plugin.
    pub(crate) fn script(&self, name: &str, script: &str) {
        self.plugin(name);
        std::fs::write(
            self.config(&format!("plugins/{name}/notation-{name}")),
            format!("#!/bin/sh\n{script}\n"),
        )
        .unwrap();
    }
}

impl Home {
    pub(crate) fn trust(&self, policy: &str) {
        std::fs::create_dir_all(self.config("")).unwrap();
        std::fs::write(self.config("trustpolicy.json"), policy).unwrap();
    }
}
