//! Each permission taken away in turn: the error names it, and how it is granted.

use std::ops::ControlFlow;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use prokura_integration::backend::azure::{Fault, Kind, key_reference, plugin_config};
use prokura_integration::pki::Authority;
use prokura_plugin::{CertificateChain, KeyId, KeySpec};

use super::{desk, holds, refused, told};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        told("no_permission::keys_sign", || {
            denied("keys/sign", &[], &["Key Vault Crypto User", "keys/sign/action", "--key-permissions sign"])
        }),
        told("no_permission::keys_get", || {
            denied(
                "keys/get",
                &["chain_from=bundle"],
                &["keys/get", "Key Vault Crypto User", "vaults/keys/read"],
            )
        }),
        told("no_permission::certificates_get", || {
            denied("certificates/get", &[], &["Key Vault Certificate User", "chain_from=bundle"])
        }),
        told("no_permission::secrets_get", || {
            denied(
                "secrets/get",
                &["chain_from=secret"],
                &["Key Vault Secrets User", "leave chain_from=secret out"],
            )
        }),
        told("no_permission::keys_list", || over_grpc("keys/list", &["keys/list", "Key Vault Crypto User"])),
        told("no_permission::keys_create", || over_grpc("keys/create", &["Key Vault Crypto Officer"])),
        told("no_permission::certificates_create", || {
            over_grpc(
                "certificates/create",
                &["Key Vault Certificates Officer", "--certificate-permissions create"],
            )
        }),
        told("no_permission::managed_hsm", managed_hsm),
        told("firewall", firewall),
    ]
}

fn denied(permission: &str, config: &[&str], parts: &[&str]) -> Result<String> {
    let desk = desk(Kind::Vault)?;
    desk.vault.deny(permission);
    let above = desk.above();
    let bundle: &[&str] = if config == ["chain_from=secret"] { &[] } else { &[above.as_str()] };
    let said = refused(&desk, &[bundle, config].concat(), parts)?;
    holds(said, &["ForbiddenByRbac", "client secret of application", "request id"])
}

/// What only a long-lived plugin does.
fn over_grpc(permission: &str, parts: &[&str]) -> Result<String> {
    let desk = desk(Kind::Vault)?;
    desk.vault.deny(permission);
    let spki = desk.vault.begin_certificate("pending", KeySpec::Ec256)?;
    let authority = Authority::new("issuer of the request")?;
    let pem = format!("{}{}", authority.issue(&spki, "pending")?, authority.certificate());
    let chain = CertificateChain::from_pem(pem.as_bytes())?;
    let (runtime, plugin) = desk.plugin(&[], &desk.vault.variables())?;
    let config = plugin_config(&["vault=prokura"]);
    let error = runtime.block_on(async {
        let error = match permission {
            "keys/list" => plugin.list_keys(&config, &mut |_| ControlFlow::Continue(())).await.err(),
            "keys/create" => plugin.create_key(&config, &KeyId::new("new")?, KeySpec::Ec256).await.err(),
            _ => {
                let key = key_reference(&format!("{}/certificates/pending", desk.vault.url()), &[])?;
                plugin.install_certificate(&key, &chain).await.err()
            }
        };
        plugin.close().await;
        error.map(|error| error.to_string()).context("refused")
    })?;
    holds(error, parts)
}

fn managed_hsm() -> Result<String> {
    let desk = desk(Kind::ManagedHsm)?;
    desk.vault.deny("keys/sign");
    let all = format!("ca_certs={}", desk.vault.all_certificates().display());
    let role = "az keyvault role assignment create --hsm-name prokura --role 'Managed HSM Crypto User'";
    refused(&desk, &[&all], &["managedHSM/keys/sign/action", role])
}

fn firewall() -> Result<String> {
    let desk = desk(Kind::Vault)?;
    desk.vault.fail("keys/get", Fault::Firewall, 1);
    desk.vault.take_calls();
    let said = refused(&desk, &[&desk.above()], &["ForbiddenByFirewall", "az keyvault network-rule add"])?;
    let calls = desk.vault.take_calls();
    ensure!(!calls.iter().any(|call| call == "certificates/get"), "no second door was tried: {calls:?}");
    Ok(said)
}
