//! Runs the vectors towards a plugin in-process, against the SDK and keys of all six specs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod test_key;

use std::path::Path;
use std::sync::{Arc, LazyLock};

use prokura_plugin::grpc::{PluginService, error_from_status, status_code};
use prokura_plugin::message::{
    DescribeKeyRequest, DescribeKeyResponse, GenerateSignatureRequest, GenerateSignatureResponse, Metadata,
    PluginConfig,
};
use prokura_plugin::vector::{self, Direction, Expect, Signed, Transport, Values, Vector, load_dir};
use prokura_plugin::{
    CertificateChain, Deadline, Digest, Error, KeyRequest, KeySpec, PublicKey, SigningKey, json, stdio,
};
use prokura_proto::plugin::v1;
use prokura_proto::plugin::v1::plugin_server::Plugin as _;
use test_key::{Handle, TestKey, verifies};
use tonic::{Request, Status};

const KEY_ID: &str = "the \"vector\" key@home";
const PAYLOAD: &[u8] = b"what is to be signed";

static VECTORS: LazyLock<Vec<Vector>> =
    LazyLock::new(|| load_dir(&Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")).unwrap());
static KEYS: LazyLock<Vec<Arc<TestKey>>> =
    LazyLock::new(|| KeySpec::ALL.into_iter().map(|spec| Arc::new(TestKey::generate(spec))).collect());

#[test]
fn stdio_vectors_hold_for_all_six_specs() {
    let mut run = 0;
    for (vector, key) in cases(Transport::Stdio) {
        let request = vector.fill(&values(key)).unwrap();
        let answer = stdio::answer(&vector.command, &request, &metadata(), &opener(key));
        match (&vector.expect, answer) {
            (Expect::Success, Ok(answer)) => {
                stdio_properties(&vector.command, &request, &answer, key, &vector.name);
            }
            (Expect::Error(code), Err(refusal)) => {
                assert_eq!(refusal.error_code, code.as_str(), "{}: {}", vector.name, refusal.error_message);
                assert!(!refusal.error_message.is_empty(), "{}", vector.name);
            }
            (_, outcome) => panic!("{}: {outcome:?}", vector.name),
        }
        run += 1;
    }
    assert!(run > 100, "only {run} cases");
}

#[tokio::test]
async fn grpc_vectors_hold_for_all_six_specs() {
    let mut run = 0;
    for (vector, key) in cases(Transport::Grpc) {
        let body = vector.fill(&values(key)).unwrap();
        let service = PluginService::new(metadata(), opener(key));
        match (&vector.expect, call(&service, &vector.command, &body, key).await) {
            (Expect::Success, Ok(())) => {}
            (Expect::Error(code), Err(status)) => {
                assert_eq!(status.code(), status_code(*code), "{}", vector.name);
                assert!(!status.details().is_empty(), "{}", vector.name);
                assert_eq!(error_from_status(&status).code, *code, "{}", vector.name);
            }
            (_, outcome) => panic!("{}: {outcome:?}", vector.name),
        }
        run += 1;
    }
    assert!(run > 50, "only {run} cases");
}

#[test]
fn every_vector_can_be_filled_in() {
    let (key, other) = (Arc::clone(&KEYS[3]), TestKey::generate(KeySpec::Ec256));
    let digest = Digest::of(key.spec().hash_algorithm(), PAYLOAD);
    let signed = Signed {
        signature: &key.sign_digest(&digest, Deadline::NONE).unwrap(),
        other_signature: &other.sign_digest(&digest, Deadline::NONE).unwrap(),
        chain: &key.chain,
        other_chain: &other.chain,
    };
    let values = values(&key).with_reply("vector", &signed);
    for vector in VECTORS.iter() {
        assert!(vector.fill(&values).is_ok(), "{}", vector.name);
    }
    assert!(VECTORS.iter().filter(|v| v.direction == Direction::Host).count() >= 30);
    assert!(VECTORS.iter().filter(|v| v.direction == Direction::Plugin).count() >= 45);
}

fn cases(transport: Transport) -> impl Iterator<Item = (&'static Vector, &'static Arc<TestKey>)> {
    let vectors =
        VECTORS.iter().filter(move |v| v.direction == Direction::Plugin && v.transport == transport);
    vectors.flat_map(|v| KEYS.iter().filter(|k| v.applies_to(k.spec())).map(move |k| (v, k)))
}

fn values(key: &TestKey) -> Values {
    Values::new(KEY_ID, &config(), key.spec(), PAYLOAD)
}

fn config() -> PluginConfig {
    [("slot".to_owned(), "9c".to_owned())].into_iter().collect()
}

fn metadata() -> Metadata {
    prokura_plugin::metadata!("vector", "Signs for the vectors")
}

/// One key; everything else does not exist.
fn opener(key: &Arc<TestKey>) -> impl Fn(&KeyRequest) -> Result<Box<dyn SigningKey>, Error> + use<> {
    let key = Arc::clone(key);
    move |request| match request.key_id().as_str() {
        KEY_ID => Ok(Box::new(Handle(Arc::clone(&key)))),
        _ => Err(Error::validation("no such key")),
    }
}

fn stdio_properties(command: &str, request: &[u8], answer: &[u8], key: &TestKey, name: &str) {
    match command {
        "get-plugin-metadata" => {
            assert_eq!(json::read_object::<Metadata>(answer).unwrap(), metadata(), "{name}");
        }
        "describe-key" => {
            let request: DescribeKeyRequest = json::read_object(request).unwrap();
            let answer: DescribeKeyResponse = json::read_object(answer).unwrap();
            assert_eq!((answer.key_id, answer.key_spec), (request.key_id, key.spec().to_string()), "{name}");
        }
        "generate-signature" => {
            let request: GenerateSignatureRequest = json::read_object(request).unwrap();
            let answer: GenerateSignatureResponse = json::read_object(answer).unwrap();
            assert_eq!(answer.key_id, request.key_id, "{name}");
            assert_eq!(answer.signing_algorithm, key.spec().signing_algorithm().as_str(), "{name}");
            assert_eq!(answer.signature.0.len(), key.spec().signature_len(), "{name}");
            let chain = answer.certificate_chain.into_iter().map(|c| c.0).collect();
            assert_eq!(CertificateChain::from_der(chain).unwrap(), key.chain, "{name}");
            assert!(verifies(key.public_key(), &request.payload.0, &answer.signature.0), "{name}");
        }
        other => panic!("{name}: no properties are known of {other}"),
    }
}

async fn call(service: &PluginService, method: &str, body: &[u8], key: &TestKey) -> Result<(), Status> {
    match method {
        "GetMetadata" => {
            let answer = service.get_metadata(Request::new(v1::GetMetadataRequest {})).await?.into_inner();
            let metadata = metadata();
            assert_eq!(
                (answer.name, answer.description, answer.version, answer.url),
                (metadata.name, metadata.description, metadata.version, metadata.url)
            );
            assert_eq!(answer.supported_contract_versions, metadata.supported_contract_versions);
            assert_eq!(answer.capabilities, metadata.capabilities);
        }
        "DescribeKey" => {
            let request = vector::grpc::describe_key(body).unwrap();
            let answer = service.describe_key(Request::new(request)).await?.into_inner();
            assert_eq!((answer.key_id.as_str(), answer.key_spec.as_str()), (KEY_ID, key.spec().as_str()));
            assert_eq!(&PublicKey::from_spki_der(&answer.public_key).unwrap(), key.public_key());
            assert_eq!(answer.certificate_chain, key.chain.certificates());
        }
        "SignDigest" => {
            let request = vector::grpc::sign_digest(body).unwrap();
            let answer = service.sign_digest(Request::new(request)).await?.into_inner();
            assert_eq!(answer.key_id, KEY_ID);
            assert_eq!(answer.signing_algorithm, key.spec().signing_algorithm().as_str());
            assert_eq!(&PublicKey::from_spki_der(&answer.public_key).unwrap(), key.public_key());
            assert!(verifies(key.public_key(), PAYLOAD, &answer.signature));
        }
        other => panic!("no such method: {other}"),
    }
    Ok(())
}
