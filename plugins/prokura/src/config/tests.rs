//! What config and environment are read as, and what is refused.

use std::path::PathBuf;

use jiff::Timestamp;
use prokura_plugin::message::PluginConfig;
use prokura_plugin::{Deadline, KeyRequest};

use super::*;

fn request(id: &str, entries: &[(&str, &str)]) -> KeyRequest {
    let config: PluginConfig = entries.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    KeyRequest::new(id, config, Deadline::NONE).unwrap()
}

fn read(entries: &[(&str, &str)], variable: Option<&'static str>) -> Result<ConnectionConfig, Error> {
    let environment =
        Environment::new(move |n| variable.filter(|v| *v == n).map(|_| "x".into()), || Timestamp::UNIX_EPOCH);
    ConnectionConfig::read(request("k", entries).vault(), &environment)
}

#[test]
fn addresses_are_https_or_unix() {
    let config = read(&[("address", "https://broker.example:8443"), ("ca", "/ca.pem")], None).unwrap();
    assert_eq!(config.address.to_string(), "https://broker.example:8443");
    let config = read(&[("address", "https://[::1]"), ("ca", "/ca.pem")], None).unwrap();
    assert_eq!(config.address.to_string(), "https://[::1]:443");
    let config = read(&[("address", "unix:///run/prokurad/a b.sock")], None).unwrap();
    assert_eq!(config.address, Address::Unix(PathBuf::from("/run/prokurad/a b.sock")));
    for (bad, words) in [
        ("http://broker.example", "prove who it is"),
        ("https://broker.example/path", "a path has no place"),
        ("https://user:pw@broker.example", "user, query"),
        ("unix://run/socket", "three slashes"),
        ("tcp://h:1", "neither https nor unix"),
        ("broker", "expected https://HOST:PORT"),
    ] {
        let error = read(&[("address", bad), ("ca", "/ca.pem")], None).unwrap_err();
        assert!(error.message.contains(words), "{bad}: {error}");
    }
    assert!(read(&[("address", "https://h")], None).unwrap_err().message.contains("ca is missing"));
    assert!(read(&[], None).unwrap_err().message.contains("address"));
}

#[test]
fn an_identity_is_one_file_or_two() {
    let base = [("address", "https://h"), ("ca", "/ca")];
    let with = |more: &[(&'static str, &'static str)]| read(&[&base[..], more].concat(), None);
    let one = with(&[("identity", "/id.pem")]).unwrap();
    assert_eq!(one.identity, Some(("/id.pem".into(), "/id.pem".into())));
    let two = with(&[("identity", "/id.pem"), ("identity-key", "/id.key")]).unwrap();
    assert_eq!(two.identity, Some(("/id.pem".into(), "/id.key".into())));
    assert!(with(&[("identity-key", "/id.key")]).is_err());
    assert!(read(&[("address", "unix:///s"), ("identity", "/id.pem")], None).is_err());
}

#[test]
fn the_token_is_where_config_or_environment_say() {
    let base = [("address", "https://h"), ("ca", "/ca")];
    let with = |more: &[(&'static str, &'static str)], variable| {
        read(&[&base[..], more].concat(), variable).map(|config| config.token)
    };
    let github = TokenFrom::GitHub { audience: "https://h:443".to_owned() };
    let gitlab = TokenFrom::Variable("PROKURA_PLUGIN_ID_TOKEN".to_owned());
    assert_eq!(with(&[], None).unwrap(), TokenFrom::Nowhere);
    assert_eq!(with(&[], Some("ACTIONS_ID_TOKEN_REQUEST_URL")).unwrap(), github);
    assert_eq!(with(&[], Some("PROKURA_PLUGIN_ID_TOKEN")).unwrap(), gitlab);
    let identity = [("identity", "/id")];
    assert_eq!(with(&identity, Some("PROKURA_PLUGIN_ID_TOKEN")).unwrap(), TokenFrom::Nowhere);
    assert_eq!(with(&[("token", "github")], None).unwrap(), github);
    let kubernetes = TokenFrom::File("/var/run/secrets/tokens/prokura".into());
    assert_eq!(with(&[("token", "kubernetes")], None).unwrap(), kubernetes);
    assert_eq!(with(&[("token-file", "/t")], None).unwrap(), TokenFrom::File("/t".into()));
    assert!(with(&[("token", "file")], None).unwrap_err().message.contains("token-file"));
    let error = with(&[("token", "eyJcanary")], None).unwrap_err();
    assert!(error.message.contains("replace it") && !error.message.contains("canary"), "{error}");
}

#[test]
fn key_names_and_what_is_asked_of_a_key() {
    let print = "AB".repeat(32);
    let entries = [("expected-key", print.as_str()), ("allow-digest", "yes")];
    let config = KeyConfig::read(&request("team/release-1.0", &entries)).unwrap();
    assert_eq!(config.expected, Some("ab".repeat(32)));
    assert!(config.allow_digest && config.name == "team/release-1.0");
    assert!(!KeyConfig::read(&request("k", &[])).unwrap().allow_digest);
    assert!(KeyConfig::read(&request("k", &[("allow-digest", "true")])).is_err());
    assert!(KeyConfig::read(&request("k", &[("expected-key", "ab")])).is_err());
    for bad in ["a b", "ä", "k?x", &"k".repeat(129)] {
        assert!(KeyConfig::read(&request(bad, &[])).is_err(), "{bad}");
    }
}
