//! The fake is faithful: Microsoft's own SDK for Python works with it, checks included.

use std::process::Command;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use prokura_integration::backend::azure::{AzureVault, CLIENT, Kind, SECRET, TENANT, sdk_python};
use prokura_integration::program::run;
use prokura_integration::suite::trial;
use serde_json::{Value, json};

pub(crate) fn trials() -> Vec<Trial> {
    let kinds = [("vault", Kind::Vault), ("managed_hsm", Kind::ManagedHsm)];
    kinds.map(|(name, kind)| trial(format!("microsofts_python_sdk::{name}"), move || sdk(kind))).into()
}

fn sdk(kind: Kind) -> Result<()> {
    let python = sdk_python()?;
    let vault = AzureVault::start(kind)?;
    vault.assign_identity("");
    let mut command = Command::new(python);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/backend/azure/sdk.py");
    command.arg(script).args([vault.url().as_str(), TENANT, CLIENT, SECRET]).env_clear();
    command.envs(vault.network()).env("REQUESTS_CA_BUNDLE", vault.tls_ca());
    command.env("AZURE_POD_IDENTITY_AUTHORITY_HOST", vault.proxy());
    let found: Value = serde_json::from_str(&run(&mut command)?)?;
    let told = |name: &str| found.get(name).cloned().unwrap_or_default();
    let specs = json!(["ec-256", "ec-384", "ec-521", "rsa-2048", "rsa-3072", "rsa-4096"]);
    ensure!(told("listed") == specs, "two pages of a list: {found}");
    ensure!(told("verified").as_array().map(Vec::len) == Some(6), "signatures verified by the SDK: {found}");
    ensure!(told("created") == json!(["EC", "P-384"]), "{found}");
    ensure!(told("managed identity") == "ec-256", "{found}");
    let mut refused = vec![
        json!(["disabled", "HttpResponseError", "Forbidden"]),
        json!(["missing", "ResourceNotFoundError", "KeyNotFound"]),
        json!(["wrong length", "HttpResponseError", "BadParameter"]),
    ];
    if kind == Kind::Vault {
        ensure!(told("certificate") == true && told("chain") == 3 && told("csr") == true, "{found}");
        refused.insert(0, json!(["wrong secret", "ClientAuthenticationError", Value::Null]));
    }
    ensure!(told("refused") == json!(refused), "errors as the SDK reads them: {found}");
    Ok(())
}
