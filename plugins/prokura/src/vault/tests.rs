//! Against a broker that does what it is told, for faults that a real one does not show.

mod fake;

use std::time::{Duration, Instant};

use jiff::Timestamp;
use prokura_plugin::message::PluginConfig;
use prokura_plugin::{ErrorCode, HashAlgorithm, KeyRequest, RawSignature, SigningKey as _, ToBeSigned};

use super::*;
use crate::config::KeyConfig;
use crate::key::BrokerKey;
use fake::{Fake, Fault, Listening};

const CONTENT: &[u8] = b"eyJhIjoxfQ.eyJiIjoyfQ";

fn brokers() -> Brokers {
    Brokers::new(Environment::new(|_| None, || Timestamp::UNIX_EPOCH)).unwrap()
}

fn request(config: &[(&str, String)], deadline: Deadline) -> KeyRequest {
    let config: PluginConfig = config.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect();
    KeyRequest::new("release", config, deadline).unwrap()
}

fn within(time: Duration) -> Deadline {
    Deadline::at(Instant::now() + time)
}

fn open(brokers: &Brokers, config: &[(&str, String)]) -> Result<BrokerKey, Error> {
    let request = request(config, within(Duration::from_secs(10)));
    BrokerKey::open(brokers.broker(request.vault())?, KeyConfig::read(&request)?, request.deadline())
}

fn sign(key: &BrokerKey, time: Duration) -> Result<RawSignature, Error> {
    key.sign_content(&ToBeSigned::of(HashAlgorithm::Sha256, CONTENT.to_vec()), within(time))
}

const LONG: Duration = Duration::from_secs(10);

#[test]
fn a_signature_carries_version_and_request_id_and_the_connection_is_kept() {
    let fake = Fake::start(Listening::Unix);
    let brokers = brokers();
    let key = open(&brokers, &fake.config()).unwrap();
    for _ in 0..5 {
        let signature = sign(&key, LONG).unwrap();
        assert_eq!((signature.key_version(), signature.request_id()), (Some("7"), Some("r-1#0")));
    }
    assert_eq!(fake.connections(), 1);
    let asked = fake.signed();
    assert_eq!(
        asked[0].content,
        Some(v1::Content { content: Some(v1::content::Content::NotaryJws(CONTENT.to_vec())) })
    );
    assert!(asked.iter().all(|request| request.idempotency_key == asked[0].idempotency_key));
    assert_eq!(asked[0].expected_key.len(), 64);
    assert!(fake.deadlines_ms().iter().all(|ms| (1..=10_000).contains(ms)), "{:?}", fake.deadlines_ms());
}

#[test]
fn a_broken_connection_costs_an_attempt_with_the_same_idempotency_key() {
    let fake = Fake::start(Listening::Unix);
    let brokers = brokers();
    let key = open(&brokers, &fake.config()).unwrap();
    fake.next([Fault::HangUp, Fault::HangUp]);
    sign(&key, LONG).unwrap();
    let asked = fake.signed();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|request| request == &asked[0]));
    fake.next([Fault::HangUp; 4]);
    let error = sign(&key, LONG).unwrap_err();
    assert!(error.code == ErrorCode::Error && error.may_retry(), "{error}");
    assert_eq!(fake.signed().len(), 7, "attempts are bounded");
}

#[test]
fn what_the_broker_refuses_is_asked_once() {
    let fake = Fake::start(Listening::Unix);
    let brokers = brokers();
    let key = open(&brokers, &fake.config()).unwrap();
    fake.next([Fault::Refuse("DENIED"), Fault::Refuse("OUT_OF_QUOTA")]);
    let error = sign(&key, LONG).unwrap_err();
    assert_eq!(error.code, ErrorCode::AccessDenied);
    assert!(error.message.contains("denied by policy only-release"), "{error}");
    let error = sign(&key, LONG).unwrap_err();
    assert_eq!((error.code, error.retry_after), (ErrorCode::Throttled, Some(Duration::from_millis(1500))));
    assert_eq!(fake.signed().len(), 2);
}

#[test]
fn a_broker_that_hangs_is_a_timeout_before_the_deadline() {
    let fake = Fake::start(Listening::Unix);
    let brokers = brokers();
    let key = open(&brokers, &fake.config()).unwrap();
    fake.next([Fault::Hang]);
    let begun = Instant::now();
    let error = sign(&key, Duration::from_secs(1)).unwrap_err();
    assert_eq!(error.code, ErrorCode::Timeout, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[test]
fn an_answer_that_is_wrong_is_refused() {
    let fake = Fake::start(Listening::Unix);
    let brokers = brokers();
    let key = open(&brokers, &fake.config()).unwrap();
    for (fault, words) in [
        (Fault::OtherAlgorithm, "names the algorithm"),
        (Fault::ShortSignature, "no usable signature"),
        (Fault::NoReceipt, "has no receipt"),
        (Fault::OtherReceipt, "does not lead to the root"),
    ] {
        fake.next([fault]);
        let error = sign(&key, LONG).unwrap_err();
        assert!(error.message.contains(words), "{error}");
    }
    let other = "00".repeat(32);
    let config = [&fake.config()[..], &[("expected-key", other)]].concat();
    let error = open(&brokers, &config).err().unwrap();
    assert!(error.message.contains("another key under this name"), "{error}");
}

#[test]
fn over_tls_both_sides_show_who_they_are() {
    let fake = Fake::start(Listening::Tls);
    let brokers = brokers();
    sign(&open(&brokers, &fake.config()).unwrap(), LONG).unwrap();
    let entry = |name: &str| fake.config().into_iter().find(|(n, _)| *n == name).unwrap();
    let without = |name: &str| fake.config().into_iter().filter(|(n, _)| *n != name).collect::<Vec<_>>();
    let nobody = open(&brokers, &without("identity")).err().unwrap();
    // TLS 1.3: the broker's alert may or may not come before the connection is gone.
    assert!(
        nobody.message.contains("plugin config identity") || nobody.message.contains("identity (whom"),
        "{nobody}"
    );
    let stranger = [&without("ca")[..], &[("ca", fake.other_ca())]].concat();
    let error = open(&brokers, &stranger).err().unwrap();
    assert!(error.message.contains("TLS with the broker failed") && !error.may_retry(), "{error}");
    let missing = [&without("ca")[..], &[("ca", "/nowhere.pem".to_owned())]].concat();
    let error = open(&brokers, &missing).err().unwrap();
    assert!(error.code == ErrorCode::ValidationError && error.message.contains("/nowhere.pem"), "{error}");
    let token = [&fake.config()[..], &[("token-file", fake.token_file())]].concat();
    fake.next([Fault::Refuse("UNAUTHENTICATED")]);
    let key = open(&brokers, &token).unwrap();
    let error = sign(&key, LONG).unwrap_err();
    assert_eq!(fake.tokens().last().map(String::as_str), Some("Bearer canary"));
    assert!(error.message.contains(&entry("identity").1) && !error.message.contains("canary"), "{error}");
}
