//! Calls that a plugin announces one by one: streams of signatures, lists of keys, new keys, certificates, questions.
//!
//! Nothing here changes the vault: keys are not made and certificates not stored, what must be refused is.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use prokura_plugin::message::capability;
use prokura_plugin::{ErrorCode, KeyId, KeySpec};
use prokura_proto::plugin::v1 as wire;
use prokura_proto::plugin::v1::list_keys_response::Found;
use prokura_proto::plugin::v1::sign_digests_response::Outcome as Signed;
use tokio_stream::StreamExt as _;

use super::plugin::{describe, refused_call};
use super::socket::{Client, Serving};
use super::{Outcome, Subject, Verdict, outcome, properties};

/// How many digests are signed over one stream.
const STREAMED: u64 = 8;
/// How many listed keys are described again.
const DESCRIBED_AGAIN: usize = 4;

/// A rule, what is tried, the capability it belongs to, and the test.
type Case = (&'static str, &'static str, &'static str, fn(&Serving, &Subject, KeySpec) -> Result<()>);

const CASES: [Case; 7] = [
    ("STREAM-1", "many digests over one stream, one of them refused", capability::SIGN_STREAM_1, stream),
    ("STREAM-2", "a stream without requests ends with OK", capability::SIGN_STREAM_1, empty_stream),
    ("LIST-1", "the listed ids name the listed keys", capability::KEY_LIST_1, list),
    ("CREATE-4", "a key of no key spec, and one without a name", capability::KEY_CREATE_1, create_nonsense),
    ("INSTALL-1", "what is no certificate", capability::CERTIFICATE_INSTALL_1, install_nonsense),
    ("ASK-2", "a second Interact while one is open", capability::INTERACTION_1, interact_twice),
    ("VER-1", "calls that are not announced", "", unannounced),
];

/// A verdict per rule; a skip for each capability that is not announced.
pub(super) fn of_vault(serving: &Serving, subject: &Subject, spec: KeySpec) -> Vec<Verdict> {
    let announced = capabilities(serving);
    let judge = |(rule, comment, capability, test): Case| {
        let outcome = match capability.is_empty() || announced.contains(capability) {
            true => outcome(test(serving, subject, spec)),
            false => Outcome::Skipped(format!("the plugin does not announce {capability}")),
        };
        let (rule, comment) = (rule.to_owned(), comment.to_owned());
        Verdict { vector: format!("call-{}", rule.to_lowercase()), rule, comment, side: "grpc", outcome }
    };
    CASES.into_iter().map(judge).collect()
}

fn capabilities(serving: &Serving) -> BTreeSet<String> {
    let call = async |mut client: Client| client.get_metadata(wire::GetMetadataRequest {}).await;
    serving.call(call).map(|metadata| metadata.capabilities.into_iter().collect()).unwrap_or_default()
}

fn reference(subject: &Subject) -> wire::KeyReference {
    wire::KeyReference { key_id: subject.key_id.clone(), plugin_config: subject.config.0.clone() }
}

fn stream(serving: &Serving, subject: &Subject, spec: KeySpec) -> Result<()> {
    let whole = prokura_plugin::Digest::of(spec.hash_algorithm(), super::PAYLOAD);
    let refused = STREAMED / 2;
    let request = |id| {
        let request = wire::SignDigestRequest {
            key: Some(reference(subject)),
            key_spec: spec.as_str().to_owned(),
            hash_algorithm: spec.hash_algorithm().as_str().to_owned(),
            digest: if id == refused { vec![7] } else { whole.bytes().to_vec() },
            to_be_signed: Vec::new(),
        };
        wire::SignDigestsRequest { id, request: Some(request) }
    };
    let answers = streamed(serving, (0..STREAMED).map(request).collect())?;
    let ids: BTreeSet<u64> = answers.iter().map(|answer| answer.id).collect();
    let counts = (answers.len(), ids.len());
    ensure!(
        counts == (STREAMED as usize, STREAMED as usize),
        "answers and different ids: {counts:?} of {STREAMED}"
    );
    let described = describe(serving, subject)?;
    for answer in answers {
        match (answer.outcome, answer.id == refused) {
            (Some(Signed::Signed(signed)), false) => {
                properties::of_signature(&signed, &described, subject, spec)?;
            }
            (Some(Signed::Error(error)), true) => {
                let code = error.code;
                ensure!(code == ErrorCode::ValidationError.as_str(), "a digest of one byte: {code}");
            }
            (other, _) => bail!("request {} has the outcome {other:?}", answer.id),
        }
    }
    Ok(())
}

fn empty_stream(serving: &Serving, _: &Subject, _: KeySpec) -> Result<()> {
    let answers = streamed(serving, Vec::new())?;
    ensure!(answers.is_empty(), "{} answers to no request", answers.len());
    Ok(())
}

fn streamed(
    serving: &Serving,
    requests: Vec<wire::SignDigestsRequest>,
) -> Result<Vec<wire::SignDigestsResponse>> {
    let call = async |mut client: Client| {
        let answers = client.sign_digests(tokio_stream::iter(requests)).await?.into_inner();
        Ok(tonic::Response::new(answers.collect::<Result<Vec<_>, _>>().await?))
    };
    serving.call(call).map_err(told)
}

#[expect(clippy::needless_pass_by_value, reason = "map_err passes it")]
fn told(status: tonic::Status) -> anyhow::Error {
    anyhow!("{:?}: {}", status.code(), status.message())
}

fn list(serving: &Serving, subject: &Subject, _: KeySpec) -> Result<()> {
    let config = subject.config.0.clone();
    let call = async |mut client: Client| {
        let keys = client.list_keys(wire::ListKeysRequest { plugin_config: config }).await?.into_inner();
        Ok(tonic::Response::new(keys.collect::<Result<Vec<_>, _>>().await?))
    };
    let listed = serving.call(call).map_err(told)?.into_iter().filter_map(|answer| match answer.found {
        Some(Found::Key(key)) => Some(key),
        _ => None,
    });
    let keys: Vec<wire::DescribeKeyResponse> = listed.collect();
    let ids: BTreeSet<&str> = keys.iter().map(|key| key.key_id.as_str()).collect();
    ensure!(ids.len() == keys.len(), "{} keys are listed under {} ids", keys.len(), ids.len());
    for key in &keys {
        KeyId::new(key.key_id.clone()).map_err(|error| anyhow!("a listed key: {}", error.message))?;
    }
    let described = describe(serving, subject)?;
    let listed = keys.iter().any(|key| key.public_key == described.public_key);
    ensure!(listed, "the key of the test is not among the {} that are listed", keys.len());
    // Of a key that cannot be used there may be nothing to describe (LIST-5).
    for key in keys.into_iter().filter(|key| !key.public_key.is_empty()).take(DESCRIBED_AGAIN) {
        let named = Subject { key_id: key.key_id.clone(), ..subject.clone() };
        let again = describe(serving, &named).with_context(|| format!("listed key {}", key.key_id))?;
        ensure!(again.public_key == key.public_key, "listed id {} names another key", key.key_id);
    }
    Ok(())
}

fn create_nonsense(serving: &Serving, subject: &Subject, _: KeySpec) -> Result<()> {
    for (name, key_spec) in [("prokura-kit", "RSA-1024"), ("", "EC-256"), ("a\nb", "EC-256")] {
        let request = wire::CreateKeyRequest {
            plugin_config: subject.config.0.clone(),
            name: name.to_owned(),
            key_spec: key_spec.to_owned(),
        };
        let call = async |mut client: Client| client.create_key(request).await;
        match serving.call(call) {
            Ok(_) => bail!("a {key_spec} key called {name:?} was made"),
            Err(status) => refused_call(&status, ErrorCode::ValidationError)?,
        }
    }
    Ok(())
}

fn install_nonsense(serving: &Serving, subject: &Subject, _: KeySpec) -> Result<()> {
    for certificate_chain in [vec![], vec![vec![0x30, 0]]] {
        let request = wire::InstallCertificateRequest { key: Some(reference(subject)), certificate_chain };
        let call = async |mut client: Client| client.install_certificate(request).await;
        match serving.call(call) {
            Ok(_) => bail!("it was installed"),
            Err(status) => refused_call(&status, ErrorCode::ValidationError)?,
        }
    }
    Ok(())
}

fn interact_twice(serving: &Serving, _: &Subject, _: KeySpec) -> Result<()> {
    let call = async |mut client: Client| {
        let hello = || tokio_stream::once(wire::InteractResponse::default()).chain(tokio_stream::pending());
        let first = client.interact(hello()).await?;
        let second = client.interact(hello()).await;
        drop(first);
        Ok(tonic::Response::new(second.map(|_| ())))
    };
    match serving.call(call).map_err(told)? {
        Err(status) => refused_call(&status, ErrorCode::ValidationError),
        Ok(()) => bail!("both were opened"),
    }
}

/// Whatever is not announced is refused, and not with an answer.
fn unannounced(serving: &Serving, subject: &Subject, _: KeySpec) -> Result<()> {
    let announced = capabilities(serving);
    if !announced.contains(capability::KEY_LIST_1) {
        let request = wire::ListKeysRequest { plugin_config: subject.config.0.clone() };
        let call =
            async |mut client: Client| client.list_keys(request).await.map(|_| tonic::Response::new(()));
        ensure!(serving.call(call).is_err(), "ListKeys answers although KEY_LIST.1 is not announced");
    }
    if !announced.contains(capability::CERTIFICATE_INSTALL_1) {
        let key = Some(reference(subject));
        let request = wire::InstallCertificateRequest { key, certificate_chain: vec![] };
        let call = async |mut client: Client| client.install_certificate(request).await;
        ensure!(serving.call(call).is_err(), "InstallCertificate answers although it is not announced");
    }
    Ok(())
}
