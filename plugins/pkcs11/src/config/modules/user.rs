//! Whether a user's own module files count: `user-config` in the system's `pkcs11.conf`, and then in the user's own.

use std::path::{Path, PathBuf};

use prokura_plugin::Error;

use super::lines;

const FILE: &str = "pkcs11.conf";
const MODULES: &str = "modules";

/// What `user-config` says (pkcs11.conf(5)).
#[derive(Clone, Copy, PartialEq, Eq)]
enum UserConfig {
    /// The user's files do not count; so it is if nothing is said.
    None,
    /// They go before the system's.
    Merge,
    /// They alone count.
    Only,
}

/// Directories of module files, from the one that goes first. `system` and `own` are those of `pkcs11.conf`.
///
/// # Errors
/// `VALIDATION_ERROR` if a `pkcs11.conf` cannot be read or says something else.
pub(super) fn directories(system: &Path, own: Option<&Path>, packages: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut mode = said(&system.join(FILE))?.unwrap_or(UserConfig::None);
    // Only where the system lets the user have a say at all.
    if mode != UserConfig::None
        && let Some(own) = own
    {
        mode = said(&own.join(FILE))?.unwrap_or(mode);
    }
    let own = own.filter(|_| mode != UserConfig::None).map(|path| path.join(MODULES));
    let is_alone = own.is_some() && mode == UserConfig::Only;
    let others = [system.join(MODULES), packages.to_owned()];
    Ok(own.into_iter().chain(others.into_iter().filter(|_| !is_alone)).collect())
}

fn said(file: &Path) -> Result<Option<UserConfig>, Error> {
    if !file.exists() {
        return Ok(None);
    }
    let Some((_, value)) = lines(file)?.into_iter().rev().find(|(key, _)| key == "user-config") else {
        return Ok(None);
    };
    match value.as_str() {
        "none" => Ok(Some(UserConfig::None)),
        "merge" => Ok(Some(UserConfig::Merge)),
        // An older name of it.
        "only" | "override" => Ok(Some(UserConfig::Only)),
        other => Err(Error::validation(format!(
            "{}: user-config is {other:?}, expected none, merge or only; whoever keeps this machine must correct it",
            file.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of the directories, with these two files.
    fn named(system: Option<&str>, own: Option<&str>) -> Result<Vec<String>, Error> {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in [("system", system), ("own", own)] {
            std::fs::create_dir(root.path().join(name)).unwrap();
            if let Some(text) = text {
                std::fs::write(root.path().join(name).join(FILE), text).unwrap();
            }
        }
        let path = |name: &str| root.path().join(name);
        let found = directories(&path("system"), Some(&path("own")), &path("packages"))?;
        let shown = |path: PathBuf| path.strip_prefix(root.path()).unwrap().display().to_string();
        Ok(found.into_iter().map(shown).collect())
    }

    #[test]
    fn the_user_has_a_say_if_the_system_says_so() {
        const ALL: &[&str] = &["own/modules", "system/modules", "packages"];
        for (system, own, expected) in [
            (None, None, &ALL[1..]),
            (None, Some("user-config: merge"), &ALL[1..]),
            (Some("user-config: none"), Some("user-config: only"), &ALL[1..]),
            (Some("# nothing\nmanaged: yes"), None, &ALL[1..]),
            (Some("user-config: merge"), None, ALL),
            (Some("user-config: merge"), Some("user-config: none"), &ALL[1..]),
            (Some("user-config: merge"), Some("user-config: only"), &ALL[..1]),
            (Some("user-config: override"), None, &ALL[..1]),
        ] {
            assert_eq!(named(system, own).unwrap(), expected, "{system:?} {own:?}");
        }
        let nobody = directories(Path::new("/nowhere"), None, Path::new("packages")).unwrap();
        assert_eq!(nobody.len(), 2, "root has no directory of its own");
        let error = named(Some("user-config: perhaps"), None).unwrap_err();
        assert!(error.message.contains("expected none, merge or only"), "{error}");
    }
}
