//! A real OpenBao server whose transit engine holds a key of every spec, each with its certificate chain.

pub mod bare;
pub mod program;
pub mod server;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use prokura_plugin::KeySpec;
use serde_json::{Value, json};

use crate::key::id;
use crate::pki::Authority;
use crate::vault::{Abilities, TestKey, TestVault};
use server::Server;

/// What signing takes: nothing but the key and its signature.
pub const SIGN_POLICY: &str = r#"
path "transit/keys/+" { capabilities = ["read"] }
path "transit/sign/+" { capabilities = ["update"] }
"#;

/// What listing keys, making them and installing certificates takes besides.
pub const MANAGE_POLICY: &str = r#"
path "transit/keys" { capabilities = ["list"] }
path "transit/keys/+" { capabilities = ["read", "create", "update"] }
path "transit/keys/+/set-certificate" { capabilities = ["update"] }
"#;

/// The server, filled.
pub struct OpenBao {
    /// The server itself, for tests that break it.
    pub server: Server,
    /// Issues the certificates.
    pub authority: Authority,
    token: String,
    root: PathBuf,
}

impl OpenBao {
    /// Starts a server and fills it.
    ///
    /// # Errors
    /// [`crate::program::Missing`] if OpenBao cannot be had.
    pub fn start() -> Result<Self> {
        let server = Server::start()?;
        server.write("sys/mounts/transit", &json!({"type": "transit"}))?;
        let authority = Authority::new("openbao test root")?;
        let root = server.directory().join("root.pem");
        std::fs::write(&root, authority.certificate())?;
        let token = server.token("everything-tested", &format!("{SIGN_POLICY}{MANAGE_POLICY}"), "1h")?;
        let vault = Self { server, authority, token, root };
        for spec in KeySpec::ALL {
            vault.create(&id(spec), spec)?;
            vault.certify(&id(spec), 1)?;
        }
        Ok(vault)
    }

    /// A new key.
    ///
    /// # Errors
    /// If the server refuses.
    pub fn create(&self, name: &str, spec: KeySpec) -> Result<()> {
        let kind = match spec {
            KeySpec::Rsa2048 => "rsa-2048",
            KeySpec::Rsa3072 => "rsa-3072",
            KeySpec::Rsa4096 => "rsa-4096",
            KeySpec::Ec256 => "ecdsa-p256",
            KeySpec::Ec384 => "ecdsa-p384",
            KeySpec::Ec521 => "ecdsa-p521",
        };
        self.server.write(&format!("transit/keys/{name}"), &json!({"type": kind})).map(|_| ())
    }

    /// Installs a chain with a version of a key, and returns it as PEM.
    ///
    /// # Errors
    /// If the server refuses.
    pub fn certify(&self, name: &str, version: u32) -> Result<String> {
        let chain = self.issue(name, version)?;
        let body = json!({"certificate_chain": chain, "version": version});
        self.server.write(&format!("transit/keys/{name}/set-certificate"), &body)?;
        Ok(chain)
    }

    /// A chain for a version of a key, PEM.
    ///
    /// # Errors
    /// If there is no such version.
    pub fn issue(&self, name: &str, version: u32) -> Result<String> {
        let key = self.server.admin("GET", &format!("transit/keys/{name}"), None)?;
        let pem = key.pointer(&format!("/data/keys/{version}/public_key")).and_then(Value::as_str);
        let (_, spki) = x509_cert::der::pem::decode_vec(pem.context("a public key")?.as_bytes())
            .map_err(|e| anyhow::anyhow!("the public key: {e}"))?;
        let leaf = self.authority.issue(&spki, &format!("openbao {name} v{version}"))?;
        Ok(format!("{leaf}{}", self.authority.certificate()))
    }

    /// The token the tests' plugin uses.
    pub fn token(&self) -> &str {
        &self.token
    }
}

impl TestVault for OpenBao {
    fn name(&self) -> &'static str {
        "vault/openbao"
    }

    fn plugin(&self) -> &'static str {
        "vault"
    }

    fn specs(&self) -> &'static [KeySpec] {
        &KeySpec::ALL
    }

    fn key(&self, spec: KeySpec) -> TestKey {
        TestKey { id: format!("transit/{}", id(spec)), config: Vec::new() }
    }

    fn environment(&self) -> Vec<(&'static str, OsString)> {
        vec![("VAULT_ADDR", self.server.address().into()), ("VAULT_TOKEN", self.token.clone().into())]
    }

    fn root(&self) -> &Path {
        &self.root
    }

    fn abilities(&self) -> Abilities {
        Abilities { list: true, create: true, install: true, version: true }
    }
}
