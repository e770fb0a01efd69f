//! Keys of every spec in every kind of vault, every way to name them, where certificates come from, versions, lists.

use std::ops::ControlFlow;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use prokura_integration::backend::azure::{Desk, Kind, key_reference, plugin_config};
use prokura_integration::pki::Authority;
use prokura_integration::suite::trial;
use prokura_integration::vault::TestVault as _;
use prokura_plugin::{CertificateChain, Digest, KeyId, KeySpec, KeyState};
use prokura_signer::describe_key;

type Test = fn() -> Result<()>;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for kind in [Kind::Vault, Kind::VaultUsGovernment, Kind::ManagedHsm] {
        trials.push(trial(format!("every_spec_signs_and_verifies::{kind:?}"), move || every_spec(kind)));
    }
    let named: [(&str, Test); 9] = [
        ("keys_are_found_by_every_name", names),
        ("the_chain_needs_no_secret_unless_asked_for", chains),
        ("notation_azure_kv_permissions_are_enough", least_permissions),
        ("a_version_is_pinned_and_told", versions),
        ("a_warm_signature_is_one_call", warm),
        ("keys_are_listed_with_their_certificates", listed),
        ("keys_are_made_inside_and_never_replaced", made),
        ("a_certificate_is_installed_for_the_key_it_was_asked_for", installed),
        ("what_a_key_is_and_may_is_described", described),
    ];
    trials.extend(named.map(|(name, test)| trial(name, test)));
    trials
}

fn every_spec(kind: Kind) -> Result<()> {
    let desk = Desk::new(kind)?;
    for spec in KeySpec::ALL {
        let key = desk.vault.key(spec);
        let config: Vec<String> = key.config.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let config: Vec<&str> = config.iter().map(String::as_str).collect();
        desk.sign(&key.id, &config, &desk.vault.variables())?
            .ok()
            .with_context(|| format!("{kind:?} {spec}"))?;
    }
    Ok(())
}

fn names() -> Result<()> {
    let desk = Desk::new(Kind::Vault)?;
    let version = desk.vault.current_version("ec-256")?;
    let url = desk.vault.url();
    for (id, vault) in [
        (format!("{url}/keys/ec-256"), None),
        (format!("{url}/keys/ec-256/{version}"), None),
        (format!("{url}/certificates/ec-256"), None),
        (format!("{url}/certificates/ec-256/{version}/"), None),
        ("azurekms://prokura.vault.azure.net/ec-256".to_owned(), None),
        (format!("azurekms://prokura/ec-256/{version}"), None),
        ("azurekms:name=ec-256;vault=prokura".to_owned(), None),
        ("ec-256".to_owned(), Some("vault=prokura")),
        (format!("ec-256/{version}"), Some("vault=https://prokura.vault.azure.net/")),
    ] {
        let above = desk.above();
        let config: Vec<&str> = std::iter::once(above.as_str()).chain(vault).collect();
        desk.sign(&id, &config, &desk.vault.variables())?.ok().with_context(|| id.clone())?;
    }
    Ok(())
}

fn chains() -> Result<()> {
    let desk = Desk::new(Kind::Vault)?;
    let id = desk.id(KeySpec::Rsa2048);
    let variables = desk.vault.variables();
    for denied in ["secrets/get", "secrets/list"] {
        desk.vault.deny(denied);
    }
    let calls = |desk: &Desk| desk.vault.take_calls();
    calls(&desk);
    desk.sign(&id, &[&desk.above()], &variables)?.ok()?;
    let made = calls(&desk);
    ensure!(!made.iter().any(|call| call.starts_with("secrets/")), "{made:?}");
    desk.vault.heal();
    desk.sign(&id, &["chain_from=secret"], &variables)?.ok()?;
    ensure!(calls(&desk).iter().any(|call| call == "secrets/get"), "the secret was asked for");
    let all = format!("ca_certs={}", desk.vault.all_certificates().display());
    desk.vault.deny("certificates/get");
    desk.sign(&id, &[&all, "chain_from=bundle"], &variables)?.ok()?;
    let made = calls(&desk);
    ensure!(!made.iter().any(|call| call.starts_with("certificates/")), "{made:?}");
    Ok(())
}

/// `certificates/get` and `keys/sign`, whichever way the key is named.
fn least_permissions() -> Result<()> {
    let desk = Desk::new(Kind::Vault)?;
    for denied in ["keys/get", "keys/list", "secrets/get"] {
        desk.vault.deny(denied);
    }
    for collection in ["keys", "certificates"] {
        let id = format!("{}/{collection}/ec-384", desk.vault.url());
        desk.sign(&id, &[&desk.above(), "credential_type=environment"], &desk.vault.variables())?.ok()?;
    }
    Ok(())
}

fn versions() -> Result<()> {
    let desk = Desk::new(Kind::Vault)?;
    let first = desk.vault.current_version("ec-256")?;
    let above = desk.above();
    let all = [above.as_str()];
    let (runtime, plugin) = desk.plugin(&all, &desk.vault.variables())?;
    let key = key_reference(&desk.id(KeySpec::Ec256), &all)?;
    let digest = Digest::of(KeySpec::Ec256.hash_algorithm(), b"x");
    runtime.block_on(async {
        let described = describe_key(&plugin, &key).await?;
        ensure!(described.details.version.as_deref() == Some(first.as_str()), "{:?}", described.details);
        let exact = described.details.exact_key_id.map(|id| id.to_string());
        ensure!(exact == Some(format!("{}/keys/ec-256/{first}", desk.vault.url())), "{exact:?}");
        // Rotated between description and signature: what was described signs.
        desk.vault.rotate("ec-256", KeySpec::Ec256)?;
        let signed = plugin.sign_digest(&key, KeySpec::Ec256, &digest).await?;
        ensure!(signed.key_version.as_deref() == Some(first.as_str()), "{:?}", signed.key_version);
        let id = signed.vault_request_id.as_deref();
        ensure!(id.is_some_and(|id| id.len() == 32), "{id:?}");
        plugin.close().await;
        Ok(())
    })
}

fn warm() -> Result<()> {
    let desk = Desk::new(Kind::Vault)?;
    let above = desk.above();
    let (runtime, plugin) = desk.plugin(&[&above], &desk.vault.variables())?;
    let key = key_reference(&desk.id(KeySpec::Ec256), &[&above])?;
    let digest = Digest::of(KeySpec::Ec256.hash_algorithm(), b"x");
    runtime.block_on(async {
        describe_key(&plugin, &key).await?;
        plugin.sign_digest(&key, KeySpec::Ec256, &digest).await?;
        desk.vault.take_calls();
        for _ in 0..5 {
            plugin.sign_digest(&key, KeySpec::Ec256, &digest).await?;
        }
        let calls = desk.vault.take_calls();
        ensure!(calls == ["keys/sign"; 5], "{calls:?}");
        plugin.close().await;
        Ok(())
    })
}

fn listed() -> Result<()> {
    let desk = Desk::new(Kind::Vault)?;
    desk.vault.rotate("only-a-key", KeySpec::Ec384)?;
    desk.vault.set_operations("only-a-key", &["sign", "verify"])?;
    desk.vault.rotate("encrypts", KeySpec::Rsa2048)?;
    desk.vault.set_operations("encrypts", &["encrypt", "decrypt"])?;
    desk.vault.set_enabled("rsa-3072", false)?;
    let (runtime, plugin) = desk.plugin(&[], &desk.vault.variables())?;
    runtime.block_on(async {
        let mut found = Vec::new();
        let config = plugin_config(&["vault=prokura"]);
        plugin
            .list_keys(&config, &mut |key| {
                found.push(key);
                ControlFlow::Continue(())
            })
            .await?;
        let mut lines = Vec::new();
        for key in found {
            let key = key?;
            let certificates = key.description.chain.map_or(0, |chain| chain.certificates().len());
            let state = key.description.details.state;
            let name = key.reference.key_id().as_str().rsplit('/').next().unwrap_or_default().to_owned();
            lines.push((name, key.description.key_spec, certificates, state));
        }
        let enabled = Some(KeyState::Enabled);
        let expected = [
            ("ec-256", KeySpec::Ec256, 1, enabled),
            ("ec-384", KeySpec::Ec384, 1, enabled),
            ("ec-521", KeySpec::Ec521, 1, enabled),
            ("only-a-key", KeySpec::Ec384, 0, enabled),
            ("rsa-2048", KeySpec::Rsa2048, 1, enabled),
            ("rsa-3072", KeySpec::Rsa3072, 1, Some(KeyState::Disabled)),
            ("rsa-4096", KeySpec::Rsa4096, 1, enabled),
        ];
        let expected = expected.map(|(name, spec, chain, state)| (name.to_owned(), spec, chain, state));
        ensure!(lines == expected, "{lines:?}");
        plugin.close().await;
        Ok(())
    })
}

fn made() -> Result<()> {
    for kind in [Kind::Vault, Kind::ManagedHsm] {
        let desk = Desk::new(kind)?;
        let (runtime, plugin) = desk.plugin(&[], &desk.vault.variables())?;
        let config = plugin_config(&[&format!("vault={}", desk.vault.url())]);
        runtime.block_on(async {
            for spec in [KeySpec::Ec521, KeySpec::Rsa3072] {
                let name = KeyId::new(format!("made-{}", spec.as_str().to_lowercase()))?;
                let made = plugin.create_key(&config, &name, spec).await?;
                ensure!(made.description.key_spec == spec, "{made:?}");
                let details = &made.description.details;
                ensure!(details.exportable == Some(false), "{details:?}");
                let kty = details.attributes.get("kty").map(String::as_str);
                let hardware = kty.is_some_and(|kty| kty.ends_with("-HSM"));
                ensure!(hardware == (kind == Kind::ManagedHsm), "{kty:?}");
                let digest = Digest::of(spec.hash_algorithm(), b"x");
                plugin.sign_digest(&made.reference, spec, &digest).await?;
                let error =
                    plugin.create_key(&config, &name, spec).await.err().context("the name is taken")?;
                ensure!(error.to_string().contains("exists already"), "{error}");
            }
            desk.vault.delete("ec-256");
            let error = plugin.create_key(&config, &KeyId::new("ec-256")?, KeySpec::Ec256).await.err();
            let error = error.context("the name of a deleted key")?.to_string();
            ensure!(error.contains("az keyvault key recover"), "{error}");
            plugin.close().await;
            anyhow::Ok(())
        })?;
    }
    Ok(())
}

fn installed() -> Result<()> {
    let desk = Desk::new(Kind::Vault)?;
    let authority = Authority::new("issuer of the request")?;
    let spki = desk.vault.begin_certificate("pending", KeySpec::Ec256)?;
    let leaf = authority.issue(&spki, "installed")?;
    let other = authority.issue(&desk.vault.begin_certificate("other", KeySpec::Ec256)?, "other")?;
    let chain =
        |leaf: &str| CertificateChain::from_pem(format!("{leaf}{}", authority.certificate()).as_bytes());
    let root = desk.path("issuer.pem");
    std::fs::write(&root, authority.certificate())?;
    let bundle = format!("ca_certs={}", root.display());
    let (runtime, plugin) = desk.plugin(&[], &desk.vault.variables())?;
    let id = format!("{}/certificates/pending", desk.vault.url());
    let key = key_reference(&id, &[])?;
    runtime.block_on(async {
        let digest = Digest::of(KeySpec::Ec256.hash_algorithm(), b"x");
        let error =
            plugin.sign_digest(&key, KeySpec::Ec256, &digest).await.err().context("nothing to sign with")?;
        ensure!(error.to_string().contains("still being issued"), "{error}");
        let error = plugin.install_certificate(&key, &chain(&other)?).await.err().context("another key")?;
        ensure!(error.to_string().contains("key"), "{error}");
        plugin.install_certificate(&key, &chain(&leaf)?).await?;
        let described = describe_key(&plugin, &key).await?;
        ensure!(described.details.version.is_some(), "{:?}", described.details);
        plugin.sign_digest(&key, KeySpec::Ec256, &digest).await?;
        let plain = key_reference(&desk.id(KeySpec::Ec384), &[])?;
        let own = describe_key(&plugin, &plain).await?.chain.context("its certificate")?;
        let error = plugin.install_certificate(&plain, &own).await.err().context("none is being issued")?;
        ensure!(error.to_string().contains("chain_from=bundle"), "{error}");
        desk.vault.begin_certificate("ec-384", KeySpec::Ec384)?;
        let error = plugin.install_certificate(&plain, &own).await.err().context("the old key's")?;
        ensure!(error.to_string().contains("than the one being issued"), "{error}");
        plugin.close().await;
        anyhow::Ok(())
    })?;
    let run = desk.sign(&id, &[&bundle], &desk.vault.variables());
    // Signed and stored; only its root is not trusted here.
    ensure!(
        run.is_err_and(|e| format!("{e:#}").contains("does not verify")),
        "signed with the installed certificate"
    );
    Ok(())
}

fn described() -> Result<()> {
    let desk = Desk::new(Kind::Vault)?;
    let vault = &desk.vault;
    vault.set_validity("ec-521", Some(4_000_000_000), None)?;
    let (runtime, plugin) = desk.plugin(&[], &vault.variables())?;
    runtime.block_on(async {
        let described = describe_key(&plugin, &key_reference(&desk.id(KeySpec::Ec521), &[])?).await?;
        let details = described.details;
        ensure!(details.state == Some(KeyState::Disabled), "not yet valid: {details:?}");
        ensure!(
            details.label.as_deref() == Some("ec-521") && details.exportable == Some(false),
            "{details:?}"
        );
        let credential = details.attributes.get("credential").map(String::as_str).unwrap_or_default();
        ensure!(
            credential.starts_with("client secret of application 3333"),
            "the source is shown: {credential}"
        );
        plugin.close().await;
        Ok(())
    })
}
