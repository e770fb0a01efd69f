//! The directories shared with `notation`: configuration, plugins, cache.
//!
//! Without a home directory `notation` uses `.notation` in the working directory. Prokura refuses: whoever wrote the
//! checkout that a build runs in would decide whom to trust and which plugins to run.

use std::path::{Path, PathBuf};

use crate::context::Environment;
use crate::exit::{Exit, Failure};

/// Absolute paths of the three directories. None of them need exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Directories {
    config: PathBuf,
    libexec: PathBuf,
    cache: PathBuf,
}

impl Directories {
    /// Finds them as `notation` does: its own variable, then the platform's user directory.
    ///
    /// # Errors
    /// If there is neither, or a relative path cannot be made absolute because the working directory is gone.
    pub(crate) fn find(environment: &Environment) -> Result<Self, Failure> {
        let own = |name| environment.variable(name).map(PathBuf::from);
        let config = own("NOTATION_CONFIG")
            .or_else(|| user_directory(environment, &CONFIG_PLACE).map(|d| d.join("notation")))
            .ok_or_else(no_home)?;
        let cache = own("NOTATION_CACHE")
            .or_else(|| user_directory(environment, &CACHE_PLACE).map(|d| d.join("notation")))
            .unwrap_or_else(|| config.join("cache"));
        let libexec = own("NOTATION_LIBEXEC").unwrap_or_else(|| config.clone());
        Ok(Self { config: absolute(&config)?, libexec: absolute(&libexec)?, cache: absolute(&cache)? })
    }

    /// `config.json`.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.config.join("config.json")
    }

    /// `signingkeys.json`.
    pub(crate) fn signing_keys(&self) -> PathBuf {
        self.config.join("signingkeys.json")
    }

    /// Key and certificate file of a local test key.
    pub(crate) fn local_key(&self, name: &str) -> (PathBuf, PathBuf) {
        let directory = self.config.join("localkeys");
        (directory.join(format!("{name}.key")), directory.join(format!("{name}.crt")))
    }

    /// The trust store.
    pub(crate) fn trust_store(&self) -> PathBuf {
        self.config.join("truststore")
    }

    /// The directory with one directory per plugin.
    pub(crate) fn plugins(&self) -> PathBuf {
        self.libexec.join("plugins")
    }

    /// The configuration directory itself, which holds the trust policies.
    pub(crate) fn config(&self) -> &Path {
        &self.config
    }
}

/// Where a platform keeps one kind of user files.
struct Place {
    /// XDG variable; only an absolute value counts (XDG Base Directory Specification).
    variable: &'static str,
    /// Directory below the home directory.
    below_home: &'static str,
}

#[cfg(not(target_os = "macos"))]
const CONFIG_PLACE: Place = Place { variable: "XDG_CONFIG_HOME", below_home: ".config" };
#[cfg(not(target_os = "macos"))]
const CACHE_PLACE: Place = Place { variable: "XDG_CACHE_HOME", below_home: ".cache" };
#[cfg(target_os = "macos")]
const CONFIG_PLACE: Place = Place { variable: "", below_home: "Library/Application Support" };
#[cfg(target_os = "macos")]
const CACHE_PLACE: Place = Place { variable: "", below_home: "Library/Caches" };

fn no_home() -> Failure {
    Failure::usage(
        "there is no home directory (HOME is no absolute path), so nothing tells where configuration, trust store and \
         plugins are; set NOTATION_CONFIG to their directory. The working directory is not used: its contents may be \
         somebody else's",
    )
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|error| Failure::new(Exit::Usage, error).during("cannot find the working directory"))
}

fn user_directory(environment: &Environment, place: &Place) -> Option<PathBuf> {
    let absolute = |name| environment.variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(place.variable).or_else(|| absolute("HOME").map(|home| home.join(place.below_home)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(pairs: &[(&str, &str)]) -> Directories {
        Directories::find(&Environment::new(pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())))).unwrap()
    }

    #[test]
    #[cfg(not(target_os = "macos"))]
    fn the_order_is_own_variable_then_xdg_then_home() {
        let home = find(&[("HOME", "/h")]);
        assert_eq!(home.config(), Path::new("/h/.config/notation"));
        assert_eq!(home.plugins(), Path::new("/h/.config/notation/plugins"));
        assert_eq!(home.cache, Path::new("/h/.cache/notation"));
        let xdg = find(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x"), ("XDG_CACHE_HOME", "relative")]);
        assert_eq!(xdg.config(), Path::new("/x/notation"));
        assert_eq!(xdg.cache, Path::new("/h/.cache/notation"));
        let own = find(&[("HOME", "/h"), ("NOTATION_CONFIG", "/c"), ("NOTATION_CACHE", "/k")]);
        assert_eq!((own.config(), own.cache.as_path()), (Path::new("/c"), Path::new("/k")));
        assert_eq!(own.plugins(), Path::new("/c/plugins"));
        let apart = find(&[("NOTATION_CONFIG", "/c"), ("NOTATION_LIBEXEC", "/l")]);
        assert_eq!((apart.plugins(), apart.cache), ("/l/plugins".into(), "/c/cache".into()));
    }

    #[test]
    fn without_a_home_the_working_directory_is_not_trusted() {
        for pairs in [&[][..], &[("HOME", "")], &[("HOME", ".")], &[("NOTATION_LIBEXEC", "/l")]] {
            let pairs = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into()));
            let failure = Directories::find(&Environment::new(pairs)).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.to_string().contains("set NOTATION_CONFIG"), "{failure}");
        }
        assert!(find(&[("NOTATION_CONFIG", "rel")]).config().is_absolute());
    }
}
