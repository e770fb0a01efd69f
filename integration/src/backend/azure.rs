//! Azure Key Vault and Managed HSM, as a fake of our own: their REST API, Entra's token endpoint and IMDS.
//!
//! It stands behind an HTTP proxy that claims every host name, so that plugins and Microsoft's own SDK speak to it with
//! the names, certificates and challenges of the real service. What it answers follows Microsoft's REST reference; the
//! test `azure_sdk` drives it with Microsoft's Python SDK.

#![expect(
    clippy::indexing_slicing,
    reason = "of JSON values, where what is absent is null; and of what the fake made itself"
)]

mod authority;
mod control;
mod desk;
mod entra;
mod fault;
mod key;
mod python;
mod rest;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use prokura_plugin::{CertificateChain, KeySpec};
use serde_json::Value;
use tempfile::TempDir;

use crate::pki::{Authority, generate_key};
use crate::vault::{Abilities, TestKey, TestVault};

pub use desk::{Desk, Variables, key_reference, plugin_config};
pub use entra::{CLIENT, EXPIRED_SECRET, FEDERATED, OTHER_TENANT, SECRET, TENANT};
pub use fault::Fault;
pub use python::sdk_python;

use key::Version;
use server::{Answer, Request, Server};

/// Which of the two services, and in which cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Key Vault in the public cloud.
    Vault,
    /// Key Vault for the US government.
    VaultUsGovernment,
    /// Managed HSM in the public cloud; it has keys only.
    ManagedHsm,
}

/// A fake vault that runs until it is dropped.
pub struct AzureVault {
    kind: Kind,
    state: Arc<Mutex<State>>,
    server: Server,
    root: PathBuf,
    directory: TempDir,
}

struct State {
    keys: BTreeMap<String, Vec<Arc<Version>>>,
    certificates: BTreeMap<String, Vec<Certificate>>,
    pending: BTreeMap<String, Pending>,
    deleted: BTreeSet<String>,
    denied: BTreeSet<String>,
    faults: Vec<(String, Fault, usize)>,
    calls: Vec<String>,
    epoch: u64,
    token_key: [u8; 32],
    /// The managed identity of this machine: its client id, empty for a system-assigned one.
    identity: Option<String>,
    /// DER of the certificate registered with the application.
    client_certificate: Option<Vec<u8>>,
}

struct Certificate {
    version: String,
    chain: Vec<Vec<u8>>,
    exportable: bool,
    content_type: String,
}

struct Pending {
    version: Version,
    csr: Vec<u8>,
    content_type: String,
    exportable: bool,
}

impl State {
    fn store(
        &mut self,
        name: &str,
        version: &str,
        chain: Vec<Vec<u8>>,
        exportable: bool,
        content_type: &str,
    ) {
        let (version, content_type) = (version.to_owned(), content_type.to_owned());
        self.certificates.entry(name.to_owned()).or_default().push(Certificate {
            version,
            chain,
            exportable,
            content_type,
        });
    }

    /// Replaces a version by a changed copy.
    fn change(&mut self, name: &str, version: &str, change: impl FnOnce(&mut Version)) -> Result<()> {
        let versions = self.keys.get_mut(name).context("no such key")?;
        let found =
            versions.iter_mut().find(|v| version.is_empty() || v.id == version).context("no such version")?;
        let version = Arc::get_mut(found).context("the key is signing; try again")?;
        change(version);
        Ok(())
    }

    fn take_fault(&mut self, operation: &str) -> Option<Fault> {
        let index = self.faults.iter().position(|(on, ..)| on == operation)?;
        let (_, fault, left) = self.faults.get_mut(index)?;
        let fault = *fault;
        *left -= 1;
        if *left == 0 {
            self.faults.remove(index);
        }
        Some(fault)
    }
}

impl AzureVault {
    /// A vault with a key of every spec, its certificate, and a chain leaf ← intermediate ← root.
    ///
    /// # Errors
    /// If a key, a certificate or the server cannot be made.
    pub fn start(kind: Kind) -> Result<Self> {
        Self::start_with(kind, &KeySpec::ALL)
    }

    /// A vault with keys of some specs only: RSA keys take their time.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(kind: Kind, specs: &[KeySpec]) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("prokura-azure-").tempdir()?;
        let authority = Authority::new("Azure test root")?;
        let (intermediate, issuer) = authority::intermediate(&authority)?;
        let root = der(authority.certificate())?;
        std::fs::write(directory.path().join("root.pem"), authority.certificate())?;
        std::fs::write(
            directory.path().join("above.pem"),
            format!("{intermediate}{}", authority.certificate()),
        )?;
        let mut state = State {
            keys: BTreeMap::new(),
            certificates: BTreeMap::new(),
            pending: BTreeMap::new(),
            deleted: BTreeSet::new(),
            denied: BTreeSet::new(),
            faults: Vec::new(),
            calls: Vec::new(),
            epoch: 0,
            token_key: random()?,
            identity: None,
            client_certificate: None,
        };
        let mut bundle = format!("{intermediate}{}", authority.certificate());
        for &spec in specs {
            let version = Version::generate(spec, kind == Kind::ManagedHsm)?;
            let leaf = authority::leaf(&issuer, &version.pair, &format!("azure {spec}"))?;
            bundle.push_str(&leaf);
            let chain = vec![der(&leaf)?, der(&intermediate)?, root.clone()];
            let name = crate::key::id(spec);
            if kind != Kind::ManagedHsm {
                state.store(&name, &version.id, chain, false, "application/x-pem-file");
            }
            state.keys.insert(name, vec![Arc::new(version)]);
        }
        std::fs::write(directory.path().join("all.pem"), bundle)?;
        let state = Arc::new(Mutex::new(state));
        let server = start_server(directory.path(), kind, &state)?;
        let root = directory.path().join("root.pem");
        Ok(Self { kind, state, server, root, directory })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    /// The vault's URL, without a slash at its end.
    pub fn url(&self) -> String {
        format!("https://prokura.{}", suffix(self.kind))
    }

    /// `http://127.0.0.1:PORT`: the proxy in front of every host, and the instance metadata service.
    pub fn proxy(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// PEM file of the authority behind the servers' TLS certificates.
    pub fn tls_ca(&self) -> PathBuf {
        self.directory.path().join("tls-ca.pem")
    }

    /// PEM file with intermediate and root.
    pub fn bundle(&self) -> PathBuf {
        self.directory.path().join("above.pem")
    }

    /// PEM file with every certificate there is, leaves included.
    pub fn all_certificates(&self) -> PathBuf {
        self.directory.path().join("all.pem")
    }

    /// Proxy, trust and the application's credential as environment variables.
    pub fn variables(&self) -> Vec<(&'static str, OsString)> {
        let mut variables = self.network();
        variables.extend([
            ("AZURE_TENANT_ID", TENANT.into()),
            ("AZURE_CLIENT_ID", CLIENT.into()),
            ("AZURE_CLIENT_SECRET", SECRET.into()),
        ]);
        variables
    }

    /// Proxy and trust as environment variables, without a credential.
    pub fn network(&self) -> Vec<(&'static str, OsString)> {
        vec![("HTTPS_PROXY", self.proxy().into()), ("SSL_CERT_FILE", self.tls_ca().into())]
    }
}

impl TestVault for AzureVault {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Vault => "azure-keyvault/vault",
            Kind::VaultUsGovernment => "azure-keyvault/usgovernment",
            Kind::ManagedHsm => "azure-keyvault/managedhsm",
        }
    }

    fn plugin(&self) -> &'static str {
        "azure-keyvault"
    }

    fn specs(&self) -> &'static [KeySpec] {
        &KeySpec::ALL
    }

    fn key(&self, spec: KeySpec) -> TestKey {
        let bundle = if self.kind == Kind::ManagedHsm { self.all_certificates() } else { self.bundle() };
        let bundle = ("ca_certs".to_owned(), bundle.display().to_string());
        let config = vec![bundle, ("vault".to_owned(), self.url())];
        TestKey { id: format!("{}/keys/{}", self.url(), crate::key::id(spec)), config }
    }

    fn environment(&self) -> Vec<(&'static str, OsString)> {
        self.variables()
    }

    fn root(&self) -> &Path {
        &self.root
    }

    fn abilities(&self) -> Abilities {
        // A certificate is taken only for a key that was made together with a request.
        Abilities { list: true, create: true, install: false, version: true }
    }
}

fn start_server(directory: &Path, kind: Kind, state: &Arc<Mutex<State>>) -> Result<Server> {
    let authority = Authority::new("Azure test TLS root")?;
    std::fs::write(directory.join("tls-ca.pem"), authority.certificate())?;
    let key = generate_key(KeySpec::Ec256)?;
    let names = [
        "login.microsoftonline.com",
        "login.microsoftonline.us",
        "prokura.vault.azure.net",
        "prokura.vault.usgovcloudapi.net",
        "prokura.managedhsm.azure.net",
        "localhost",
    ];
    let certificate = authority.issue_to(&key, "fake", |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names =
            names.iter().filter_map(|n| Some(rcgen::SanType::DnsName((*n).try_into().ok()?))).collect();
    })?;
    let private = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let state = Arc::clone(state);
    let handle = Arc::new(move |request: &Request| handle(&state, kind, request));
    Server::start(vec![der(&certificate)?.into()], private.into(), handle)
}

fn handle(state: &Mutex<State>, kind: Kind, request: &Request) -> Answer {
    let operation = if request.host.starts_with("login.") {
        "token"
    } else if request.path.starts_with("/metadata/identity") {
        "imds"
    } else {
        rest::permission(request).unwrap_or("unknown")
    };
    let mut held = locked(state);
    let base = format!("https://{}", request.host);
    let in_vault = !matches!(operation, "token" | "imds");
    if in_vault && let Err(why) = entra::accepted(&held, request.header("authorization"), resource(kind)) {
        held.calls.push("challenge".to_owned());
        return fault::challenge(kind, why);
    }
    held.calls.push(operation.to_owned());
    let fault = held.take_fault(operation);
    if let Some(Fault::Late(pause)) = fault {
        drop(held);
        std::thread::sleep(pause);
        held = locked(state);
    }
    if let Some(answer) = fault.and_then(|fault| fault::instead(fault, kind)) {
        return answer;
    }
    if held.denied.contains(operation) {
        return fault::forbidden(operation, kind, &base);
    }
    let mut answer = match operation {
        "token" => entra::token_endpoint(&held, request),
        "imds" => entra::managed_identity(&held, request),
        _ if request.query("api-version").is_empty() => {
            rest::error(400, "BadParameter", "api-version must be specified", None)
        }
        _ => rest::answer(&mut held, request, &base),
    };
    if let Some(fault) = fault {
        fault::spoil(&mut answer, fault, &held, request, &base);
    }
    answer
}

fn resource(kind: Kind) -> &'static str {
    match kind {
        Kind::Vault => "https://vault.azure.net",
        Kind::VaultUsGovernment => "https://vault.usgovcloudapi.net",
        Kind::ManagedHsm => "https://managedhsm.azure.net",
    }
}

fn suffix(kind: Kind) -> &'static str {
    resource(kind).trim_start_matches("https://")
}

fn json_answer(status: u16, body: &Value) -> Answer {
    let id = hexadecimal(16).unwrap_or_default();
    let headers = vec![("x-ms-request-id", id), ("x-ms-keyvault-region", "nowhere".to_owned())];
    Answer { status, headers, body: body.to_string().into_bytes(), mischief: None }
}

fn der(pem: &str) -> Result<Vec<u8>> {
    let chain = CertificateChain::from_pem(pem.as_bytes())?;
    Ok(chain.certificates().first().context("a certificate")?.clone())
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|e| anyhow::anyhow!("{e}"))?;
    Ok(bytes)
}

fn hexadecimal(bytes: usize) -> Result<String> {
    Ok(random::<32>()?.iter().take(bytes).map(|b| format!("{b:02x}")).collect())
}

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn from_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
