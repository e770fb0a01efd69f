//! Vectors for plugins: a request goes in, what comes out must keep the rule.

use anyhow::{Context as _, Result, ensure};
use prokura_plugin::message::{CONTRACT_VERSION, DescribeKeyRequest, ErrorResponse, MetadataRequest};
use prokura_plugin::vector::{Expect, Values, Vector, grpc};
use prokura_plugin::{ErrorCode, KeyId, KeySpec};
use prokura_proto::plugin::v1::{DescribeKeyRequest as WireDescribeKey, GetMetadataRequest, KeyReference};
use prokura_signer::checks;

use super::socket::Serving;
use super::stdio::{Answer, run};
use super::{
    Outcome, PAYLOAD, Subject, Verdict, outcome, properties, skipped_capability, skipped_spec, vault, verdict,
};

/// The spec of the subject's key, as it describes it itself. Begins as every host does, by asking who it is.
pub(super) fn key_spec(subject: &Subject) -> Result<KeySpec> {
    let metadata = MetadataRequest { plugin_config: subject.config.clone() };
    // The vectors judge the answer.
    run(subject, &["get-plugin-metadata"], &serde_json::to_vec(&metadata)?)?;
    let request = DescribeKeyRequest {
        contract_version: CONTRACT_VERSION.to_owned(),
        key_id: subject.key_id.clone(),
        plugin_config: subject.config.clone(),
    };
    let answer = run(subject, &["describe-key"], &serde_json::to_vec(&request)?)?;
    let said = String::from_utf8_lossy(&answer.stderr).into_owned();
    ensure!(answer.code == Some(0), "it ended with {:?} and said {said:?}", answer.code);
    Ok(checks::describe_key(&answer.stdout, &KeyId::new(&subject.key_id)?)?)
}

/// One vector over stdio.
pub(super) fn over_stdio(subject: &Subject, vector: &Vector, spec: KeySpec) -> Verdict {
    let judged = skipped_spec(vector, spec).unwrap_or_else(|| {
        outcome(filled(subject, vector, spec).and_then(|body| {
            let answer = run(subject, &[&vector.command], &body)?;
            match &vector.expect {
                Expect::Success => succeeded(&answer, subject, vector, &body, spec),
                Expect::Error(code) => refused(&answer, *code),
                Expect::Refused(rule) => anyhow::bail!("a plugin refuses no rule, found {rule}"),
            }
        }))
    });
    verdict(vector, "stdio", judged)
}

/// Several vectors over one gRPC connection, and how the process behaves around them.
pub(super) fn over_grpc<'a>(
    subject: &Subject,
    vectors: impl Iterator<Item = &'a Vector>,
    spec: KeySpec,
) -> Vec<Verdict> {
    match Serving::start(subject) {
        Err(error) => {
            let why = format!("it does not serve: {error:#}");
            vectors.map(|v| verdict(v, "grpc", Outcome::Broken(why.clone()))).collect()
        }
        Ok(serving) => {
            let announced = announced(&serving);
            let judge = |vector: &Vector| {
                skipped_spec(vector, spec)
                    .or_else(|| skipped_capability(vector, &announced))
                    .unwrap_or_else(|| outcome(call(&serving, subject, vector, spec)))
            };
            let mut verdicts: Vec<Verdict> = vectors.map(|v| verdict(v, "grpc", judge(v))).collect();
            verdicts.extend(vault::of_vault(&serving, subject, spec));
            verdicts.extend(properties::of_process(serving));
            verdicts
        }
    }
}

/// What it announces over gRPC; the vectors judge the answer.
fn announced(serving: &Serving) -> Vec<String> {
    let call = async |mut client: super::socket::Client| client.get_metadata(GetMetadataRequest {}).await;
    serving.call(call).map(|metadata| metadata.capabilities).unwrap_or_default()
}

fn filled(subject: &Subject, vector: &Vector, spec: KeySpec) -> Result<Vec<u8>> {
    let values = Values::new(&subject.key_id, &subject.config, spec, PAYLOAD);
    Ok(vector.fill(&values)?)
}

fn succeeded(
    answer: &Answer,
    subject: &Subject,
    vector: &Vector,
    request: &[u8],
    spec: KeySpec,
) -> Result<()> {
    let said = String::from_utf8_lossy(&answer.stderr);
    ensure!(answer.code == Some(0), "it ended with {:?}, expected 0; it said {said:?}", answer.code);
    properties::of_answer(&vector.command, &answer.stdout, subject, request, spec)
}

fn refused(answer: &Answer, code: ErrorCode) -> Result<()> {
    ensure!(answer.code == Some(1), "it ended with {:?}, expected 1", answer.code);
    ensure!(answer.stdout.is_empty(), "it wrote {} bytes to stdout besides the error", answer.stdout.len());
    let said = String::from_utf8_lossy(&answer.stderr);
    let error: ErrorResponse = prokura_plugin::json::read_object(&answer.stderr)
        .map_err(|why| anyhow::anyhow!("stderr is {said:?}, expected one JSON object: {why}"))?;
    is_code(&error.error_code, code, &error.error_message)
}

fn is_code(found: &str, expected: ErrorCode, message: &str) -> Result<()> {
    ensure!(found == expected.as_str(), "it refused with {found} ({message:?}), expected {expected}");
    ensure!(!message.is_empty(), "the error has no message, expected what was wrong");
    let control = message.chars().find(|c| c.is_control());
    ensure!(control.is_none(), "the message holds the control character {control:?}");
    Ok(())
}

fn call(serving: &Serving, subject: &Subject, vector: &Vector, spec: KeySpec) -> Result<()> {
    let body = filled(subject, vector, spec)?;
    let malformed = |why: String| anyhow::anyhow!("the vector is malformed: {why}");
    let name = subject.name()?;
    let status = match vector.command.as_str() {
        "GetMetadata" => {
            let call =
                async |mut client: super::socket::Client| client.get_metadata(GetMetadataRequest {}).await;
            match serving.call(call) {
                Ok(answer) => return meant(&vector.expect, || properties::of_metadata(answer, name)),
                Err(status) => status,
            }
        }
        "DescribeKey" => {
            let request = grpc::describe_key(&body).map_err(malformed)?;
            let call = async |mut client: super::socket::Client| client.describe_key(request).await;
            match serving.call(call) {
                Ok(answer) => {
                    return meant(&vector.expect, || properties::of_description(&answer, subject, spec));
                }
                Err(status) => status,
            }
        }
        "SignDigest" => {
            let request = grpc::sign_digest(&body).map_err(malformed)?;
            let call = async |mut client: super::socket::Client| client.sign_digest(request).await;
            match serving.call(call) {
                Ok(answer) => {
                    let described = describe(serving, subject)?;
                    return meant(&vector.expect, || {
                        properties::of_signature(&answer, &described, subject, spec)
                    });
                }
                Err(status) => status,
            }
        }
        other => anyhow::bail!("the kit knows no method {other:?}"),
    };
    match &vector.expect {
        Expect::Error(code) => refused_call(&status, *code),
        _ => {
            anyhow::bail!("it refused with {:?} ({:?}), expected an answer", status.code(), status.message())
        }
    }
}

/// What the key is, described again: the leaf for a signature comes with the description.
pub(super) fn describe(
    serving: &Serving,
    subject: &Subject,
) -> Result<prokura_proto::plugin::v1::DescribeKeyResponse> {
    let key = KeyReference { key_id: subject.key_id.clone(), plugin_config: subject.config.0.clone() };
    let request = WireDescribeKey { key: Some(key) };
    let call = async |mut client: super::socket::Client| client.describe_key(request).await;
    serving.call(call).map_err(|status| anyhow::anyhow!("DescribeKey: {}", status.message()))
}

fn meant(expect: &Expect, check: impl FnOnce() -> Result<()>) -> Result<()> {
    match expect {
        Expect::Success => check(),
        Expect::Error(code) => anyhow::bail!("it answered, expected the error {code}"),
        Expect::Refused(rule) => anyhow::bail!("a plugin refuses no rule, found {rule}"),
    }
}

pub(super) fn refused_call(status: &tonic::Status, code: ErrorCode) -> Result<()> {
    let expected = prokura_plugin::grpc::status_code(code);
    ensure!(status.code() == expected, "the status is {:?}, expected {expected:?}", status.code());
    let details = prost::Message::decode(status.details()).context("the details are no Error message")?;
    let prokura_proto::plugin::v1::Error { code: found, message, .. } = details;
    is_code(&found, code, &message)
}
