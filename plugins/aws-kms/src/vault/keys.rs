//! Listing the keys of an account that can sign, and making one.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_kms::operation::create_alias::CreateAliasError;
use aws_sdk_kms::operation::create_key::CreateKeyError;
use aws_sdk_kms::operation::describe_key::DescribeKeyError;
use aws_sdk_kms::operation::list_aliases::ListAliasesError;
use aws_sdk_kms::operation::list_keys::ListKeysError;
use aws_sdk_kms::types::{KeyMetadata, KeySpec as KmsKeySpec, KeyState as KmsKeyState, KeyUsageType};
use prokura_plugin::{
    CertificateChain, CreateRequest, Deadline, Error, KeyDescription, KeyDetails, KeyId, KeySpec, KeyState,
    Listed, PublicHalf, VaultRequest,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::attempts::Attempts;
use super::{Session, Vault};
use crate::config::{CredentialSource, Place, flag};
use crate::error::Doing;
use crate::key::Found;
use crate::limits::{ALIASES_MAX, KEYS_MAX, LOOKED_AT_ONCE, NEW_KEY_POLL_MILLISECONDS, NEW_KEY_SECONDS_MAX};

/// The six specs as KMS calls them.
const SPECS: [(KmsKeySpec, KeySpec); 6] = [
    (KmsKeySpec::Rsa2048, KeySpec::Rsa2048),
    (KmsKeySpec::Rsa3072, KeySpec::Rsa3072),
    (KmsKeySpec::Rsa4096, KeySpec::Rsa4096),
    (KmsKeySpec::EccNistP256, KeySpec::Ec256),
    (KmsKeySpec::EccNistP384, KeySpec::Ec384),
    (KmsKeySpec::EccNistP521, KeySpec::Ec521),
];

type Aliases = HashMap<String, Vec<String>>;

/// Hands every key of the region that can sign to `found`, as it becomes known.
///
/// # Errors
/// If the keys cannot be listed at all; what concerns one key, or the aliases, goes to `found`.
pub(crate) fn list(
    vault: &Vault,
    request: &VaultRequest,
    found: &mut dyn FnMut(Listed) -> ControlFlow<()>,
) -> Result<(), Error> {
    let session = vault.session(&Place::of(request)?)?;
    let runtime = vault.runtime()?;
    let (sender, mut receiver) = mpsc::channel(LOOKED_AT_ONCE);
    // `found` waits for the host, so it must not run on the runtime.
    let listing = runtime.spawn(send_all(session, request.deadline(), sender));
    while let Some(listed) = receiver.blocking_recv() {
        if found(listed).is_break() {
            break;
        }
    }
    drop(receiver);
    runtime.block_on(listing).unwrap_or_else(|e| Err(Error::internal(format!("listing ended early: {e}"))))
}

/// Sends until all is sent or nobody receives.
async fn send_all(
    session: Arc<Session>,
    deadline: Deadline,
    found: mpsc::Sender<Listed>,
) -> Result<(), Error> {
    let aliases = match aliases(&session, deadline).await {
        Ok(aliases) => aliases,
        Err(error) => {
            let _ = found.send(Err(error)).await;
            Aliases::new()
        }
    };
    let aliases = Arc::new(aliases);
    let (mut marker, mut seen) = (None, 0);
    loop {
        let (page, next) = page(&session, deadline, marker).await?;
        seen += page.len();
        look_at(&session, deadline, &aliases, page, &found).await;
        if found.is_closed() || next.is_none() || seen >= KEYS_MAX {
            return Ok(());
        }
        marker = next;
    }
}

async fn aliases(session: &Session, deadline: Deadline) -> Result<Aliases, Error> {
    let doing = Doing { what: "list aliases".to_owned(), action: "kms:ListAliases", resource: "*" };
    let (mut aliases, mut marker, mut seen) = (Aliases::new(), None, 0);
    loop {
        let attempts = Attempts::<ListAliasesError>::none();
        let request = session.kms().list_aliases().set_marker(marker);
        let call = request.customize().interceptor(attempts.clone()).send();
        let answer = session.call(&doing, deadline, &attempts, call).await?;
        for alias in answer.aliases.unwrap_or_default() {
            seen += 1;
            if let (Some(name), Some(key)) = (alias.alias_name, alias.target_key_id) {
                aliases.entry(key).or_default().push(name);
            }
        }
        marker = answer.next_marker.filter(|_| answer.truncated);
        if marker.is_none() || seen >= ALIASES_MAX {
            return Ok(aliases);
        }
    }
}

async fn page(
    session: &Session,
    deadline: Deadline,
    marker: Option<String>,
) -> Result<(Vec<String>, Option<String>), Error> {
    let doing = Doing { what: "list keys".to_owned(), action: "kms:ListKeys", resource: "*" };
    let attempts = Attempts::<ListKeysError>::none();
    let call = session.kms().list_keys().set_marker(marker).customize().interceptor(attempts.clone()).send();
    let answer = session.call(&doing, deadline, &attempts, call).await?;
    let keys = answer.keys.unwrap_or_default().into_iter().filter_map(|key| key.key_arn.or(key.key_id));
    Ok((keys.collect(), answer.next_marker.filter(|_| answer.truncated)))
}

/// Looks at the keys of a page, several at a time.
async fn look_at(
    session: &Arc<Session>,
    deadline: Deadline,
    aliases: &Arc<Aliases>,
    page: Vec<String>,
    found: &mpsc::Sender<Listed>,
) {
    let mut waiting = page.into_iter();
    let mut looking = JoinSet::new();
    loop {
        while looking.len() < LOOKED_AT_ONCE {
            let Some(arn) = waiting.next() else { break };
            let (session, aliases) = (Arc::clone(session), Arc::clone(aliases));
            looking.spawn(async move { describe(&session, &aliases, &arn, deadline).await.transpose() });
        }
        let Some(looked_at) = looking.join_next().await else { return };
        if let Ok(Some(listed)) = looked_at
            && found.send(listed).await.is_err()
        {
            return;
        }
    }
}

/// What a key is; `None` if it cannot sign for Notary.
async fn describe(
    session: &Session,
    aliases: &Aliases,
    arn: &str,
    deadline: Deadline,
) -> Result<Option<KeyDescription>, Error> {
    let attempts = Attempts::<DescribeKeyError>::none();
    let call = session.kms().describe_key().key_id(arn).customize().interceptor(attempts.clone()).send();
    let doing = Doing { what: format!("describe key {arn}"), action: "kms:DescribeKey", resource: arn };
    let Some(metadata) = session.call(&doing, deadline, &attempts, call).await?.key_metadata else {
        return Ok(None);
    };
    let can_sign = metadata.key_usage == Some(KeyUsageType::SignVerify);
    let spec = SPECS.iter().find(|(kms, _)| metadata.key_spec.as_ref() == Some(kms)).map(|(_, ours)| *ours);
    let Some(spec) = spec.filter(|_| can_sign) else { return Ok(None) };
    let names = aliases.get(&metadata.key_id).cloned().unwrap_or_default();
    // Of keys that are out of use KMS hands out no public half.
    let (arn, public_key) = match state(&metadata) {
        KeyState::Enabled => {
            let Found { arn, public_key } = Found::ask(session, arn, &[], deadline).await?;
            (arn, public_key.into())
        }
        _ => (arn.to_owned(), PublicHalf::Withheld(spec)),
    };
    description(session, arn, public_key, &names, &metadata).map(Some)
}

/// The states of KMS that end by themselves, such as `Creating` and `Updating`, are passing ones.
fn state(metadata: &KeyMetadata) -> KeyState {
    match &metadata.key_state {
        Some(KmsKeyState::Enabled) => KeyState::Enabled,
        Some(KmsKeyState::Disabled) => KeyState::Disabled,
        Some(KmsKeyState::PendingDeletion | KmsKeyState::PendingReplicaDeletion) => KeyState::PendingDeletion,
        _ => KeyState::Unavailable,
    }
}

fn description(
    session: &Session,
    arn: String,
    public_key: PublicHalf,
    names: &[String],
    metadata: &KeyMetadata,
) -> Result<KeyDescription, Error> {
    let details = KeyDetails {
        version: Some(arn.clone()),
        state: Some(state(metadata)),
        exportable: Some(false),
        label: names.first().cloned(),
        ..KeyDetails::default()
    };
    let source = session.credential_source().map_or("none yet", CredentialSource::as_str);
    let details = details.with("arn", &arn).with("region", session.region());
    let mut details = details.with("credentials", source);
    if !names.is_empty() {
        details = details.with("aliases", names.join(" "));
    }
    if let Some(text) = metadata.description.as_ref().filter(|t| !t.is_empty()) {
        details = details.with("description", crate::error::shown(text));
    }
    if metadata.multi_region == Some(true) {
        details = details.with("multiRegion", "true");
    }
    Ok(KeyDescription {
        key_id: KeyId::new(arn)?,
        public_key,
        certificates: CertificateChain::default(),
        details,
    })
}

/// Makes a key with an alias and waits until it can be used.
///
/// # Errors
/// `VALIDATION_ERROR` if the alias is taken; else what KMS says. If the alias cannot be made the key exists, and the error
/// names it.
pub(crate) fn create(vault: &Vault, request: &CreateRequest) -> Result<KeyDescription, Error> {
    let place = Place::of(request.vault())?;
    let multi_region = flag(request.vault(), "multi_region")?.unwrap_or_default();
    let alias = alias(request.name().as_str())?;
    let session = vault.session(&place)?;
    let deadline = request.vault().deadline();
    vault.runtime()?.block_on(async {
        refuse_taken(&session, &alias, deadline).await?;
        let mut metadata = make(&session, request.spec(), multi_region, &alias, deadline).await?;
        let arn = metadata.arn.clone().unwrap_or_else(|| metadata.key_id.clone());
        let unfinished = |e: Error| Error { message: format!("key {arn} was made, but: {}", e.message), ..e };
        name(&session, &alias, &arn, deadline).await.map_err(unfinished)?;
        let Found { arn, public_key } = once_known(&session, &arn, deadline).await.map_err(unfinished)?;
        // What CreateKey answered may be older than the key.
        metadata.key_state = Some(KmsKeyState::Enabled);
        description(&session, arn, public_key.into(), &[alias], &metadata)
    })
}

/// `release` and `alias/release` are the same name.
fn alias(name: &str) -> Result<String, Error> {
    let bare = name.strip_prefix("alias/").unwrap_or(name);
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-');
    if !bare.is_empty() && bare.chars().all(allowed) && !bare.starts_with("aws/") {
        return Ok(format!("alias/{bare}"));
    }
    Err(Error::validation(format!(
        "{name:?} can be no alias of KMS, expected letters, digits, '/', '_' and '-', not beginning with aws/"
    )))
}

async fn refuse_taken(session: &Session, alias: &str, deadline: Deadline) -> Result<(), Error> {
    let attempts = Attempts::<DescribeKeyError>::none();
    let call = session.kms().describe_key().key_id(alias).customize().interceptor(attempts.clone()).send();
    let doing =
        Doing { what: format!("see whether {alias} is taken"), action: "kms:DescribeKey", resource: alias };
    match session.call(&doing, deadline, &attempts, call).await {
        Err(error) if error.vault_code.as_deref() == Some("NotFoundException") => Ok(()),
        Err(error) => Err(error),
        Ok(answer) => {
            let key = answer.key_metadata.and_then(|m| m.arn).unwrap_or_default();
            Err(Error::validation(format!("{alias} is taken: it names key {key}; choose another name")))
        }
    }
}

async fn make(
    session: &Session,
    spec: KeySpec,
    multi_region: bool,
    alias: &str,
    deadline: Deadline,
) -> Result<KeyMetadata, Error> {
    let kms_spec = SPECS.into_iter().find(|(_, ours)| *ours == spec).map(|(kms, _)| kms);
    let attempts = Attempts::<CreateKeyError>::none();
    let request = session.kms().create_key().key_usage(KeyUsageType::SignVerify).set_key_spec(kms_spec);
    let request = request.description(format!("Notary signing key {alias}")).multi_region(multi_region);
    let call = request.customize().interceptor(attempts.clone()).send();
    let doing = Doing { what: format!("make a {spec} key"), action: "kms:CreateKey", resource: "*" };
    let answer = session.call(&doing, deadline, &attempts, call).await?;
    answer.key_metadata.ok_or_else(|| Error::internal("the answer of KMS to CreateKey names no key"))
}

async fn name(session: &Session, alias: &str, arn: &str, deadline: Deadline) -> Result<(), Error> {
    let attempts = Attempts::<CreateAliasError>::none();
    let request = session.kms().create_alias().alias_name(alias).target_key_id(arn);
    let call = request.customize().interceptor(attempts.clone()).send();
    let what =
        format!("name it {alias} (later: aws kms create-alias --alias-name {alias} --target-key-id {arn})");
    let doing = Doing { what, action: "kms:CreateAlias", resource: arn };
    session.call(&doing, deadline, &attempts, call).await.map(drop)
}

/// The key as it can be used; KMS may not know it for a while.
async fn once_known(session: &Session, arn: &str, deadline: Deadline) -> Result<Found, Error> {
    let until = Instant::now() + Duration::from_secs(NEW_KEY_SECONDS_MAX);
    loop {
        match Found::ask(session, arn, &[], deadline).await {
            Err(error)
                if error.vault_code.as_deref() == Some("NotFoundException") && Instant::now() < until =>
            {
                tokio::time::sleep(Duration::from_millis(NEW_KEY_POLL_MILLISECONDS)).await;
            }
            outcome => return outcome,
        }
    }
}
