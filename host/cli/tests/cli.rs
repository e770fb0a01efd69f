//! The built executable, run as a user runs it, in directories of its own.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where something is not as expected"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A user's home: configuration, working directory, and nothing from the real environment.
struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn config(&self, name: &str) -> PathBuf {
        self.path().join("notation").join(name)
    }

    #[expect(clippy::disallowed_methods, reason = "the test runs the executable under test")]
    fn run_with(&self, arguments: &[&str], input: &str, environment: &[(&str, &str)]) -> Output {
        use std::io::Write;
        let mut child = Command::new(env!("CARGO_BIN_EXE_prokura"))
            .args(arguments)
            .env_clear()
            .env("NOTATION_CONFIG", self.path().join("notation"))
            .envs(environment.iter().copied())
            .current_dir(self.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that asks nothing may end before it reads.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(arguments, "", &[])
    }

    /// Runs a command that must succeed; its standard output.
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must succeed with `-o json`.
    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    /// Runs a command that must fail with `code`; its standard error.
    fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
        assert!(message.contains("Error: "), "{arguments:?}: {message}");
        message
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const POLICY: &str = r#"{"version":"1.0","trustPolicies":[{"name":"p","registryScopes":["*"],
  "signatureVerification":{"level":"strict"},"trustStores":["ca:t"],"trustedIdentities":["*"]}]}"#;

#[test]
fn version_is_worded_like_notations() {
    let home = Home::new();
    let text = home.ok(&["version"]);
    assert!(text.starts_with("Prokura - a tool to sign and verify artifacts.\n\nVersion:      v"), "{text}");
    assert!(text.contains("\nRust version: 1.") && text.contains("\nOS/Arch:      "), "{text}");
    let json = home.json(&["version"]);
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    assert!(json["os"].is_string() && json["arch"].is_string() && json["rustVersion"].is_string());
}

#[test]
fn completion_knows_every_shell_and_has_no_json() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "powershell"] {
        assert!(home.ok(&["completion", shell]).contains("quickstart"), "{shell}");
    }
    assert!(home.fails(2, &["completion", "bash", "-o", "json"]).contains("no JSON form"));
}

#[test]
fn help_shows_examples_exit_codes_and_exits_with_zero() {
    let home = Home::new();
    let text = home.ok(&["--help"]);
    assert!(text.contains("Exit codes:") && text.contains("NOTATION_CONFIG"), "{text}");
    for verb in ["sign", "verify", "list", "inspect", "login", "logout", "quickstart", "completion"] {
        assert!(home.ok(&[verb, "--help"]).contains("Example"), "{verb}");
    }
    for (group, verb) in [
        ("key", "add"),
        ("key", "update"),
        ("key", "delete"),
        ("cert", "add"),
        ("cert", "list"),
        ("cert", "show"),
        ("cert", "delete"),
        ("cert", "generate-test"),
        ("cert", "cleanup-test"),
        ("policy", "import"),
        ("blob", "sign"),
        ("blob", "verify"),
        ("blob", "inspect"),
        ("plugin", "list"),
    ] {
        assert!(home.ok(&[group, verb, "--help"]).contains("Example"), "{group} {verb}");
    }
}

#[test]
fn a_missing_reference_is_told_in_notations_words() {
    let home = Home::new();
    for verb in ["sign", "verify", "list", "inspect"] {
        let error = home.fails(2, &[verb]);
        let expected = format!(
            "Error: missing reference to the artifact: use `prokura {verb} --help` to see what parameters are required\n"
        );
        assert_eq!(error, expected);
    }
}

#[test]
fn wrong_usage_is_one_error_with_exit_code_two() {
    let home = Home::new();
    let error = home.fails(2, &["sign", "--no-such-flag", "x"]);
    assert!(error.starts_with("Error: unexpected argument '--no-such-flag'"), "{error}");
    let error = home.fails(2, &["sign", "--plugin", "../../x", "--id", "i", "r.example/x:v1"]);
    assert!(error.contains("is no plugin name"), "{error}");
    let error = home.fails(2, &["sign", "-m", "novalue", "r.example/x:v1"]);
    assert!(error.contains("key-value pair requires \"=\" as separator"), "{error}");
    let error = home.fails(2, &["sign", "--expiry", "1500ms", "r.example/x:v1"]);
    assert!(error.contains("expiry duration supports minimum granularity of seconds"), "{error}");
    let error = home.fails(2, &["sign", "--expiry=-1h", "r.example/x:v1"]);
    assert!(error.contains("expiry duration cannot be a negative value"), "{error}");
    let error = home.fails(2, &["sign", "--plugin", "p", "--id", "a\u{1b}[2Jb", "r.example/x:v1"]);
    assert!(error.contains("control characters") && !error.contains('\u{1b}'), "{error:?}");
}

#[test]
fn the_key_list_is_kept_as_notation_keeps_it() {
    let home = Home::new();
    assert_eq!(home.ok(&["key", "ls"]), "NAME   KEY PATH   CERTIFICATE PATH   ID   PLUGIN NAME   \n");
    home.plugin("plug");
    assert_eq!(home.ok(&["key", "add", "--plugin", "plug", "--id", "../k/1", "one"]), "one\n");
    assert_eq!(
        home.ok(&[
            "key",
            "add",
            "--plugin",
            "plug",
            "--id",
            "k2",
            "--plugin-config",
            "a=b=c",
            "--default",
            "two"
        ]),
        "two: marked as default\n"
    );
    let expected = "\
NAME    KEY PATH   CERTIFICATE PATH   ID       PLUGIN NAME   \n\
one                                   ../k/1   plug          \n\
* two                                 k2       plug          \n";
    assert_eq!(home.ok(&["key", "list"]), expected);
    let json = home.json(&["key", "list"]);
    assert_eq!(json["default"], "two");
    assert_eq!(json["keys"][1]["pluginConfigNames"], serde_json::json!(["a"]));
    assert!(!json.to_string().contains("b=c"), "a plugin config value is shown: {json}");
    let file: Value =
        serde_json::from_slice(&std::fs::read(home.config("signingkeys.json")).unwrap()).unwrap();
    assert_eq!(file["keys"][1]["pluginConfig"]["a"], "b=c");

    assert_eq!(home.ok(&["key", "set", "--default", "one"]), "one: marked as default\n");
    let output = home.run(&["key", "update", "one"]);
    assert!(output.status.success() && stderr(&output).contains("--default flag is not set"));
    let error = home.fails(2, &["key", "add", "--plugin", "plug", "--id", "x", "one"]);
    assert!(error.contains("signing key with name \"one\" already exists"), "{error}");
    assert!(home.fails(2, &["key", "delete", "two", "none"]).contains("signing key none not found"));
    assert_eq!(home.json(&["key", "list"])["keys"].as_array().unwrap().len(), 2, "a failed delete deleted");
    assert_eq!(
        home.ok(&["key", "delete", "one"]),
        "Removed default key one from Notation signing key list. The source key still exists.\n"
    );
    assert_eq!(home.json(&["key", "delete", "two"])["deleted"][0]["name"], "two");
}

impl Home {
    /// Installs an executable that is only looked at.
    fn plugin(&self, name: &str) {
        use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
        let dir = self.config(&format!("plugins/{name}"));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).unwrap();
        let path = dir.join(format!("notation-{name}"));
        std::fs::write(&path, "#!/bin/sh\nexit 1\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn key_add_refuses_what_is_missing() {
    let home = Home::new();
    assert!(home.fails(2, &["key", "add", "--id", "i", "n"]).contains("--plugin"));
    home.plugin("plug");
    assert!(home.fails(2, &["key", "add", "--plugin", "plug", "n"]).contains("missing key id"));
    assert!(
        home.fails(2, &["key", "add", "--plugin", "plug", "--id", "i"])
            .contains("either missing key name or unnecessary parameters passed")
    );
    assert!(
        home.fails(2, &["key", "add", "--plugin", "absent", "--id", "i", "n"]).contains("notation-absent")
    );
    assert!(!home.config("signingkeys.json").exists());
}

#[test]
fn a_damaged_key_list_is_refused_and_left_alone() {
    let home = Home::new();
    home.plugin("plug");
    home.ok(&["key", "add", "--plugin", "plug", "--id", "i", "one"]);
    let path = home.config("signingkeys.json");
    let whole = std::fs::read(&path).unwrap();
    let half = &whole[..whole.len() / 2];
    std::fs::write(&path, half).unwrap();
    for arguments in [
        &["key", "list"][..],
        &["key", "add", "--plugin", "plug", "--id", "i", "two"],
        &["key", "delete", "one"],
        &["sign", "localhost:1/x:v1"],
    ] {
        let error = home.fails(2, arguments);
        assert!(error.contains("signingkeys.json is cut short") && error.contains("line "), "{error}");
        assert!(error.contains("restore it from a backup"), "{error}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), half);

    std::fs::rename(&path, home.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(home.path().join("elsewhere"), &path).unwrap();
    assert!(home.fails(2, &["key", "list"]).contains("is not a regular file (symlinks are not supported)"));
}

#[test]
fn a_damaged_config_is_refused() {
    let home = Home::new();
    std::fs::create_dir_all(home.config("")).unwrap();
    std::fs::write(home.config("config.json"), "{\"insecureRegistries\": [\"a").unwrap();
    let error = home.fails(2, &["list", "localhost:1/x:v1"]);
    assert!(error.contains("config.json is cut short"), "{error}");
}

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

impl Home {
    fn test_certificate(&self) -> String {
        let json = self.json(&["cert", "generate-test", "--key-spec", "EC-256", "t"]);
        json["certPath"].as_str().unwrap().to_owned()
    }
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
    assert!(nobody.status.success() && nobody.stdout.ends_with(b"[y/N] "));
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
fn timestamping_is_refused_not_ignored() {
    let home = Home::new();
    let error = home.fails(
        2,
        &["sign", "--timestamp-url", "http://tsa", "--timestamp-root-cert", "r.pem", "localhost:1/x:v1"],
    );
    assert!(error.contains("timestamping is not supported yet"), "{error}");
}

#[test]
fn references_are_checked_before_anything_is_contacted() {
    let home = Home::new();
    home.test_certificate();
    let key = ["--key", "t"];
    let sign = |rest: &[&str]| home.fails(2, &[&["sign"], &key[..], rest].concat());
    let error = sign(&["localhost:1/x"]);
    assert!(
        error.contains("no tag or digest") && error.contains("<registry>/<repository>@<digest>"),
        "{error}"
    );
    assert!(sign(&["nonsense"]).contains("\"nonsense\""));
    let error = sign(&["--oci-layout", "./layout"]);
    assert!(error.contains("missing tag or digest") && error.contains("<file_path>:<tag>"), "{error}");
    let error = sign(&["--oci-layout", "./layout:v1"]);
    assert!(error.contains("./layout"), "{error}");
}

#[test]
fn an_unreachable_registry_is_infrastructure() {
    let home = Home::new();
    let error = home.fails(3, &["list", "localhost:1/x:v1"]);
    assert!(error.contains("localhost:1"), "{error}");
}

#[test]
fn keys_must_exist_and_a_default_must_be_set() {
    let home = Home::new();
    let error = home.fails(2, &["sign", "localhost:1/x:v1"]);
    assert!(
        error.contains("default signing key not set. Please set default signing key or specify a key name")
    );
    assert!(
        home.fails(2, &["sign", "-k", "none", "localhost:1/x:v1"]).contains("signing key none not found")
    );
}

#[test]
fn verification_needs_a_policy_before_anything_is_contacted() {
    let home = Home::new();
    let error = home.fails(2, &["verify", "localhost:1/x:v1"]);
    assert!(error.contains("trust policy is not present"), "{error}");
}

#[test]
fn passwords_never_come_back() {
    let home = Home::new();
    let output = home.run(&["list", "-d", "-u", "user", "-p", "s3cr3t-in-argv", "localhost:1/x:v1"]);
    let all = stderr(&output) + &String::from_utf8_lossy(&output.stdout);
    assert!(!all.contains("s3cr3t-in-argv"), "{all}");
    assert!(all.contains("Warning:") && all.contains("NOTATION_PASSWORD"), "{all}");
    let environment = [("NOTATION_USERNAME", "user"), ("NOTATION_PASSWORD", "s3cr3t-in-env")];
    let output = home.run_with(&["list", "-d", "localhost:1/x:v1"], "", &environment);
    let all = stderr(&output) + &String::from_utf8_lossy(&output.stdout);
    assert!(!all.contains("s3cr3t-in-env") && !all.contains("Warning:"), "{all}");
}

impl Home {
    /// A layout with one unsigned artifact; its reference by tag.
    fn layout(&self) -> String {
        std::fs::write(self.path().join("file.txt"), "content").unwrap();
        self.ok(&["quickstart", "pack", "--layout", "layout:v1", "file.txt"]);
        "layout:v1".to_owned()
    }

    /// Installs a shell script as plugin.
    fn script(&self, name: &str, script: &str) {
        self.plugin(name);
        std::fs::write(
            self.config(&format!("plugins/{name}/notation-{name}")),
            format!("#!/bin/sh\n{script}\n"),
        )
        .unwrap();
    }
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

impl Home {
    fn trust(&self, policy: &str) {
        std::fs::create_dir_all(self.config("")).unwrap();
        std::fs::write(self.config("trustpolicy.json"), policy).unwrap();
    }
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
fn the_documented_json_is_what_is_written() {
    let home = Home::new();
    home.plugin("plug");
    home.layout();
    home.trust(POLICY);
    std::fs::write(home.path().join("p.json"), POLICY).unwrap();
    let documented = include_str!("../OUTPUT.md");
    for (title, arguments) in [
        ("version", &["version"][..]),
        ("key add", &["key", "add", "--plugin", "plug", "--id", "i", "k"]),
        ("key update", &["key", "update", "--default", "k"]),
        ("key list", &["key", "list"]),
        ("key delete", &["key", "delete", "k"]),
        ("cert generate-test", &["cert", "generate-test", "--key-spec", "EC-256", "t"]),
        ("cert list", &["cert", "list"]),
        ("cert show", &["cert", "show", "-t", "ca", "-s", "t", "t.crt"]),
        ("cert add", &["cert", "add", "-t", "ca", "-s", "u", "notation/localkeys/t.crt"]),
        ("cert delete", &["cert", "delete", "-y", "-t", "ca", "-s", "u", "t.crt"]),
        ("cert cleanup-test", &["cert", "cleanup-test", "-y", "t"]),
        ("policy show", &["policy", "show"]),
        ("policy import", &["policy", "import", "--force", "p.json"]),
        ("plugin list", &["plugin", "list"]),
        ("list", &["list", "--oci-layout", "layout:v1"]),
        ("inspect", &["inspect", "--oci-layout", "layout:v1"]),
        ("quickstart pack", &["quickstart", "pack", "--layout", "layout:v1", "file.txt"]),
        ("logout", &["logout", "r.example"]),
    ] {
        let json = home.json(arguments);
        let written: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        let mut listed = members(documented, title);
        listed.sort_unstable();
        assert_eq!(written, listed, "{title}");
    }
}

/// The members that OUTPUT.md lists for a command and that are always there (no `?`), from a row
/// `` | `command` | `{member, member?, ...}` | ``.
fn members<'a>(document: &'a str, command: &str) -> Vec<&'a str> {
    let row = document.lines().find(|line| line.starts_with(&format!("| `{command}` |")));
    let row = row.unwrap_or_else(|| panic!("OUTPUT.md has no row for {command}"));
    let shape = row.split('|').nth(2).unwrap().trim().trim_matches('`');
    let inner = shape.strip_prefix('{').unwrap().strip_suffix('}').unwrap();
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth -= 1,
            ',' if depth == 0 => {
                found.push(inner[start..at].split(':').next().unwrap().trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    found.retain(|member| !member.ends_with('?'));
    found
}
