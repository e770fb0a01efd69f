//! Where a key is: what the key id and the plugin config say together, free of contradictions.

use std::path::{Path, PathBuf};

use prokura_plugin::{Error, KeyRequest};

use crate::config::uri::{self, ObjectFilter, TokenFilter, Uri};
use prokura_plugin::pin::PinSource;

/// Plugin config: file name of the PKCS#11 library.
pub const MODULE_PATH: &str = "module-path";
/// Plugin config: label of the token.
pub const TOKEN: &str = "token";
/// Plugin config: serial number of the token.
pub const SERIAL: &str = "serial";
/// Plugin config: decimal number of the slot.
pub const SLOT_ID: &str = "slot-id";
/// Plugin config: where the PIN is.
pub const PIN_SOURCE: &str = "pin-source";
/// Plugin config: the PIN itself. Works with a warning.
pub const PIN: &str = "pin";

/// Everything needed to find one key and to log in to its token.
pub struct Locator {
    /// Absolute file name of the PKCS#11 library.
    pub module: PathBuf,
    /// Which token.
    pub token: TokenFilter,
    /// Which private key; label or id or both are given.
    pub object: ObjectFilter,
    /// Where the PIN is.
    pub pin: PinSource,
}

impl Locator {
    /// Reads a request: the key id is a PKCS#11 URI, or the label of a key whose token the plugin config names.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` if something needed is missing, malformed, or said twice with different values.
    pub fn from_request(request: &KeyRequest) -> Result<Self, Error> {
        let id = request.key_id().as_str();
        let mut uri = if uri::is_uri(id) { parse(id)? } else { label(id, request)? };
        take_token_config(&mut uri.token, request)?;
        let module = module(&uri, request)?;
        if uri.object == ObjectFilter::default() {
            return Err(Error::validation(
                "the key id names a token but no key: add object=LABEL or id=%01 to the PKCS#11 URI",
            ));
        }
        let pin = pin(uri.pin_source, request)?;
        Ok(Self { module, token: uri.token, object: uri.object, pin })
    }
}

fn parse(id: &str) -> Result<Uri, Error> {
    uri::parse(id).map_err(|e| Error::validation(format!("the key id is no usable PKCS#11 URI: {e}")))
}

fn label(label: &str, request: &KeyRequest) -> Result<Uri, Error> {
    let names_token = [TOKEN, SERIAL, SLOT_ID].iter().any(|n| request.config_optional(n).is_some());
    if !names_token {
        return Err(Error::validation(format!(
            "a key id that is no PKCS#11 URI is the label of a key, and its token must be named: set \
             --plugin-config {TOKEN}=LABEL, or give a key id such as pkcs11:token=LABEL;object=KEY"
        )));
    }
    let object = ObjectFilter { label: Some(label.to_owned()), id: None };
    Ok(Uri { object, ..Uri::default() })
}

fn take_token_config(token: &mut TokenFilter, request: &KeyRequest) -> Result<(), Error> {
    let slot_id = request.config_optional(SLOT_ID).map(uri::slot_id).transpose();
    let slot_id = slot_id.map_err(|e| Error::validation(format!("plugin config: {e}")))?;
    token.label = agreed(TOKEN, token.label.take(), request.config_optional(TOKEN).map(str::to_owned))?;
    token.serial = agreed(SERIAL, token.serial.take(), request.config_optional(SERIAL).map(str::to_owned))?;
    token.slot_id = agreed(SLOT_ID, token.slot_id, slot_id)?;
    Ok(())
}

/// One value from two places; two different values are an error, so that none is silently ignored.
fn agreed<T: PartialEq>(name: &str, in_uri: Option<T>, in_config: Option<T>) -> Result<Option<T>, Error> {
    if in_uri.is_some() && in_config.is_some() && in_uri != in_config {
        return Err(Error::validation(format!(
            "the key id and the plugin config give {name} different values; remove one of them"
        )));
    }
    Ok(in_uri.or(in_config))
}

fn module(uri: &Uri, request: &KeyRequest) -> Result<PathBuf, Error> {
    let in_config = request.config_optional(MODULE_PATH).map(str::to_owned);
    let path = agreed(MODULE_PATH, uri.module_path.clone(), in_config)?;
    let path =
        path.map_or_else(|| request.config(MODULE_PATH).map(PathBuf::from), |p| Ok(PathBuf::from(p)))?;
    if !path.is_absolute() {
        return Err(Error::validation(format!(
            "{MODULE_PATH} is {path:?}, expected the absolute file name of a PKCS#11 library"
        )));
    }
    match &uri.module_name {
        Some(name) if !is_named(&path, name) => {
            Err(Error::validation(format!("module-name is {name:?}, but {MODULE_PATH} is {path:?}")))
        }
        _ => Ok(path),
    }
}

/// RFC 7512 section 2.3: `module-name` comes without path, prefix and suffix of the platform.
fn is_named(path: &Path, name: &str) -> bool {
    let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
    stem == name || stem.strip_prefix("lib") == Some(name)
}

fn pin(in_uri: Option<String>, request: &KeyRequest) -> Result<PinSource, Error> {
    let in_config = request.config_optional(PIN_SOURCE).map(str::to_owned);
    match (agreed(PIN_SOURCE, in_uri, in_config)?, request.config_optional(PIN)) {
        (Some(_), Some(_)) => {
            Err(Error::validation(format!("both {PIN_SOURCE} and {PIN} are given; remove {PIN}")))
        }
        (Some(source), None) => Ok(PinSource::parse(&source)?),
        (None, Some(plain)) => Ok(PinSource::configured(plain)?),
        (None, None) => Ok(PinSource::Default),
    }
}

#[cfg(test)]
mod tests {
    use prokura_plugin::message::PluginConfig;
    use prokura_plugin::{Deadline, ErrorCode};

    use super::*;

    fn locate(id: &str, config: &[(&str, &str)]) -> Result<Locator, Error> {
        let entries = config.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        Locator::from_request(&KeyRequest::new(id, PluginConfig(entries.collect()), Deadline::NONE)?)
    }

    fn refusal(id: &str, config: &[(&str, &str)]) -> String {
        let error = locate(id, config).err().unwrap();
        assert_eq!(error.code, ErrorCode::ValidationError);
        error.message
    }

    #[test]
    fn a_uri_alone_or_a_label_with_config_names_a_key() {
        let key = locate("pkcs11:token=t;object=k?module-path=/m.so&pin-source=env:P", &[]).ok().unwrap();
        assert_eq!((key.module.as_path(), key.token.label.as_deref()), (Path::new("/m.so"), Some("t")));
        assert!(matches!(key.pin, PinSource::Environment(n) if n == "P"));

        let key = locate("k", &[("module-path", "/m.so"), ("token", "t"), ("slot-id", "7")]).ok().unwrap();
        assert_eq!(key.object.label.as_deref(), Some("k"));
        assert_eq!((key.token.label.as_deref(), key.token.slot_id), (Some("t"), Some(7)));
        assert!(matches!(key.pin, PinSource::Default));
    }

    #[test]
    fn equal_values_agree_and_different_ones_are_refused() {
        let uri = "pkcs11:token=t;object=k?module-path=/m.so";
        assert!(locate(uri, &[("module-path", "/m.so"), ("token", "t")]).is_ok());
        for (name, value) in [("module-path", "/other.so"), ("token", "other")] {
            let message = refusal(uri, &[(name, value)]);
            assert!(message.contains(name) && message.contains("different values"), "{message}");
        }
        let message = refusal(uri, &[("pin", "1"), ("pin-source", "/p")]);
        assert!(message.contains("remove pin"), "{message}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let message = refusal("pkcs11:token=t;object=k", &[]);
        assert!(message.contains("--plugin-config module-path=VALUE"), "{message}");
        let message = refusal("pkcs11:token=t?module-path=/m.so", &[]);
        assert!(message.contains("add object=LABEL"), "{message}");
        let message = refusal("k", &[("module-path", "/m.so")]);
        assert!(message.contains("--plugin-config token=LABEL"), "{message}");
    }

    #[test]
    fn modules_are_named_by_their_absolute_path() {
        let message = refusal("pkcs11:object=k?module-path=m.so", &[]);
        assert!(message.contains("absolute"), "{message}");
        let named = |name| format!("pkcs11:object=k?module-path=/x/libsofthsm2.so&module-name={name}");
        assert!(locate(&named("softhsm2"), &[]).is_ok());
        assert!(locate(&named("libsofthsm2"), &[]).is_ok());
        assert!(refusal(&named("other"), &[]).contains("module-name"));
    }

    #[test]
    fn a_program_as_pin_source_is_refused() {
        let message = refusal("pkcs11:object=k?module-path=/m.so&pin-source=|/bin/cat%20/p", &[]);
        assert!(message.contains("program"), "{message}");
    }
}
