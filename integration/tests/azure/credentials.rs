//! Every credential, chosen by plugin config and by the environment.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use prokura_integration::backend::azure::{CLIENT, Desk, FEDERATED, Kind, SECRET, TENANT, Variables};
use prokura_integration::home::write_private;
use prokura_integration::pki::{Authority, generate_key};
use prokura_integration::program::install_script;
use prokura_integration::suite::trial;
use prokura_plugin::{CertificateChain, KeySpec};

type Test = fn() -> Result<()>;

pub(crate) fn trials() -> Vec<Trial> {
    let named: [(&str, Test); 6] = [
        ("credential::client_secret", client_secret),
        ("credential::client_certificate", client_certificate),
        ("credential::workload_identity", workload_identity),
        ("credential::managed_identity", managed_identity),
        ("credential::app_service_identity", app_service),
        ("credential::azure_cli", azure_cli),
    ];
    named.map(|(name, test)| trial(name, test)).into()
}

fn application(desk: &Desk) -> Variables {
    let mut variables = desk.vault.network();
    variables.extend([("AZURE_TENANT_ID", TENANT.into()), ("AZURE_CLIENT_ID", CLIENT.into())]);
    variables
}

fn signs(desk: &Desk, config: &[&str], variables: &Variables) -> Result<()> {
    let above = desk.above();
    let config: Vec<&str> = config.iter().copied().chain([above.as_str()]).collect();
    desk.sign(&desk.id(KeySpec::Ec256), &config, variables)?.ok()?;
    Ok(())
}

fn client_secret() -> Result<()> {
    let desk = Desk::new(Kind::Vault)?;
    signs(&desk, &["credential_type=environment"], &desk.vault.variables())?;
    let file = desk.path("client-secret");
    write_private(&file, &format!("{SECRET}\n"))?;
    let entry = format!("client_secret_file={}", file.display());
    let explicit = [
        "credential_type=clientsecret",
        &format!("tenant_id={TENANT}"),
        &format!("client_id={CLIENT}"),
        &entry,
    ];
    signs(&desk, &explicit, &desk.vault.network())?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644))?;
    let said = desk.sign(&desk.id(KeySpec::Ec256), &explicit, &desk.vault.network())?.refused(1)?;
    ensure!(said.contains("chmod o="), "{said}");
    Ok(())
}

fn client_certificate() -> Result<()> {
    let desk = Desk::new(Kind::Vault)?;
    let key = generate_key(KeySpec::Rsa2048)?;
    let certificate = Authority::new("application")?.issue_to(&key, "application", |_| ())?;
    let file = desk.path("application.pem");
    write_private(&file, &format!("{}{certificate}", key.serialize_pem()))?;
    let mut variables = application(&desk);
    variables.push(("AZURE_CLIENT_CERTIFICATE_PATH", file.clone().into()));
    let said = desk.sign(&desk.id(KeySpec::Ec256), &[&desk.above()], &variables)?.refused(1)?;
    ensure!(said.contains("AADSTS700027") && said.contains("not registered"), "{said}");
    let chain = CertificateChain::from_pem(certificate.as_bytes())?;
    desk.vault.register_client_certificate(chain.certificates().first().context("one")?.clone());
    signs(&desk, &[], &variables)?;
    let entry = format!("client_certificate={}", file.display());
    signs(&desk, &["credential_type=clientcertificate", &entry], &application(&desk))
}

fn workload_identity() -> Result<()> {
    let desk = Desk::new(Kind::Vault)?;
    let file = desk.path("federated-token");
    write_private(&file, FEDERATED)?;
    let mut variables = application(&desk);
    variables.push(("AZURE_FEDERATED_TOKEN_FILE", file.into()));
    signs(&desk, &[], &variables)?;
    signs(&desk, &["credential_type=workloadid"], &variables)
}

fn managed_identity() -> Result<()> {
    let desk = Desk::new(Kind::Vault)?;
    let mut variables = desk.vault.network();
    variables.push(("AZURE_POD_IDENTITY_AUTHORITY_HOST", desk.vault.proxy().into()));
    desk.vault.assign_identity("");
    signs(&desk, &["credential_type=managedid"], &variables)?;
    ensure!(desk.vault.take_calls().iter().any(|call| call == "imds"), "the metadata service was asked");
    desk.vault.assign_identity(CLIENT);
    signs(&desk, &["credential_type=managedid", &format!("client_id={CLIENT}")], &variables)?;
    let said = desk.sign(&desk.id(KeySpec::Ec256), &["credential_type=managedid"], &variables)?.refused(1)?;
    ensure!(said.contains("system-assigned managed identity"), "{said}");
    Ok(())
}

fn app_service() -> Result<()> {
    let desk = Desk::new(Kind::Vault)?;
    desk.vault.assign_identity("");
    let mut variables = desk.vault.network();
    let endpoint = format!("{}/metadata/identity/oauth2/token", desk.vault.proxy());
    variables.extend([("IDENTITY_ENDPOINT", endpoint.into()), ("IDENTITY_HEADER", "h".into())]);
    signs(&desk, &[], &variables)
}

/// `az` is a script that says what `az account get-access-token` says.
fn azure_cli() -> Result<()> {
    let desk = Desk::new(Kind::Vault)?;
    let tools = desk.path("tools");
    std::fs::create_dir(&tools)?;
    let script = |body: &str| -> Result<()> {
        let az = tools.join("az");
        install_script(&format!("#!/bin/sh\n{body}\n"), &az)
    };
    let token = desk.vault.issue_token();
    let said =
        serde_json::json!({"accessToken": token, "expires_on": 4_000_000_000_u64, "tokenType": "Bearer"});
    let log = tools.join("log");
    script(&format!("echo \"$@\" >> {}\necho '{said}'", log.display()))?;
    let mut variables = desk.vault.network();
    let path = std::env::join_paths([tools.as_path(), "/usr/bin".as_ref(), "/bin".as_ref()])?;
    variables.push(("PATH", path));
    signs(&desk, &[], &variables)?;
    signs(&desk, &["credential_type=azurecli", &format!("tenant_id={TENANT}")], &variables)?;
    let asked = std::fs::read_to_string(&log)?;
    ensure!(asked.lines().count() == 2, "one token for a whole signature: {asked}");
    ensure!(asked.contains("--scope https://vault.azure.net/.default"), "{asked}");
    script("echo \"Please run 'az login' to setup account.\" >&2\nexit 1")?;
    let refused =
        desk.sign(&desk.id(KeySpec::Ec256), &["credential_type=azurecli"], &variables)?.refused(1)?;
    ensure!(refused.contains("az login"), "{refused}");
    Ok(())
}
