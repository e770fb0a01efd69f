//! The person in front of the host, whom plugins ask for PINs and touches; whoever links this crate knows how.
//!
//! Texts come from a plugin and are cleaned and cut before they are handed on here. A question ends when its future is
//! dropped: the plugin took it back, ended, or the host stops.

use std::pin::Pin;

use prokura_plugin::{PinPrompt, PluginName};

/// What an answer is waited for with.
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How questions reach a person.
///
/// A plugin may ask several at once, and they may be of several plugins: whoever shows them shows one after the other.
pub trait Interaction: Send + Sync + 'static {
    /// Asks for a PIN and nothing else: the answer must come from the person (SPEC ASK-6). `None` if the person declined
    /// or cannot be asked.
    fn pin<'a>(
        &'a self,
        plugin: &'a PluginName,
        prompt: &'a PinPrompt,
    ) -> Answering<'a, Option<prokura_plugin::Pin>>;

    /// Asks yes or no. `None` if the person cannot be asked.
    fn confirm<'a>(&'a self, plugin: &'a PluginName, text: &'a str) -> Answering<'a, Option<bool>>;

    /// Says that a device must be touched, until the returned value is dropped.
    fn touch(&self, plugin: &PluginName, text: &str) -> Box<dyn Send>;

    /// Says something.
    fn message(&self, plugin: &PluginName, text: &str);
}
