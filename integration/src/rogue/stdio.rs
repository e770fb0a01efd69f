//! The rogue over stdio: the SDK's own answer, then spoilt as the switch says.

use std::io::{Read as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use prokura_plugin::message::{
    Base64, DescribeKeyResponse, GenerateSignatureRequest, GenerateSignatureResponse, PluginConfig,
};
use prokura_plugin::{Digest, KeyRequest, SigningKey};
use serde::Deserialize;

use super::key::RogueKey;
use super::{Break, Told, process};

/// Long enough to be seen, short enough for every deadline of the tests.
const SLOW: Duration = Duration::from_millis(1500);
const NESTED: usize = 100_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnyRequest {
    #[serde(default)]
    plugin_config: PluginConfig,
}

/// Answers one command on stdin.
pub(super) fn answer(command: &str) -> Result<ExitCode> {
    let mut request = Vec::new();
    std::io::stdin().lock().read_to_end(&mut request)?;
    let config = serde_json::from_slice::<AnyRequest>(&request)?.plugin_config;
    let told = Told::by(&config)?;
    process::note_pid(told.pids.as_deref())?;
    if command == "get-plugin-metadata" {
        Told::remember(&config)?;
        if told.switch == Break::MetadataFlood {
            process::flood(&mut std::io::stdout());
            return Ok(ExitCode::SUCCESS);
        }
    }
    let here = command == told.at;
    if here && let Some(ended) = misbehave(&told)? {
        return Ok(ended);
    }
    let key = RogueKey::new(&told)?;
    match spoilt(command, &request, &told, &key)? {
        Ok(answer) if here => write(&dressed(answer, told.switch)),
        Ok(answer) => write(&answer),
        Err(refusal) => {
            std::io::stderr().write_all(&refusal)?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// What the switch does to the process before there is an answer; an exit code if there is to be none.
fn misbehave(told: &Told) -> Result<Option<ExitCode>> {
    match told.switch {
        Break::Dies => return Ok(Some(ExitCode::FAILURE)),
        Break::DiesBySignal => process::die_by_signal()?,
        Break::Hangs => process::hang(),
        Break::HangsWithGrandchild => {
            process::leave_child(told.pids.as_deref())?;
            process::hang()
        }
        Break::LeavesGrandchild => process::leave_child(told.pids.as_deref())?,
        Break::SlowStart => std::thread::sleep(SLOW),
        Break::FloodsStdout => {
            process::flood(&mut std::io::stdout());
            return Ok(Some(ExitCode::SUCCESS));
        }
        Break::FloodsStderr => {
            process::flood(&mut std::io::stderr());
            return Ok(Some(ExitCode::FAILURE));
        }
        Break::LeakedCredentials => process::check_surroundings()?,
        Break::EmptyAnswer => return Ok(Some(ExitCode::SUCCESS)),
        Break::NotJson => return write(b"<html>502 Bad Gateway</html>").map(Some),
        Break::NotJsonError => {
            std::io::stderr().write_all(b"Traceback (most recent call last):\n  vault.py, line 1\n")?;
            return Ok(Some(ExitCode::FAILURE));
        }
        Break::UnknownErrorCode | Break::EscapesInError | Break::EmptyError => {
            std::io::stderr().write_all(refusal(told.switch).as_bytes())?;
            return Ok(Some(ExitCode::FAILURE));
        }
        _ => {}
    }
    Ok(None)
}

/// The code and the message of the switches that refuse.
pub(super) fn refusal_parts(switch: Break) -> Option<(&'static str, &'static str)> {
    match switch {
        Break::UnknownErrorCode => Some(("QUOTA_OF_MOONS_EXCEEDED", "the vault is out of moons")),
        Break::EscapesInError => Some(("ACCESS_DENIED", "no \u{1b}[31mred\u{1b}[0m \u{7}key\r\nfor you")),
        Break::EmptyError => Some(("", "")),
        _ => None,
    }
}

fn refusal(switch: Break) -> String {
    match refusal_parts(switch) {
        Some(("", "")) | None => "{}".to_owned(),
        Some((code, message)) => serde_json::json!({"errorCode": code, "errorMessage": message}).to_string(),
    }
}

/// The answer with the fault of the switch in it, or the refusal of the SDK.
fn spoilt(command: &str, request: &[u8], told: &Told, key: &RogueKey) -> Result<Result<Vec<u8>, Vec<u8>>> {
    let (chain, spec, algorithm) = (key.sent_chain(), key.told_spec(), key.told_algorithm());
    let signature = match command {
        "generate-signature" => sent_signature(&believed(command, request, told, key)?, key)?,
        _ => Vec::new(),
    };
    let honest = Told { switch: Break::Nothing, ..told.clone() };
    // The SDK refuses to send most of the faults: it answers for a faultless key, the faults are put in afterwards.
    let faultless =
        std::sync::Mutex::new(Some(RogueKey::new(&Told { spec: key.public_key().spec(), ..honest })?));
    let open_key = move |_: &KeyRequest| {
        let key = faultless.lock().ok().and_then(|mut key| key.take());
        key.map(|key| Box::new(key) as Box<dyn SigningKey>)
            .ok_or_else(|| prokura_plugin::Error::internal("opened twice"))
    };
    let request = &believed(command, request, told, key)?;
    let answer = match prokura_plugin::stdio::answer(command, request, &told.metadata(), &open_key) {
        Ok(answer) => answer,
        Err(refusal) => return Ok(Err(serde_json::to_vec(&refusal)?)),
    };
    Ok(Ok(match command {
        "describe-key" => {
            let mut answer: DescribeKeyResponse = serde_json::from_slice(&answer)?;
            answer.key_spec = spec.to_owned();
            if told.switch == Break::OtherKeyIdDescribed {
                answer.key_id.push_str("-of-somebody-else");
            }
            serde_json::to_vec(&answer)?
        }
        "generate-signature" => {
            let mut answer: GenerateSignatureResponse = serde_json::from_slice(&answer)?;
            answer.signature = Base64(signature);
            answer.signing_algorithm = algorithm.to_owned();
            answer.certificate_chain = chain.into_iter().map(Base64).collect();
            if told.switch == Break::OtherKeyId {
                answer.key_id.push_str("-of-somebody-else");
            }
            serde_json::to_vec(&answer)?
        }
        _ => answer,
    }))
}

/// A host that was told the wrong key spec asks for that; the SDK is asked for the one there is.
fn believed(command: &str, request: &[u8], told: &Told, key: &RogueKey) -> Result<Vec<u8>> {
    if command != "generate-signature" || told.switch != Break::WrongKeySpec {
        return Ok(request.to_vec());
    }
    let spec = key.public_key().spec();
    let mut request: GenerateSignatureRequest = serde_json::from_slice(request)?;
    request.key_spec = spec.to_string();
    request.hash_algorithm = spec.hash_algorithm().to_string();
    Ok(serde_json::to_vec(&request)?)
}

fn sent_signature(request: &[u8], key: &RogueKey) -> Result<Vec<u8>> {
    let request: GenerateSignatureRequest = serde_json::from_slice(request)?;
    match request.hash_algorithm.parse() {
        Ok(hash) => key.sent_signature(&Digest::of(hash, &request.payload.0)),
        // The SDK refuses it in a moment.
        Err(_) => Ok(Vec::new()),
    }
}

/// What the switch does to the text of a good answer.
fn dressed(answer: Vec<u8>, switch: Break) -> Vec<u8> {
    let opened = |member: String| {
        let rest = answer.get(1..).unwrap_or_default();
        [b"{", member.as_bytes(), b",", rest].concat()
    };
    match switch {
        Break::Banner => [b"Connecting to the vault ...\n", answer.as_slice()].concat(),
        Break::TrailingText => [answer.as_slice(), b"\nDone in 12 ms.\n"].concat(),
        Break::DuplicateMember => opened(r#""keyId":"of-somebody-else""#.to_owned()),
        Break::DepthBomb => {
            format!(r#"{{"keyId":{}{}}}"#, "[".repeat(NESTED), "]".repeat(NESTED)).into_bytes()
        }
        _ => answer,
    }
}

fn write(answer: &[u8]) -> Result<ExitCode> {
    let mut stdout = std::io::stdout();
    stdout.write_all(answer).context("stdout")?;
    stdout.flush()?;
    Ok(ExitCode::SUCCESS)
}
