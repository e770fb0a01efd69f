//! AWS KMS without AWS: moto with its KMS corrected (`aws/kms_server.py`), and LocalStack's as an independent second.

pub mod api;
pub mod server;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prokura_plugin::KeySpec;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::pki::Authority;
use crate::vault::{Abilities, TestKey, TestVault};
use api::Api;
use server::{Emulator, Server};

/// The region of all keys.
pub const REGION: &str = "eu-central-1";
/// Any access key id and secret will do where IAM is not enforced.
pub const ACCESS_KEY: &str = "AKIAPROKURATEST00001";
/// The secret that goes with it.
pub const SECRET_KEY: &str = "prokura-test-secret";

/// An emulator with a key of every spec, each under the alias `alias/SPEC`, and their certificates in a file each.
pub struct Kms {
    name: &'static str,
    /// The emulator itself, for tests that break it.
    pub server: Server,
    /// Issues the certificates.
    pub authority: Authority,
    keys: BTreeMap<KeySpec, KmsKey>,
    directory: TempDir,
    root: PathBuf,
}

/// A key in an emulator.
#[derive(Clone, Debug)]
pub struct KmsKey {
    /// Its ARN.
    pub arn: String,
    /// Its id.
    pub id: String,
    /// Its public key, DER SubjectPublicKeyInfo.
    pub spki: Vec<u8>,
}

impl Kms {
    /// moto, corrected.
    ///
    /// # Errors
    /// [`crate::program::Missing`] if it cannot be installed.
    pub fn moto() -> Result<Self> {
        Self::fill("aws-kms/moto", Server::start(Emulator::Moto)?)
    }

    /// LocalStack.
    ///
    /// # Errors
    /// [`crate::program::Missing`] if it cannot be installed.
    pub fn localstack() -> Result<Self> {
        Self::fill("aws-kms/localstack", Server::start(Emulator::LocalStack)?)
    }

    fn fill(name: &'static str, server: Server) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("prokura-kms-").tempdir()?;
        let authority = Authority::new(&format!("{name} test root"))?;
        let root = directory.path().join("root.pem");
        std::fs::write(&root, authority.certificate())?;
        let mut kms = Self { name, server, authority, keys: BTreeMap::new(), directory, root };
        for spec in KeySpec::ALL {
            let key = kms.create(spec, Some(&crate::key::id(spec)))?;
            kms.keys.insert(spec, key);
        }
        let leaves = kms.keys.values().map(|key| std::fs::read_to_string(kms.certificate(key)));
        let leaves = leaves.collect::<std::io::Result<String>>()?;
        std::fs::write(kms.bundle(), leaves + kms.authority.certificate())?;
        Ok(kms)
    }

    /// A new key, its certificate, and an alias if one is given.
    ///
    /// # Errors
    /// If the emulator refuses.
    pub fn create(&self, spec: KeySpec, alias: Option<&str>) -> Result<KmsKey> {
        let body = json!({"KeySpec": name(spec), "KeyUsage": "SIGN_VERIFY"});
        let key = self.adopt(&self.api().kms("CreateKey", &body)?)?;
        if let Some(alias) = alias {
            let alias = json!({"AliasName": format!("alias/{alias}"), "TargetKeyId": key.id});
            self.api().kms("CreateAlias", &alias)?;
        }
        Ok(key)
    }

    /// A key that was made by the API, from the answer of `CreateKey`; it gets a certificate.
    ///
    /// # Errors
    /// If the emulator refuses.
    pub fn adopt(&self, made: &Value) -> Result<KmsKey> {
        let text = |name: &str| {
            let text = made.pointer(&format!("/KeyMetadata/{name}")).and_then(Value::as_str);
            text.map(str::to_owned).with_context(|| format!("no {name} in {made}"))
        };
        let (arn, id) = (text("Arn")?, text("KeyId")?);
        let public = self.api().kms("GetPublicKey", &json!({"KeyId": arn}))?;
        let spki = public.get("PublicKey").and_then(Value::as_str).context("no PublicKey")?;
        let key = KmsKey { arn, id, spki: STANDARD.decode(spki)? };
        let leaf = self.authority.issue(&key.spki, &format!("{} {}", self.name, key.id))?;
        std::fs::write(self.certificate(&key), leaf)?;
        Ok(key)
    }

    /// The API of the emulator.
    pub const fn api(&self) -> &Api {
        &self.server.api
    }

    /// The key of a spec.
    ///
    /// # Errors
    /// If there is none.
    pub fn kms_key(&self, spec: KeySpec) -> Result<&KmsKey> {
        self.keys.get(&spec).with_context(|| format!("no {spec} key"))
    }

    /// The PEM file with the certificate of a key of this emulator.
    pub fn certificate(&self, key: &KmsKey) -> PathBuf {
        self.directory.path().join(format!("{}.pem", key.id))
    }

    /// The PEM file with the certificates of the keys of every spec, and the root.
    fn bundle(&self) -> PathBuf {
        self.directory.path().join("bundle.pem")
    }

    /// How a key is named to the plugin, its certificate in a file of its own.
    pub fn test_key(&self, id: &str, key: &KmsKey) -> TestKey {
        let entry = |name: &str, value: &Path| (name.to_owned(), value.display().to_string());
        let config = vec![
            ("region".to_owned(), REGION.to_owned()),
            ("endpoint".to_owned(), self.api().url()),
            entry("certificate", &self.certificate(key)),
            entry("ca_certs", &self.root),
        ];
        TestKey { id: id.to_owned(), config }
    }
}

/// The key specs as KMS calls them.
const fn name(spec: KeySpec) -> &'static str {
    match spec {
        KeySpec::Rsa2048 => "RSA_2048",
        KeySpec::Rsa3072 => "RSA_3072",
        KeySpec::Rsa4096 => "RSA_4096",
        KeySpec::Ec256 => "ECC_NIST_P256",
        KeySpec::Ec384 => "ECC_NIST_P384",
        KeySpec::Ec521 => "ECC_NIST_P521",
    }
}

impl TestVault for Kms {
    fn name(&self) -> &'static str {
        self.name
    }

    fn plugin(&self) -> &'static str {
        "aws-kms"
    }

    fn specs(&self) -> &'static [KeySpec] {
        &KeySpec::ALL
    }

    #[expect(clippy::expect_used, reason = "`fill` makes a key of every spec")]
    fn key(&self, spec: KeySpec) -> TestKey {
        let key = self.keys.get(&spec).expect("every spec has a key");
        let TestKey { id, mut config } = self.test_key(&key.arn, key);
        // One bundle for all: what is listed with this config can be described with it.
        config.retain(|(name, _)| !["ca_certs", "certificate"].contains(&name.as_str()));
        config.push(("ca_certs".to_owned(), self.bundle().display().to_string()));
        TestKey { id, config }
    }

    fn environment(&self) -> Vec<(&'static str, OsString)> {
        credentials(ACCESS_KEY, SECRET_KEY)
    }

    fn root(&self) -> &Path {
        &self.root
    }

    fn abilities(&self) -> Abilities {
        Abilities { list: true, create: true, install: false, version: true }
    }
}

/// An environment with these credentials, and nothing of the user's own configuration.
pub fn credentials(access_key: &str, secret_key: &str) -> Vec<(&'static str, OsString)> {
    vec![
        ("AWS_ACCESS_KEY_ID", access_key.into()),
        ("AWS_SECRET_ACCESS_KEY", secret_key.into()),
        ("AWS_CONFIG_FILE", "/dev/null".into()),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".into()),
        ("AWS_EC2_METADATA_DISABLED", "true".into()),
    ]
}
