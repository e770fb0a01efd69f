//! The person at this command, as plugins reach them: the terminal, or a pinentry program where there is none.
//!
//! A PIN comes from the person and from nowhere else: standard input is not asked. Without a terminal and without a
//! pinentry that the user configured there is nobody, and a plugin is told so.

mod pinentry;
mod terminal;

use std::io::Write as _;
use std::sync::Arc;

use prokura_plugin::{Pin, PinPrompt, PluginName};
use prokura_signer::{Answering, Interaction};
use tokio::sync::Mutex;

use crate::context::Context;
use crate::progress::Progress;
use pinentry::Pinentry;

/// Whom plugins may ask; `None` if there is nobody.
pub(crate) fn present(context: &Context, progress: &Progress) -> Option<Arc<dyn Interaction>> {
    let asked = match terminal::open() {
        Some(_) => Asked::Terminal,
        None => Asked::Pinentry(Pinentry::configured(&context.environment)?),
    };
    let progress = progress.clone();
    Some(Arc::new(Person { asked, is_shown: context.terminals.stderr, progress, turn: Mutex::default() }))
}

enum Asked {
    Terminal,
    Pinentry(Pinentry),
}

struct Person {
    asked: Asked,
    /// Whether anybody sees what is written to standard error.
    is_shown: bool,
    progress: Progress,
    /// One question at a time.
    turn: Mutex<()>,
}

impl Interaction for Person {
    fn pin<'a>(&'a self, plugin: &'a PluginName, prompt: &'a PinPrompt) -> Answering<'a, Option<Pin>> {
        Box::pin(async move {
            let _turn = self.turn.lock().await;
            let _quiet = self.progress.hide();
            let question = question(plugin, prompt);
            match &self.asked {
                Asked::Terminal => terminal::pin(&question).await,
                Asked::Pinentry(pinentry) => pinentry.pin(question).await,
            }
        })
    }

    fn confirm<'a>(&'a self, plugin: &'a PluginName, text: &'a str) -> Answering<'a, Option<bool>> {
        Box::pin(async move {
            let Asked::Terminal = self.asked else { return None };
            let _turn = self.turn.lock().await;
            let _quiet = self.progress.hide();
            terminal::confirm(&format!("Plugin {plugin} asks: {text} [y/N] ")).await
        })
    }

    fn touch(&self, plugin: &PluginName, text: &str) -> Box<dyn Send> {
        let quiet = self.progress.hide();
        self.show(plugin, text);
        Box::new(quiet)
    }

    fn message(&self, plugin: &PluginName, text: &str) {
        let _quiet = self.progress.hide();
        self.show(plugin, text);
    }
}

impl Person {
    fn show(&self, plugin: &PluginName, text: &str) {
        if self.is_shown {
            // Nobody who would be told that it cannot be shown.
            let _ = writeln!(std::io::stderr(), "Plugin {plugin}: {text}");
        }
    }
}

/// Says who asks: the text behind it is the plugin's.
fn question(plugin: &PluginName, prompt: &PinPrompt) -> String {
    let tries = match prompt.tries_left {
        None => String::new(),
        Some(1) => " (the last try before it locks)".to_owned(),
        Some(tries) => format!(" ({tries} tries left)"),
    };
    format!("Plugin {plugin} asks for the PIN of {}{tries}", prompt.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_names_who_asks_and_the_tries_that_are_left() {
        let ask = |tries_left| {
            question(&"x".parse().unwrap(), &PinPrompt { text: "token \"one\"".to_owned(), tries_left })
        };
        assert_eq!(ask(None), "Plugin x asks for the PIN of token \"one\"");
        assert_eq!(ask(Some(2)), "Plugin x asks for the PIN of token \"one\" (2 tries left)");
        assert!(ask(Some(1)).ends_with("(the last try before it locks)"));
    }
}
