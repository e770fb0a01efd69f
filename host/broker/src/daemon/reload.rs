//! `SIGHUP`: everything new is made first, then it takes the old one's place; on an error nothing does.

use std::sync::Arc;

use prokura_signer::PluginDirectory;

use super::parts::{self, Parts};
use super::{Daemon, DaemonError};
use crate::config::Config;
use crate::policy::{Difference, PolicySet};
use crate::vaults::Vaults;

impl Daemon {
    pub(super) async fn reload(&mut self) {
        self.surroundings.notifier.reloading();
        match self.replaced().await {
            Ok(lines) if lines.is_empty() => tracing::info!("reloaded: nothing changed"),
            Ok(lines) => {
                for line in &lines {
                    tracing::info!("reloaded: {line}");
                }
            }
            Err(error) => {
                tracing::error!(%error, "not reloaded: what was in force stays");
                self.surroundings.notifier.status("not reloaded, see the log; what was in force stays");
            }
        }
        self.surroundings.notifier.ready();
    }

    /// What changed, a line each.
    async fn replaced(&mut self) -> Result<Vec<String>, DaemonError> {
        let config = Config::read(&self.path)?;
        let mut new = parts::read(&config, Some(&self.identifier))?;
        let old = self.broker.rules();
        let directory = PluginDirectory::new(config.plugins.clone(), None);
        let environment = &self.surroundings.environment;
        // Plugins of another directory are other plugins.
        let before = (config.plugins == self.config.plugins).then_some(&old.vaults);
        let vaults = Vaults::open(config.keys.clone(), &directory, environment, before).await?;
        let mut lines = difference(&old.policies, &new.policies, &old.vaults, &vaults);
        lines.extend(self.changed(&config));
        for (key, error) in vaults.warm((self.surroundings.clock)()).await {
            lines.push(format!("key {key} cannot be used: {error}"));
        }
        // The last step that may fail.
        self.replace_tls(&mut new)?;
        self.identifier.reload(new.trust, new.issuers);
        self.broker.replace(parts::rules(&config, new.policies, vaults));
        let Config { listen, audit, limits, log_format, .. } = &self.config;
        let (listen, audit, log_format) = (listen.clone(), audit.clone(), *log_format);
        self.config = Config { listen, audit, limits: *limits, log_format, ..config };
        Ok(lines)
    }

    fn replace_tls(&self, new: &mut Parts) -> Result<(), DaemonError> {
        let (Some(current), Some(identity)) = (&self.tls, new.identity.take()) else { return Ok(()) };
        let replaced = current.reload(identity, Arc::clone(&new.trust), !new.issuers.is_empty());
        replaced.map_err(|error| parts::tls_problem(&error))
    }

    fn changed(&self, new: &Config) -> Vec<String> {
        let old = &self.config;
        let mut lines = Vec::new();
        if old.tls != new.tls && self.tls.is_some() && new.tls.is_some() {
            lines.push("tls ~ section".to_owned());
        }
        if old.issuers != new.issuers {
            lines.push("oidc ~ issuers".to_owned());
        }
        let mut limits = new.limits;
        limits.sign_deadline = old.limits.sign_deadline;
        let takes_restart = [
            ("listen", old.listen != new.listen),
            ("tls, which was not there or is there no longer,", self.tls.is_some() != new.tls.is_some()),
            ("audit", old.audit != new.audit),
            ("limits", old.limits != limits),
            ("log", old.log_format != new.log_format),
        ];
        for (section, _) in takes_restart.iter().filter(|(_, changed)| *changed) {
            lines.push(format!("{section} changed: that takes a restart, what was in force stays"));
        }
        lines
    }
}

fn difference(old: &PolicySet, new: &PolicySet, old_keys: &Vaults, new_keys: &Vaults) -> Vec<String> {
    let changed = Difference::between(old, new);
    let policies = if changed.is_empty() { String::new() } else { changed.to_string() };
    let mut lines: Vec<String> =
        policies.lines().filter(|line| !line.is_empty()).map(|line| format!("policy {line}")).collect();
    let keys = old_keys.difference(new_keys);
    for (sign, names) in [('+', keys.added), ('-', keys.removed), ('~', keys.changed)] {
        lines.extend(names.iter().map(|name| format!("key {sign} {name}")));
    }
    lines
}
