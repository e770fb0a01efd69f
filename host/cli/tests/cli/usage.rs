//! What is refused before anything is done, and how the program speaks of itself.

use crate::home::{Home, POLICY, stderr};

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

#[test]
#[cfg(target_os = "linux")]
fn a_plugin_cannot_read_the_password_from_the_hosts_memory() {
    let home = Home::new();
    let seen = home.path().join("seen");
    home.script("spy", &format!("cat /proc/$PPID/environ > {0}; echo $? >> {0}", seen.display()));
    home.run_unprivileged(
        &["plugin", "list"],
        &[("NOTATION_PASSWORD", "s3cr3t-in-env"), ("PATH", "/usr/bin:/bin")],
    );
    let seen = std::fs::read_to_string(seen).unwrap();
    assert_eq!(seen.trim(), "1", "the plugin could read the environment");
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
fn an_unreachable_registry_is_infrastructure() {
    let home = Home::new();
    let error = home.fails(3, &["list", "localhost:1/x:v1"]);
    assert!(error.contains("localhost:1"), "{error}");
}

#[test]
fn a_registry_that_never_answers_ends_at_the_limit() {
    let home = Home::new();
    home.trust(POLICY);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let reference = format!("localhost:{}/x:v1", listener.local_addr().unwrap().port());
    // The system accepts connections on behalf of the listener; nobody ever reads them.
    for verb in ["verify", "list", "inspect"] {
        let start = std::time::Instant::now();
        let error = home.fails(3, &[verb, "--timeout", "300ms", &reference]);
        assert!(error.contains("within its limit of 300ms") && error.contains("--timeout"), "{error}");
        assert!(start.elapsed() < std::time::Duration::from_secs(10), "{:?}", start.elapsed());
        let error = home.fails(2, &[verb, "--timeout", "0", &reference]);
        assert!(error.contains("out of range"), "{error}");
    }
}

#[test]
fn a_damaged_config_is_refused() {
    let home = Home::new();
    std::fs::create_dir_all(home.config("")).unwrap();
    std::fs::write(home.config("config.json"), "{\"insecureRegistries\": [\"a").unwrap();
    let error = home.fails(2, &["list", "localhost:1/x:v1"]);
    assert!(error.contains("config.json is cut short"), "{error}");
}
