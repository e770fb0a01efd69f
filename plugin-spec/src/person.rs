//! The person in front of the host: asked for a PIN, told to touch a device.
//!
//! Over gRPC the host relays the question; over stdio nobody can be asked (contract 1.0 has no way).

use std::fmt;
use std::sync::Arc;

use crate::error::Error;
use crate::limits::PROMPT_BYTES_MAX;
use crate::pin::Pin;
use crate::request::Deadline;

/// What a person is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinPrompt {
    /// Whose PIN: a token label, a device and its serial number.
    pub text: String,
    /// How many attempts are left, if the vault says so.
    pub tries_left: Option<u32>,
}

/// What a person is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A device must be touched now.
    Touch,
    /// Something to know.
    Message,
}

/// How questions reach a person; the transport implements it.
pub trait Interaction: Send + Sync {
    /// Asks for a PIN. Blocks until it is given, declined or too late.
    ///
    /// # Errors
    /// `TIMEOUT` once the deadline has passed. `None` if nobody can be asked or the person declined.
    fn pin(&self, prompt: &PinPrompt, deadline: Deadline) -> Result<Option<Pin>, Error>;

    /// Asks yes or no. Blocks as [`Self::pin`] does.
    ///
    /// # Errors
    /// `TIMEOUT` once the deadline has passed. `None` if nobody can be asked.
    fn confirm(&self, text: &str, deadline: Deadline) -> Result<Option<bool>, Error>;

    /// Shows a text; returns what takes a [`Notice::Touch`] back. Does not block.
    fn show(&self, notice: Notice, text: &str) -> Box<dyn FnOnce() + Send>;
}

/// The person in front of the host, if there is one. Cheap to clone; an opened key keeps it.
#[derive(Clone, Default)]
pub struct Person(Option<Arc<dyn Interaction>>);

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Person(reachable)" } else { "Person(nobody)" })
    }
}

impl Person {
    /// Nobody: every question is declined.
    pub const NOBODY: Person = Person(None);

    /// Whoever `interaction` reaches.
    pub fn reached_by(interaction: Arc<dyn Interaction>) -> Self {
        Self(Some(interaction))
    }

    /// Asks for a PIN. Blocks until it is given, declined or too late. The vault may lock: ask once, and never answer a
    /// refused PIN with another question unless the person is told how many tries are left.
    ///
    /// # Errors
    /// `TIMEOUT` once the deadline has passed. `None` if nobody can be asked or the person declined.
    pub fn pin(&self, prompt: &PinPrompt, deadline: Deadline) -> Result<Option<Pin>, Error> {
        let Some(interaction) = &self.0 else { return Ok(None) };
        deadline.check()?;
        let prompt = PinPrompt { text: cut(&prompt.text).to_owned(), tries_left: prompt.tries_left };
        interaction.pin(&prompt, deadline)
    }

    /// Asks yes or no. Blocks as [`Self::pin`] does.
    ///
    /// # Errors
    /// `TIMEOUT` once the deadline has passed. `None` if nobody can be asked.
    pub fn confirm(&self, text: &str, deadline: Deadline) -> Result<Option<bool>, Error> {
        let Some(interaction) = &self.0 else { return Ok(None) };
        deadline.check()?;
        interaction.confirm(cut(text), deadline)
    }

    /// Shows a text as long as the returned value lives. Does not block; does nothing if nobody is there.
    pub fn show(&self, notice: Notice, text: &str) -> Shown {
        Shown(self.0.as_ref().map(|interaction| interaction.show(notice, cut(text))))
    }
}

/// A text that is being shown; dropping it takes it back.
#[must_use = "the text is taken back when this is dropped"]
pub struct Shown(Option<Box<dyn FnOnce() + Send>>);

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(withdraw) = self.0.take() {
            withdraw();
        }
    }
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(PROMPT_BYTES_MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Instant;

    use super::*;

    #[derive(Default)]
    struct Recorded(Arc<Mutex<Vec<String>>>);

    impl Interaction for Recorded {
        fn pin(&self, prompt: &PinPrompt, _: Deadline) -> Result<Option<Pin>, Error> {
            self.0.lock().unwrap().push(prompt.text.clone());
            Ok(Some(Pin::new(b"1234", "typed for a test")?))
        }

        fn confirm(&self, _: &str, _: Deadline) -> Result<Option<bool>, Error> {
            Ok(Some(true))
        }

        fn show(&self, _: Notice, text: &str) -> Box<dyn FnOnce() + Send> {
            let (log, text) = (Arc::clone(&self.0), text.to_owned());
            log.lock().unwrap().push(format!("+{text}"));
            Box::new(move || log.lock().unwrap().push(format!("-{text}")))
        }
    }

    #[test]
    fn nobody_declines_everything() {
        let prompt = PinPrompt { text: "token".to_owned(), tries_left: None };
        assert!(Person::NOBODY.pin(&prompt, Deadline::NONE).unwrap().is_none());
        assert!(Person::NOBODY.confirm("sure?", Deadline::NONE).unwrap().is_none());
        drop(Person::NOBODY.show(Notice::Touch, "touch"));
    }

    #[test]
    fn a_call_for_a_touch_is_taken_back() {
        let recorded = Recorded::default();
        let log = Arc::clone(&recorded.0);
        let person = Person::reached_by(Arc::new(recorded));
        let shown = person.show(Notice::Touch, "touch");
        assert_eq!(*log.lock().unwrap(), ["+touch"]);
        drop(shown);
        assert_eq!(*log.lock().unwrap(), ["+touch", "-touch"]);
    }

    #[test]
    fn nobody_is_asked_after_the_deadline_and_texts_are_cut() {
        let recorded = Recorded::default();
        let log = Arc::clone(&recorded.0);
        let person = Person::reached_by(Arc::new(recorded));
        let prompt = PinPrompt { text: "é".repeat(PROMPT_BYTES_MAX), tries_left: Some(1) };
        assert!(person.pin(&prompt, Deadline::at(Instant::now())).is_err());
        assert!(log.lock().unwrap().is_empty());
        assert_eq!(person.pin(&prompt, Deadline::NONE).unwrap().unwrap().expose(), "1234");
        assert_eq!(log.lock().unwrap()[0].len(), PROMPT_BYTES_MAX);
    }
}
