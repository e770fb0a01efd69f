//! The names in a plugin config that a plugin knows: a name nobody knows is a mistake of whoever wrote it.

use crate::error::Error;
use crate::limits::{CONFIG_NAME_DISTANCE_MAX, CONFIG_NAME_SHOWN_CHARS_MAX};
use crate::operation::CA_CERTS;
use crate::request::{KeyRequest, VaultRequest};
use crate::serve::Service;
use crate::signing_key::SigningKey;

/// The names a plugin declared, besides [`CA_CERTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConfigNames {
    known: &'static [&'static str],
    refused: &'static [&'static str],
}

impl ConfigNames {
    pub(crate) const fn new(known: &'static [&'static str], refused: &'static [&'static str]) -> Self {
        Self { known, refused }
    }

    /// Whether the plugin reads entries of this name.
    pub(crate) fn declare(&self, name: &str) -> bool {
        self.suggested().chain(self.refused.iter().copied()).any(|known| known == name)
    }

    fn suggested(&self) -> impl Iterator<Item = &'static str> {
        self.known.iter().copied().chain((!self.known.contains(&CA_CERTS)).then_some(CA_CERTS))
    }

    /// The request, if the plugin reads every entry of its config.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` naming an entry that the plugin would not read, and the one that is meant. Not its value, which
    /// may be anything.
    pub(crate) fn checked(self, request: &VaultRequest) -> Result<VaultRequest, Error> {
        match request.plugin_config().0.keys().find(|name| !self.declare(name)) {
            None => Ok(request.clone().declared(self)),
            Some(unknown) => Err(self.refusal(unknown)),
        }
    }

    fn refusal(&self, unknown: &str) -> Error {
        let shown: String = unknown.chars().take(CONFIG_NAME_SHOWN_CHARS_MAX).collect();
        let meant = match self.nearest(unknown) {
            Some(name) => format!("{name} may be meant"),
            None => format!("known are {}", self.suggested().collect::<Vec<_>>().join(", ")),
        };
        Error::validation(format!(
            "plugin config {shown:?} is not known to this plugin, {meant}; correct or remove it where the key is \
             configured (--plugin-config, signingkeys.json): an entry that is not read protects nothing"
        ))
    }

    /// The known name that differs least.
    fn nearest(&self, unknown: &str) -> Option<&'static str> {
        // Nobody's typo is that long, and the comparison takes time by length.
        if unknown.len() > CONFIG_NAME_SHOWN_CHARS_MAX {
            return None;
        }
        let plain = |name: &str| name.replace(['-', '_'], "").to_ascii_lowercase();
        let wanted = plain(unknown);
        let distance = |name: &str| strsim::damerau_levenshtein(&wanted, &plain(name));
        let best = self.suggested().map(|name| (distance(name), name)).min()?;
        (best.0 <= CONFIG_NAME_DISTANCE_MAX.min(wanted.len() / 2)).then_some(best.1)
    }
}

impl Service {
    /// Puts the check before each call that comes with a plugin config.
    pub(crate) fn checked(mut self) -> Self {
        let Some(names) = self.config_names else { return self };
        let open_key = self.open_key;
        self.open_key = Box::new(move |request: &KeyRequest| -> Result<Box<dyn SigningKey>, Error> {
            let vault = names.checked(request.vault())?;
            open_key.open_key(&KeyRequest::of_vault(request.key_id().clone(), vault))
        });
        #[cfg(feature = "grpc")]
        {
            self.vault_calls = self.vault_calls.checked(names);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Deadline;

    const NAMES: ConfigNames = ConfigNames::new(&["profile", "token-file", "region"], &["token"]);

    fn check(name: &str) -> Result<(), Error> {
        let config = [(name.to_owned(), "hush".to_owned())].into_iter().collect();
        NAMES.checked(&VaultRequest::new(config, Deadline::NONE).unwrap()).map(drop)
    }

    #[test]
    fn what_the_plugin_declares_and_what_it_refuses_itself_passes() {
        for name in ["profile", "token-file", "token", CA_CERTS] {
            check(name).unwrap();
        }
    }

    #[test]
    fn a_typo_is_refused_with_the_name_that_is_meant() {
        for (typo, meant) in [
            ("proflie", "profile"),
            ("Profile", "profile"),
            ("token_file", "token-file"),
            ("tokenfil", "token-file"),
            ("ca-certs", CA_CERTS),
        ] {
            let error = check(typo).unwrap_err();
            assert_eq!(error.code, crate::ErrorCode::ValidationError);
            assert!(error.message.contains(&format!("{typo:?} is not known")), "{error}");
            assert!(error.message.contains(&format!("{meant} may be meant")), "{error}");
            assert!(!error.message.contains("hush"), "{error}");
        }
    }

    #[test]
    fn a_name_like_no_other_is_refused_with_all_there_are_and_secrets_are_never_suggested() {
        for unlike in ["colour", "p", "tokens", &"profile".repeat(100)] {
            let error = check(unlike).unwrap_err();
            assert!(error.message.contains("known are profile, token-file, region, ca_certs"), "{error}");
            assert!(error.message.len() < 400, "{error}");
        }
    }

    #[test]
    #[should_panic(expected = "is not declared")]
    fn reading_what_was_not_declared_is_a_defect() {
        let request = VaultRequest::new(Default::default(), Deadline::NONE).unwrap();
        request.declared(NAMES).config_optional("endpoint");
    }
}
