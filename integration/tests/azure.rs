//! The fake of Azure Key Vault is faithful: Microsoft's own SDK for Python works with it, checks included.

use std::process::Command;

use anyhow::{Result, ensure};
use libtest_mimic::{Arguments, Trial};
use prokura_integration::backend::azure::{AzureVault, CLIENT, Kind, SECRET, TENANT, sdk_python};
use prokura_integration::program::run;
use prokura_integration::suite::trial;
use serde_json::{Value, json};

fn main() {
    let kinds = [("vault", Kind::Vault), ("managed_hsm", Kind::ManagedHsm)];
    let trials: Vec<Trial> =
        kinds.map(|(name, kind)| trial(format!("microsofts_python_sdk::{name}"), move || sdk(kind))).into();
    libtest_mimic::run(&Arguments::from_args(), trials).exit()
}

fn sdk(kind: Kind) -> Result<()> {
    let python = sdk_python()?;
    let vault = AzureVault::start(kind)?;
    vault.assign_identity("");
    let url = if kind == Kind::ManagedHsm {
        "https://prokura.managedhsm.azure.net"
    } else {
        "https://prokura.vault.azure.net"
    };
    let mut command = Command::new(python);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/backend/azure/sdk.py");
    command.arg(script).args([url, TENANT, CLIENT, SECRET]).env_clear();
    command.envs(vault.network()).env("REQUESTS_CA_BUNDLE", vault.tls_ca());
    command.env("AZURE_POD_IDENTITY_AUTHORITY_HOST", vault.proxy());
    let found: Value = serde_json::from_str(&run(&mut command)?)?;
    println!("{}: {found}", url);
    let specs = json!(["ec-256", "ec-384", "ec-521", "rsa-2048", "rsa-3072", "rsa-4096"]);
    ensure!(found["listed"] == specs, "two pages of a list: {found}");
    ensure!(found["verified"].as_array().map(Vec::len) == Some(6), "signatures verified by the SDK: {found}");
    ensure!(found["created"][1] == "P-384", "{found}");
    ensure!(found["managed identity"] == "ec-256", "{found}");
    let mut refused = vec![
        json!(["disabled", "HttpResponseError", "Forbidden"]),
        json!(["missing", "ResourceNotFoundError", "KeyNotFound"]),
        json!(["wrong length", "HttpResponseError", "BadParameter"]),
    ];
    if kind == Kind::Vault {
        ensure!(found["certificate"] == true && found["chain"] == 3 && found["csr"] == true, "{found}");
        refused.insert(0, json!(["wrong secret", "ClientAuthenticationError", Value::Null]));
    }
    ensure!(found["refused"] == json!(refused), "errors as the SDK reads them: {found}");
    Ok(())
}
