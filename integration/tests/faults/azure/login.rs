//! Credentials that are wrong, expired, of another tenant or absent; tokens that lose their power; vaults that lie.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use prokura_integration::backend::azure::{
    CLIENT, Desk, EXPIRED_SECRET, Kind, OTHER_TENANT, SECRET, TENANT, Variables, key_reference,
};
use prokura_integration::home::write_private;
use prokura_plugin::{Digest, KeySpec};
use prokura_signer::describe_key;

use super::{desk, holds, told};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        told("secret_wrong", || login(&[("AZURE_CLIENT_SECRET", "no")], &["AADSTS7000215", "not its id"])),
        told("secret_expired", || {
            login(
                &[("AZURE_CLIENT_SECRET", EXPIRED_SECRET)],
                &["AADSTS7000222", "az ad app credential reset"],
            )
        }),
        told("application_unknown", || {
            login(&[("AZURE_CLIENT_ID", "nobody")], &["AADSTS700016", "check client_id"])
        }),
        told("tenant_unknown", || login(&[("AZURE_TENANT_ID", "nowhere")], &["AADSTS90002", "tenant_id"])),
        told("tenant_of_others", || {
            login(
                &[("AZURE_TENANT_ID", OTHER_TENANT)],
                &["AKV10032", "the tenant of the vault", "properties.tenantId"],
            )
        }),
        told("tenant_missing", || login(&[("AZURE_TENANT_ID", "")], &["needs AZURE_TENANT_ID"])),
        told("no_credential_at_all", nobody),
        told("credential_type_unknown", credential_type),
        told("federated_token_of_others", federated),
        told("no_metadata_service", no_metadata_service),
        told("token_revoked_in_the_middle", revoked),
        told("vault_that_asks_for_tokens_of_another_service", another_service),
    ]
}

fn login(changes: &[(&'static str, &str)], parts: &[&str]) -> Result<String> {
    let desk = desk(Kind::Vault)?;
    let mut variables = desk.vault.variables();
    for (name, value) in changes {
        variables.retain(|(known, _)| known != name);
        variables.push((name, value.into()));
    }
    attempt(&desk, &[], &variables, parts)
}

fn attempt(desk: &Desk, config: &[&str], variables: &Variables, parts: &[&str]) -> Result<String> {
    holds(desk.sign(&desk.id(KeySpec::Ec256), config, variables)?.refused(1)?, parts)
}

fn nobody() -> Result<String> {
    let desk = desk(Kind::Vault)?;
    let mut variables = desk.vault.network();
    variables.push(("PATH", "/nonexistent".into()));
    let parts = ["no credential for Azure", "credential_type=managedid"];
    attempt(&desk, &[], &variables, &parts)
}

fn credential_type() -> Result<String> {
    let desk = desk(Kind::Vault)?;
    attempt(
        &desk,
        &["credential_type=default"],
        &desk.vault.variables(),
        &["expected environment, workloadid"],
    )
}

fn federated() -> Result<String> {
    let desk = desk(Kind::Vault)?;
    let file = desk.path("token");
    write_private(&file, "of another issuer")?;
    let mut variables = desk.vault.network();
    variables.extend([
        ("AZURE_TENANT_ID", TENANT.into()),
        ("AZURE_CLIENT_ID", CLIENT.into()),
        ("AZURE_FEDERATED_TOKEN_FILE", file.into()),
    ]);
    attempt(&desk, &[], &variables, &["AADSTS70021", "issuer, subject and audience"])
}

/// No minute of probing: what is not there is said at once.
fn no_metadata_service() -> Result<String> {
    let desk = desk(Kind::Vault)?;
    let mut variables = desk.vault.network();
    variables.push(("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1".into()));
    let begun = std::time::Instant::now();
    let said = attempt(&desk, &["credential_type=managedid"], &variables, &["has it a managed identity?"])?;
    ensure!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    Ok(said)
}

fn revoked() -> Result<String> {
    let desk = desk(Kind::Vault)?;
    let (runtime, plugin) = desk.plugin(&[], &desk.vault.variables())?;
    let key = key_reference(&desk.id(KeySpec::Ec256), &[])?;
    let digest = Digest::of(KeySpec::Ec256.hash_algorithm(), b"x");
    runtime.block_on(async {
        describe_key(&plugin, &key).await?;
        plugin.sign_digest(&key, KeySpec::Ec256, &digest).await?;
        desk.vault.revoke_tokens();
        desk.vault.take_calls();
        plugin.sign_digest(&key, KeySpec::Ec256, &digest).await?;
        let calls = desk.vault.take_calls();
        ensure!(calls.iter().filter(|call| *call == "token").count() == 1, "one new token: {calls:?}");
        plugin.close().await;
        Ok(format!("nobody noticed: a new token, then {}", calls.last().map_or("", String::as_str)))
    })
}

/// The name is not Azure's, the challenge is: a token for the real service would go to whoever has that name.
fn another_service() -> Result<String> {
    let desk = desk(Kind::Vault)?;
    let id = "https://localhost/keys/ec-256";
    desk.vault.take_calls();
    let config = [desk.above()];
    let config: Vec<&str> = config.iter().map(String::as_str).collect();
    let said = desk.sign(id, &config, &desk.vault.variables())?.refused(1)?;
    let calls = desk.vault.take_calls();
    ensure!(!calls.iter().any(|call| call == "token"), "no token was asked for: {calls:?}");
    let said = holds(said, &["challenge resource", "verify_challenge_resource=false"])?;
    ensure!(!said.contains(SECRET), "{said}");
    desk.sign(id, &[&config[..], &["verify_challenge_resource=false"]].concat(), &desk.vault.variables())?
        .ok()?;
    Ok(said)
}
