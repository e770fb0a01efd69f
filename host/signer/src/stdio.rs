//! Contract 1.0 over stdio: one process per command, one JSON document each way.
//!
//! Source: Notary Project "plugin-extensibility", "Plugin contract". The request is one line without a newline: plugins
//! exist that read exactly one line. Any failure status may come with an error object on stderr, as notation has it;
//! the specification knows only status 1.

use std::time::{Duration, Instant};

use prokura_plugin::PluginName;
use prokura_plugin::message::Command;
use serde::Serialize;

use crate::checks;
use crate::child::{self, Output, Program};
use crate::error::{Error, Violation};
use crate::text;

/// Runs one command and hands its answer to `read`.
///
/// # Errors
/// Those of [`child::run`]; `Refused` for an error object of the plugin, `Died` for a failure without one, `Malformed`
/// if `read` refuses the answer.
pub(crate) async fn call<T>(
    program: &Program,
    command: Command,
    request: &impl Serialize,
    limit: Duration,
    read: impl FnOnce(&[u8]) -> Result<T, Violation>,
) -> Result<T, Error> {
    let (plugin, call) = (program.executable.name(), command.as_str());
    let input = serde_json::to_vec(request).map_err(|e| Error::InvalidRequest(e.to_string()))?;
    let begun = Instant::now();
    let output = child::run(program, call, &input, limit).await;
    let (took_ms, ok) = (begun.elapsed().as_millis(), output.as_ref().is_ok_and(|o| o.status.success()));
    tracing::debug!(%plugin, transport = "stdio", call, took_ms, ok, "plugin call");
    let output = output?;
    if output.status.success() {
        return read(&output.stdout).map_err(|violation| violation.by(plugin, call));
    }
    Err(failure(plugin, call, &output))
}

/// What a failure status means. A plugin that was killed cannot have meant what it wrote.
fn failure(plugin: &PluginName, call: &'static str, output: &Output) -> Error {
    let plugin = plugin.clone();
    match checks::refusal(&output.stderr) {
        Some(refusal) if output.status.code().is_some() => refusal.of(&plugin, call),
        _ => Error::Died {
            plugin,
            call,
            status: output.status_name(),
            stderr: text::cleaned_bytes(&output.stderr),
        },
    }
}
