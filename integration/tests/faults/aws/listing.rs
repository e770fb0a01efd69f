//! Keys found and made in an account, and the permissions that takes.

use std::ops::ControlFlow;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use prokura_integration::suite;
use prokura_plugin::{KeyId, KeySpec, KeyState};
use prokura_signer::{Plugin, VaultKey};
use serde_json::json;

use super::stage::{Attempt, Stage, stage, tell, trial};

pub(crate) fn trials() -> Vec<Trial> {
    let alone = suite::trial("aws-kms::listing::page_by_page", || {
        stage()?;
        page_by_page(&Stage::start()?)
    });
    vec![alone, trial("listing::keys_are_made", keys_are_made)]
}

type Found = (Vec<VaultKey>, Vec<String>);

/// All keys, and what was said of those that could not be listed.
pub(super) fn listed(attempt: &Attempt<'_>) -> Result<Found> {
    attempt.served(async |plugin, key| {
        let (mut keys, mut said) = (Vec::new(), Vec::new());
        let found = &mut |one: Result<VaultKey, prokura_signer::Error>| {
            match one {
                Ok(key) => keys.push(key),
                Err(error) => said.push(error.to_string()),
            }
            ControlFlow::Continue(())
        };
        plugin.list_keys(key.plugin_config(), found).await?;
        Ok((keys, said))
    })
}

/// Makes a key in the account of the attempt.
pub(super) async fn create(
    plugin: &Plugin,
    attempt: &Attempt<'_>,
    name: &str,
    spec: KeySpec,
) -> Result<VaultKey> {
    Ok(plugin.create_key(&attempt.plugin_config(), &KeyId::new(name)?, spec).await?)
}

fn page_by_page(stage: &Stage) -> Result<()> {
    // Two pages of the API and a bit, of keys that cannot sign.
    for _ in 0..205 {
        stage.kms.api().kms("CreateKey", &json!({}))?;
    }
    let disabled = stage.kms.create(KeySpec::Ec256, Some("switched-off"))?;
    stage.kms.api().kms("DisableKey", &json!({"KeyId": disabled.id}))?;
    let any = stage.kms.kms_key(KeySpec::Ec256)?;
    let dying = stage.kms.create(KeySpec::Rsa2048, Some("dying"))?;
    let body = json!({"KeyId": dying.id, "PendingWindowInDays": 7});
    stage.kms.api().kms("ScheduleKeyDeletion", &body)?;
    let (keys, said) = listed(&stage.attempt("alias/none", any)?)?;
    ensure!(said.is_empty(), "{said:?}");
    ensure!(keys.len() == KeySpec::ALL.len() + 2, "{} keys: {keys:?}", keys.len());
    for spec in KeySpec::ALL {
        let arn = &stage.kms.kms_key(spec)?.arn;
        let found = keys.iter().find(|k| k.reference.key_id().as_str() == arn).context("a key is missing")?;
        ensure!(found.description.key_spec == spec);
        let alias = format!("alias/{}", prokura_integration::key::id(spec));
        ensure!(found.description.details.label.as_deref() == Some(&alias), "{found:?}");
    }
    for (out_of_use, alias, state) in [
        (&disabled, "alias/switched-off", KeyState::Disabled),
        (&dying, "alias/dying", KeyState::PendingDeletion),
    ] {
        let found = keys.iter().find(|k| k.reference.key_id().as_str() == out_of_use.arn);
        let details = &found.with_context(|| format!("no {alias}"))?.description.details;
        ensure!((details.label.as_deref(), details.state) == (Some(alias), Some(state)), "{details:?}");
    }
    let attempt = stage.attempt("alias/none", any)?;
    let shown = attempt.discovers()?;
    let row = shown.lines().find(|line| line.contains(&disabled.arn)).context("no row")?;
    ensure!(row.contains("EC-256") && row.contains("DISABLED"), "{row}");
    tell("disabled key in a listing", row)
}

fn keys_are_made(stage: &'static Stage) -> Result<()> {
    let any = stage.kms.kms_key(KeySpec::Ec256)?;
    let attempt = stage.attempt("alias/none", any)?;
    for spec in KeySpec::ALL {
        let name = format!("made/{}", prokura_integration::key::id(spec));
        let made = attempt.served(async |plugin, _| create(&plugin, &attempt, &name, spec).await)?;
        ensure!(made.description.key_spec == spec, "{made:?}");
        let public = made.description.public_key.context("no public key")?;
        let key = stage.kms.adopt(&json!({"KeyMetadata": {
            "Arn": made.reference.key_id().as_str(),
            "KeyId": made.reference.key_id().as_str().rsplit('/').next(),
        }}))?;
        ensure!(key.spki == public.spki_der());
        stage.attempt(&format!("alias/{name}"), &key)?.signs()?;
    }
    for (name, what, words) in [
        ("made/ec-256", "alias that is taken", "alias/made/ec-256 is taken: it names key arn:"),
        ("a b", "alias with a space", "can be no alias of KMS"),
        ("alias/aws/s3", "alias of AWS's own", "can be no alias of KMS"),
    ] {
        let refused = attempt.served(async |plugin, _| create(&plugin, &attempt, name, KeySpec::Ec256).await);
        let told = refused.err().context("a key was made")?.to_string();
        ensure!(told.contains(words), "{told}");
        tell(what, &told)?;
    }
    Ok(())
}
