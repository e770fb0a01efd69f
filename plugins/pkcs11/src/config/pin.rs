//! Where the PIN of a key comes from, and who is asked for it.

use std::sync::Arc;

use prokura_plugin::pin::{Defaults, PinSource, Surroundings};
use prokura_plugin::{Deadline, Error, Person, Pin, PinPrompt};

use super::PIN_SOURCE;

/// Read in this order when no source is named.
pub const DEFAULTS: Defaults =
    Defaults { variable: "PROKURA_PLUGIN_PKCS11_PIN", credential: "notation-pkcs11.pin" };

/// Reads the PIN of one key when it is needed.
pub struct PinReader {
    source: PinSource,
    surroundings: Arc<Surroundings>,
    person: Person,
}

impl PinReader {
    /// `person` is asked if the source says so, or if nothing is named and nothing is found.
    pub fn new(source: PinSource, surroundings: Arc<Surroundings>, person: Person) -> Self {
        source.warn(&surroundings);
        Self { source, surroundings, person }
    }

    /// The PIN, if it is kept somewhere: nobody is asked.
    ///
    /// # Errors
    /// If the named place does not exist, is open to others or holds no PIN.
    pub fn kept(&self) -> Result<Option<Pin>, Error> {
        if self.source.is_interactive() {
            return Ok(None);
        }
        Ok(self.source.read(&self.surroundings, "", Deadline::NONE)?)
    }

    /// Whether the source is a person, in so many words.
    pub const fn names_a_person(&self) -> bool {
        self.source.is_interactive()
    }

    /// Asks for the PIN of `whose`. Blocks while a person types.
    ///
    /// # Errors
    /// `ACCESS_DENIED` if nobody can be asked or the person declined, `TIMEOUT` if nobody answered.
    pub fn ask(&self, whose: &str, deadline: Deadline) -> Result<Option<Pin>, Error> {
        if let Some(pin) = self.source.read(&self.surroundings, &format!("PIN of {whose}"), deadline)? {
            return Ok(Some(pin));
        }
        let prompt = PinPrompt { text: whose.to_owned(), tries_left: None };
        let pin = self.person.pin(&prompt, deadline)?;
        if pin.is_none() && self.names_a_person() {
            return Err(Error::access_denied(format!(
                "the PIN of {whose} was asked for and not given: the person declined, or nobody can be asked here (over \
                 stdio nobody can); {PIN_SOURCE} may also be file:/PATH, env:NAME or credential:NAME"
            )));
        }
        Ok(pin)
    }

    /// Shows one line to the operator.
    pub fn warn(&self, line: &str) {
        self.surroundings.warn(line);
    }
}
