//! Files of the log: written aside, flushed, renamed; a reader meets the old or the new, never half.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// Files that appear together with the next [`Store::commit`].
#[derive(Debug)]
pub(super) struct Store {
    root: PathBuf,
    staged: Vec<(PathBuf, PathBuf)>,
    folders: BTreeSet<PathBuf>,
}

impl Store {
    /// The log's directory, which must exist; leftovers of an earlier writer are removed from `tmp/`.
    pub(super) fn new(root: &Path) -> io::Result<Self> {
        let aside = root.join("tmp");
        match fs::remove_dir_all(&aside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => create_folder(&aside)?,
        }
        Ok(Self { root: root.to_owned(), staged: Vec::new(), folders: BTreeSet::new() })
    }

    /// Files waiting.
    pub(super) const fn waiting(&self) -> usize {
        self.staged.len()
    }

    /// Writes a file aside, unless it is there already with these bytes.
    pub(super) fn stage(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let target = self.root.join(path);
        if fs::read(&target).is_ok_and(|found| found == bytes) {
            return Ok(());
        }
        let aside = self.root.join("tmp").join(self.staged.len().to_string());
        let mut file = File::create(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        self.staged.push((aside, target));
        Ok(())
    }

    /// Lets the files appear, in the order in which they were written, and makes that durable.
    pub(super) fn commit(&mut self) -> io::Result<()> {
        for (aside, target) in std::mem::take(&mut self.staged) {
            let folder = target.parent().unwrap_or(&self.root).to_owned();
            if !folder.is_dir() {
                self.create_folders(&folder)?;
            }
            fs::rename(&aside, &target)?;
            self.folders.insert(folder);
        }
        for folder in std::mem::take(&mut self.folders) {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }

    /// Removes a folder with files that nobody needs any more.
    pub(super) fn remove_folder(&self, path: &Path) -> io::Result<()> {
        match fs::remove_dir_all(self.root.join(path)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// A new folder's name is in its parent, which must be flushed too.
    fn create_folders(&mut self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let above = folder.ancestors().take_while(|ancestor| ancestor.starts_with(&self.root));
        self.folders.extend(above.map(Path::to_owned));
        Ok(())
    }
}

/// Creates a folder for its owner alone, if it is not there.
pub(super) fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}
