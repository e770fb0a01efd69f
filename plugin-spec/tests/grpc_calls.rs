//! The calls a plugin may offer besides describing and signing, over the service as the SDK serves it.

#![cfg(feature = "grpc")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod test_key;

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use prokura_plugin::grpc::{PluginService, error_from_status};
use prokura_plugin::message::{Metadata, capability};
use prokura_plugin::{
    CertificateChain, CreateRequest, Deadline, Digest, Error, ErrorCode, KeyDescription, KeyDetails, KeyId,
    KeyRequest, KeySpec, KeyState, Listed, PinPolicy, PublicHalf, PublicKey, RawSignature, Scope, Service,
    SigningKey, VaultRequest,
};
use prokura_proto::plugin::v1;
use prokura_proto::plugin::v1::list_keys_response::Found;
use prokura_proto::plugin::v1::plugin_client::PluginClient;
use prokura_proto::plugin::v1::plugin_server::PluginServer;
use prokura_proto::plugin::v1::sign_digests_response::Outcome;
use test_key::{Handle, TestKey};
use tokio_stream::StreamExt as _;

static KEY: LazyLock<Arc<TestKey>> = LazyLock::new(|| Arc::new(TestKey::generate(KeySpec::Ec256)));

type Client = PluginClient<PluginServer<PluginService>>;

fn metadata() -> Metadata {
    Metadata::of_plugin("demo", "Demo", "1.0.0", "https://example.org/")
}

fn open_key(_: &KeyRequest) -> Result<Box<dyn SigningKey>, Error> {
    Ok(Box::new(Handle(Arc::clone(&KEY))))
}

fn client(service: Service) -> Client {
    PluginClient::new(PluginServer::new(PluginService::of(service)))
}

fn plain() -> Client {
    client(Service::new(metadata(), open_key))
}

fn key_reference() -> Option<v1::KeyReference> {
    Some(v1::KeyReference { key_id: "k".to_owned(), ..Default::default() })
}

fn sign_request(digest: Vec<u8>) -> v1::SignDigestRequest {
    v1::SignDigestRequest {
        key: key_reference(),
        key_spec: "EC-256".to_owned(),
        hash_algorithm: "SHA-256".to_owned(),
        digest,
        to_be_signed: Vec::new(),
    }
}

fn description(id: &str) -> KeyDescription {
    KeyDescription {
        key_id: KeyId::new(id).unwrap(),
        public_key: KEY.public_key().clone().into(),
        certificates: KEY.chain.clone(),
        details: KeyDetails::default().with("slot", "9c"),
    }
}

fn code(status: &tonic::Status) -> ErrorCode {
    error_from_status(status).code
}

#[tokio::test]
async fn what_is_not_given_is_neither_announced_nor_served() {
    let mut client = plain();
    let announced = client.get_metadata(v1::GetMetadataRequest {}).await.unwrap().into_inner().capabilities;
    for absent in [capability::KEY_LIST_1, capability::KEY_CREATE_1, capability::CERTIFICATE_INSTALL_1] {
        assert!(!announced.iter().any(|found| found == absent), "{announced:?}");
    }
    assert!(announced.iter().any(|found| found == capability::SIGN_STREAM_1), "{announced:?}");
    let status = client.list_keys(v1::ListKeysRequest::default()).await.err().unwrap();
    assert_eq!(code(&status), ErrorCode::UnsupportedContractVersion);
    let request = v1::CreateKeyRequest { name: "n".into(), key_spec: "EC-256".into(), ..Default::default() };
    let status = client.create_key(request).await.unwrap_err();
    assert_eq!(code(&status), ErrorCode::UnsupportedContractVersion);
}

#[tokio::test]
async fn a_stream_answers_each_request_once_and_survives_refusals() {
    let digest = Digest::of(prokura_plugin::HashAlgorithm::Sha256, b"x").bytes().to_vec();
    let requests: Vec<_> = (0..300)
        .map(|id| v1::SignDigestsRequest {
            id,
            request: (id != 9).then(|| sign_request(if id == 7 { vec![1] } else { digest.clone() })),
        })
        .collect();
    let answers = plain().sign_digests(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let answers: Vec<_> = answers.collect::<Result<Vec<_>, _>>().await.unwrap();
    let mut ids: Vec<u64> = answers.iter().map(|answer| answer.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..300).collect::<Vec<_>>());
    for answer in answers {
        match answer.outcome.unwrap() {
            Outcome::Error(error) => {
                assert!([7, 9].contains(&answer.id) && error.code == "VALIDATION_ERROR", "{error:?}");
            }
            Outcome::Signed(signed) => assert_eq!(signed.signature.len(), 64),
        }
    }
}

#[tokio::test]
async fn keys_are_listed_as_they_are_found_and_a_bad_one_does_not_end_the_list() {
    let list = |_: &VaultRequest, found: &mut dyn FnMut(Listed) -> ControlFlow<()>| {
        let _ = found(Ok(description("a")));
        let _ = found(Err(Error::access_denied("key b: kms:DescribeKey is missing")));
        let _ = found(Ok(description("c")));
        Ok(())
    };
    let mut client = client(Service::new(metadata(), open_key).list_keys(list));
    let keys = client.list_keys(v1::ListKeysRequest::default()).await.unwrap().into_inner();
    let keys: Vec<_> = keys.map(|answer| answer.unwrap().found.unwrap()).collect().await;
    let told: Vec<String> = keys
        .into_iter()
        .map(|found| match found {
            Found::Key(key) => format!("{} {}", key.key_id, key.certificate_chain.len()),
            Found::Error(error) => error.code,
        })
        .collect();
    let chain = KEY.chain.certificates().len();
    assert_eq!(told, [format!("a {chain}"), "ACCESS_DENIED".to_owned(), format!("c {chain}")]);
}

/// SPEC LIST-5: only a key that cannot be used comes without its public half.
#[tokio::test]
async fn a_key_whose_public_half_is_withheld_is_listed_with_its_state() {
    let list = |_: &VaultRequest, found: &mut dyn FnMut(Listed) -> ControlFlow<()>| {
        for state in
            [Some(KeyState::Disabled), Some(KeyState::PendingDeletion), Some(KeyState::Enabled), None]
        {
            let mut key = description("a");
            (key.public_key, key.details.state) = (PublicHalf::Withheld(KeySpec::Ec384), state);
            let _ = found(Ok(key));
        }
        Ok(())
    };
    let mut client = client(Service::new(metadata(), open_key).list_keys(list));
    let keys = client.list_keys(v1::ListKeysRequest::default()).await.unwrap().into_inner();
    let told: Vec<String> = keys
        .map(|answer| match answer.unwrap().found.unwrap() {
            Found::Key(key) => {
                assert!(key.public_key.is_empty() && key.certificate_chain.is_empty(), "{key:?}");
                format!("{} {}", key.key_spec, key.details.unwrap().state)
            }
            Found::Error(error) => error.code,
        })
        .collect()
        .await;
    let expected = ["DISABLED", "PENDING_DELETION", "UNAVAILABLE", "UNAVAILABLE"];
    assert_eq!(told, expected.map(|state| format!("EC-384 {state}")));
}

#[tokio::test]
async fn a_list_that_nobody_reads_ends_and_one_that_fails_says_why() {
    static FOUND: AtomicUsize = AtomicUsize::new(0);
    static ENDED: AtomicUsize = AtomicUsize::new(0);
    let endless = |_: &VaultRequest, found: &mut dyn FnMut(Listed) -> ControlFlow<()>| {
        while found(Ok(description("a"))).is_continue() {
            FOUND.fetch_add(1, Ordering::SeqCst);
        }
        ENDED.store(1, Ordering::SeqCst);
        Ok(())
    };
    let mut one = client(Service::new(metadata(), open_key).list_keys(endless));
    let mut keys = one.list_keys(v1::ListKeysRequest::default()).await.unwrap().into_inner();
    keys.next().await.unwrap().unwrap();
    drop(keys);
    for _ in 0..200 {
        if ENDED.load(Ordering::SeqCst) == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(ENDED.load(Ordering::SeqCst), 1, "{} keys were found", FOUND.load(Ordering::SeqCst));

    let panics = |_: &VaultRequest, _: &mut dyn FnMut(Listed) -> ControlFlow<()>| panic!("oh");
    let mut client = client(Service::new(metadata(), open_key).list_keys(panics));
    let mut keys = client.list_keys(v1::ListKeysRequest::default()).await.unwrap().into_inner();
    let status = keys.next().await.unwrap().unwrap_err();
    assert!(status.message().contains("panicked"), "{status:?}");
}

#[tokio::test]
async fn a_vendor_may_list_from_within_a_runtime_of_its_own() {
    let list = |_: &VaultRequest, found: &mut dyn FnMut(Listed) -> ControlFlow<()>| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async { (0..40).all(|_| found(Ok(description("a"))).is_continue()) });
        Ok(())
    };
    let mut client = client(Service::new(metadata(), open_key).list_keys(list));
    let keys = client.list_keys(v1::ListKeysRequest::default()).await.unwrap().into_inner();
    assert_eq!(keys.collect::<Vec<_>>().await.len(), 40);
}

#[tokio::test]
async fn a_key_that_is_made_is_of_the_spec_asked_for_and_nonsense_is_refused() {
    let create = |request: &CreateRequest| {
        assert_eq!(request.name().as_str(), "new");
        Ok(description("new"))
    };
    let mut client = client(Service::new(metadata(), open_key).create_key(create));
    let request = |name: &str, spec: &str| v1::CreateKeyRequest {
        name: name.to_owned(),
        key_spec: spec.to_owned(),
        ..Default::default()
    };
    let made = client.create_key(request("new", "EC-256")).await.unwrap().into_inner().key.unwrap();
    assert_eq!((made.key_id.as_str(), made.key_spec.as_str()), ("new", "EC-256"));
    for (name, spec) in [("", "EC-256"), ("a\nb", "EC-256"), ("new", "RSA-1024"), ("new", "")] {
        let status = client.create_key(request(name, spec)).await.unwrap_err();
        assert_eq!(code(&status), ErrorCode::ValidationError, "{name:?} {spec:?}");
    }
    let status = client.create_key(request("new", "EC-384")).await.unwrap_err();
    assert!(status.message().contains("made an EC-256 key where an EC-384 key was asked for"), "{status:?}");
    let unusable = |_: &CreateRequest| {
        let public_key = PublicHalf::Withheld(KeySpec::Ec256);
        Ok(KeyDescription { public_key, ..description("new") })
    };
    let mut client = self::client(Service::new(metadata(), open_key).create_key(unusable));
    let status = client.create_key(request("new", "EC-256")).await.unwrap_err();
    assert!(status.message().contains("made a key that cannot be used"), "{status:?}");
}

#[tokio::test]
async fn only_a_certificate_of_the_key_is_installed() {
    static INSTALLED: AtomicUsize = AtomicUsize::new(0);
    let install = |_: &KeyRequest, chain: &CertificateChain| {
        INSTALLED.fetch_add(chain.certificates().len(), Ordering::SeqCst);
        Ok(())
    };
    let mut client = client(Service::new(metadata(), open_key).install_certificate(install));
    let request = |chain: Vec<Vec<u8>>| v1::InstallCertificateRequest {
        key: key_reference(),
        certificate_chain: chain,
    };
    let own = KEY.chain.certificates().to_vec();
    let other = TestKey::generate(KeySpec::Ec256).chain.certificates().to_vec();
    let reversed: Vec<_> = own.iter().rev().cloned().collect();
    for bad in [Vec::new(), vec![vec![0x30, 0]], other, reversed] {
        let status = client.install_certificate(request(bad)).await.unwrap_err();
        assert_eq!(code(&status), ErrorCode::ValidationError, "{status:?}");
    }
    assert_eq!(INSTALLED.load(Ordering::SeqCst), 0);
    client.install_certificate(request(own.clone())).await.unwrap();
    assert_eq!(INSTALLED.load(Ordering::SeqCst), own.len());
}

/// Fails as if its session were lost the first time it is asked.
struct Lost {
    opened: usize,
    policy: Option<PinPolicy>,
}

impl SigningKey for Lost {
    fn public_key(&self) -> &PublicKey {
        KEY.public_key()
    }

    fn certificate_chain(&self) -> Result<CertificateChain, Error> {
        Ok(KEY.chain.clone())
    }

    fn sign_digest(&self, digest: &Digest, deadline: Deadline) -> Result<RawSignature, Error> {
        if self.opened == 1 {
            return Err(Error::internal("session lost").with_scope(Scope::Session).retryable(true));
        }
        KEY.sign_digest(digest, deadline)
    }

    fn details(&self) -> KeyDetails {
        KeyDetails { pin_policy: self.policy, ..KeyDetails::default() }
    }
}

async fn after_a_lost_session(policy: Option<PinPolicy>) -> (usize, bool) {
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    let open = move |_: &KeyRequest| -> Result<Box<dyn SigningKey>, Error> {
        Ok(Box::new(Lost { opened: count.fetch_add(1, Ordering::SeqCst) + 1, policy }))
    };
    let mut client = client(Service::new(metadata(), open));
    let signed = client.sign_digest(sign_request(vec![7; 32])).await.is_ok();
    (opened.load(Ordering::SeqCst), signed)
}

#[tokio::test]
async fn a_lost_session_is_opened_again_once_but_not_if_a_person_would_be_asked_twice() {
    assert_eq!(after_a_lost_session(None).await, (2, true));
    assert_eq!(after_a_lost_session(Some(PinPolicy::Once)).await, (2, true));
    assert_eq!(after_a_lost_session(Some(PinPolicy::Always)).await, (1, false));
}

#[tokio::test]
async fn one_host_listens_to_questions_at_a_time() {
    let mut client = plain();
    let hello = || tokio_stream::once(v1::InteractResponse::default()).chain(tokio_stream::pending());
    let first = client.interact(hello()).await.unwrap();
    let status = client.interact(hello()).await.err().unwrap();
    assert_eq!(code(&status), ErrorCode::ValidationError);
    drop(first);
}
