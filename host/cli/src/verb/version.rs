//! `version`.

use std::io::{self, Write};

use serde::Serialize;

use crate::exit::Failure;
use crate::output::{Output, Report};

/// JSON of `version`: `{version, rustVersion, os, arch, gitCommit?}`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    version: &'static str,
    rust_version: &'static str,
    os: &'static str,
    arch: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    git_commit: Option<&'static str>,
}

impl Report for Version {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "Prokura - a tool to sign and verify artifacts.\n")?;
        writeln!(out, "Version:      v{}", self.version)?;
        writeln!(out, "Rust version: {}", self.rust_version)?;
        writeln!(out, "OS/Arch:      {}/{}", self.os, self.arch)?;
        self.git_commit.map_or(Ok(()), |commit| writeln!(out, "Git commit:   {commit}"))
    }
}

/// Shows the version.
pub(crate) fn run(output: &mut Output<'_>) -> Result<(), Failure> {
    output.report(&Version {
        version: env!("CARGO_PKG_VERSION"),
        rust_version: env!("PROKURA_RUST_VERSION"),
        os: std::env::consts::OS,
        arch: architecture(),
        git_commit: option_env!("PROKURA_GIT_COMMIT"),
    })
}

/// The names that container tools use.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}
