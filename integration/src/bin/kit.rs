//! `kit`: runs the test vectors of the plugin protocol against a plugin, for the vendors of plugins.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use prokura_integration::kit::{
    Outcome, Subject, Verdict, announces_grpc, check_plugin, load, vectors_directory,
};
use prokura_plugin::vector::Transport;

/// Run the test vectors of the plugin protocol against a signing plugin.
///
/// Prints one line per rule: `ok`, `FAIL` with what was found and expected, or `skip`. The rules are those of
/// plugin-spec/SPEC.md. Exits with 0 if all were kept, with 1 if one was broken, with 2 if nothing could be told.
#[derive(Parser)]
#[command(name = "kit", version)]
struct Arguments {
    /// The plugin's executable, named notation-x
    program: PathBuf,
    /// Key id, as `prokura sign --id` takes it
    #[arg(long, value_name = "ID")]
    key_id: String,
    /// Plugin config of the key; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = entry)]
    plugin_config: Vec<(String, String)>,
    /// How to speak to the plugin
    #[arg(long, value_enum, default_value = "both")]
    transport: Over,
    /// One JSON object per line instead of text
    #[arg(long)]
    json: bool,
    /// Directory with other vectors than those of this source tree
    #[arg(long, value_name = "DIRECTORY")]
    vectors: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Over {
    Stdio,
    Grpc,
    Both,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "kit: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether every rule was kept.
fn run(arguments: &Arguments) -> Result<bool> {
    let vectors = load(&arguments.vectors.clone().unwrap_or_else(vectors_directory))?;
    let program = arguments.program.canonicalize();
    let subject = Subject {
        program: program.with_context(|| arguments.program.display().to_string())?,
        key_id: arguments.key_id.clone(),
        config: arguments.plugin_config.iter().cloned().collect(),
        environment: Vec::new(),
    };
    let mut verdicts = Vec::new();
    if arguments.transport == Over::Both && !announces_grpc(&subject)? {
        verdicts.push(Verdict {
            rule: "VER-1".to_owned(),
            vector: String::new(),
            comment: "every rule of the transport grpc".to_owned(),
            side: "grpc",
            outcome: Outcome::Skipped("the plugin does not announce TRANSPORT.GRPC.1".to_owned()),
        });
        verdicts.extend(check_plugin(&subject, &vectors, Transport::Stdio)?);
        return report(&verdicts, arguments.json);
    }
    for (transport, over) in [(Transport::Stdio, Over::Stdio), (Transport::Grpc, Over::Grpc)] {
        if arguments.transport == over || arguments.transport == Over::Both {
            verdicts.extend(check_plugin(&subject, &vectors, transport)?);
        }
    }
    report(&verdicts, arguments.json)
}

/// Prints a line for each verdict; whether every rule was kept.
fn report(verdicts: &[Verdict], json: bool) -> Result<bool> {
    let mut stdout = std::io::stdout().lock();
    for verdict in verdicts {
        match json {
            true => writeln!(stdout, "{}", as_json(verdict))?,
            false => writeln!(stdout, "{verdict}")?,
        }
    }
    let broken = count(verdicts, |outcome| matches!(outcome, Outcome::Broken(_)));
    if !json {
        let kept = count(verdicts, |outcome| *outcome == Outcome::Kept);
        let skipped = count(verdicts, |outcome| matches!(outcome, Outcome::Skipped(_)));
        writeln!(stdout, "\n{kept} kept, {broken} broken, {skipped} skipped")?;
    }
    Ok(broken == 0)
}

fn count(verdicts: &[Verdict], which: impl Fn(&Outcome) -> bool) -> usize {
    verdicts.iter().filter(|verdict| which(&verdict.outcome)).count()
}

fn as_json(verdict: &Verdict) -> serde_json::Value {
    let (result, detail) = match &verdict.outcome {
        Outcome::Kept => ("kept", None),
        Outcome::Broken(why) => ("broken", Some(why)),
        Outcome::Skipped(why) => ("skipped", Some(why)),
    };
    serde_json::json!({
        "rule": verdict.rule, "vector": verdict.vector, "comment": verdict.comment,
        "side": verdict.side, "result": result, "detail": detail,
    })
}

fn entry(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?}, expected NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}
