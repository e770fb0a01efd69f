//! The private directory of one plugin process, and what a host that was killed left of its own.
//!
//! `{TMPDIR}/prokura-RANDOM/` (mode 0700) holds `owner`, which the host keeps locked (flock(2)) as long as it lives, and
//! `work/`, the plugin's working directory, empty at the start. A lock ends with its owner however that ends, so a
//! directory whose lock is free belongs to nobody. Locks hold across containers that share the directory; process ids
//! would not.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use tempfile::TempDir;

use super::stragglers;
use crate::limits::{PLACE_TRIES_MAX, STALE_PLACES_MAX, TEMPORARY_ENTRIES_MAX};

const PREFIX: &str = "prokura-";
const OWNER: &str = "owner";
const WORK: &str = "work";

/// A private directory. Dropping it removes it.
pub(super) struct Place {
    #[cfg_attr(not(test), expect(dead_code, reason = "removes the directory when dropped"))]
    directory: TempDir,
    work: PathBuf,
    /// Unlocked when closed, which is after the removal: until then nobody else shall try.
    _owner: File,
}

impl Place {
    /// Makes one in the directory for temporary files.
    pub(super) fn new(temporary: &Path) -> io::Result<Self> {
        let mut tries = 1;
        loop {
            match Self::attempt(temporary) {
                // Another host took the directory for a stale one before it was locked.
                Err(error) if is_taken(&error) && tries < PLACE_TRIES_MAX => tries += 1,
                done => return done,
            }
        }
    }

    fn attempt(temporary: &Path) -> io::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(temporary)?;
        // As the kernel will name it: what a plugin leaves behind is found by its working directory.
        let path = directory.path().canonicalize()?;
        let owner = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path.join(OWNER))?;
        rustix::fs::flock(&owner, FlockOperation::NonBlockingLockExclusive)?;
        if owner.metadata()?.nlink() == 0 {
            return Err(io::ErrorKind::NotFound.into());
        }
        let work = path.join(WORK);
        std::fs::DirBuilder::new().mode(0o700).create(&work)?;
        Ok(Self { directory, work, _owner: owner })
    }

    /// The plugin's working directory.
    pub(super) fn work(&self) -> &Path {
        &self.work
    }
}

fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::WouldBlock)
}

/// Removes the directories of hosts of this user that ended without doing so, and ends what runs in them. What cannot
/// be removed stays: it harms nobody.
pub(super) fn clear_stale(temporary: &Path) {
    let Ok(entries) = std::fs::read_dir(temporary) else { return };
    let stale = entries
        .take(TEMPORARY_ENTRIES_MAX)
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()))
        .filter_map(|entry| Some((entry.path(), abandoned(&entry.path())?)))
        .take(STALE_PLACES_MAX);
    for (path, lock) in stale {
        if let Ok(named) = path.canonicalize() {
            stragglers::end(&named.join(WORK));
        }
        let removed = std::fs::remove_dir_all(&path);
        tracing::info!(directory = %path.display(), ?removed, "a host that was killed left its directory behind");
        drop(lock);
    }
}

/// The lock of a directory of ours whose owner is gone.
fn abandoned(path: &Path) -> Option<File> {
    let found = path.symlink_metadata().ok()?;
    let is_ours = found.is_dir()
        && found.uid() == rustix::process::geteuid().as_raw()
        && found.permissions().mode() & 0o7777 == 0o700;
    if !is_ours {
        return None;
    }
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = flags.bits().cast_signed();
    let owner = OpenOptions::new().write(true).custom_flags(flags).open(path.join(OWNER)).ok()?;
    owner.metadata().ok()?.is_file().then_some(())?;
    rustix::fs::flock(&owner, FlockOperation::NonBlockingLockExclusive).ok()?;
    Some(owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// A directory as a killed host leaves it.
    fn left_behind(temporary: &Path, name: &str) -> PathBuf {
        let path = temporary.join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
        std::fs::write(path.join(OWNER), "").unwrap();
        std::fs::create_dir(path.join(WORK)).unwrap();
        std::fs::write(path.join(WORK).join("plugin.sock"), "").unwrap();
        path
    }

    #[test]
    fn a_place_is_private_empty_and_vanishes() {
        let temporary = tempfile::tempdir().unwrap();
        let place = Place::new(temporary.path()).unwrap();
        assert_eq!(place.work().metadata().unwrap().permissions().mode() & 0o7777, 0o700);
        assert_eq!(names(place.work()), [""; 0]);
        std::fs::write(place.work().join("left"), "").unwrap();
        drop(place);
        assert_eq!(names(temporary.path()), [""; 0]);
    }

    #[test]
    fn the_directory_of_a_host_that_was_killed_is_removed_and_of_one_that_lives_is_not() {
        let temporary = tempfile::tempdir().unwrap();
        let place = Place::new(temporary.path()).unwrap();
        left_behind(temporary.path(), "prokura-dead");
        clear_stale(temporary.path());
        let living = place.directory.path().file_name().unwrap().to_str().unwrap();
        assert_eq!(names(temporary.path()), [living]);
        assert!(place.work().is_dir());
    }

    #[test]
    fn what_is_not_certainly_ours_stays() {
        let temporary = tempfile::tempdir().unwrap();
        let mode = |name: &str, mode| {
            let path = left_behind(temporary.path(), name);
            std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        };
        mode("prokura-open", 0o755);
        mode("other-dead", 0o700);
        std::fs::create_dir(temporary.path().join("prokura-test-home")).unwrap();
        std::fs::write(temporary.path().join("prokura-file"), "").unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let target = left_behind(elsewhere.path(), "prokura-target");
        std::os::unix::fs::symlink(&target, temporary.path().join("prokura-link")).unwrap();
        let before = names(temporary.path());
        clear_stale(temporary.path());
        assert_eq!(names(temporary.path()), before);
        assert!(target.join(OWNER).exists());
    }

    #[test]
    fn no_more_is_removed_at_once_than_the_limit() {
        let temporary = tempfile::tempdir().unwrap();
        for n in 0..=STALE_PLACES_MAX {
            left_behind(temporary.path(), &format!("prokura-{n}"));
        }
        clear_stale(temporary.path());
        assert_eq!(names(temporary.path()).len(), 1);
    }
}
