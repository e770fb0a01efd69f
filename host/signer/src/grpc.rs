//! `prokura.plugin.v1` over a UNIX socket: one process for many signatures. Deadlines travel as `grpc-timeout`.

mod process;
mod status;
mod vault;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prokura_plugin::grpc::details_from_wire;
use prokura_plugin::limits::GRPC_MESSAGE_BYTES_MAX;
use prokura_plugin::{
    CertificateChain, Digest, KeyDetails, KeySpec, PluginName, PublicKey, SigningAlgorithm,
};
use prokura_proto::plugin::v1 as wire;
use prokura_proto::plugin::v1::plugin_client::PluginClient;
use tonic::transport::Channel;

use crate::checks::{check_algorithm, check_echo, check_encoding, check_key_spec};
use crate::child::Program;
use crate::error::{Error, Violation};
use crate::plugin::KeyReference;
use crate::sign::{DigestSignature, KeyDescription};
use crate::text::cleaned;
use process::Process;

/// Name of the method in errors.
pub(crate) const DESCRIBE_KEY: &str = "DescribeKey";
/// Name of the method in errors.
pub(crate) const SIGN_DIGEST: &str = "SignDigest";

/// A plugin that serves. Calls run in parallel. Dropping it stops the process in the background.
pub(crate) struct Serving {
    plugin: PluginName,
    client: PluginClient<Channel>,
    process: Option<Process>,
    /// A call ran into its deadline: the process may hang and is not used for new calls.
    is_retired: AtomicBool,
}

impl Serving {
    /// Starts `notation-x serve --socket PATH`, waits for its ready line and connects.
    pub(crate) async fn start(program: &Program, limit: Duration) -> Result<Self, Error> {
        let (process, channel) = process::start(program, limit).await?;
        let client = PluginClient::new(channel)
            .max_decoding_message_size(GRPC_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(GRPC_MESSAGE_BYTES_MAX);
        let plugin = program.executable.name().clone();
        Ok(Self { plugin, client, process: Some(process), is_retired: AtomicBool::new(false) })
    }

    /// Whether new calls may use it.
    pub(crate) fn is_alive(&self) -> bool {
        let has_exited = self.process.as_ref().is_none_or(|process| process.exit_name().is_some());
        !has_exited && !self.is_retired.load(Ordering::Relaxed)
    }

    /// Stops the process and waits for its end.
    pub(crate) async fn stop(mut self) {
        if let Some(process) = self.process.take() {
            drop(self);
            process.stop().await;
        }
    }

    pub(crate) async fn describe_key(
        &self,
        key: &KeyReference,
        limit: Duration,
    ) -> Result<KeyDescription, Error> {
        let request = wire::DescribeKeyRequest { key: Some(reference(key)) };
        check_size(&request)?;
        let mut client = self.client.clone();
        let answer = self
            .call(DESCRIBE_KEY, limit, async move { client.describe_key(timed(request, limit)).await })
            .await?;
        described(answer, key).map_err(|violation| violation.by(&self.plugin, DESCRIBE_KEY))
    }

    pub(crate) async fn sign_digest(
        &self,
        key: &KeyReference,
        spec: KeySpec,
        digest: &Digest,
        limit: Duration,
    ) -> Result<DigestSignature, Error> {
        let request = wire::SignDigestRequest {
            key: Some(reference(key)),
            key_spec: spec.as_str().to_owned(),
            hash_algorithm: digest.algorithm().as_str().to_owned(),
            digest: digest.bytes().to_vec(),
        };
        check_size(&request)?;
        let mut client = self.client.clone();
        let answer = self
            .call(SIGN_DIGEST, limit, async move { client.sign_digest(timed(request, limit)).await })
            .await?;
        match signed(answer, key, spec) {
            Ok(Ok(signature)) => Ok(signature),
            Ok(Err(other)) => Err(Error::KeyChanged {
                plugin: self.plugin.clone(),
                key_id: key.key_id().to_string(),
                described_by: DESCRIBE_KEY,
                signed_by: SIGN_DIGEST,
                described: spec,
                signed: other,
            }),
            Err(violation) => Err(violation.by(&self.plugin, SIGN_DIGEST)),
        }
    }

    async fn call<T>(
        &self,
        call: &'static str,
        limit: Duration,
        answer: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, Error> {
        let status = match tokio::time::timeout(limit, answer).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) if !status::is_own_timeout(&status) => status,
            Ok(Err(_)) | Err(_) => {
                self.is_retired.store(true, Ordering::Relaxed);
                return Err(Error::TooSlow { plugin: self.plugin.clone(), call, limit });
            }
        };
        if let Some(refused) = status::refused(&self.plugin, call, &status) {
            return Err(refused);
        }
        // The connection breaks a moment before the end of the process can be seen.
        if let Some(process) = &self.process
            && let Some(died) = process.died(&self.plugin, call).await
        {
            return Err(died);
        }
        Err(status::broken(&self.plugin, call, &status))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let (Some(process), Ok(runtime)) = (self.process.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(process.stop());
        }
    }
}

fn reference(key: &KeyReference) -> wire::KeyReference {
    wire::KeyReference {
        key_id: key.key_id().to_string(),
        plugin_config: key.plugin_config().0.clone().into_iter().collect(),
    }
}

fn check_size(request: &impl prost::Message) -> Result<(), Error> {
    let found = request.encoded_len();
    if found <= GRPC_MESSAGE_BYTES_MAX {
        return Ok(());
    }
    Err(Error::InvalidRequest(format!(
        "key id and plugin config have {found} bytes, at most {GRPC_MESSAGE_BYTES_MAX} are allowed"
    )))
}

fn timed<T>(message: T, limit: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(limit);
    request
}

fn described(answer: wire::DescribeKeyResponse, key: &KeyReference) -> Result<KeyDescription, Violation> {
    check_echo("KEY-1", &answer.key_id, key.key_id())?;
    let key_spec = check_key_spec(&answer.key_spec)?;
    let public_key = public_key("GRPC-3", &answer.public_key)?;
    if public_key.spec() != key_spec {
        let message =
            format!("public_key is an {} key, expected the {key_spec} of key_spec", public_key.spec());
        return Err(Violation::new("GRPC-3", message));
    }
    let chain = CertificateChain::from_der(answer.certificate_chain)
        .map_err(|e| Violation::new("GRPC-4", format!("certificate_chain: {e}")))?;
    let details = details_from_wire(answer.details).map_err(|problem| Violation::new("KEY-3", problem))?;
    let details = cleaned_details(details);
    Ok(KeyDescription { key_spec, public_key: Some(public_key), chain: Some(chain), details })
}

/// The inner error is the spec of the key that signed, if key and algorithm agree that it is another one.
fn signed(
    answer: wire::SignDigestResponse,
    key: &KeyReference,
    spec: KeySpec,
) -> Result<Result<DigestSignature, KeySpec>, Violation> {
    check_echo("SIG-1", &answer.key_id, key.key_id())?;
    let public_key = public_key("GRPC-5", &answer.public_key)?;
    let algorithm = answer.signing_algorithm.parse::<SigningAlgorithm>();
    if public_key.spec() != spec && algorithm.is_ok_and(|a| a.key_spec() == public_key.spec()) {
        return Ok(Err(public_key.spec()));
    }
    check_algorithm(&answer.signing_algorithm, spec)?;
    if public_key.spec() != spec {
        let message =
            format!("public_key is an {} key, expected the {spec} of the request", public_key.spec());
        return Err(Violation::new("GRPC-5", message));
    }
    let signature = check_encoding(answer.signature, spec)?;
    let text = |text: String| Some(cleaned(&text)).filter(|text| !text.is_empty());
    let (key_version, vault_request_id) = (text(answer.key_version), text(answer.vault_request_id));
    Ok(Ok(DigestSignature { signature, public_key, key_version, vault_request_id }))
}

/// Texts for people and machines, without control characters; key ids hold none.
fn cleaned_details(details: KeyDetails) -> KeyDetails {
    let attributes = details.attributes.iter().map(|(name, value)| (cleaned(name), cleaned(value))).collect();
    let text = |text: &Option<String>| text.as_deref().map(cleaned);
    KeyDetails { version: text(&details.version), label: text(&details.label), attributes, ..details }
}

fn public_key(rule: &'static str, spki: &[u8]) -> Result<PublicKey, Violation> {
    PublicKey::from_spki_der(spki).map_err(|e| Violation::new(rule, format!("public_key: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Fault<T> = (&'static str, fn(&mut T));

    fn key() -> KeyReference {
        KeyReference::new("k", Default::default()).unwrap()
    }

    fn spki(spec: KeySpec, length: usize) -> Vec<u8> {
        let mut point = vec![7; length];
        point[0] = 4;
        PublicKey::from_ec_point(spec, &point).unwrap().spki_der().to_vec()
    }

    fn description() -> wire::DescribeKeyResponse {
        wire::DescribeKeyResponse {
            key_id: "k".to_owned(),
            key_spec: "EC-256".to_owned(),
            public_key: spki(KeySpec::Ec256, 65),
            certificate_chain: Vec::new(),
            details: None,
        }
    }

    fn signature() -> wire::SignDigestResponse {
        wire::SignDigestResponse {
            key_id: "k".to_owned(),
            signature: vec![7; 64],
            signing_algorithm: "ECDSA-SHA-256".to_owned(),
            public_key: spki(KeySpec::Ec256, 65),
            ..Default::default()
        }
    }

    #[test]
    fn each_fault_of_a_description_has_its_rule() {
        assert!(described(description(), &key()).is_ok());
        let faults: [Fault<wire::DescribeKeyResponse>; 6] = [
            ("KEY-1", |d| d.key_id.push('x')),
            ("KEY-2", |d| d.key_spec = "EC-512".to_owned()),
            ("GRPC-3", |d| d.public_key.push(0)),
            ("GRPC-3", |d| d.key_spec = "EC-384".to_owned()),
            ("GRPC-4", |d| d.certificate_chain.push(vec![0x30, 0])),
            ("KEY-3", |d| d.details.get_or_insert_default().label = "x".repeat(5000)),
        ];
        for (rule, fault) in faults {
            let mut bad = description();
            fault(&mut bad);
            assert_eq!(described(bad, &key()).unwrap_err().rule, rule);
        }
    }

    #[test]
    fn each_fault_of_a_signature_has_its_rule() {
        assert!(signed(signature(), &key(), KeySpec::Ec256).unwrap().is_ok());
        let faults: [Fault<wire::SignDigestResponse>; 5] = [
            ("SIG-1", |s| s.key_id.clear()),
            ("SIG-2", |s| s.signing_algorithm.clear()),
            ("SIG-3", |s| s.signature.push(0)),
            ("GRPC-5", |s| s.public_key.clear()),
            ("GRPC-5", |s| s.public_key = spki(KeySpec::Ec384, 97)),
        ];
        for (rule, fault) in faults {
            let mut bad = signature();
            fault(&mut bad);
            assert_eq!(signed(bad, &key(), KeySpec::Ec256).unwrap_err().rule, rule);
        }
    }

    #[test]
    fn requests_above_the_limit_are_not_sent() {
        let config = (0..17).map(|n| (n.to_string(), "v".repeat(64 * 1024))).collect();
        let large = KeyReference::new("k", config).unwrap();
        let check = |key: &KeyReference| check_size(&wire::DescribeKeyRequest { key: Some(reference(key)) });
        assert!(check(&key()).is_ok());
        let error = check(&large).unwrap_err();
        assert!(error.to_string().contains("at most 1048576 are allowed; correct the request"), "{error}");
    }

    #[test]
    fn a_key_of_another_spec_that_signs_consistently_is_a_changed_key() {
        let mut other = signature();
        other.public_key = spki(KeySpec::Ec384, 97);
        other.signing_algorithm = "ECDSA-SHA-384".to_owned();
        assert_eq!(signed(other, &key(), KeySpec::Ec256).unwrap(), Err(KeySpec::Ec384));
    }
}
