//! What the process finds around it: variables and the time of day.

use std::ffi::OsString;
use std::sync::Arc;

use jiff::Timestamp;
use zeroize::Zeroizing;

/// Looks up a variable; the binary lends it.
type Lookup = Arc<dyn Fn(&str) -> Option<OsString> + Send + Sync>;

/// The process's environment and clock. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Environment {
    lookup: Lookup,
    clock: fn() -> Timestamp,
}

impl Environment {
    /// Wraps the ways to look up a variable and to read the clock.
    pub(crate) fn new(
        lookup: impl Fn(&str) -> Option<OsString> + Send + Sync + 'static,
        clock: fn() -> Timestamp,
    ) -> Self {
        Self { lookup: Arc::new(lookup), clock }
    }

    /// The time of day.
    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// A variable that holds no secret; empty counts as none.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        (self.lookup)(name).and_then(|value| value.into_string().ok()).filter(|value| !value.is_empty())
    }

    /// A variable that holds a secret, without the line end that shells leave behind it.
    pub(crate) fn secret(&self, name: &str) -> Option<Zeroizing<String>> {
        let value = Zeroizing::new((self.lookup)(name)?.into_string().ok()?);
        Some(Zeroizing::new(value.trim().to_owned())).filter(|value| !value.is_empty())
    }
}
