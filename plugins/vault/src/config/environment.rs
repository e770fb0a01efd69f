//! The environment as the vault's own tools read it: `BAO_NAME` before `VAULT_NAME`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use zeroize::Zeroizing;

/// Looks up a variable; the binary lends it.
type Lookup = Arc<dyn Fn(&str) -> Option<OsString> + Send + Sync>;

/// The process's environment. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Environment(Lookup);

impl Environment {
    /// Wraps the way to look up a variable.
    pub(crate) fn new(lookup: impl Fn(&str) -> Option<OsString> + Send + Sync + 'static) -> Self {
        Self(Arc::new(lookup))
    }

    /// A variable that holds no secret; empty counts as none.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.0(name).and_then(|value| value.into_string().ok()).filter(|value| !value.is_empty())
    }

    /// A variable that holds a secret, without the line end that shells and pods leave behind it.
    pub(crate) fn secret(&self, name: &str) -> Option<Zeroizing<String>> {
        let value = Zeroizing::new(self.0(name)?.into_string().ok()?);
        Some(Zeroizing::new(value.trim().to_owned())).filter(|value| !value.is_empty())
    }

    /// `BAO_name` or `VAULT_name`, and which of the two it was.
    pub(crate) fn vault(&self, name: &str) -> Option<(String, String)> {
        vault_names(name).into_iter().find_map(|full| self.text(&full).map(|value| (full, value)))
    }

    /// The directory of the user.
    pub(crate) fn home(&self) -> Option<PathBuf> {
        self.0("HOME").map(PathBuf::from).filter(|home| home.is_absolute())
    }
}

/// The two names of a variable, OpenBao's first.
pub(crate) fn vault_names(name: &str) -> [String; 2] {
    [format!("BAO_{name}"), format!("VAULT_{name}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openbaos_names_come_first_and_empty_ones_do_not_count() {
        let environment = Environment::new(|name| match name {
            "BAO_ADDR" => Some("".into()),
            "VAULT_ADDR" | "VAULT_NAMESPACE" => Some("old".into()),
            "BAO_NAMESPACE" => Some("new".into()),
            _ => None,
        });
        assert_eq!(environment.vault("ADDR"), Some(("VAULT_ADDR".to_owned(), "old".to_owned())));
        assert_eq!(environment.vault("NAMESPACE"), Some(("BAO_NAMESPACE".to_owned(), "new".to_owned())));
        assert_eq!(environment.vault("TOKEN"), None);
    }

    #[test]
    fn a_secret_loses_its_line_end() {
        let environment = Environment::new(|_| Some("s.token\n".into()));
        assert_eq!(environment.secret("VAULT_TOKEN").unwrap().as_str(), "s.token");
    }
}
