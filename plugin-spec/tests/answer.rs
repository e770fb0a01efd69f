//! `stdio::answer` where vectors do not reach: incomplete chains, vendor code that lies or panics.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod test_key;

use std::sync::{Arc, LazyLock};

use prokura_plugin::message::{ErrorResponse, GenerateSignatureResponse, Metadata};
use prokura_plugin::{
    CertificateChain, Deadline, Digest, Error, KeyRequest, KeySpec, PublicKey, RawSignature, SigningKey,
    json, stdio,
};
use test_key::{Handle, TestKey};

static KEY: LazyLock<Arc<TestKey>> = LazyLock::new(|| Arc::new(TestKey::generate(KeySpec::Ec256)));

/// A key whose methods do what a test says.
struct Odd {
    chain: Vec<Vec<u8>>,
    sign: fn() -> Result<RawSignature, Error>,
}

impl SigningKey for Odd {
    fn public_key(&self) -> &PublicKey {
        KEY.public_key()
    }

    fn certificate_chain(&self) -> Result<CertificateChain, Error> {
        Ok(CertificateChain::from_der(self.chain.clone()).unwrap())
    }

    fn sign_digest(&self, _: &Digest, _: Deadline) -> Result<RawSignature, Error> {
        (self.sign)()
    }
}

fn sign(
    config: &str,
    open_key: impl Fn(&KeyRequest) -> Result<Box<dyn SigningKey>, Error> + Send + Sync + 'static,
) -> Result<GenerateSignatureResponse, ErrorResponse> {
    let request = format!(
        r#"{{"contractVersion":"1.0","keyId":"k","keySpec":"EC-256","hashAlgorithm":"SHA-256","payload":"aGVsbG8=","pluginConfig":{config}}}"#
    );
    let metadata = Metadata::of_plugin("odd", "Does odd things", "1.0.0", "https://example.org/");
    stdio::answer("generate-signature", request.as_bytes(), &metadata, &open_key)
        .map(|answer| json::read_object(&answer).unwrap())
}

fn with_chain(config: &str, chain: &[Vec<u8>]) -> Result<GenerateSignatureResponse, ErrorResponse> {
    let chain = chain.to_vec();
    sign(config, move |_| {
        let sign =
            || KEY.sign_digest(&Digest::of(prokura_plugin::HashAlgorithm::Sha256, b""), Deadline::NONE);
        Ok(Box::new(Odd { chain: chain.clone(), sign }))
    })
}

#[test]
fn a_chain_in_any_order_is_put_in_order() {
    let mut shuffled = KEY.chain.certificates().to_vec();
    shuffled.reverse();
    let answer = with_chain("{}", &shuffled).unwrap();
    let chain: Vec<Vec<u8>> = answer.certificate_chain.into_iter().map(|c| c.0).collect();
    assert_eq!(chain, KEY.chain.certificates());
}

#[test]
fn an_incomplete_chain_is_refused_before_the_key_is_used() {
    let refused = sign("{}", |_| {
        let chain = KEY.chain.certificates().first().into_iter().cloned().collect();
        Ok(Box::new(Odd { chain, sign: || panic!("the key was used") }))
    })
    .unwrap_err();
    assert_eq!(refused.error_code, "VALIDATION_ERROR");
    for words in ["vector intermediate", "--plugin-config ca_certs=FILE"] {
        assert!(refused.error_message.contains(words), "{}", refused.error_message);
    }
}

#[test]
fn certificates_of_other_keys_are_no_chain() {
    let other = TestKey::generate(KeySpec::Ec256);
    for chain in [other.chain.certificates(), &[]] {
        let refused = with_chain("{}", chain).unwrap_err();
        assert_eq!(refused.error_code, "VALIDATION_ERROR");
        assert!(refused.error_message.contains("no certificate belongs to the key"), "{refused:?}");
    }
}

#[test]
fn a_bundle_that_is_missing_is_named() {
    let config = r#"{"ca_certs":"/nonexistent/bundle.pem"}"#;
    let refused = with_chain(config, KEY.chain.certificates()).unwrap_err();
    assert_eq!(refused.error_code, "VALIDATION_ERROR");
    assert!(refused.error_message.contains("/nonexistent/bundle.pem"), "{refused:?}");
}

#[test]
fn a_panic_in_vendor_code_becomes_an_error_without_its_text() {
    for refused in [
        sign("{}", |_| panic!("canary")).unwrap_err(),
        sign("{}", |_| {
            let chain = KEY.chain.certificates().to_vec();
            Ok(Box::new(Odd { chain, sign: || panic!("canary") }))
        })
        .unwrap_err(),
    ] {
        assert_eq!(refused.error_code, "ERROR");
        assert!(refused.error_message.contains("panicked") && !refused.error_message.contains("canary"));
    }
}

#[test]
fn a_signature_of_another_spec_is_the_plugins_fault() {
    let refused = sign("{}", |_| {
        let chain = KEY.chain.certificates().to_vec();
        let sign = || Ok(RawSignature::from_fixed_width(KeySpec::Ec384, vec![1; 96]).unwrap());
        Ok(Box::new(Odd { chain, sign }))
    })
    .unwrap_err();
    assert_eq!(refused.error_code, "ERROR");
    assert!(refused.error_message.contains("EC-384"), "{}", refused.error_message);
}

#[test]
fn errors_of_the_vendor_reach_the_host_unchanged() {
    let refused = sign("{}", |_| Err(Error::throttled("slow down").with("status", "429"))).unwrap_err();
    assert_eq!(refused, ErrorResponse::from(Error::throttled("slow down").with("status", "429")));
    assert!(sign("{}", |_| Ok(Box::new(Handle(Arc::clone(&KEY))))).is_ok());
}
