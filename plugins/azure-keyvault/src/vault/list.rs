//! Lists the keys of a vault that can sign, page by page, each with its certificate.

use std::ops::ControlFlow;

use azure_core::http::pager::{PagerContinuation, PagerOptions};
use azure_security_keyvault_keys::models::{KeyClientListKeyPropertiesOptions, KeyProperties};
use futures_util::TryStreamExt as _;
use prokura_plugin::{CertificateChain, Deadline, Error, KeyDescription, KeyId, Listed, VaultRequest};

use crate::certificate;
use crate::config::key_name::{Collection, KeyName, is_object_name};
use crate::config::{ChainFrom, Config};
use crate::error::Operation;
use crate::key::{describe_key, read_key};
use crate::limits::{KEYS_LISTED_MAX, PAGES_MAX};
use crate::vault::{Connection, Vault};

/// One page of a list and where the next one is.
type Page = (Vec<KeyProperties>, Option<PagerContinuation>);

/// Hands each key that can sign to `found`.
///
/// # Errors
/// If the list cannot be had.
pub(crate) fn list_keys(
    vault: &Vault,
    request: &VaultRequest,
    found: &mut dyn FnMut(Listed) -> ControlFlow<()>,
) -> Result<(), Error> {
    let config = Config::of(request, vault.surroundings())?;
    let host = config.vault.clone().ok_or_else(|| {
        Error::validation("plugin config vault is missing: whose keys shall be listed? Set it with --plugin-config vault=NAME")
    })?;
    let connection = vault.connect(&host, &config)?;
    let from = config.chain_from(&host)?;
    let now = vault.surroundings().now().as_secs();
    let (mut next, mut listed): (Option<PagerContinuation>, usize) = (None, 0);
    for _ in 0..PAGES_MAX {
        let (keys, more) = page(&connection, next.as_ref(), request.deadline())?;
        for name in keys.iter().filter_map(|key| name_of(key.kid.as_deref()?)) {
            listed += 1;
            if listed > KEYS_LISTED_MAX {
                return Err(Error::validation(format!(
                    "{host} has more than {KEYS_LISTED_MAX} keys; name the key instead"
                )));
            }
            let name = KeyName {
                host: host.clone(),
                collection: Collection::Keys,
                name: name.to_owned(),
                version: None,
            };
            let Some(key) = describe(&connection, &name, from, now, request.deadline()) else { continue };
            if found(key).is_break() {
                return Ok(());
            }
        }
        match more {
            Some(more) => next = Some(more),
            None => return Ok(()),
        }
    }
    Err(Error::internal(format!("{host} answers with more than {PAGES_MAX} pages of keys")))
}

fn page(
    connection: &Connection,
    from: Option<&PagerContinuation>,
    deadline: Deadline,
) -> Result<Page, Error> {
    connection.call(Operation::ListKeys, &connection.host.url(), deadline, async || {
        let options = KeyClientListKeyPropertiesOptions {
            method_options: PagerOptions { continuation: from.cloned(), ..PagerOptions::default() },
            ..KeyClientListKeyPropertiesOptions::default()
        };
        let mut pages = connection.keys.list_key_properties(Some(options))?.into_pages();
        let page = pages.try_next().await?.map(azure_core::http::Response::into_model).transpose()?;
        let next = pages.into_continuation().filter(|_| page.is_some());
        Ok((page.map(|page| page.value).unwrap_or_default(), next))
    })
}

/// `None` for keys that are none of Notary's.
fn describe(
    connection: &Connection,
    name: &KeyName,
    from: ChainFrom,
    now: u64,
    deadline: Deadline,
) -> Option<Listed> {
    let key = match read_key(connection, name, deadline) {
        Ok(Ok(key)) => key,
        Ok(Err(refusal)) => return Some(Err(connection.refused(Operation::GetKey, name, refusal))),
        Err(error) => return Some(Err(error)),
    };
    let described = describe_key(connection, name, &key, now).ok()?;
    let version = described.version.clone().unwrap_or_default();
    // Only keys that Key Vault made for certificates have one.
    let certificates = if key.managed == Some(true) && from != ChainFrom::Bundle {
        certificate::chain(connection, &name.with_version(&version), &version, ChainFrom::Certificate)
    } else {
        Ok(CertificateChain::default())
    };
    let description = certificates.and_then(|certificates| {
        let key_id = KeyId::new(name.to_string())?;
        Ok(KeyDescription {
            key_id,
            public_key: described.public_key.into(),
            certificates,
            details: described.details,
        })
    });
    Some(description)
}

/// `https://VAULT/keys/NAME`: the name.
fn name_of(identifier: &str) -> Option<&str> {
    identifier.split('/').nth(4).filter(|name| is_object_name(name))
}
