//! Plugin config and key ids, parsed into types at the door.

use prokura_plugin::Error;
use prokura_plugin::pin::PinSource;
use yubikey::{PinPolicy, TouchPolicy};

use crate::slot::Slot;

/// What the plugin config may hold.
pub(crate) const NAMES: &[&str] =
    &["serial", "pin-source", "management-key-source", "pin-policy", "touch-policy", "overwrite"];
/// What would hold a secret.
pub(crate) const NAMES_OF_SECRETS: &[&str] = &["pin", "puk", "management-key"];

/// Reads plugin config by name; an empty value counts as none.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<&'a str>;

/// Which key: a slot, of a device named by its serial number or of the only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KeyName {
    /// The number printed on the device.
    pub(crate) serial: Option<u32>,
    /// Where the key is in it.
    pub(crate) slot: Slot,
}

const EXPECTED: &str = "expected a slot such as 9c, or piv:serial=12345678;slot=9c";

impl KeyName {
    /// Parses `9c`, `signature`, `piv:serial=12345678;slot=9c` or `yubikey:slot-id=9c;serial=12345678`.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` saying what was found; a PIN in the id is refused without repeating the id.
    pub(crate) fn parse(id: &str, config: Lookup<'_>) -> Result<Self, Error> {
        let configured = configured_serial(config)?;
        let named = match id.split_once(':') {
            Some(("piv" | "yubikey", attributes)) => parse_attributes(attributes)?,
            Some((scheme, _)) => {
                let scheme: String = scheme.chars().take(20).collect();
                return Err(refuse(&format!("key id scheme {scheme:?} is not known, {EXPECTED}")));
            }
            None => Self { serial: None, slot: parse_slot(id)? },
        };
        match (named.serial, configured) {
            (Some(a), Some(b)) if a != b => Err(refuse(&format!(
                "the key id says serial {a}, plugin config \"serial\" says {b}; drop one"
            ))),
            (serial, configured) => Ok(Self { serial: serial.or(configured), slot: named.slot }),
        }
    }

    /// The key id of a slot in a device, as `key discover` lists it.
    pub(crate) fn uri(serial: u32, slot: Slot) -> String {
        format!("piv:serial={serial};slot={slot}")
    }
}

/// Plugin config `serial`: which device.
///
/// # Errors
/// `VALIDATION_ERROR`.
pub(crate) fn configured_serial(config: Lookup<'_>) -> Result<Option<u32>, Error> {
    config("serial").map(parse_serial).transpose()
}

/// Plugin config `pin-source`: where the PIN is.
///
/// # Errors
/// `VALIDATION_ERROR`; also for a PIN, PUK or management key in the config itself, whatever is asked for.
pub(crate) fn pin_source(config: Lookup<'_>) -> Result<PinSource, Error> {
    const SECRETS: [(&str, &str); 3] = [
        ("pin", "set pin-source=file:/PATH, or pin-source=ask to be asked"),
        ("management-key", "set management-key-source=file:/PATH"),
        ("puk", "hand it to ykman alone: this plugin needs none"),
    ];
    if let Some((name, instead)) = SECRETS.iter().find(|(name, _)| config(name).is_some()) {
        return Err(refuse(&format!(
            "plugin config {name:?} is refused, for plugin config is shown and logged; move it to a file that only its \
             owner may read and {instead}"
        )));
    }
    Ok(config("pin-source").map_or(Ok(PinSource::Default), PinSource::parse)?)
}

/// Where the management key comes from, which writing to the device needs.
pub(crate) enum ManagementKey {
    /// Hexadecimal text in a file, an environment variable or a credential.
    Stored(PinSource),
    /// The key every YubiKey is delivered with.
    Default,
    /// In the device itself, readable with the PIN.
    Protected,
}

/// Plugin config `management-key-source`. Nothing is assumed: the delivered key protects nothing.
///
/// # Errors
/// `VALIDATION_ERROR`.
pub(crate) fn management_key(config: Lookup<'_>) -> Result<ManagementKey, Error> {
    const FORMS: &str = "file:/PATH, env:NAME, credential:NAME, protected (in the device, under the PIN) or default (the \
        key it was delivered with)";
    match config("management-key-source") {
        None => Err(refuse(&format!(
            "writing to a YubiKey needs its management key: set plugin config \"management-key-source\" to {FORMS}"
        ))),
        Some("default") => Ok(ManagementKey::Default),
        Some("protected") => Ok(ManagementKey::Protected),
        Some(source) => match PinSource::parse(source) {
            Ok(source) if !source.is_interactive() => Ok(ManagementKey::Stored(source)),
            _ => Err(refuse(&format!(
                "plugin config \"management-key-source\" is not understood, expected {FORMS}"
            ))),
        },
    }
}

/// How a new key is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewKey {
    /// When the PIN is asked for.
    pub(crate) pin: PinPolicy,
    /// When a touch is asked for.
    pub(crate) touch: TouchPolicy,
    /// Whether a key in the slot may be destroyed.
    pub(crate) overwrite: bool,
}

/// Plugin config `pin-policy`, `touch-policy` and `overwrite`.
///
/// # Errors
/// `VALIDATION_ERROR` naming the entry and its values.
pub(crate) fn new_key(config: Lookup<'_>) -> Result<NewKey, Error> {
    let pin = match config("pin-policy") {
        None | Some("default") => PinPolicy::Default,
        Some("never") => PinPolicy::Never,
        Some("once") => PinPolicy::Once,
        Some("always") => PinPolicy::Always,
        Some(_) => return Err(refuse("plugin config \"pin-policy\" must be default, never, once or always")),
    };
    let touch = match config("touch-policy") {
        None | Some("default") => TouchPolicy::Default,
        Some("never") => TouchPolicy::Never,
        Some("always") => TouchPolicy::Always,
        Some("cached") => TouchPolicy::Cached,
        Some(_) => {
            return Err(refuse("plugin config \"touch-policy\" must be default, never, always or cached"));
        }
    };
    Ok(NewKey { pin, touch, overwrite: overwrite(config)? })
}

/// Plugin config `overwrite`.
///
/// # Errors
/// `VALIDATION_ERROR` naming the values.
fn overwrite(config: Lookup<'_>) -> Result<bool, Error> {
    match config("overwrite") {
        None | Some("no") => Ok(false),
        Some("yes") => Ok(true),
        Some(_) => Err(refuse("plugin config \"overwrite\" must be yes or no")),
    }
}

fn parse_attributes(attributes: &str) -> Result<KeyName, Error> {
    let (mut serial, mut slot) = (None, None);
    for attribute in attributes.split([';', '?', '&']) {
        let twice = || refuse("the key id names serial or slot twice");
        match attribute.split_once('=') {
            Some(("serial", value)) => set(&mut serial, parse_serial(value)?).ok_or_else(twice)?,
            Some(("slot" | "slot-id", value)) => set(&mut slot, parse_slot(value)?).ok_or_else(twice)?,
            Some(("pin-value" | "pin" | "management-key", _)) => {
                return Err(refuse(
                    "the key id holds a secret, which is shown and logged; take it out, change it on the device, and set \
                     plugin config \"pin-source\"",
                ));
            }
            Some((name, _)) => {
                let name: String = name.chars().take(20).collect();
                return Err(refuse(&format!("key id attribute {name:?} is not known, {EXPECTED}")));
            }
            None => return Err(refuse(&format!("the key id is not understood, {EXPECTED}"))),
        }
    }
    let slot = slot.ok_or_else(|| refuse(&format!("the key id names no slot, {EXPECTED}")))?;
    Ok(KeyName { serial, slot })
}

fn set<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

fn parse_slot(text: &str) -> Result<Slot, Error> {
    let short: String = text.chars().take(40).collect();
    short.parse().map_err(|e: String| refuse(&e))
}

fn parse_serial(text: &str) -> Result<u32, Error> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().ok_or_else(|| {
        let text: String = text.chars().take(20).collect();
        refuse(&format!("{text:?} is no serial number, expected the decimal number printed on the YubiKey"))
    })
}

fn refuse(message: &str) -> Error {
    Error::validation(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(id: &str) -> Result<KeyName, Error> {
        KeyName::parse(id, &|_| None)
    }

    #[test]
    fn key_ids_are_slots_or_uris() {
        let slot = "9c".parse().unwrap();
        for id in ["9c", "9C", "signature", "piv:slot=9c", "yubikey:slot-id=9c"] {
            assert_eq!(parse(id).unwrap(), KeyName { serial: None, slot }, "{id}");
        }
        let named = KeyName { serial: Some(12_345_678), slot };
        for id in [
            "piv:serial=12345678;slot=9c",
            "yubikey:slot-id=9c;serial=12345678",
            "yubikey:serial=012345678?slot-id=9c",
        ] {
            assert_eq!(parse(id).unwrap(), named, "{id}");
        }
        assert_eq!(parse(&KeyName::uri(12_345_678, slot)).unwrap(), named);
        let config = |name: &str| (name == "serial").then_some("12345678");
        assert_eq!(KeyName::parse("9c", &config).unwrap(), named);
        assert!(KeyName::parse("piv:serial=1;slot=9c", &config).is_err());
    }

    #[test]
    fn other_key_ids_are_refused_and_secrets_not_repeated() {
        for id in [
            "9b",
            "piv:",
            "piv:slot=",
            "piv:serial=1",
            "piv:slot=9c;slot=9a",
            "piv:serial=-1;slot=9c",
            "piv:serial=99999999999;slot=9c",
            "pkcs11:object=x",
            "piv:slot=9c;colour=red",
            "piv:serial=+1;slot=9c",
        ] {
            assert_eq!(parse(id).unwrap_err().code, prokura_plugin::ErrorCode::ValidationError, "{id}");
        }
        let error = parse("yubikey:slot-id=9c?pin-value=654321").unwrap_err();
        assert!(error.message.contains("secret") && !error.message.contains("654321"), "{error}");
    }

    #[test]
    fn the_management_key_is_never_assumed() {
        assert!(management_key(&|_| None).err().unwrap().message.contains("management-key-source"));
        assert!(matches!(management_key(&|_| Some("default")), Ok(ManagementKey::Default)));
        assert!(matches!(management_key(&|_| Some("protected")), Ok(ManagementKey::Protected)));
        assert!(matches!(management_key(&|_| Some("env:MGM")), Ok(ManagementKey::Stored(_))));
        let error =
            management_key(&|_| Some("010203040506070801020304050607080102030405060708")).err().unwrap();
        assert!(!error.message.contains("0102"), "{error}");
        assert!(management_key(&|_| Some("terminal")).is_err());
    }

    #[test]
    fn policies_are_named() {
        let config = |name: &str| match name {
            "pin-policy" => Some("once"),
            "touch-policy" => Some("cached"),
            _ => None,
        };
        let new = new_key(&config).unwrap();
        assert_eq!((new.pin, new.touch, new.overwrite), (PinPolicy::Once, TouchPolicy::Cached, false));
        assert!(new_key(&|_| Some("sometimes")).is_err());
    }

    #[test]
    fn secrets_in_the_config_are_refused_and_not_repeated() {
        for (secret, says) in
            [("pin", "pin-source"), ("management-key", "management-key-source"), ("puk", "ykman")]
        {
            let error = pin_source(&|name| (name == secret).then_some("12345678")).err().unwrap();
            assert!(error.message.contains(says) && !error.message.contains("12345678"), "{error}");
        }
    }
}
