//! A secret as the command line and the environment give it.

use std::convert::Infallible;
use std::str::FromStr;
use std::sync::Arc;

use prokura_registry::Secret;
use zeroize::Zeroizing;

/// A password or token: one copy in memory however often it is handed on, wiped with its last owner, never shown.
#[derive(Clone)]
pub(crate) struct Password(Arc<Zeroizing<String>>);

impl Password {
    /// Takes the text over.
    pub(crate) fn new(text: String) -> Self {
        Self(Arc::new(Zeroizing::new(text)))
    }

    /// Whether there is no text.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A copy for the registry, which wipes it too.
    pub(crate) fn secret(&self) -> Secret {
        Secret::new(self.0.as_str())
    }
}

impl FromStr for Password {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::new(text.to_owned()))
    }
}
