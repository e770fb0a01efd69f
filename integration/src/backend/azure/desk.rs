//! A user with the plugin installed, in front of one fake vault.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use prokura_plugin::KeySpec;
use prokura_plugin::message::PluginConfig;
use prokura_signer::{KeyReference, Plugin, PluginDirectory, PluginOptions, Preference};
use tokio::runtime::Runtime;

use super::{AzureVault, Kind};
use crate::home::{Home, write_private};
use crate::program::{Run, executable, output};
use crate::vault::TestVault as _;

/// Environment variables of one command.
pub type Variables = Vec<(&'static str, OsString)>;

/// A home whose user trusts the vault's root, and the vault.
pub struct Desk {
    /// The vault, for what goes wrong in it.
    pub vault: AzureVault,
    home: Home,
    used: AtomicUsize,
}

impl Desk {
    /// A fresh vault of `kind` and a home with the plugin.
    ///
    /// # Errors
    /// If the workspace does not build or the vault does not start.
    pub fn new(kind: Kind) -> Result<Self> {
        Self::before(AzureVault::start(kind)?)
    }

    /// A home with the plugin for a vault that is there.
    ///
    /// # Errors
    /// If the workspace does not build.
    pub fn before(vault: AzureVault) -> Result<Self> {
        let home = Home::new()?;
        home.install("azure-keyvault", &executable("notation-azure-keyvault")?)?;
        home.trust(&std::fs::read_to_string(vault.root())?, "strict")?;
        let policy = serde_json::json!({
            "version": "1.0",
            "trustPolicies": [{
                "name": "blobs", "globalPolicy": true, "signatureVerification": {"level": "strict"},
                "trustStores": ["ca:tests"], "trustedIdentities": ["*"],
            }],
        });
        write_private(&home.config().join("trustpolicy.blob.json"), &policy.to_string())?;
        Ok(Self { vault, home, used: AtomicUsize::new(0) })
    }

    /// A file of the user's, by its name.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The key id of a spec's key.
    pub fn id(&self, spec: KeySpec) -> String {
        self.vault.key(spec).id
    }

    /// `ca_certs=` with what is above the leaves.
    pub fn above(&self) -> String {
        format!("ca_certs={}", self.vault.bundle().display())
    }

    /// `prokura blob sign` of a fresh file, then `prokura blob verify` if it was signed.
    ///
    /// # Errors
    /// If a program cannot be started, or what was signed does not verify.
    pub fn sign(&self, id: &str, config: &[&str], variables: &Variables) -> Result<Run> {
        self.sign_within("30s", id, config, variables)
    }

    /// [`Self::sign`] with a deadline of the user's.
    ///
    /// # Errors
    /// As [`Self::sign`].
    pub fn sign_within(
        &self,
        deadline: &str,
        id: &str,
        config: &[&str],
        variables: &Variables,
    ) -> Result<Run> {
        let number = self.used.fetch_add(1, Ordering::Relaxed);
        let file = self.path(&format!("file-{number}"));
        std::fs::write(&file, format!("a file to sign, number {number}"))?;
        let program = executable("prokura")?;
        let mut command = self.home.command(&program);
        command.args(["blob", "sign", "--deadline", deadline, "--plugin", "azure-keyvault", "--id", id]);
        command.args(config.iter().flat_map(|entry| ["--plugin-config", entry])).arg(&file);
        let run = output(command.envs(variables.iter().map(|(name, value)| (name, value))))?;
        let canary = format!("{}{}", run.stdout, run.stderr).contains("canary-azure");
        ensure!(!canary, "a secret was shown: {run:?}");
        if run.code == Some(0) {
            let signature = format!("{}.jws.sig", file.display());
            let mut verify = self.home.command(&program);
            verify.args(["blob", "verify", "--signature", &signature]).arg(&file);
            output(&mut verify)?.ok().context("what was signed does not verify")?;
        }
        Ok(run)
    }

    /// One command of the plugin over stdio (contract 1.0).
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn command(&self, command: &str, request: &serde_json::Value, variables: &Variables) -> Result<Run> {
        let mut child =
            self.home.command(&self.home.plugins().join("azure-keyvault/notation-azure-keyvault"));
        child.arg(command).envs(variables.iter().map(|(name, value)| (name, value)));
        child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn()?;
        child.stdin.take().context("a pipe")?.write_all(request.to_string().as_bytes())?;
        let output = child.wait_with_output()?;
        Ok(Run {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// The plugin over gRPC, as a long-lived host uses it, in a runtime of its own.
    ///
    /// # Errors
    /// If it does not start.
    pub fn plugin(&self, config: &[&str], variables: &Variables) -> Result<(Runtime, Plugin)> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let executable = PluginDirectory::new(self.home.plugins(), None).find(&"azure-keyvault".parse()?)?;
        let mut environment: Vec<(OsString, OsString)> =
            variables.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
        environment.push(("PATH".into(), std::env::var_os("PATH").unwrap_or_default()));
        environment.push(("HOME".into(), self.home.path().into()));
        let options = PluginOptions {
            transport: Preference::Grpc,
            deadline: Duration::from_secs(30),
            ..PluginOptions::new(environment)
        };
        let plugin = runtime.block_on(Plugin::start(executable, &plugin_config(config), options))?;
        Ok((runtime, plugin))
    }
}

/// `NAME=VALUE` entries as plugin config.
pub fn plugin_config(entries: &[&str]) -> PluginConfig {
    let pairs = entries.iter().filter_map(|entry| entry.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A key as the host knows it.
///
/// # Errors
/// If the key id is none.
pub fn key_reference(id: &str, config: &[&str]) -> Result<KeyReference> {
    Ok(KeyReference::new(id, plugin_config(config))?)
}
