//! Which PKCS#11 libraries are meant: one by its path, one by its name, or all that p11-kit is configured with.
//!
//! p11-kit's configuration is read as pkcs11.conf(5) describes it, without p11-kit itself: files `NAME.module` of
//! lines `key: value`. The same name in several directories is one module; the user's directory goes before the
//! system's, and that before the packages'.

mod user;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use prokura_plugin::Error;
use prokura_plugin::pin::Surroundings;

use super::{MODULE_NAME, MODULE_PATH};
use crate::limits::{MODULE_FILE_BYTES_MAX, MODULE_FILES_MAX};

/// What p11-kit compares `enable-in` and `disable-in` with: the name of this executable.
const PROGRAM: &str = "notation-pkcs11";
const SYSTEM: &str = "/etc/pkcs11";
const PACKAGES: &str = "/usr/share/p11-kit/modules";
/// Where distributions put modules; p11-kit looks for relative file names in the one it was built with.
const LIBRARIES: [&str; 6] = [
    "/usr/lib/x86_64-linux-gnu/pkcs11",
    "/usr/lib/aarch64-linux-gnu/pkcs11",
    "/usr/lib64/pkcs11",
    "/usr/lib/pkcs11",
    "/usr/local/lib/pkcs11",
    "/usr/local/lib64/pkcs11",
];

/// Which libraries are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModuleChoice {
    /// The one with this absolute file name, and the string it is initialised with.
    Path(PathBuf, Option<String>),
    /// The one that p11-kit knows by this name, or whose file is called so.
    Name(String),
    /// All that p11-kit is configured with.
    Configured,
}

/// One library to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleSpec {
    /// Absolute file name.
    pub path: PathBuf,
    /// The string handed over in `pReserved`.
    pub init_args: Option<String>,
    /// The name p11-kit knows it by, if that is how it was found.
    pub name: Option<String>,
    /// Whether it is an error if it does not start; other modules are passed over with a note.
    pub is_needed: bool,
}

/// Where p11-kit's configuration is. Directories that do not exist are empty.
pub struct Directories {
    /// From the one that goes first to the one that goes last.
    configuration: Vec<PathBuf>,
    libraries: Vec<PathBuf>,
}

impl Directories {
    /// The standard ones, or only `given`. As p11-kit does, root's own directory is left out.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` if p11-kit's `pkcs11.conf` cannot be read.
    pub fn new(given: Option<&str>, surroundings: &Surroundings) -> Result<Self, Error> {
        let libraries = LIBRARIES.map(PathBuf::from).to_vec();
        if let Some(given) = given {
            return Ok(Self { configuration: vec![PathBuf::from(given)], libraries });
        }
        let home = || surroundings.variable("HOME").map(|home| PathBuf::from(home).join(".config"));
        let own = surroundings.variable("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home);
        let own = own.filter(|path| path.is_absolute() && !rustix::process::geteuid().is_root());
        let own = own.map(|path| path.join("pkcs11"));
        let configuration = user::directories(Path::new(SYSTEM), own.as_deref(), Path::new(PACKAGES))?;
        Ok(Self { configuration, libraries })
    }
}

impl ModuleChoice {
    /// The libraries to load, the most important one first.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` if there is none by this name, none at all, or if the configuration cannot be read.
    pub fn resolve(&self, directories: &Directories) -> Result<Vec<ModuleSpec>, Error> {
        match self {
            Self::Path(path, init_args) => Ok(vec![ModuleSpec {
                path: path.clone(),
                init_args: init_args.clone(),
                name: None,
                is_needed: true,
            }]),
            Self::Name(name) => named(name, directories).map(|spec| vec![spec]),
            Self::Configured => configured(directories),
        }
    }
}

/// RFC 7512 section 2.3: `module-name` comes without path, prefix and suffix of the platform, in any case of letters.
pub fn is_named(path: &Path, name: &str) -> bool {
    let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
    let bare = stem.strip_prefix("lib").unwrap_or(stem);
    stem.eq_ignore_ascii_case(name) || bare.eq_ignore_ascii_case(name)
}

fn named(name: &str, directories: &Directories) -> Result<ModuleSpec, Error> {
    let entries = read(directories)?;
    let in_any_case = || entries.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, e)| e);
    let found = entries.get(name).or_else(in_any_case).filter(|entry| entry.has_library());
    let found = found
        .or_else(|| entries.values().find(|e| e.path(directories).is_some_and(|path| is_named(&path, name))));
    let name = name.to_owned();
    if let Some(entry) = found
        && let Some(path) = entry.path(directories)
    {
        let init_args = entry.text("x-init-reserved");
        return Ok(ModuleSpec { path, init_args, name: Some(name), is_needed: true });
    }
    let exact = directories
        .libraries
        .iter()
        .flat_map(|d| [format!("lib{name}.so"), format!("{name}.so")].map(|f| d.join(f)));
    let candidates = exact.chain(directories.libraries.iter().flat_map(|d| libraries_named(d, &name)));
    let path = candidates.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        let known: Vec<&str> = entries.keys().map(String::as_str).collect();
        Error::validation(format!(
            "no PKCS#11 module is called {name:?}: p11-kit's configuration ({}) knows {known:?}; correct {MODULE_NAME}, \
             or name the library with {MODULE_PATH}",
            shown(&directories.configuration)
        ))
    })?;
    Ok(ModuleSpec { path, init_args: None, name: Some(name), is_needed: true })
}

/// The libraries of a directory that are called so in any case of letters, in order.
fn libraries_named(directory: &Path, name: &str) -> Vec<PathBuf> {
    let Ok(files) = std::fs::read_dir(directory) else { return Vec::new() };
    let paths = files.take(MODULE_FILES_MAX).filter_map(|file| Some(file.ok()?.path()));
    let is_library = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "so");
    let mut named: Vec<PathBuf> = paths.filter(|path| is_library(path) && is_named(path, name)).collect();
    named.sort();
    named
}

fn configured(directories: &Directories) -> Result<Vec<ModuleSpec>, Error> {
    let mut entries: Vec<(String, Entry)> =
        read(directories)?.into_iter().filter(|(_, entry)| entry.is_wanted()).collect();
    // As p11-kit orders: higher priority first, then by name.
    entries.sort_by(|(a, x), (b, y)| y.priority().cmp(&x.priority()).then_with(|| a.cmp(b)));
    let specs: Vec<ModuleSpec> = entries
        .iter()
        .filter_map(|(name, entry)| {
            Some(ModuleSpec {
                path: entry.path(directories)?,
                init_args: entry.text("x-init-reserved"),
                name: Some(name.clone()),
                is_needed: entry.is("critical"),
            })
        })
        .collect();
    if specs.is_empty() {
        return Err(Error::validation(format!(
            "no PKCS#11 module is named, and p11-kit is configured with none that may be used here ({}); set \
             --plugin-config {MODULE_PATH}=FILE",
            shown(&directories.configuration)
        )));
    }
    Ok(specs)
}

/// What one module's files say together.
#[derive(Default)]
struct Entry(BTreeMap<String, String>);

impl Entry {
    fn text(&self, key: &str) -> Option<String> {
        self.0.get(key).filter(|value| !value.is_empty()).cloned()
    }

    fn is(&self, key: &str) -> bool {
        self.0.get(key).is_some_and(|value| value == "yes")
    }

    fn has_library(&self) -> bool {
        self.text("module").is_some()
    }

    fn priority(&self) -> i64 {
        self.text("priority").and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// Whether it is for this program. Trust modules hold certificates of authorities and no keys.
    fn is_wanted(&self) -> bool {
        let names_us = |list: &String| list.split([',', ' ', '\t']).any(|name| name == PROGRAM);
        let enabled = self.0.get("enable-in").is_none_or(names_us);
        let disabled = self.0.get("disable-in").is_some_and(names_us);
        enabled && !disabled && self.has_library() && !self.is("trust-policy")
    }

    fn path(&self, directories: &Directories) -> Option<PathBuf> {
        let path = PathBuf::from(self.text("module")?);
        if path.is_absolute() {
            return Some(path);
        }
        let found = directories.libraries.iter().map(|d| d.join(&path)).find(|p| p.is_file());
        found.or_else(|| directories.libraries.first().map(|d| d.join(&path)))
    }
}

fn read(directories: &Directories) -> Result<BTreeMap<String, Entry>, Error> {
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    for directory in &directories.configuration {
        let Ok(files) = std::fs::read_dir(directory) else { continue };
        for file in files.take(MODULE_FILES_MAX).filter_map(Result::ok) {
            let path = file.path();
            let name = path.file_stem().and_then(|stem| stem.to_str());
            let (Some(name), Some("module")) = (name, path.extension().and_then(|e| e.to_str())) else {
                continue;
            };
            let entry = entries.entry(name.to_owned()).or_default();
            for (key, value) in lines(&path)? {
                // What a directory before this one says goes first.
                entry.0.entry(key).or_insert(value);
            }
        }
    }
    Ok(entries)
}

fn lines(path: &Path) -> Result<Vec<(String, String)>, Error> {
    let wrong = |why: String| Error::validation(format!("p11-kit module file {}: {why}", path.display()));
    let size = std::fs::metadata(path).map_err(|e| wrong(e.to_string()))?.len();
    if size > MODULE_FILE_BYTES_MAX {
        return Err(wrong(format!("{size} bytes, at most {MODULE_FILE_BYTES_MAX} are allowed")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate().map(|(n, l)| (n + 1, l.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) =
            line.split_once(':').ok_or_else(|| wrong(format!("line {number} is no \"key: value\"")))?;
        lines.push((key.trim().to_owned(), value.trim().to_owned()));
    }
    Ok(lines)
}

fn shown(directories: &[PathBuf]) -> String {
    let paths: Vec<String> = directories.iter().map(|d| d.display().to_string()).collect();
    paths.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Tree {
        root: tempfile::TempDir,
    }

    impl Tree {
        fn new(files: &[(&str, &str)]) -> Self {
            let root = tempfile::tempdir().unwrap();
            for (name, text) in files {
                let path = root.path().join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            Self { root }
        }

        fn directories(&self) -> Directories {
            let path = |name: &str| self.root.path().join(name);
            Directories {
                configuration: ["user", "system", "packages"].map(path).to_vec(),
                libraries: vec![path("libraries")],
            }
        }

        fn resolve(&self, choice: &ModuleChoice) -> Result<Vec<(String, Option<String>, bool)>, Error> {
            let specs = choice.resolve(&self.directories())?;
            let root = self.root.path().display().to_string();
            let shown =
                |s: ModuleSpec| (s.path.display().to_string().replace(&root, ""), s.init_args, s.is_needed);
            Ok(specs.into_iter().map(shown).collect())
        }
    }

    fn spec(path: &str) -> (String, Option<String>, bool) {
        (path.to_owned(), None, false)
    }

    #[test]
    fn all_modules_for_this_program_are_found_in_order() {
        let tree = Tree::new(&[
            ("system/plain.module", "# a comment\n\nmodule: /lib/plain.so\n"),
            ("system/first.module", "module: /lib/first.so\npriority: 5\nmanaged: yes\nlog-calls: no\n"),
            ("system/ours.module", "module: ours.so\nenable-in: other, notation-pkcs11\ncritical: yes\n"),
            ("system/theirs.module", "module: /lib/theirs.so\nenable-in: firefox\n"),
            ("packages/not-ours.module", "module: /lib/not.so\ndisable-in: notation-pkcs11\n"),
            ("packages/trust.module", "module: /lib/trust.so\ntrust-policy: yes\n"),
            ("packages/remote.module", "remote: |ssh host p11-kit remote x.so\n"),
            ("packages/readme.txt", "no module at all"),
        ]);
        let found = tree.resolve(&ModuleChoice::Configured).unwrap();
        let ours = ("/libraries/ours.so".to_owned(), None, true);
        assert_eq!(found, [spec("/lib/first.so"), ours, spec("/lib/plain.so")]);
    }

    #[test]
    fn the_users_words_go_first_and_the_rest_is_kept() {
        let tree = Tree::new(&[
            ("user/nss.module", "x-init-reserved: configdir='sql:/mine' flags=readOnly"),
            ("system/nss.module", "module: /lib/nss.so\nx-init-reserved: configdir='sql:/theirs'"),
        ]);
        let found = tree.resolve(&ModuleChoice::Configured).unwrap();
        assert_eq!(found[0].1.as_deref(), Some("configdir='sql:/mine' flags=readOnly"));
        assert_eq!(found[0].0, "/lib/nss.so");
    }

    #[test]
    fn a_name_is_that_of_the_file_or_of_the_library() {
        let tree = Tree::new(&[
            ("system/opensc.module", "module: /lib/opensc-pkcs11.so\ndisable-in: notation-pkcs11"),
            ("system/hsm.module", "module: /opt/libCryptoki2.so\nx-init-reserved: x"),
            ("libraries/libloose.so", ""),
        ]);
        let by = |name: &str| tree.resolve(&ModuleChoice::Name(name.into())).map(|mut found| found.remove(0));
        // Named in so many words, it is used although it is not for searching.
        assert_eq!(by("opensc").unwrap().0, "/lib/opensc-pkcs11.so");
        assert_eq!(by("opensc-pkcs11").unwrap().0, "/lib/opensc-pkcs11.so");
        assert_eq!(by("Cryptoki2").unwrap(), ("/opt/libCryptoki2.so".to_owned(), Some("x".to_owned()), true));
        assert_eq!(by("loose").unwrap().0, "/libraries/libloose.so");
        // In any case of letters, as RFC 7512 has it.
        assert_eq!(by("OpenSC").unwrap().0, "/lib/opensc-pkcs11.so");
        assert_eq!(by("cryptoki2").unwrap().0, "/opt/libCryptoki2.so");
        assert_eq!(by("Loose").unwrap().0, "/libraries/libloose.so");
        let error = by("absent").unwrap_err();
        assert!(
            error.message.contains("[\"hsm\", \"opensc\"]") && error.message.contains("module-path"),
            "{error}"
        );
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_line() {
        let tree = Tree::new(&[("system/bad.module", "module: /lib/a.so\nnonsense\n")]);
        let error = tree.resolve(&ModuleChoice::Configured).unwrap_err();
        assert!(error.message.contains("bad.module: line 2"), "{error}");
        let error = Tree::new(&[]).resolve(&ModuleChoice::Configured).unwrap_err();
        assert!(error.message.contains("module-path=FILE"), "{error}");
        let huge = "#".repeat(MODULE_FILE_BYTES_MAX as usize + 1);
        let tree = Tree::new(&[("system/huge.module", &huge)]);
        assert!(tree.resolve(&ModuleChoice::Configured).is_err());
    }
}
