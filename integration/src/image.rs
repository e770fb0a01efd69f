//! An OCI image of real files, made and pushed by tools that are not ours: umoci and skopeo.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::backend::registry::Registry;
use crate::program::{run, system};

/// The tag of the test image.
pub const TAG: &str = "v1";

/// An OCI image layout with one image of real files.
pub struct Image {
    /// The layout.
    pub layout: PathBuf,
    /// `sha256:...` of the image manifest.
    pub digest: String,
}

impl Image {
    /// Packs the sources of this workspace into an image layout `directory/image`.
    ///
    /// # Errors
    /// [`crate::program::Missing`] without umoci; the tool's words if it fails.
    pub fn create(directory: &Path) -> Result<Self> {
        let umoci = system("umoci", "apt-get install umoci")?;
        let layout = directory.join("image");
        let tagged = format!("{}:{TAG}", layout.display());
        run(Command::new(&umoci).arg("init").arg("--layout").arg(&layout))?;
        run(Command::new(&umoci).args(["new", "--image", &tagged]))?;
        let files = crate::program::workspace().join("plugin-spec");
        run(Command::new(&umoci)
            .args(["insert", "--rootless", "--image", &tagged])
            .arg(&files)
            .arg("/plugin-spec"))?;
        let digest = tagged_digest(&layout)?;
        Ok(Self { layout, digest })
    }

    /// A copy of the layout, for a test that signs in it.
    ///
    /// # Errors
    /// If files cannot be copied.
    pub fn copy(&self, to: &Path) -> Result<PathBuf> {
        run(Command::new("cp").arg("-r").arg(&self.layout).arg(to))?;
        Ok(to.to_owned())
    }

    /// Pushes the image into a repository of a registry with skopeo; returns `host:port/repository@digest`.
    ///
    /// # Errors
    /// [`crate::program::Missing`] without skopeo; the tool's words if it fails.
    pub fn push(&self, registry: &Registry, repository: &str) -> Result<String> {
        let skopeo = system("skopeo", "apt-get install skopeo")?;
        let mut command = Command::new(skopeo);
        command.args([
            "copy",
            "--quiet",
            "--insecure-policy",
            "--preserve-digests",
            "--dest-tls-verify=false",
        ]);
        if let Some((user, password)) = &registry.login {
            command.arg("--dest-creds").arg(format!("{user}:{password}"));
        }
        command.arg(format!("oci:{}:{TAG}", self.layout.display()));
        command.arg(format!("docker://{}/{repository}:{TAG}", registry.address));
        run(&mut command)?;
        Ok(format!("{}/{repository}@{}", registry.address, self.digest))
    }
}

fn tagged_digest(layout: &Path) -> Result<String> {
    let index: serde_json::Value = serde_json::from_slice(&std::fs::read(layout.join("index.json"))?)?;
    let digest = index.pointer("/manifests/0/digest").and_then(|d| d.as_str());
    Ok(digest.context("an image layout lists its image")?.to_owned())
}
