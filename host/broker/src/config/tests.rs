//! What `prokurad.toml` is refused for, and what it means.

use super::*;

const GOOD: &str = r#"
[listen]
unix = "broker.sock"
tcp = "127.0.0.1:0"
[tls]
certificate = "tls/a.pem"
key = "/etc/a.key"
client_cas = ["tls/ca.pem"]
[policy]
directory = "policy"
[audit]
directory = "log"
name = "signing.example/log"
key = "log.key"
[plugins]
directory = "plugins"
[keys."acme/release"]
plugin = "pkcs11"
id = "pkcs11:object=release"
config = { "pin-file" = "/run/pin" }
groups = ["release"]
labels = { team = "x" }
[keys.a]
plugin = "softkey"
id = "a"
[limits]
in_flight = 12
[log]
format = "json"
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/prokura/prokurad.toml"))
}

fn problems(text: &str) -> Vec<String> {
    match parse(text) {
        Err(ConfigError::Wrong { problems, .. }) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn paths_are_relative_to_the_file_and_values_are_typed() {
    let config = parse(GOOD).unwrap();
    assert_eq!(config.listen.unix.as_deref(), Some(Path::new("/etc/prokura/broker.sock")));
    assert_eq!((config.listen.unix_group, config.limits.in_flight), (None, 12));
    let tls = config.tls.unwrap();
    assert_eq!(tls.key, Path::new("/etc/a.key"));
    assert_eq!(tls.client_cas, [PathBuf::from("/etc/prokura/tls/ca.pem")]);
    let names: Vec<_> = config.keys.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(names, ["a", "acme/release"]);
    assert_eq!(config.keys[1].labels.get("team").map(String::as_str), Some("x"));
    assert_eq!(config.log_format, LogFormat::Json);
}

/// One change to the good config, and a part of the one problem it makes.
#[test]
fn each_kind_of_error_is_told_at_its_place() {
    let cases = [
        (
            "[plugins]\ndirectory",
            "[plugins]\ndirectry",
            "plugins.directry: is not known here, did you mean \"directory\"?",
        ),
        (
            "[limits]\nin_flight",
            "[limits]\nin_fligth",
            "limits.in_fligth: is not known here, did you mean \"in_flight\"?",
        ),
        ("[log]", "[logs]", "logs: is not known here, did you mean \"log\"?"),
        ("in_flight = 12", "in_flight = 0", "limits.in_flight: found 0, expected a whole number from 1"),
        ("in_flight = 12", "in_flight = \"12\"", "limits.in_flight: found a string, expected a whole number"),
        ("\"127.0.0.1:0\"", "\"localhost\"", "listen.tcp: invalid socket address"),
        ("plugin = \"softkey\"", "plugin = \"../x\"", "keys.a.plugin: "),
        ("plugin = \"softkey\"\n", "", "keys.a.plugin: is not there"),
        ("[keys.a]", "[keys.\"a b\"]", "keys.a b: is no name of a key"),
        (
            "\"pin-file\" = \"/run/pin\"",
            "pin = \"1234\"",
            "keys.acme/release.config.pin: sounds like a secret",
        ),
        ("client_cas = [\"tls/ca.pem\"]", "", "tls.client_cas: is empty, so is pins"),
        ("tcp = \"127.0.0.1:0\"\n", "", "tls: is there, but listen.tcp is not"),
        ("format = \"json\"", "format = \"xml\"", "log.format: is neither"),
        ("name = \"signing.example/log\"\n", "", "audit.name: is not there"),
        ("id = \"a\"\n", "id = \"\"\n", "keys.a: "),
    ];
    for (from, to, told) in cases {
        let text = GOOD.replace(from, to);
        assert_ne!(text, GOOD, "{from}");
        let found = problems(&text);
        assert!(found.iter().any(|problem| problem.starts_with(told)), "{told}: {found:?}");
    }
}

#[test]
fn tcp_is_never_served_without_tls() {
    let text = GOOD.replace(
        "[tls]\ncertificate = \"tls/a.pem\"\nkey = \"/etc/a.key\"\nclient_cas = [\"tls/ca.pem\"]\n",
        "",
    );
    assert!(problems(&text)[0].contains("never served without TLS"));
}

#[test]
fn a_secret_is_not_quoted_even_if_the_file_is_no_toml() {
    let error = parse("[keys.a]\nplugin = \"x\"\nconfig = { pin = \"geheim\" \n").unwrap_err().to_string();
    assert!(!error.contains("geheim"), "{error}");
    let text = GOOD.replace("\"pin-file\" = \"/run/pin\"", "pin = \"geheim\"");
    assert!(!format!("{:?}", problems(&text)).contains("geheim"));
}

#[test]
fn all_problems_are_told_at_once() {
    let text = GOOD.replace("[log]", "[logs]").replace("in_flight = 12", "in_flight = 0");
    assert_eq!(problems(&text).len(), 2);
    assert_eq!(problems("").len(), 6, "{:?}", problems(""));
}
