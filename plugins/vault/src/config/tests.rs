//! What plugin config and environment may say.

use std::collections::BTreeMap;

use prokura_plugin::message::PluginConfig;
use prokura_plugin::{Deadline, VaultRequest};

use super::*;

fn request(entries: &[(&str, &str)]) -> VaultRequest {
    let config: BTreeMap<_, _> = entries.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    VaultRequest::new(PluginConfig(config), Deadline::NONE).unwrap()
}

fn environment(entries: &'static [(&str, &str)]) -> Environment {
    Environment::new(move |name| entries.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).into()))
}

fn read(
    config: &[(&str, &str)],
    variables: &'static [(&'static str, &'static str)],
) -> Result<ConnectionConfig, Error> {
    ConnectionConfig::read(&request(config), &environment(variables))
}

const ADDRESS: (&str, &str) = ("address", "https://vault.example:8200");

#[test]
fn the_config_comes_before_the_environment() {
    let found =
        read(&[ADDRESS, ("namespace", "/a/b/")], &[("VAULT_ADDR", "x"), ("VAULT_NAMESPACE", "y")]).unwrap();
    assert_eq!(found.address.as_str(), "https://vault.example:8200/");
    assert_eq!(found.address_from, "plugin config address");
    assert_eq!(found.namespace.as_deref(), Some("a/b"));
    let found =
        read(&[], &[("VAULT_ADDR", "https://old"), ("BAO_ADDR", "https://new/behind/proxy")]).unwrap();
    assert_eq!(
        (found.address.as_str(), found.address_from.as_str()),
        ("https://new/behind/proxy/", "BAO_ADDR")
    );
}

#[test]
fn addresses_that_would_lose_the_token_are_refused() {
    for bad in [
        "http://vault.example:8200",
        "http://10.0.0.1",
        "ftp://vault",
        "unix:///run/agent",
        "vault.example:8200",
        "https://user:secret@vault.example",
        "https://vault.example/?x=1",
        "",
    ] {
        assert!(read(&[("address", bad)], &[]).is_err(), "{bad}");
    }
    for good in ["http://127.0.0.1:8200", "http://localhost:8100", "http://[::1]:8200"] {
        assert!(read(&[("address", good)], &[]).is_ok(), "{good}");
    }
    assert!(read(&[("address", "http://vault:8200"), ("plain-http", "true")], &[]).is_ok());
    assert!(read(&[], &[]).unwrap_err().message.contains("set VAULT_ADDR"));
}

#[test]
fn an_unverified_server_is_refused() {
    let error = read(&[ADDRESS], &[("VAULT_SKIP_VERIFY", "1")]).unwrap_err();
    assert!(error.message.contains("VAULT_CACERT"), "{error}");
    assert!(read(&[ADDRESS], &[("VAULT_SKIP_VERIFY", "false")]).is_ok());
}

#[test]
fn secrets_in_the_config_are_refused_and_not_repeated() {
    for (entry, value) in [("token", "s.secret"), ("secret-id", "s.secret"), ("jwt", "s.secret")] {
        let error = read(&[ADDRESS, (entry, value)], &[]).unwrap_err();
        assert!(error.message.contains(entry) && !error.message.contains(value), "{error}");
    }
}

#[test]
fn every_way_to_log_in_says_what_it_lacks() {
    for (config, expected) in [
        (vec![("auth", "approle")], "role-id"),
        (vec![("auth", "kubernetes")], "role"),
        (vec![("auth", "ldap")], "expected token, approle, kubernetes or jwt"),
        (vec![("auth", "jwt"), ("auth-mount", "../sys")], "is no name in the vault"),
    ] {
        let error = read(&[vec![ADDRESS], config].concat(), &[]).unwrap_err();
        assert!(error.message.contains(expected), "{error}");
    }
}

#[test]
fn ways_to_log_in_have_their_defaults() {
    let auth = |config: &[(&str, &str)]| read(&[&[ADDRESS], config].concat(), &[]).unwrap().auth;
    assert_eq!(auth(&[]), Auth::Token { file: None });
    let kubernetes = auth(&[("auth", "kubernetes"), ("role", "build")]);
    assert_eq!(kubernetes.described(), "kubernetes at auth/kubernetes");
    assert_eq!(auth(&[("auth", "jwt"), ("auth-mount", "auth/ci/")]).described(), "jwt at auth/ci");
    let expected = Auth::AppRole {
        mount: "approle".to_owned(),
        role_id: "r".to_owned(),
        secret_id: SecretFrom::Variable("PROKURA_PLUGIN_VAULT_SECRET_ID".to_owned()),
    };
    assert_eq!(auth(&[("auth", "approle"), ("role-id", "r")]), expected);
}

#[test]
fn half_a_client_certificate_is_refused() {
    let error = read(&[ADDRESS, ("tls-client-cert-file", "/c.pem")], &[]).unwrap_err();
    assert!(error.message.contains("tls-client-key-file"), "{error}");
    assert!(read(&[ADDRESS], &[("VAULT_CLIENT_CERT", "/c.pem"), ("VAULT_CLIENT_KEY", "/k.pem")]).is_ok());
}
