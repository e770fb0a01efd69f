//! Where plugins are found: `{root}/{name}/notation-{name}`, else beside our own executable.
//!
//! Source: Notary Project "plugin-extensibility", "Plugin installation"; symbolic links are refused as it asks. The
//! result is a file that was fit to be started when it was looked at; nothing is started here.

use std::io;
use std::path::{Path, PathBuf};

use prokura_plugin::PluginName;

use crate::error::Error;
use crate::limits::PLUGINS_LISTED_MAX;
use crate::text;
use crate::unfit::{self, Unfit};

/// The directories in which plugins are looked for. Made from what the binary read; nothing is read here.
#[derive(Clone, Debug)]
pub struct PluginDirectory {
    root: PathBuf,
    bundled: Option<PathBuf>,
}

/// Where an executable was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the plugin directory.
    Installed,
    /// Beside our own executable.
    Bundled,
}

/// A plugin's executable that passed every check of [`PluginDirectory::find`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executable {
    name: PluginName,
    path: PathBuf,
    origin: Origin,
}

/// One entry of [`PluginDirectory::list`].
#[derive(Debug)]
pub struct Listed {
    /// Name of the directory, cleaned for people.
    pub name: String,
    /// Where the executable is or belongs.
    pub path: PathBuf,
    /// Where it was found.
    pub origin: Origin,
    /// The executable, or why it is not started.
    pub executable: Result<Executable, Error>,
}

impl Executable {
    /// The plugin's name.
    pub const fn name(&self) -> &PluginName {
        &self.name
    }

    /// Absolute path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where it was found.
    pub const fn origin(&self) -> Origin {
        self.origin
    }
}

impl PluginDirectory {
    /// `root` is `{NOTATION_LIBEXEC}/plugins`; `bundled` the directory of our own executable, if plugins that came with
    /// it may be used.
    pub const fn new(root: PathBuf, bundled: Option<PathBuf>) -> Self {
        Self { root, bundled }
    }

    /// Finds a plugin and checks that it may be started: directory and file are no symbolic links, belong to this user
    /// or root and are writable by nobody else; the file is regular and executable. Blocks on the file system.
    ///
    /// # Errors
    /// [`Error::NotInstalled`] if there is no such file, [`Error::NotRunnable`] naming the first failed check.
    pub fn find(&self, name: &PluginName) -> Result<Executable, Error> {
        let path = self.installed_path(name);
        if exists(&path) {
            return self.check_installed(name, path);
        }
        match self.bundled_path(name) {
            Some(bundled) if exists(&bundled) => check_bundled(name, bundled),
            _ => Err(Error::NotInstalled { plugin: name.clone(), path }),
        }
    }

    /// Every plugin: the directories under the root that are no symbolic links, then the bundled ones that are not
    /// installed, each sorted by name. A missing root holds none. Blocks on the file system; starts nothing.
    pub fn list(&self) -> Vec<Listed> {
        let mut listed = match names_in(&self.root, |entry| is_directory(&entry).then(|| file_name(&entry))) {
            Ok(names) => names.into_iter().map(|name| self.installed(&name)).collect(),
            Err(error) => vec![unreadable_root(&self.root, error)],
        };
        listed.extend(self.bundled_names().into_iter().filter_map(|name| self.bundled_only(&name)));
        listed
    }

    fn check_installed(&self, name: &PluginName, path: PathBuf) -> Result<Executable, Error> {
        let directory = self.root.join(name.as_str());
        let unfit =
            |path: &Path, reason| Error::NotRunnable { plugin: name.clone(), path: path.to_owned(), reason };
        unfit::check_directory(&directory).map_err(|reason| unfit(&directory, reason))?;
        unfit::check_installed_file(&path).map_err(|reason| unfit(&path, reason))?;
        executable(name, path, Origin::Installed)
    }

    fn installed_path(&self, name: &PluginName) -> PathBuf {
        self.root.join(name.as_str()).join(name.executable())
    }

    fn bundled_path(&self, name: &PluginName) -> Option<PathBuf> {
        Some(self.bundled.as_ref()?.join(name.executable()))
    }

    fn installed(&self, name: &str) -> Listed {
        let (path, executable) = match name.parse::<PluginName>() {
            Ok(parsed) => {
                let path = self.installed_path(&parsed);
                let found = if exists(&path) {
                    self.check_installed(&parsed, path.clone())
                } else {
                    Err(Error::NotInstalled { plugin: parsed, path: path.clone() })
                };
                (path, found)
            }
            Err(error) => (self.root.join(name), Err(Error::InvalidName(error))),
        };
        Listed { name: text::cleaned(name), path, origin: Origin::Installed, executable }
    }

    fn bundled_names(&self) -> Vec<PluginName> {
        let name = |entry: std::fs::DirEntry| {
            let name = file_name(&entry);
            Some(name.strip_prefix("notation-")?.to_owned()).filter(|_| !is_directory(&entry))
        };
        let names = self.bundled.as_ref().map(|directory| names_in(directory, name));
        names.and_then(Result::ok).into_iter().flatten().filter_map(|name| name.parse().ok()).collect()
    }

    fn bundled_only(&self, name: &PluginName) -> Option<Listed> {
        let path = self.bundled_path(name)?;
        if exists(&self.installed_path(name)) {
            return None;
        }
        let found = check_bundled(name, path.clone()).ok()?;
        Some(Listed { name: name.to_string(), path, origin: Origin::Bundled, executable: Ok(found) })
    }
}

fn check_bundled(name: &PluginName, path: PathBuf) -> Result<Executable, Error> {
    match unfit::check_bundled_file(&path) {
        Ok(()) => executable(name, path, Origin::Bundled),
        Err(reason) => Err(Error::NotRunnable { plugin: name.clone(), path, reason }),
    }
}

/// A plugin runs in a directory of its own, so that a relative path would lead elsewhere.
fn executable(name: &PluginName, path: PathBuf, origin: Origin) -> Result<Executable, Error> {
    match std::path::absolute(&path) {
        Ok(path) => Ok(Executable { name: name.clone(), path, origin }),
        Err(e) => Err(Error::NotRunnable { plugin: name.clone(), path, reason: Unfit::Unreadable(e.into()) }),
    }
}

/// Whether anything has this name; a dangling symbolic link has. What cannot be looked at counts, the checks tell why.
fn exists(path: &Path) -> bool {
    !matches!(std::fs::symlink_metadata(path), Err(e) if matches!(e.kind(), io::ErrorKind::NotFound))
}

fn names_in(directory: &Path, name: impl Fn(std::fs::DirEntry) -> Option<String>) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names: Vec<String> =
        entries.filter_map(|entry| name(entry.ok()?)).take(PLUGINS_LISTED_MAX).collect();
    names.sort();
    Ok(names)
}

fn is_directory(entry: &std::fs::DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_dir())
}

fn file_name(entry: &std::fs::DirEntry) -> String {
    entry.file_name().to_string_lossy().into_owned()
}

/// The root itself stands in the list with the reason why nothing else does.
fn unreadable_root(root: &Path, source: io::Error) -> Listed {
    Listed {
        name: text::cleaned(&root.display().to_string()),
        path: root.to_owned(),
        origin: Origin::Installed,
        executable: Err(Error::UnreadableDirectory { path: root.to_owned(), source: source.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    struct House {
        _home: tempfile::TempDir,
        root: PathBuf,
    }

    impl House {
        fn new() -> Self {
            let home = tempfile::tempdir().unwrap();
            Self { root: home.path().join("plugins"), _home: home }
        }

        fn install(&self, name: &str, mode: u32) -> PathBuf {
            let directory = self.root.join(name);
            fs::create_dir_all(&directory).unwrap();
            fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
            let path = directory.join(format!("notation-{name}"));
            fs::write(&path, "#!/bin/sh\n").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        }

        fn find(&self, name: &str) -> Result<Executable, Error> {
            PluginDirectory::new(self.root.clone(), None).find(&name.parse().unwrap())
        }

        fn reason(&self, name: &str) -> Unfit {
            match self.find(name) {
                Err(Error::NotRunnable { reason, .. }) => reason,
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn an_installed_plugin_is_found() {
        let house = House::new();
        let path = house.install("x", 0o755);
        let found = house.find("x").unwrap();
        assert_eq!((found.path(), found.origin(), found.name().as_str()), (&*path, Origin::Installed, "x"));
    }

    #[test]
    fn a_missing_plugin_is_told_with_the_path_where_it_belongs() {
        let error = House::new().find("x").unwrap_err();
        assert!(matches!(error, Error::NotInstalled { .. }));
        assert!(error.to_string().contains("plugins/x/notation-x"), "{error}");
    }

    #[test]
    fn symbolic_links_are_refused_for_file_and_directory() {
        let house = House::new();
        let path = house.install("x", 0o755);
        fs::create_dir(house.root.join("y")).unwrap();
        symlink(&path, house.root.join("y/notation-y")).unwrap();
        assert!(matches!(house.reason("y"), Unfit::Symlink));
        house.install("real", 0o755);
        fs::write(house.root.join("real/notation-z"), "#!/bin/sh\n").unwrap();
        symlink(house.root.join("real"), house.root.join("z")).unwrap();
        assert!(matches!(house.reason("z"), Unfit::Symlink));
        symlink("/nowhere", house.root.join("real/notation-w")).unwrap();
        fs::create_dir(house.root.join("w")).unwrap();
        symlink("/nowhere", house.root.join("w/notation-w")).unwrap();
        assert!(matches!(house.reason("w"), Unfit::Symlink));
    }

    #[test]
    fn what_others_may_write_is_refused() {
        let house = House::new();
        house.install("x", 0o775);
        let reason = house.reason("x");
        assert!(matches!(reason, Unfit::WritableByOthers { who: "its group", mode: 0o775 }), "{reason}");
        house.install("y", 0o757);
        assert!(matches!(house.reason("y"), Unfit::WritableByOthers { who: "others", .. }));
        house.install("z", 0o755);
        fs::set_permissions(house.root.join("z"), fs::Permissions::from_mode(0o777)).unwrap();
        let error = house.find("z").unwrap_err().to_string();
        assert!(error.contains("plugins/z has mode 0777"), "{error}");
    }

    #[test]
    fn only_executable_regular_files_are_plugins() {
        let house = House::new();
        house.install("x", 0o644);
        assert!(matches!(house.reason("x"), Unfit::NotExecutable { mode: 0o644 }));
        fs::create_dir_all(house.root.join("y/notation-y")).unwrap();
        assert!(matches!(house.reason("y"), Unfit::NotAFile("directory")));
        fs::write(house.root.join("z"), "").unwrap();
        let directory = PluginDirectory::new(house.root.clone(), None);
        assert!(directory.find(&"z".parse().unwrap()).is_err());
    }

    #[test]
    fn bundled_plugins_stand_in_for_plugins_that_are_not_installed() {
        let house = House::new();
        let bundled = house.root.join("beside");
        fs::create_dir_all(&bundled).unwrap();
        fs::write(bundled.join("notation-softkey"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(bundled.join("notation-softkey"), fs::Permissions::from_mode(0o775)).unwrap();
        let directory = PluginDirectory::new(house.root.join("plugins"), Some(bundled));
        let name = "softkey".parse().unwrap();
        assert_eq!(directory.find(&name).unwrap().origin(), Origin::Bundled);
        let listed = directory.list();
        assert_eq!(listed.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["softkey"]);
        let installed = House { root: house.root.join("plugins"), _home: tempfile::tempdir().unwrap() };
        installed.install("softkey", 0o755);
        assert_eq!(directory.find(&name).unwrap().origin(), Origin::Installed);
        assert_eq!(directory.list().len(), 1);
    }

    #[test]
    fn the_list_has_every_directory_and_no_symbolic_link() {
        let house = House::new();
        let path = house.install("b", 0o755);
        house.install("a", 0o644);
        fs::create_dir(house.root.join("empty")).unwrap();
        fs::create_dir(house.root.join("no name")).unwrap();
        fs::write(house.root.join("file"), "").unwrap();
        symlink(path.parent().unwrap(), house.root.join("link")).unwrap();
        let listed = PluginDirectory::new(house.root.clone(), None).list();
        let names: Vec<&str> = listed.iter().map(|l| l.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "empty", "no name"]);
        assert!(matches!(listed[0].executable, Err(Error::NotRunnable { .. })));
        assert!(listed[1].executable.is_ok());
        assert!(matches!(listed[2].executable, Err(Error::NotInstalled { .. })));
        assert!(matches!(listed[3].executable, Err(Error::InvalidName(_))));
        assert!(PluginDirectory::new(house.root.join("nowhere"), None).list().is_empty());
    }
}
