//! `prokurad audit`: reads the log, beside a running broker or without one.

use std::path::PathBuf;
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prokura_broker::audit::{LogKey, Reader, Receipt, Report, Verifier, verify};
use prokura_broker::config::Config;
use serde_json::{Value, json};

use crate::command::{Audit, LogPlace, Output};
use crate::output::{self, Exit};

type Failure = (Exit, Box<dyn std::error::Error>);

pub(crate) fn run(command: &Audit) -> ExitCode {
    let done = match command {
        Audit::Verify { log, output } => verified(log, *output),
        Audit::Show { log, index } => show(log, *index),
        Audit::Export { log, from } => export(log, *from),
        Audit::Prove { log, index } => prove(log, *index),
        Audit::Key { log } => place(log).map(|(_, verifier)| {
            output::line(&verifier.to_string());
            ExitCode::SUCCESS
        }),
    };
    done.unwrap_or_else(|(exit, error)| output::failed(exit, error.as_ref()))
}

fn verified(log: &LogPlace, output: Output) -> Result<ExitCode, Failure> {
    let (directory, verifier) = place(log)?;
    let report = verify(&directory, &verifier).map_err(|error| (Exit::Refused, error.into()))?;
    match output {
        Output::Json => output::line(&to_json(&report).to_string()),
        Output::Text => to_text(&report),
    };
    Ok(if report.problems.is_empty() { ExitCode::SUCCESS } else { Exit::Refused.into() })
}

fn to_text(report: &Report) -> bool {
    for problem in &report.problems {
        output::line(&format!("error: {problem}"));
    }
    let Report { size, intents, outcomes, open, live, unpublished, problems, .. } = report;
    let state = if *live { "a broker has it open" } else { "no broker has it open" };
    output::line(&format!(
        "entries: {size}, intents: {intents}, outcomes: {outcomes}, intents without an outcome: {}, not yet published: \
         {unpublished}; {state}",
        open.len()
    ));
    output::line(if problems.is_empty() { "the log verifies" } else { "the log does not verify" })
}

fn to_json(report: &Report) -> Value {
    let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    json!({
        "size": report.size, "root": STANDARD.encode(report.root), "intents": report.intents,
        "outcomes": report.outcomes, "open": report.open.len(), "live": report.live,
        "unpublished": report.unpublished, "problems": problems, "valid": report.problems.is_empty(),
    })
}

fn show(log: &LogPlace, index: u64) -> Result<ExitCode, Failure> {
    let receipt = proven(log, index)?;
    let record: Value = serde_json::from_slice(&receipt.entry).map_err(refused)?;
    output::line(&format!("{:#}", json!({ "index": index, "record": record })));
    Ok(ExitCode::SUCCESS)
}

fn export(log: &LogPlace, from: u64) -> Result<ExitCode, Failure> {
    let (directory, verifier) = place(log)?;
    let reader = Reader::open(&directory, &verifier).map_err(refused)?;
    for entry in reader.entries(from) {
        if !output::line(&entry.map_err(refused)?.json_line()) {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn prove(log: &LogPlace, index: u64) -> Result<ExitCode, Failure> {
    let Receipt { index, entry, proof, checkpoint } = proven(log, index)?;
    let proof: Vec<String> = proof.iter().map(|hash| STANDARD.encode(hash)).collect();
    output::line(
        &json!({ "index": index, "entry": STANDARD.encode(entry), "proof": proof, "checkpoint": checkpoint })
            .to_string(),
    );
    Ok(ExitCode::SUCCESS)
}

fn proven(log: &LogPlace, index: u64) -> Result<Receipt, Failure> {
    let (directory, verifier) = place(log)?;
    Reader::open(&directory, &verifier).and_then(|reader| reader.prove(index, &verifier)).map_err(refused)
}

fn refused(error: impl std::error::Error + 'static) -> Failure {
    (Exit::Refused, error.into())
}

/// The directory and the key to verify with. Never makes a key: that is for `prokurad run`.
fn place(log: &LogPlace) -> Result<(PathBuf, Verifier), Failure> {
    let usage = |error: Box<dyn std::error::Error>| (Exit::Usage, error);
    if let (Some(directory), Some(verifier)) = (&log.log, &log.verifier) {
        return Ok((directory.clone(), verifier.parse().map_err(|error| usage(Box::new(error) as _))?));
    }
    let audit = Config::read(&log.config).map_err(|error| usage(error.into()))?.audit;
    audit.key.symlink_metadata().map_err(|error| {
        usage(
            format!("the log's key {} cannot be read: {error}; start the broker once", audit.key.display())
                .into(),
        )
    })?;
    let key = LogKey::open(&audit.key, &audit.name).map_err(|error| usage(error.into()))?;
    Ok((audit.directory, key.verifier().clone()))
}
