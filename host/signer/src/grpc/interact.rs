//! The `Interact` call: a plugin's questions on their way to the person, and the answers back (SPEC section 5.9).

use std::collections::HashMap;
use std::sync::Arc;

use prokura_plugin::limits::{PROMPT_BYTES_MAX, QUESTIONS_OPEN_MAX};
use prokura_plugin::{PinPrompt, PluginName};
use prokura_proto::plugin::v1 as wire;
use prokura_proto::plugin::v1::interact_request::Question;
use prokura_proto::plugin::v1::interact_response::Answer;
use prokura_proto::plugin::v1::plugin_client::PluginClient;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::status;
use crate::error::Error;
use crate::interaction::Interaction;
use crate::limits::{INTERACT_DEADLINE, QUESTION_DEADLINE, QUESTION_PAUSE};
use crate::text::cleaned;

const INTERACT: &str = "Interact";

/// Opens the call; the plugin may ask as soon as this returns. Aborting the task ends it and takes every question back.
///
/// # Errors
/// If the plugin, which announced the call, does not take it.
pub(super) async fn open(
    mut client: PluginClient<Channel>,
    plugin: PluginName,
    person: Arc<dyn Interaction>,
) -> Result<JoinHandle<()>, Error> {
    let (answers, outgoing) = mpsc::channel(2 * QUESTIONS_OPEN_MAX);
    // The host writes first. The channel is empty.
    let _ = answers.try_send(wire::InteractResponse::default());
    let opening = client.interact(ReceiverStream::new(outgoing));
    let Ok(opened) = tokio::time::timeout(INTERACT_DEADLINE, opening).await else {
        return Err(Error::TooSlow { plugin, call: INTERACT, limit: INTERACT_DEADLINE });
    };
    let questions = opened.map_err(|status| {
        status::refused(&plugin, INTERACT, &status)
            .unwrap_or_else(|| status::broken(&plugin, INTERACT, &status))
    })?;
    let listener = Listener { plugin, person, answers, open: HashMap::new(), asked: JoinSet::new() };
    Ok(tokio::spawn(listener.listen(questions.into_inner())))
}

struct Listener {
    plugin: PluginName,
    person: Arc<dyn Interaction>,
    answers: mpsc::Sender<wire::InteractResponse>,
    open: HashMap<u64, Open>,
    /// Each ends with the id of its question.
    asked: JoinSet<u64>,
}

/// A question that stands.
enum Open {
    Asked(AbortHandle),
    /// Dropping it takes the call for a touch back.
    Touch {
        _shown: Box<dyn Send>,
    },
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Self::Asked(task) = self {
            task.abort();
        }
    }
}

impl Listener {
    async fn listen(mut self, mut questions: Streaming<wire::InteractRequest>) {
        loop {
            tokio::select! {
                biased;
                Some(answered) = self.asked.join_next() => {
                    if let Ok(id) = answered {
                        self.open.remove(&id);
                    }
                }
                question = questions.message() => {
                    let Ok(Some(wire::InteractRequest { id, question })) = question else { return };
                    if self.take(id, question).await {
                        // Text without end on a terminal is an attack; the plugin is held back by flow control.
                        tokio::time::sleep(QUESTION_PAUSE).await;
                    }
                }
            }
        }
    }

    /// Whether something was shown.
    async fn take(&mut self, id: u64, question: Option<Question>) -> bool {
        self.open.remove(&id);
        let is_full = self.open.len() >= QUESTIONS_OPEN_MAX;
        match question {
            Some(Question::Pin(_) | Question::Confirm(_)) if is_full => {
                tracing::debug!(plugin = %self.plugin, "too many questions at once, this one is declined");
                let answer = Some(Answer::Declined(wire::Declined {}));
                let _ = self.answers.send(wire::InteractResponse { id, answer }).await;
                return false;
            }
            Some(Question::Touch(_)) if is_full => return false,
            Some(Question::Pin(wire::PinQuestion { text, tries_left })) => {
                let prompt =
                    PinPrompt { text: shown(&text), tries_left: Some(tries_left).filter(|n| *n > 0) };
                self.ask(id, async move |person, plugin| {
                    let pin = person.pin(&plugin, &prompt).await?;
                    Some(Answer::Pin(pin.expose().as_bytes().to_vec()))
                });
            }
            Some(Question::Confirm(text)) => {
                let text = shown(&text);
                self.ask(id, async move |person, plugin| {
                    Some(Answer::Confirmed(person.confirm(&plugin, &text).await?))
                });
            }
            Some(Question::Touch(text)) => {
                let shown = self.person.touch(&self.plugin, &shown(&text));
                self.open.insert(id, Open::Touch { _shown: shown });
            }
            Some(Question::Message(text)) => self.person.message(&self.plugin, &shown(&text)),
            // Taken back above; or a question of a later protocol, which nobody answers.
            Some(Question::Withdrawn(_)) | None => return false,
        }
        true
    }

    fn ask<F>(&mut self, id: u64, ask: impl FnOnce(Arc<dyn Interaction>, PluginName) -> F)
    where
        F: Future<Output = Option<Answer>> + Send + 'static,
    {
        let asking = ask(Arc::clone(&self.person), self.plugin.clone());
        let answers = self.answers.clone();
        let task = self.asked.spawn(async move {
            let answer = tokio::time::timeout(QUESTION_DEADLINE, asking).await.ok().flatten();
            let answer = answer.or(Some(Answer::Declined(wire::Declined {})));
            let _ = answers.send(wire::InteractResponse { id, answer }).await;
            id
        });
        self.open.insert(id, Open::Asked(task));
    }
}

/// Fit for a person's eyes, whatever the plugin wrote.
fn shown(text: &str) -> String {
    let mut text = cleaned(text);
    text.truncate(text.floor_char_boundary(PROMPT_BYTES_MAX));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_cleaned_and_cut() {
        assert_eq!(shown("touch \u{1b}[2Jyour\n\u{202e}device"), "touch your device");
        assert!(shown(&"é".repeat(PROMPT_BYTES_MAX)).len() <= PROMPT_BYTES_MAX);
    }
}
