//! Attributes a verifier must understand or refuse the signature.
//!
//! The specification says so; `notation` lets unknown ones pass unless a verification plugin is named.

use prokura_envelope::ExtendedAttribute;
use prokura_envelope::header::{VERIFICATION_PLUGIN, VERIFICATION_PLUGIN_MIN_VERSION};

use super::Evidence;
use crate::reason::{Reason, cut};

impl Evidence<'_> {
    pub(super) fn judge_critical_attributes(&self) -> Vec<Reason> {
        let extended = &self.content.extended;
        let named = |key| extended.iter().find(move |a| a.key.as_text() == Some(key));
        let mut reasons = Vec::new();
        match (named(VERIFICATION_PLUGIN), named(VERIFICATION_PLUGIN_MIN_VERSION)) {
            (Some(plugin), _) => reasons.push(match text(plugin, VERIFICATION_PLUGIN) {
                Ok(name) => Reason::PluginNeeded { name: cut(name) },
                Err(reason) => reason,
            }),
            (None, Some(version)) => reasons.push(match text(version, VERIFICATION_PLUGIN_MIN_VERSION) {
                Ok(version) => Reason::PluginVersionAlone { version: cut(version) },
                Err(reason) => reason,
            }),
            (None, None) => {}
        }
        let of_plugin = |a: &ExtendedAttribute| {
            matches!(a.key.as_text(), Some(VERIFICATION_PLUGIN | VERIFICATION_PLUGIN_MIN_VERSION))
        };
        let unknown = extended.iter().filter(|a| a.critical && !of_plugin(a));
        reasons.extend(unknown.map(|a| Reason::CriticalAttribute { key: cut(&a.key.to_string()) }));
        reasons
    }
}

fn text<'a>(attribute: &'a ExtendedAttribute, key: &'static str) -> Result<&'a str, Reason> {
    if !attribute.critical {
        return Err(Reason::PluginNotCritical { key });
    }
    match attribute.value.as_text() {
        None => Err(Reason::PluginNotText { key }),
        Some(text) if text.trim().is_empty() => Err(Reason::PluginEmpty { key }),
        Some(text) => Ok(text),
    }
}
