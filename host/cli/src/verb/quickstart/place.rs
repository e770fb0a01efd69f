//! The quickstart's directory: what is in it, and when it may be used or emptied.

use std::path::{Path, PathBuf};

use super::{KEY, SCOPE};
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::shown;
use crate::state_file;

/// The file by which a quickstart knows a directory as its own.
const MARKER: &str = ".prokura-quickstart";
const MARKER_TEXT: &str =
    "Made by `prokura quickstart`, which empties this directory when it is run again.\n";
/// All that a quickstart puts beside the marker. Nothing else is ever removed.
const ENTRIES: [&str; 5] = ["notation", "layout", "tampered", "files", "trustpolicy.json"];

const LICENSE: &str = include_str!("../../../../../LICENSE");
const README: &str = "\
This file was made by `prokura quickstart` to be packed into an OCI image layout, signed and verified.
Change anything in it after signing, and the verification fails.
";

/// A directory that is ready.
pub(super) struct Place {
    root: PathBuf,
}

impl Place {
    /// Makes the directory, or empties that of an earlier quickstart.
    ///
    /// # Errors
    /// If it holds anything else, or cannot be written.
    pub(super) fn prepare(root: &Path) -> Result<Self, Failure> {
        let cannot = |error| Failure::new(Exit::Usage, error).during(format!("cannot use {}", shown(root)));
        let root_path = std::path::absolute(root).map_err(cannot)?;
        if root_path.to_str().is_none() {
            return Err(Failure::usage(format!("{} is no UTF-8; choose another directory", shown(root))));
        }
        match std::fs::read_dir(&root_path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(cannot(error)),
            Ok(entries) => empty(&root_path, entries.count())?,
        }
        state_file::replace(&root_path.join(MARKER), MARKER_TEXT.as_bytes(), 0o600)?;
        Ok(Self { root: root_path })
    }

    /// The directory.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// `NOTATION_CONFIG` of all steps.
    pub(super) fn config(&self) -> PathBuf {
        self.root.join("notation")
    }

    /// The image layout.
    pub(super) fn layout(&self) -> PathBuf {
        self.root.join("layout")
    }

    /// The image layout of the tampered copy.
    pub(super) fn tampered(&self) -> PathBuf {
        self.root.join("tampered")
    }

    /// Writes the trust policy to be imported.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn policy(&self) -> Result<PathBuf, Failure> {
        let path = self.root.join("trustpolicy.json");
        let policy = serde_json::json!({
            "version": "1.0",
            "trustPolicies": [{
                "name": KEY,
                "registryScopes": [SCOPE],
                "signatureVerification": { "level": "strict" },
                "trustStores": [format!("ca:{KEY}")],
                "trustedIdentities": [format!("x509.subject: C=US, ST=WA, L=Seattle, O=Notary, CN={KEY}")]
            }]
        });
        let text = format!("{policy:#}\n");
        state_file::replace(&path, text.as_bytes(), 0o600)?;
        Ok(path)
    }

    /// Files to pack when the user names none: the running program, its licence, a note.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(super) fn default_files(&self, context: &Context) -> Result<Vec<PathBuf>, Failure> {
        let directory = self.root.join("files");
        let mut files: Vec<PathBuf> = context.executable.clone().into_iter().collect();
        for (name, text) in [("LICENSE", LICENSE), ("README.txt", README)] {
            let path = directory.join(name);
            state_file::replace(&path, text.as_bytes(), 0o644)?;
            files.push(path);
        }
        Ok(files)
    }
}

fn empty(root: &Path, entries: usize) -> Result<(), Failure> {
    if entries == 0 {
        return Ok(());
    }
    let is_own = root.join(MARKER).symlink_metadata().is_ok_and(|found| found.is_file());
    if !is_own {
        return Err(Failure::usage(format!(
            "{} is not empty and not of an earlier quickstart; choose another directory with --dir",
            shown(root)
        )));
    }
    for entry in ENTRIES.map(|name| root.join(name)) {
        let removed = match entry.symlink_metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Ok(found) if found.is_dir() => std::fs::remove_dir_all(&entry),
            Ok(_) => std::fs::remove_file(&entry),
            Err(error) => Err(error),
        };
        removed.map_err(|error| {
            Failure::new(Exit::Usage, error).during(format!("cannot remove {}", shown(&entry)))
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_anything_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("precious"), b"x").unwrap();
        let error = Place::prepare(dir.path()).err().unwrap();
        assert!(error.to_string().contains("choose another directory with --dir"), "{error}");
        assert!(dir.path().join("precious").exists());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_earlier_quickstart_is_replaced_but_what_others_put_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("q");
        let place = Place::prepare(&root).unwrap();
        place.policy().unwrap();
        std::fs::create_dir(place.layout()).unwrap();
        std::fs::write(root.join("mine"), b"x").unwrap();
        Place::prepare(&root).unwrap();
        assert!(!place.layout().exists() && !root.join("trustpolicy.json").exists());
        assert!(root.join("mine").exists() && root.join(MARKER).exists());
    }

    #[test]
    fn the_trust_policy_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = Place::prepare(&dir.path().join("q")).unwrap().policy().unwrap();
        prokura_verify::OciPolicy::parse(&std::fs::read(&path).unwrap(), &path).unwrap();
    }
}
