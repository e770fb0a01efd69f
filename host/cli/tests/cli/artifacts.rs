//! Artifacts, files and plugins, as far as no signature is needed.

use serde_json::Value;

use crate::home::{Home, POLICY, stderr};

#[test]
fn verification_needs_a_policy_before_anything_is_contacted() {
    let home = Home::new();
    let error = home.fails(2, &["verify", "localhost:1/x:v1"]);
    assert!(error.contains("trust policy is not present"), "{error}");
}

#[test]
fn an_unsigned_artifact_is_told_as_such_by_every_verb() {
    let home = Home::new();
    let reference = home.layout();
    let packed = home.json(&["quickstart", "pack", "--layout", "layout:v1", "file.txt"]);
    let by_digest = packed["artifact"].as_str().unwrap();
    assert!(by_digest.starts_with("layout@sha256:"), "{packed}");

    let output = home.run(&["list", "--oci-layout", &reference]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("{by_digest} has no associated signatures\n")
    );
    assert!(
        stderr(&output).starts_with(
            "Warning: Always list the artifact using digest(@sha256:...) rather than a tag(:v1)"
        )
    );
    assert!(stderr(&home.run(&["list", "--oci-layout", by_digest])).is_empty());
    let json = home.json(&["list", "--oci-layout", by_digest]);
    assert_eq!((&json["signatures"], &json["truncated"]), (&serde_json::json!([]), &Value::from(false)));

    assert_eq!(
        home.ok(&["inspect", "--oci-layout", by_digest]),
        format!("{by_digest} has no associated signature\n")
    );
    assert_eq!(home.json(&["inspect", "--oci-layout", by_digest])["signatures"], serde_json::json!([]));

    home.trust(POLICY);
    let verify = ["verify", "--oci-layout", by_digest, "--scope", "local/x"];
    let error = home.fails(1, &verify);
    assert_eq!(
        error,
        format!(
            "Error: signature verification failed: no signature is associated with {by_digest:?}, make sure the \
             artifact was signed successfully\n"
        )
    );
    let output = home.run(&[&verify[..], &["-o", "json"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["result"], &json["level"]), (&Value::from("refused"), &Value::from("strict")));
    let error = home.fails(2, &["quickstart", "tamper", "--layout", by_digest, "--copy", "copy:v1"]);
    assert!(error.contains("has no signature to copy"), "{error}");
}

#[test]
fn a_policy_can_skip_or_not_know_a_repository() {
    let home = Home::new();
    let reference = home.layout();
    home.trust(
        r#"{"version":"1.0","trustPolicies":[{"name":"s","registryScopes":["local/skipped"],
            "signatureVerification":{"level":"skip"}}]}"#,
    );
    let verify = |scope: &'static str| ["verify", "--oci-layout", "layout:v1", "--scope", scope];
    let text = home.ok(&verify("local/skipped"));
    assert!(
        text.starts_with("\nTrust policy is configured to skip signature verification for layout@sha256:"),
        "{text}"
    );
    assert_eq!(home.json(&verify("local/skipped"))["result"], "skipped");
    assert!(home.fails(1, &verify("local/other")).contains("has no applicable oci trust policy statement"));
    let none = home.fails(2, &["verify", "--oci-layout", &reference]);
    assert!(none.contains("--scope"), "{none}");
}

#[test]
fn exit_codes_tell_refusals_from_failures() {
    let home = Home::new();
    let reference = home.layout();
    let sign = |plugin: &str, code: i32| {
        let deadline = ["--deadline", "700ms"];
        home.fails(
            code,
            &[&["sign", "--plugin", plugin, "--id", "k"], &deadline[..], &["--oci-layout", &reference]]
                .concat(),
        )
    };
    let refusing = |code: &str| {
        format!("echo '{{\"errorCode\":\"{code}\",\"errorMessage\":\"go \\u001b[2Jaway\"}}' >&2; exit 1")
    };
    home.script("denied", &refusing("ACCESS_DENIED"));
    let error = sign("denied", 1);
    assert!(
        error.contains("ACCESS_DENIED") && error.contains("away") && !error.contains('\u{1b}'),
        "{error:?}"
    );
    home.script("busy", &refusing("THROTTLED"));
    assert!(sign("busy", 3).contains("THROTTLED"));
    home.script("dead", "exit 7");
    assert!(sign("dead", 3).contains("7"));
    home.script("slow", "sleep 20");
    assert!(sign("slow", 3).contains("gave no answer"));
    home.script("liar", "echo '{\"name\":\"other\"}'");
    assert!(sign("liar", 1).contains("broke rule"));
    assert!(sign("absent", 2).contains("is not installed"));
    assert_eq!(home.json(&["list", "--oci-layout", &reference])["signatures"], serde_json::json!([]));
}

#[test]
fn plugins_are_listed_with_what_is_wrong_with_them() {
    let home = Home::new();
    home.script("dead", "exit 7");
    let metadata = r#"{"name":"good","description":"Signs","version":"1.2.3","url":"https://e.example",
        "supportedContractVersions":["1.0"],"capabilities":["SIGNATURE_GENERATOR.RAW"]}"#;
    home.script("good", &format!("cat >/dev/null; echo '{}'", metadata.replace('\n', "")));
    let text = home.ok(&["plugin", "ls"]);
    assert!(text.starts_with("NAME"), "{text}");
    let good: Vec<&str> = text
        .lines()
        .find(|l| l.starts_with("good "))
        .unwrap()
        .split("   ")
        .map(str::trim)
        .filter(|c| !c.is_empty())
        .collect();
    assert_eq!(good, ["good", "Signs", "1.2.3", "[SIGNATURE_GENERATOR.RAW]", "<nil>"]);
    assert!(
        text.lines().any(|l| l.starts_with("dead ") && l.contains("[]") && l.contains("ended with")),
        "{text}"
    );
    let json = home.json(&["plugin", "list"]);
    let dead = json["plugins"].as_array().unwrap().iter().find(|p| p["name"] == "dead").unwrap();
    assert!(dead["error"].is_string() && dead.get("version").is_none(), "{json}");
}

#[test]
fn blobs_and_their_signatures_have_checked_names() {
    let home = Home::new();
    std::fs::write(home.path().join("f"), "x").unwrap();
    assert!(home.fails(2, &["blob", "sign"]).contains("missing file path to the blob artifact"));
    assert!(
        home.fails(2, &["blob", "verify", "-s", "x.jws.sig"]).contains("missing path to the blob artifact")
    );
    assert!(home.fails(2, &["blob", "inspect"]).contains("missing signature path"));
    assert!(home.fails(2, &["blob", "inspect", "f"]).contains("The file extension must be .sig"));
    std::fs::write(home.path().join("f.jws.sig"), "{").unwrap();
    assert!(home.fails(1, &["blob", "inspect", "f.jws.sig"]).contains("failed to parse signature"));
    std::fs::create_dir_all(home.config("")).unwrap();
    std::fs::write(home.config("trustpolicy.blob.json"), POLICY.replace(r#""registryScopes":["*"],"#, ""))
        .unwrap();
    assert!(
        home.fails(1, &["blob", "verify", "-s", "f.jws.sig", "f"]).contains("no global blob trust policy")
    );
    let error = home.fails(1, &["blob", "verify", "--policy-name", "p", "-s", "f.jws.sig", "f"]);
    assert!(error.contains("unable to parse the digital signature"), "{error}");
    let output = home.run(&["blob", "verify", "--policy-name", "p", "-s", "f.jws.sig", "f", "-o", "json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &json["result"]), (Some(1), &Value::from("refused")));
}

#[test]
fn a_signature_that_is_not_replaced_is_not_said_to_be() {
    let home = Home::new();
    let metadata = r#"{"name":"dead","description":"Dies later","version":"1.2.3","url":"https://e.example",
        "supportedContractVersions":["1.0"],"capabilities":["SIGNATURE_GENERATOR.RAW"]}"#;
    let metadata = metadata.replace('\n', "");
    home.script(
        "dead",
        &format!("cat >/dev/null; [ $1 = get-plugin-metadata ] || exit 7; echo '{metadata}'"),
    );
    for name in ["f", "f.jws.sig"] {
        std::fs::write(home.path().join(name), "x").unwrap();
    }
    let sign = ["blob", "sign", "--force", "--plugin", "dead", "--id", "k", "f"];
    let failed = home.fails(3, &sign);
    assert!(failed.contains("describe-key") && !failed.contains("overwritten"), "{failed}");
    assert_eq!(std::fs::read(home.path().join("f.jws.sig")).unwrap(), b"x");
}
