//! `certificate` and `policy`: what is trusted.

use serde_json::Value;

use crate::home::{Home, POLICY, stderr};

#[test]
fn a_test_key_is_made_told_listed_and_taken_back() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let text = home.ok(&["cert", "generate-test", "--default", "wabbit-networks.io"]);
    let lines: Vec<&str> = text.lines().collect();
    let (key, certificate) =
        (home.config("localkeys/wabbit-networks.io.key"), home.config("localkeys/wabbit-networks.io.crt"));
    assert_eq!(lines[0], "generating RSA Key with 2048 bits");
    assert!(
        lines[1].starts_with("generated certificate expiring on 20") && lines[1].ends_with('Z'),
        "{text}"
    );
    assert_eq!(lines[2], format!("wrote key: {}", key.display()));
    assert_eq!(lines[3], format!("wrote certificate: {}", certificate.display()));
    assert_eq!(
        lines[4..],
        [
            "Successfully added wabbit-networks.io.crt to named store wabbit-networks.io of type ca",
            "wabbit-networks.io: added to the key list",
            "wabbit-networks.io: marked as default signing key"
        ]
    );
    assert!(std::fs::read_to_string(&key).unwrap().starts_with("-----BEGIN PRIVATE KEY-----"));
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);

    let before = std::fs::read(&key).unwrap();
    let error = home.fails(2, &["cert", "generate-test", "wabbit-networks.io"]);
    assert!(error.contains("already exists") && error.contains("cleanup-test"), "{error}");
    assert_eq!(std::fs::read(&key).unwrap(), before);

    assert_eq!(
        home.ok(&["cert", "ls"]),
        "STORE TYPE   STORE NAME           CERTIFICATE              \n\
         ca           wabbit-networks.io   wabbit-networks.io.crt   \n"
    );
    let shown = home.ok(&["cert", "show", "-t", "ca", "-s", "wabbit-networks.io", "wabbit-networks.io.crt"]);
    for line in [
        "Certificate details",
        "Issuer: CN=wabbit-networks.io,O=Notary,L=Seattle,ST=WA,C=US",
        "Subject: CN=wabbit-networks.io,O=Notary,L=Seattle,ST=WA,C=US",
        "IsCA: false",
    ] {
        assert!(shown.lines().any(|l| l == line), "{line:?} is not in {shown}");
    }
    let json = home.json(&["cert", "show", "-t", "ca", "-s", "wabbit-networks.io", "wabbit-networks.io.crt"]);
    let from: jiff::Timestamp = json["certificates"][0]["validFrom"].as_str().unwrap().parse().unwrap();
    let to: jiff::Timestamp = json["certificates"][0]["validTo"].as_str().unwrap().parse().unwrap();
    assert_eq!(to.as_second() - from.as_second(), 24 * 3600);

    let done = home.json(&["cert", "cleanup-test", "-y", "wabbit-networks.io"]);
    assert_eq!(done["done"].as_array().unwrap().len(), 4);
    assert!(!key.exists() && !certificate.exists());
    assert_eq!(home.json(&["key", "list"])["keys"], serde_json::json!([]));
    assert_eq!(home.json(&["cert", "list"])["certificates"], serde_json::json!([]));
}

#[test]
fn every_key_spec_can_be_generated() {
    let home = Home::new();
    for spec in ["EC-256", "EC-384", "EC-521", "RSA-3072"] {
        let json = home.json(&["cert", "generate-test", "--key-spec", spec, "--validity", "48h", spec]);
        assert_eq!((&json["keySpec"], &json["default"]), (&Value::from(spec), &Value::from(false)));
    }
    assert!(
        home.fails(2, &["cert", "generate-test", "-b", "1024", "x"]).contains("\"RSA-1024\" is no key spec")
    );
    assert!(home.fails(2, &["cert", "generate-test", "--validity", "9000h", "x"]).contains("out of range"));
}

#[test]
fn names_cannot_lead_out_of_their_directory() {
    let home = Home::new();
    for name in ["../x", "..", ".", "a/b", "x\n"] {
        let error = home.fails(2, &["cert", "generate-test", "--", name]);
        assert!(error.contains("[a-zA-Z0-9_.-]+"), "{name:?}: {error}");
    }
    let certificate = home.test_certificate();
    for store in ["../x", "..", "a/b"] {
        let error = home.fails(2, &["cert", "add", "-t", "ca", "-s", store, &certificate]);
        assert!(error.contains("[a-zA-Z0-9_.-]+"), "{store:?}: {error}");
    }
    let error = home.fails(2, &["cert", "delete", "-y", "-t", "ca", "-s", "t", "../../../signingkeys.json"]);
    assert!(error.contains("no file name"), "{error}");
    assert!(home.config("signingkeys.json").exists());
}

#[test]
fn certificates_are_added_listed_and_deleted() {
    let home = Home::new();
    let certificate = home.test_certificate();
    let added = home.ok(&["cert", "add", "-t", "ca", "-s", "other", &certificate]);
    assert_eq!(
        added,
        format!(
            "Successfully added following certificates to named store other of type ca:\n{certificate}\n"
        )
    );
    std::fs::write(home.path().join("not.crt"), "hello").unwrap();
    let error = home.fails(2, &["cert", "add", "-t", "ca", "-s", "other", &certificate, "not.crt"]);
    assert!(
        error.contains("Failed to add following certificates to named store other of type ca:"),
        "{error}"
    );
    assert!(error.contains("certificate already exists in the Trust Store"), "{error}");
    assert!(error.contains("\nnot.crt, with error"), "{error}");
    assert!(
        home.fails(2, &["cert", "add", "-t", "root", "-s", "x", &certificate]).contains("signingAuthority")
    );

    let listed = home.json(&["cert", "list", "--store", "other"]);
    assert_eq!(
        listed["certificates"],
        serde_json::json!([{"storeType": "ca", "store": "other", "file": "t.crt"}])
    );
    assert_eq!(home.ok(&["cert", "list", "--type", "nonsense"]), "");

    let declined = home.run_with(&["cert", "delete", "-t", "ca", "-s", "other", "t.crt"], "n\n", &[]);
    assert_eq!(
        String::from_utf8_lossy(&declined.stdout),
        "Are you sure you want to delete \"t.crt\" in \"other\" of type \"ca\"? [y/N] Operation cancelled.\n"
    );
    assert!(declined.status.success());
    let nobody = home.run_with(&["cert", "delete", "-t", "ca", "-s", "other", "t.crt"], "", &[]);
    assert!(nobody.status.code() == Some(2) && nobody.stdout.ends_with(b"[y/N] "));
    assert!(stderr(&nobody).contains("the question was not answered"), "{}", stderr(&nobody));
    let json =
        home.run_with(&["cert", "delete", "-t", "ca", "-s", "other", "t.crt", "-o", "json"], "n\n", &[]);
    let cancelled: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(cancelled, serde_json::json!({"cancelled": true}));

    let deleted = home.run_with(&["cert", "delete", "-t", "ca", "-s", "other", "t.crt"], "YES\n", &[]);
    assert!(
        String::from_utf8_lossy(&deleted.stdout)
            .ends_with("Successfully deleted t.crt from trust store other of type ca\n")
    );
    assert_eq!(home.json(&["cert", "list", "--store", "other"])["certificates"], serde_json::json!([]));
    let gone = home.ok(&["cert", "delete", "-t", "ca", "-s", "t", "--all", "-y"]);
    assert_eq!(gone, format!("Successfully deleted {}\n", home.config("truststore/x509/ca/t").display()));
}

#[test]
fn policies_are_checked_imported_and_shown_byte_for_byte() {
    let home = Home::new();
    let error = home.fails(2, &["policy", "show"]);
    assert!(error.contains("failed to show OCI trust policy as it does not exist."), "{error}");
    std::fs::write(home.path().join("p.json"), POLICY).unwrap();
    std::fs::create_dir_all(home.config("")).unwrap();
    let text = home.ok(&["policy", "import", "p.json"]);
    let path = home.config("trustpolicy.oci.json");
    assert_eq!(
        text,
        format!("Successfully imported OCI trust policy configuration to {}.\n", path.display())
    );
    assert_eq!(home.ok(&["policy", "show"]), POLICY);
    assert_eq!(home.json(&["policy", "show"])["policy"]["version"], "1.0");

    let declined = home.run_with(&["policy", "import", "p.json"], "no\n", &[]);
    let question = "The OCI trust policy configuration already exists, do you want to overwrite it? [y/N] ";
    assert!(String::from_utf8_lossy(&declined.stdout).starts_with(question));
    let forced = home.run(&["policy", "import", "--force", "p.json"]);
    assert!(stderr(&forced).contains("Warning: existing OCI trust policy configuration will be overwritten"));

    std::fs::write(home.path().join("half.json"), &POLICY[..POLICY.len() / 2]).unwrap();
    let error = home.fails(2, &["policy", "import", "--force", "half.json"]);
    assert!(error.contains("half.json"), "{error}");
    assert_eq!(home.ok(&["policy", "show"]), POLICY);
    assert!(home.fails(2, &["policy", "import"]).contains("requires 1 argument but received 0"));

    std::fs::write(&path, "{\"version\":\"1.0\"").unwrap();
    let output = home.run(&["policy", "show"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(output.stdout, b"{\"version\":\"1.0\"");
    assert!(stderr(&output).contains("Existing OCI trust policy configuration is invalid"));
}

#[test]
fn an_old_policy_is_shown_with_a_warning_and_replaced() {
    let home = Home::new();
    std::fs::create_dir_all(home.config("")).unwrap();
    std::fs::write(home.config("trustpolicy.json"), POLICY).unwrap();
    let output = home.run(&["policy", "show"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), POLICY);
    assert!(stderr(&output).contains("`trustpolicy.json` is deprecated"));
    std::fs::write(home.path().join("p.json"), POLICY).unwrap();
    let text = home.ok(&["policy", "import", "--force", "p.json"]);
    assert!(text.starts_with("Deleted old trust policy configuration trustpolicy.json.\n"), "{text}");
    assert!(!home.config("trustpolicy.json").exists());
}

#[test]
fn blob_policies_are_initialised() {
    let home = Home::new();
    let arguments =
        ["blob", "policy", "init", "-n", "x", "--trust-store", "ca:x", "--trusted-identity", "*", "--global"];
    let text = home.ok(&arguments);
    let path = home.config("trustpolicy.blob.json");
    assert_eq!(text, format!("Successfully initialized blob trust policy file to {}.\n", path.display()));
    let policy = home.json(&["blob", "policy", "show"])["policy"].clone();
    assert_eq!(policy["trustPolicies"][0]["signatureVerification"]["level"], "strict");
    assert_eq!(policy["trustPolicies"][0]["globalPolicy"], true);
    assert!(
        home.fails(
            2,
            &["blob", "policy", "init", "-n", "x", "--trust-store", "x", "--trusted-identity", "*"]
        )
        .contains("malformed trust store value")
    );
}

#[test]
fn a_policy_with_terminal_escapes_is_harmless_to_look_at() {
    let home = Home::new();
    let hidden = POLICY.replace("\"p\"", "\"p\u{9b}2J\"");
    home.trust(&hidden);
    assert_eq!(home.ok(&["policy", "show"]), hidden, "a pipe gets the bytes");
    let json = home.ok(&["policy", "show", "-o", "json"]);
    assert!(json.contains("p\\u009b2J") && !json.contains('\u{9b}'), "{json}");
    home.trust("{\"version\": \u{1b}[2J");
    let output = home.run(&["policy", "show"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "{\"version\": \\u001b[2J");
}

#[test]
fn a_checkout_does_not_become_the_configuration_of_who_has_no_home() {
    let home = Home::new();
    home.trust(POLICY);
    std::fs::rename(home.config(""), home.path().join(".notation")).unwrap();
    // An empty variable counts as none.
    let homeless = [("NOTATION_CONFIG", "")];
    for arguments in [&["policy", "show"][..], &["plugin", "list"], &["cert", "list"]] {
        let output = home.run_with(arguments, "", &homeless);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}");
        assert!(stderr(&output).contains("set NOTATION_CONFIG"), "{}", stderr(&output));
    }
    assert!(home.run_with(&["version"], "", &homeless).status.success());
    let named = home.run_with(&["policy", "show"], "", &[("NOTATION_CONFIG", ".notation")]);
    assert_eq!(String::from_utf8_lossy(&named.stdout), POLICY);
}
