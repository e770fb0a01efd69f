//! The executable over stdio: JSON on stdout and nothing else, one JSON object on stderr when it refuses.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::world::{PIN, World};

pub(crate) fn trials(world: &'static World) -> Vec<Trial> {
    vec![
        world.trial("the_executable_signs_with_its_chain", the_executable_signs_with_its_chain),
        world.trial("many_processes_log_in_at_once", many_processes_log_in_at_once),
        world.trial("the_executable_refuses_with_one_object", the_executable_refuses_with_one_object),
        world.trial("the_executable_warns_of_a_plain_pin", the_executable_warns_of_a_plain_pin),
    ]
}

fn run(command: &str, request: &Value, environment: &[(&str, &str)]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_notation-pkcs11"))
        .arg(command)
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(request.to_string().as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn the_executable_signs_with_its_chain(world: &World) {
    let bundle = world.directory.join("root.pem");
    let body = STANDARD.encode(&world.root);
    let lines: Vec<&str> = body.as_bytes().chunks(64).map(|c| std::str::from_utf8(c).unwrap()).collect();
    let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
    std::fs::write(&bundle, pem).unwrap();
    let request = json!({
        "contractVersion": "1.0",
        "keyId": world.uri_without_pin("token=Build%20Keys;object=EC-256"),
        "keySpec": "EC-256",
        "hashAlgorithm": "SHA-256",
        "payload": STANDARD.encode("to be signed"),
        "pluginConfig": { "ca_certs": bundle },
    });
    let output = run("generate-signature", &request, &[("PROKURA_PLUGIN_PKCS11_PIN", PIN)]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["signingAlgorithm"], "ECDSA-SHA-256");
    assert_eq!(answer["certificateChain"].as_array().unwrap().len(), 3);
    assert_eq!(answer["certificateChain"][2], STANDARD.encode(&world.root));
    let signature = STANDARD.decode(answer["signature"].as_str().unwrap()).unwrap();
    let key = world.key("EC-256");
    let point = key.public_key().key_bits().to_vec();
    let key =
        aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED, point);
    key.verify(b"to be signed", &signature).unwrap();
}

fn many_processes_log_in_at_once(world: &World) {
    let request = json!({
        "contractVersion": "1.0",
        "keyId": world.uri("token=Build%20Keys;object=EC-521"),
    });
    std::thread::scope(|threads| {
        for _ in 0..12 {
            threads.spawn(|| {
                for _ in 0..8 {
                    let output = run("describe-key", &request, &[]);
                    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                }
            });
        }
    });
}

fn the_executable_refuses_with_one_object(world: &World) {
    let request = |config: Value| {
        json!({
            "contractVersion": "1.0",
            "keyId": world.uri_without_pin("token=Build%20Keys;object=absent"),
            "pluginConfig": config,
        })
    };
    for (config, environment, code) in [
        (json!({}), &[][..], "ACCESS_DENIED"),
        (json!({}), &[("PROKURA_PLUGIN_PKCS11_PIN", PIN)][..], "VALIDATION_ERROR"),
        // A warning must not stand before the object.
        (json!({ "pin": PIN }), &[][..], "VALIDATION_ERROR"),
    ] {
        let output = run("describe-key", &request(config), environment);
        assert!(!output.status.success() && output.stdout.is_empty());
        let refusal: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(refusal["errorCode"], code, "{refusal}");
        assert!(!refusal.to_string().contains(PIN), "{refusal}");
    }
}

fn the_executable_warns_of_a_plain_pin(world: &World) {
    let request = json!({
        "contractVersion": "1.0",
        "keyId": world.uri_without_pin("token=Build%20Keys;object=RSA-3072"),
        "pluginConfig": { "pin": PIN },
    });
    let output = run("describe-key", &request, &[]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["keySpec"], "RSA-3072");
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(warning.contains("plain text") && !warning.contains(PIN), "{warning}");
}
