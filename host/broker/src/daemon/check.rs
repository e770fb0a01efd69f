//! `prokurad check`: everything that can be found wrong without starting anything.

use std::collections::BTreeSet;
use std::path::Path;

use prokura_signer::PluginDirectory;

use super::{DaemonError, parts};
use crate::audit::LogKey;
use crate::config::{Config, ConfigError, Problem};
use crate::policy::PolicySet;

/// What was found.
#[derive(Debug, Default)]
pub struct Checked {
    /// What must be corrected before the broker starts.
    pub problems: Vec<Problem>,
    /// What is legal but hardly meant.
    pub warnings: Vec<Problem>,
    /// How many keys and policies there are, if they could be read.
    pub counts: Option<(usize, usize)>,
}

/// Checks a config and every file it names: policies against the schema, plugins as they would be before a start, TLS,
/// the key of the audit log. Starts no plugin, asks no vault, makes no file. Blocks on the file system.
pub fn check(path: &Path) -> Checked {
    let mut checked = Checked::default();
    let config = match Config::read(path) {
        Ok(config) => config,
        Err(ConfigError::Wrong { problems, .. }) => return Checked { problems, ..checked },
        Err(error) => {
            checked.problems.push(parts::problem("config", error.to_string()));
            return checked;
        }
    };
    let found = parts::read(&config, None).and_then(|mut found| found.tls().map(|_| found));
    match found {
        Ok(found) => policies(&config, &found.policies, &mut checked),
        Err(DaemonError::Parts(problems)) => checked.problems.extend(problems),
        Err(other) => checked.problems.push(parts::problem("config", other.to_string())),
    }
    plugins(&config, &mut checked);
    audit(&config, &mut checked);
    checked
}

fn policies(config: &Config, policies: &PolicySet, checked: &mut Checked) {
    let keys: BTreeSet<String> = config.keys.iter().map(|key| key.name.to_string()).collect();
    let groups = config.keys.iter().flat_map(|key| key.groups.iter().cloned()).collect();
    let warnings = policies.warnings().iter().cloned().chain(policies.unknown_keys(&keys, &groups));
    checked.warnings.extend(warnings.map(|warning| parts::problem("policy", warning.to_string())));
    if policies.is_empty() {
        checked.warnings.push(parts::problem("policy", "there is no policy, so that nobody may sign"));
    }
    checked.counts = Some((config.keys.len(), policies.len()));
}

fn plugins(config: &Config, checked: &mut Checked) {
    let directory = PluginDirectory::new(config.plugins.clone(), None);
    for key in &config.keys {
        if let Err(error) = directory.find(&key.plugin) {
            checked.problems.push(parts::problem(&format!("keys.{}.plugin", key.name), error.to_string()));
        }
    }
}

/// A key that is not there is made at the start, so its directory must be.
fn audit(config: &Config, checked: &mut Checked) {
    let key = &config.audit.key;
    if key.symlink_metadata().is_ok() {
        if let Err(error) = LogKey::open(key, &config.audit.name) {
            checked.problems.push(parts::problem("audit.key", error.to_string()));
        }
    } else if !key.parent().is_some_and(Path::is_dir) {
        let message = format!(
            "{} is not there and neither is its directory; make the directory, the key is made at the first start",
            key.display()
        );
        checked.problems.push(parts::problem("audit.key", message));
    }
    let directory = &config.audit.directory;
    if !directory.is_dir() && !directory.parent().is_some_and(Path::is_dir) {
        let message =
            format!("neither {} nor the directory above it is there; make one", directory.display());
        checked.problems.push(parts::problem("audit.directory", message));
    }
}
