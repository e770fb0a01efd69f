//! Where a key is: what the key id and the plugin config say together, free of contradictions.

use std::path::PathBuf;

use prokura_plugin::pin::PinSource;
use prokura_plugin::{Error, KeyRequest, VaultRequest};

use super::modules::{ModuleChoice, is_named};
use super::settings::Settings;
use super::uri::{self, ObjectFilter, TokenFilter, Uri};
use super::{INIT_ARGS, MODULE_NAME, MODULE_PATH, PIN, PIN_SOURCE, SERIAL, SLOT_ID, TOKEN};

/// Everything needed to find a token and to log in to it, and one key if one is named.
pub struct Locator {
    /// Which PKCS#11 libraries.
    pub modules: ModuleChoice,
    /// Which token.
    pub token: TokenFilter,
    /// Which private key.
    pub object: ObjectFilter,
    /// Where the PIN is.
    pub pin: PinSource,
    /// Where the PIN is, in the words of key id or config.
    pub pin_source: Option<String>,
    /// Time limits and pool size.
    pub settings: Settings,
}

impl Locator {
    /// Reads a request: the key id is a PKCS#11 URI, or the label of a key whose token the plugin config names.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` if something needed is missing, malformed, or said twice with different values.
    pub fn from_request(request: &KeyRequest) -> Result<Self, Error> {
        Self::of_key(request.key_id().as_str(), request.vault())
    }

    /// The same for a key that is still to be made, or one of a vault that is being asked already.
    ///
    /// # Errors
    /// As [`Locator::from_request`].
    pub fn of_key(id: &str, request: &VaultRequest) -> Result<Self, Error> {
        let uri = if uri::is_uri(id) { parse(id)? } else { label(id, request)? };
        if uri.object == ObjectFilter::default() {
            return Err(Error::validation(
                "the key id names a token but no key: add object=LABEL or id=%01 to the PKCS#11 URI",
            ));
        }
        Self::new(uri, request)
    }

    /// What the plugin config alone says: any token, no key.
    ///
    /// # Errors
    /// As [`Locator::from_request`].
    pub fn of_vault(request: &VaultRequest) -> Result<Self, Error> {
        Self::new(Uri::default(), request)
    }

    fn new(mut uri: Uri, request: &VaultRequest) -> Result<Self, Error> {
        take_token_config(&mut uri.token, request)?;
        let modules = modules(&uri, request)?;
        let pin_source = agreed(PIN_SOURCE, uri.pin_source, text(request, PIN_SOURCE))?;
        let pin = pin(pin_source.as_deref(), request)?;
        let settings = Settings::from_request(request)?;
        Ok(Self { modules, token: uri.token, object: uri.object, pin, pin_source, settings })
    }
}

fn parse(id: &str) -> Result<Uri, Error> {
    uri::parse(id).map_err(|e| Error::validation(format!("the key id is no usable PKCS#11 URI: {e}")))
}

fn label(label: &str, request: &VaultRequest) -> Result<Uri, Error> {
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

fn take_token_config(token: &mut TokenFilter, request: &VaultRequest) -> Result<(), Error> {
    let slot_id = request.config_optional(SLOT_ID).map(uri::slot_id).transpose();
    let slot_id = slot_id.map_err(|e| Error::validation(format!("plugin config: {e}")))?;
    token.label = agreed(TOKEN, token.label.take(), text(request, TOKEN))?;
    token.serial = agreed(SERIAL, token.serial.take(), text(request, SERIAL))?;
    token.slot_id = agreed(SLOT_ID, token.slot_id, slot_id)?;
    Ok(())
}

fn text(request: &VaultRequest, name: &str) -> Option<String> {
    request.config_optional(name).map(str::to_owned)
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

fn modules(uri: &Uri, request: &VaultRequest) -> Result<ModuleChoice, Error> {
    let path = agreed(MODULE_PATH, uri.module_path.clone(), text(request, MODULE_PATH))?;
    let name = agreed(MODULE_NAME, uri.module_name.clone(), text(request, MODULE_NAME))?;
    let init_args = text(request, INIT_ARGS);
    let Some(path) = path else {
        if init_args.is_some() {
            return Err(Error::validation(format!(
                "{INIT_ARGS} is for the library that {MODULE_PATH} names; for others set x-init-reserved in p11-kit's \
                 module file"
            )));
        }
        return Ok(name.map_or(ModuleChoice::Configured, ModuleChoice::Name));
    };
    let path = PathBuf::from(path);
    if !path.is_absolute() {
        return Err(Error::validation(format!(
            "{MODULE_PATH} is {path:?}, expected the absolute file name of a PKCS#11 library"
        )));
    }
    match name {
        Some(name) if !is_named(&path, &name) => {
            Err(Error::validation(format!("{MODULE_NAME} is {name:?}, but {MODULE_PATH} is {path:?}")))
        }
        _ => Ok(ModuleChoice::Path(path, init_args)),
    }
}

fn pin(source: Option<&str>, request: &VaultRequest) -> Result<PinSource, Error> {
    match (source, request.config_optional(PIN)) {
        (Some(_), Some(_)) => {
            Err(Error::validation(format!("both {PIN_SOURCE} and {PIN} are given; remove {PIN}")))
        }
        (Some(source), None) => Ok(PinSource::parse(source)?),
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

    fn path(name: &str) -> ModuleChoice {
        ModuleChoice::Path(PathBuf::from(name), None)
    }

    #[test]
    fn a_uri_alone_or_a_label_with_config_names_a_key() {
        let key = locate("pkcs11:token=t;object=k?module-path=/m.so&pin-source=env:P", &[]).ok().unwrap();
        assert_eq!((key.modules, key.token.label.as_deref()), (path("/m.so"), Some("t")));
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
    fn without_a_path_the_modules_of_p11_kit_are_meant() {
        let chosen = |id: &str, config: &[(&str, &str)]| locate(id, config).ok().unwrap().modules;
        assert_eq!(chosen("pkcs11:object=k", &[]), ModuleChoice::Configured);
        assert_eq!(chosen("pkcs11:object=k?module-name=m", &[]), ModuleChoice::Name("m".into()));
        assert_eq!(chosen("pkcs11:object=k", &[("module-name", "m")]), ModuleChoice::Name("m".into()));
        let with_args = ModuleChoice::Path("/m.so".into(), Some("a b".into()));
        assert_eq!(chosen("pkcs11:object=k", &[("module-path", "/m.so"), ("init-args", "a b")]), with_args);
        assert!(refusal("pkcs11:object=k", &[("init-args", "a")]).contains("x-init-reserved"));
    }

    #[test]
    fn a_program_as_pin_source_is_refused() {
        let message = refusal("pkcs11:object=k?module-path=/m.so&pin-source=|/bin/cat%20/p", &[]);
        assert!(message.contains("program"), "{message}");
    }
}
