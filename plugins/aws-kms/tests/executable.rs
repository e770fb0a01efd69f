//! The executable without AWS: what it announces, where it would go, and what it keeps to itself.
//!
//! Everything that takes an answer of KMS is in `integration/tests/faults/aws.rs` and the shared test set.
#![expect(clippy::disallowed_methods, reason = "a test starts the executable")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

const SECRET: &str = "canary-of-a-secret";

fn start(command: &str, request: &Value, environment: &[(&str, &str)]) -> Child {
    let mut child = Command::new(env!("CARGO_BIN_EXE_notation-aws-kms"))
        .arg(command)
        .env_clear()
        .envs([("AWS_CONFIG_FILE", "/dev/null"), ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")])
        .envs([("AWS_ACCESS_KEY_ID", "AKIATEST"), ("AWS_SECRET_ACCESS_KEY", SECRET)])
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(request.to_string().as_bytes()).unwrap();
    child
}

fn run(command: &str, request: &Value) -> Output {
    start(command, request, &[]).wait_with_output().unwrap()
}

fn describe(key_id: &str, config: &Value) -> Value {
    json!({"contractVersion": "1.0", "keyId": key_id, "pluginConfig": config})
}

#[test]
fn it_announces_what_it_does_and_nothing_else() {
    let output = run("get-plugin-metadata", &json!({}));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(metadata["name"], "aws-kms");
    let has = |capability: &str| metadata["capabilities"].as_array().unwrap().contains(&json!(capability));
    for capability in ["SIGNATURE_GENERATOR.RAW", "TRANSPORT.GRPC.1", "KEY_LIST.1", "KEY_CREATE.1"] {
        assert!(has(capability), "{capability} is missing in {metadata}");
    }
    assert!(!has("CERTIFICATE_INSTALL.1"), "KMS has no place for certificates: {metadata}");
}

#[test]
fn whoever_starts_it_by_hand_is_told_every_config_entry() {
    let output = run("--help", &json!({}));
    let text = String::from_utf8(output.stdout).unwrap();
    let entries =
        ["region", "certificate", "credentials", "profile", "grant_tokens", "endpoint", "fips", "ca_certs"];
    for entry in entries.into_iter().chain(["dual_stack", "multi_region", "arn:aws:kms:REGION", "awskms:///"])
    {
        assert!(text.contains(entry), "{entry} is missing in {text}");
    }
}

#[test]
fn refusals_are_one_json_object_without_secrets() {
    for (key_id, config, word) in [
        ("release", json!({}), "write alias/release"),
        ("alias/release", json!({}), "no AWS region is known"),
        ("alias/release", json!({"region": "eu-central-1", "fips": "1"}), "expected true or false"),
        (
            "alias/release",
            json!({"region": "eu-central-1", "endpoint": "http://kms.example"}),
            "https://HOST",
        ),
        ("alias/release", json!({"region": "eu-central-1", "certificate": "x"}), "an absolute file name"),
        ("alias/release", json!({"region": "eu-central-1", "credentials": "password"}), "web-identity"),
    ] {
        let output = run("describe-key", &describe(key_id, &config));
        assert!(!output.status.success() && output.stdout.is_empty());
        let refusal: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(refusal["errorCode"], "VALIDATION_ERROR", "{refusal}");
        assert!(refusal["errorMessage"].as_str().unwrap().contains(word), "{refusal}");
    }
    let nobody_listens = json!({"region": "eu-central-1", "endpoint": "http://127.0.0.1:9"});
    let output = run("describe-key", &describe("alias/release", &nobody_listens));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("Connection refused") && !told.contains(SECRET), "{told}");
}

/// What the plugin asks a proxy to connect it to, which is the endpoint of KMS.
#[test]
fn region_and_switches_choose_the_endpoint_and_the_proxy_is_used() {
    let arn =
        |partition: &str, region: &str| format!("arn:{partition}:kms:{region}:111122223333:alias/release");
    let european = arn("aws", "eu-central-1");
    for (key_id, config, host) in [
        (european.as_str(), json!({}), "kms.eu-central-1.amazonaws.com"),
        (&european, json!({"fips": "true"}), "kms-fips.eu-central-1.amazonaws.com"),
        (&european, json!({"dual_stack": "true"}), "kms.eu-central-1.api.aws"),
        (&european, json!({"fips": "true", "dual_stack": "true"}), "kms-fips.eu-central-1.api.aws"),
        (&arn("aws-cn", "cn-north-1"), json!({}), "kms.cn-north-1.amazonaws.com.cn"),
        (&arn("aws-us-gov", "us-gov-west-1"), json!({}), "kms.us-gov-west-1.amazonaws.com"),
        ("alias/release", json!({"region": "us-east-1"}), "kms.us-east-1.amazonaws.com"),
        ("awskms://vpce.example/alias/release", json!({"region": "us-east-1"}), "vpce.example"),
    ] {
        let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", proxy.local_addr().unwrap());
        let mut child = start("describe-key", &describe(key_id, &config), &[("HTTPS_PROXY", &url)]);
        let mut asked = String::new();
        BufReader::new(proxy.accept().unwrap().0).read_line(&mut asked).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(asked.trim(), format!("CONNECT {host}:443 HTTP/1.1"), "{key_id} {config}");
    }
}
