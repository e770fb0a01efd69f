//! Keys of a transit engine as a whole: listing them and making one.

use std::ops::ControlFlow;

use prokura_plugin::limits::LISTED_KEYS_MAX;
use prokura_plugin::{CreateRequest, Error, KeyDescription, Listed, Scope, VaultRequest};
use serde_json::{Value, json};

use crate::config::{CertificateSource, TransitId};
use crate::error::malformed;
use crate::key::{TransitKey, type_of};
use crate::vault::Vaults;
use crate::vault::client::{Call, Verb};

/// Hands the latest version of each key that can sign for Notary to `found`.
///
/// # Errors
/// If the engine's keys cannot be listed at all.
pub(crate) fn list(
    vaults: &Vaults,
    request: &VaultRequest,
    found: &mut dyn FnMut(Listed) -> ControlFlow<()>,
) -> Result<(), Error> {
    let vault = vaults.vault(request)?;
    let sources = CertificateSource::read(request)?;
    let mount = TransitId::parse("any", request.config_optional("mount"))?.mount;
    let path = format!("{mount}/keys");
    let call = Call { verb: Verb::List, path, body: None, doing: format!("list the keys of {mount}") };
    let data = match vault.ask(&call, request.deadline()) {
        Ok(answer) => answer.data,
        // An engine without keys answers as if the list did not exist.
        Err(error) if is_absent(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    let names =
        data.get("keys").and_then(Value::as_array).ok_or_else(|| malformed(&call, "a list of keys"))?;
    for name in names.iter().filter_map(Value::as_str).take(LISTED_KEYS_MAX) {
        // Folders, of keys named with slashes, and names that are none end with "/" or are refused here.
        let Ok(id) = TransitId::parse(name, Some(&mount)) else { continue };
        let opened = TransitKey::open(vault.clone(), id, sources.clone(), request.deadline());
        let listed = opened.and_then(|key| key.description(request.deadline()));
        if listed.as_ref().is_err_and(cannot_sign) {
            continue;
        }
        if found(listed).is_break() {
            break;
        }
    }
    Ok(())
}

/// Makes a key that cannot be exported or backed up in plain text. Never replaces one.
///
/// # Errors
/// `VALIDATION_ERROR` if the name is taken.
pub(crate) fn create(vaults: &Vaults, request: &CreateRequest) -> Result<KeyDescription, Error> {
    let vault = vaults.vault(request.vault())?;
    let deadline = request.vault().deadline();
    let id = TransitId::parse(request.name().as_str(), request.vault().config_optional("mount"))?;
    if id.version.is_some() {
        return Err(Error::validation(format!(
            "the name of a new key has no version; leave it out of {:?}",
            request.name().as_str()
        )));
    }
    // The vault takes a second creation of the same name for the first one's and says so nowhere.
    match vault.ask(&Call::read(id.key_path(), format!("see whether key {id} exists")), deadline) {
        Err(error) if is_absent(&error) => {}
        Err(error) => return Err(error),
        Ok(_) => {
            return Err(Error::validation(format!(
                "key {id} exists already and is not replaced; choose another name"
            )));
        }
    }
    let body = json!({"type": type_of(request.spec()), "exportable": false, "allow_plaintext_backup": false});
    let doing = format!("create {} key {id}", request.spec());
    vault.ask(&Call::write(Verb::Create, id.key_path(), &body, doing)?, deadline)?;
    TransitKey::open(vault, id, Vec::new(), deadline)?.description(deadline)
}

fn is_absent(error: &Error) -> bool {
    error.vault_code.as_deref() == Some("HTTP 404") && error.scope == Some(Scope::Key)
}

/// A key of another type, or a derived one: nothing went wrong, it is not listed.
fn cannot_sign(error: &Error) -> bool {
    error.scope == Some(Scope::Key)
        && error.vault_code.is_none()
        && error.code == prokura_plugin::ErrorCode::ValidationError
}
