//! Questions to the person in front of the host, over the one `Interact` stream the host opened.

use std::collections::HashMap;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use prokura_proto::plugin::v1;
use prokura_proto::plugin::v1::interact_request::Question;
use prokura_proto::plugin::v1::interact_response::Answer;
use tokio::sync::mpsc;
use tonic::Status;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::limits::QUESTIONS_OPEN_MAX;
use crate::person::{Interaction, Notice, PinPrompt};
use crate::pin::Pin;
use crate::request::Deadline;

/// How long a person is given when a call has no deadline.
const WITHOUT_DEADLINE: Duration = Duration::from_secs(300);

/// Where a PIN came from, for messages.
const ORIGIN: &str = "typed by the person in front of the host";

type ToHost = mpsc::Sender<Result<v1::InteractRequest, Status>>;

/// The open questions, and the way to the host while it listens.
#[derive(Default)]
pub(crate) struct Questions(Mutex<State>);

#[derive(Default)]
struct State {
    host: Option<(u64, ToHost)>,
    last_id: u64,
    waiting: HashMap<u64, SyncSender<Answer>>,
}

impl Questions {
    /// Takes the host's stream; returns what the plugin will ask over it and a token for [`Self::host_left`].
    ///
    /// # Errors
    /// `VALIDATION_ERROR` if a host listens already.
    pub(crate) fn host_listens(
        &self,
    ) -> Result<(u64, mpsc::Receiver<Result<v1::InteractRequest, Status>>), Error> {
        let mut state = self.locked();
        if state.host.as_ref().is_some_and(|(_, host)| !host.is_closed()) {
            return Err(Error::validation(
                "Interact is open already, expected at most one such call at a time",
            ));
        }
        let (sender, receiver) = mpsc::channel(4 * QUESTIONS_OPEN_MAX);
        let listener = state.next_id();
        state.host = Some((listener, sender));
        Ok((listener, receiver))
    }

    /// The stream of `listener` has ended: everything that waits is declined.
    pub(crate) fn host_left(&self, listener: u64) {
        let mut state = self.locked();
        if state.host.as_ref().is_some_and(|(current, _)| *current == listener) {
            state.host = None;
            state.waiting.clear(); // dropping the senders wakes those that wait
        }
    }

    /// Hands an answer to whoever asked. One that nobody waits for is dropped, a PIN wiped.
    pub(crate) fn answered(&self, response: v1::InteractResponse) {
        let waiting = self.locked().waiting.remove(&response.id);
        match (waiting, response.answer) {
            (Some(waiting), Some(answer)) => {
                if let Err(unwanted) = waiting.try_send(answer) {
                    wipe(unwanted);
                }
            }
            (None, Some(Answer::Pin(pin))) => drop(Zeroizing::new(pin)),
            _ => {}
        }
    }

    /// Asks and waits. `None` if nobody can be asked.
    fn ask(&self, question: Question, deadline: Deadline) -> Result<Option<Answer>, Error> {
        let (sender, answer) = sync_channel(1);
        let Some(id) = self.send(question, Some(sender)) else { return Ok(None) };
        let left = deadline.remaining().unwrap_or(WITHOUT_DEADLINE);
        match answer.recv_timeout(left) {
            Ok(answer) => Ok(Some(answer)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                self.withdraw(id);
                Err(Error::timeout("nobody answered the question of the plugin before the deadline"))
            }
        }
    }

    fn send(&self, question: Question, waiting: Option<SyncSender<Answer>>) -> Option<u64> {
        let mut state = self.locked();
        if state.waiting.len() >= QUESTIONS_OPEN_MAX {
            return None;
        }
        let id = state.next_id();
        let (_, host) = state.host.as_ref()?;
        host.try_send(Ok(v1::InteractRequest { id, question: Some(question) })).ok()?;
        if let Some(waiting) = waiting {
            state.waiting.insert(id, waiting);
        }
        Some(id)
    }

    fn withdraw(&self, id: u64) {
        let mut state = self.locked();
        state.waiting.remove(&id);
        if let Some((_, host)) = &state.host {
            let question = Some(Question::Withdrawn(v1::Withdrawn {}));
            let _ = host.try_send(Ok(v1::InteractRequest { id, question }));
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

fn wipe(unwanted: std::sync::mpsc::TrySendError<Answer>) {
    let (std::sync::mpsc::TrySendError::Full(answer) | std::sync::mpsc::TrySendError::Disconnected(answer)) =
        unwanted;
    if let Answer::Pin(pin) = answer {
        drop(Zeroizing::new(pin));
    }
}

/// [`Questions`] as the vendor's code sees them.
pub(crate) struct Asker(pub(crate) Arc<Questions>);

impl Interaction for Asker {
    fn pin(&self, prompt: &PinPrompt, deadline: Deadline) -> Result<Option<Pin>, Error> {
        let question =
            v1::PinQuestion { text: prompt.text.clone(), tries_left: prompt.tries_left.unwrap_or_default() };
        match self.0.ask(Question::Pin(question), deadline)? {
            Some(Answer::Pin(pin)) => Ok(Some(Pin::new(&Zeroizing::new(pin), ORIGIN)?)),
            _ => Ok(None),
        }
    }

    fn confirm(&self, text: &str, deadline: Deadline) -> Result<Option<bool>, Error> {
        match self.0.ask(Question::Confirm(text.to_owned()), deadline)? {
            Some(Answer::Confirmed(confirmed)) => Ok(Some(confirmed)),
            _ => Ok(None),
        }
    }

    fn show(&self, notice: Notice, text: &str) -> Box<dyn FnOnce() + Send> {
        let question = match notice {
            Notice::Touch => Question::Touch(text.to_owned()),
            Notice::Message => Question::Message(text.to_owned()),
        };
        let id = self.0.send(question, None);
        let questions: Weak<Questions> = Arc::downgrade(&self.0);
        Box::new(move || {
            if let (Notice::Touch, Some(id), Some(questions)) = (notice, id, questions.upgrade()) {
                questions.withdraw(id);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const PROMPT: PinPrompt = PinPrompt { text: String::new(), tries_left: None };

    fn asker() -> (Arc<Questions>, Asker) {
        let questions = Arc::new(Questions::default());
        (Arc::clone(&questions), Asker(questions))
    }

    fn soon() -> Deadline {
        Deadline::at(Instant::now() + Duration::from_secs(5))
    }

    #[test]
    fn without_a_host_nobody_is_asked() {
        assert!(asker().1.pin(&PROMPT, soon()).unwrap().is_none());
    }

    #[test]
    fn an_answer_reaches_the_one_who_asked() {
        let (questions, asker) = asker();
        let (_, mut asked) = questions.host_listens().unwrap();
        let host = std::thread::spawn(move || {
            let id = asked.blocking_recv().unwrap().unwrap().id;
            questions.answered(v1::InteractResponse { id: id + 1, answer: Some(Answer::Pin(b"9".to_vec())) });
            questions.answered(v1::InteractResponse { id, answer: Some(Answer::Pin(b"1234".to_vec())) });
        });
        assert_eq!(asker.pin(&PROMPT, soon()).unwrap().unwrap().expose(), "1234");
        host.join().unwrap();
    }

    #[test]
    fn a_host_that_leaves_declines_everything() {
        let (questions, asker) = asker();
        let (listener, mut asked) = questions.host_listens().unwrap();
        assert!(questions.host_listens().is_err(), "one host at a time");
        let host = std::thread::spawn(move || {
            asked.blocking_recv().unwrap().unwrap();
            questions.host_left(listener);
            assert!(questions.host_listens().is_ok(), "the next host may come");
        });
        assert!(asker.pin(&PROMPT, soon()).unwrap().is_none());
        host.join().unwrap();
    }

    #[test]
    fn nobody_answering_is_a_timeout_and_the_question_is_withdrawn() {
        let (questions, asker) = asker();
        let (_, mut asked) = questions.host_listens().unwrap();
        let deadline = Deadline::at(Instant::now() + Duration::from_millis(20));
        assert!(asker.pin(&PROMPT, deadline).is_err());
        let id = asked.blocking_recv().unwrap().unwrap().id;
        let withdrawn = asked.blocking_recv().unwrap().unwrap();
        assert_eq!((withdrawn.id, withdrawn.question), (id, Some(Question::Withdrawn(v1::Withdrawn {}))));
    }
}
