//! The executable over stdio, as a host of contract 1.0 runs it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod fixture;

use std::fs;
use std::io::Write;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fixture::{KEYS, softkey, verifies, write_key};
use prokura_plugin::{CertificateChain, KeySpec};
use serde_json::{Value, json};

struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Run {
    fn answer(&self) -> Value {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""));
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// Message of a refusal with `code`; nothing may have been written to stdout.
    fn refusal(&self, code: &str) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (1, ""), "{}", self.stderr);
        let error: Value = serde_json::from_str(&self.stderr).unwrap();
        assert_eq!(error["errorCode"], code, "{error}");
        error["errorMessage"].as_str().unwrap().to_owned()
    }
}

fn run(arguments: &[&str], stdin: &[u8]) -> Run {
    let mut child = softkey()
        .args(arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A plugin that does not read its stdin to the end breaks the pipe; that is for the test to judge.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let output = child.wait_with_output().unwrap();
    Run {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn describe(key_id: &str, config: &Value) -> Run {
    let request = json!({"contractVersion": "1.0", "keyId": key_id, "pluginConfig": config});
    run(&["describe-key"], request.to_string().as_bytes())
}

fn config() -> Value {
    Value::Object(KEYS.config().into_iter().map(|(name, value)| (name, value.into())).collect())
}

fn sign(spec: KeySpec, config: &Value) -> Run {
    let request = json!({
        "contractVersion": "1.0", "keyId": spec.as_str(), "keySpec": spec.as_str(),
        "hashAlgorithm": spec.hash_algorithm().as_str(), "payload": STANDARD.encode("payload"),
        "pluginConfig": config,
    });
    run(&["generate-signature"], request.to_string().as_bytes())
}

#[test]
fn signs_with_all_six_specs_and_completes_the_chain() {
    for spec in KeySpec::ALL {
        assert_eq!(
            describe(spec.as_str(), &config()).answer(),
            json!({"keyId": spec.as_str(), "keySpec": spec.as_str()})
        );
        let answer = sign(spec, &config()).answer();
        assert_eq!(answer["keyId"], spec.as_str());
        assert_eq!(answer["signingAlgorithm"], spec.signing_algorithm().as_str());
        let chain: Vec<Vec<u8>> = answer["certificateChain"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| STANDARD.decode(c.as_str().unwrap()).unwrap())
            .collect();
        let leaf = fs::read(KEYS.path(&format!("{spec}.crt"))).unwrap();
        let root = fs::read(KEYS.path("root.pem")).unwrap();
        let expected = CertificateChain::from_pem(&[leaf, root].concat()).unwrap();
        assert_eq!(CertificateChain::from_der(chain).unwrap(), expected);
        let signature = STANDARD.decode(answer["signature"].as_str().unwrap()).unwrap();
        assert_eq!(signature.len(), spec.signature_len());
        let spki = public_key(spec);
        assert!(verifies(&spki, b"payload", &signature), "{spec}");
        assert!(!verifies(&spki, b"Payload", &signature), "{spec}");
    }
}

fn public_key(spec: KeySpec) -> Vec<u8> {
    use rcgen::PublicKeyData as _;
    let pem = fs::read_to_string(KEYS.path(&format!("{spec}.key"))).unwrap();
    rcgen::KeyPair::from_pem(&pem).unwrap().subject_public_key_info()
}

#[test]
fn an_incomplete_chain_names_the_missing_issuer_and_what_to_set() {
    let config = json!({"dir": KEYS.dir.path().to_str().unwrap()});
    let message = sign(KeySpec::Ec256, &config).refusal("VALIDATION_ERROR");
    assert!(message.contains("softkey test root") && message.contains("ca_certs"), "{message}");
}

#[test]
fn a_certificate_of_another_key_is_refused() {
    let path = |name: &str| KEYS.path(name).to_str().unwrap().to_owned();
    let config = json!({"keyPath": path("EC-256.key"), "certPath": path("EC-384.crt")});
    let message = sign(KeySpec::Ec256, &config).refusal("VALIDATION_ERROR");
    assert!(message.contains("no certificate belongs to the key"), "{message}");
}

#[test]
fn key_files_of_all_pem_kinds_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (ec, rsa) = (path("sec1.key"), path("pkcs1.key"));
    fixture::openssl(&["ecparam", "-name", "secp384r1", "-genkey", "-out", &ec]);
    fixture::openssl(&["genrsa", "-traditional", "-out", &rsa, "3072"]);
    for (file, label, spec) in
        [(&ec, "BEGIN EC PARAMETERS", "EC-384"), (&rsa, "BEGIN RSA PRIVATE KEY", "RSA-3072")]
    {
        let pem = fs::read_to_string(file).unwrap();
        assert!(pem.contains(label), "{pem}");
        write_key(file.as_ref(), &pem, 0o600);
        assert_eq!(describe("any", &json!({"keyPath": file})).answer()["keySpec"], spec);
    }
}

#[test]
fn unusable_key_files_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let good = fs::read_to_string(KEYS.path("EC-256.key")).unwrap();
    let file = |name: &str, text: &str, mode| write_key(&dir.path().join(format!("{name}.key")), text, mode);
    file("open", &good, 0o640);
    file("none", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", 0o600);
    file("cut", good.get(..good.len() / 2).unwrap(), 0o600);
    file("huge", &"x".repeat(70_000), 0o600);
    file(
        "encrypted",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n",
        0o600,
    );
    std::os::unix::fs::symlink(KEYS.path("EC-256.key"), dir.path().join("link.key")).unwrap();
    fs::create_dir(dir.path().join("directory.key")).unwrap();
    let config = json!({"dir": dir.path().to_str().unwrap()});
    for (id, code, words) in [
        ("open", "ACCESS_DENIED", "chmod 600"),
        ("none", "VALIDATION_ERROR", "no private key found"),
        ("cut", "VALIDATION_ERROR", "expected a PEM block"),
        ("huge", "VALIDATION_ERROR", "larger than 65536"),
        ("encrypted", "VALIDATION_ERROR", "the key is encrypted"),
        ("link", "VALIDATION_ERROR", "a symbolic link"),
        ("directory", "VALIDATION_ERROR", "not a regular file"),
        ("absent", "VALIDATION_ERROR", "No such file"),
        ("../EC-256", "VALIDATION_ERROR", "no plain file name"),
    ] {
        let message = describe(id, &config).refusal(code);
        assert!(message.contains(words), "{id}: {message}");
        assert!(!message.contains("BEGIN"), "{id}: {message}");
    }
    for (config, words) in
        [(json!({}), "names no key"), (json!({"dir": "a", "keyPath": "b"}), "both keyPath and dir")]
    {
        let message = describe("k", &config).refusal("VALIDATION_ERROR");
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn whoever_starts_it_by_hand_is_told_what_it_is() {
    for arguments in [&[][..], &["describe-key", "extra"], &["serve"], &["serve", "--socket"]] {
        let run = run(arguments, b"");
        assert_eq!((run.code, run.stdout.as_str()), (2, ""));
        for words in ["NOT FOR PRODUCTION", "keyPath", "notation-softkey"] {
            assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
        }
    }
    let version = run(&["version"], b"");
    assert_eq!((version.code, version.stderr.as_str()), (0, ""));
    assert!(version.stdout.starts_with("softkey - "), "{}", version.stdout);
    assert!(version.stdout.ends_with(&format!("\nVersion: {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn a_request_above_the_limit_is_refused() {
    let limit = prokura_plugin::limits::REQUEST_BYTES_MAX;
    let message = run(&["describe-key"], &vec![b' '; limit + 1]).refusal("VALIDATION_ERROR");
    assert!(message.contains(&limit.to_string()), "{message}");
}

#[test]
fn unknown_commands_are_refused_by_name() {
    let message = run(&["generate-envelope"], b"{}").refusal("VALIDATION_ERROR");
    assert!(message.contains("\"generate-envelope\" is not served"), "{message}");
}

#[test]
fn a_config_name_that_nobody_knows_is_refused_and_its_value_not_shown() {
    for (name, part) in
        [("keypath", "keyPath may be meant"), ("colour", "known are keyPath, certPath, dir, ca_certs")]
    {
        let message = describe("k", &json!({name: "not-shown"})).refusal("VALIDATION_ERROR");
        assert!(message.contains(&format!("{name:?} is not known")) && message.contains(part), "{message}");
        assert!(!message.contains("not-shown"), "{message}");
    }
    // A host may hand over the config of a key before it knows the plugin.
    let request = json!({"contractVersion": "1.0", "pluginConfig": {"colour": "red"}});
    run(&["get-plugin-metadata"], request.to_string().as_bytes()).answer();
}
