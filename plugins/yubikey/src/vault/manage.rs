//! Writing to a device: keys made in a slot, certificates stored beside them. Both need the management key.
//!
//! The `yubikey` crate proves the management key (3DES or AES) and makes the key. It opens a session of its own and
//! asserts what it expects of the card, so that it runs where a panic is an error.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use der::Encode as _;
use prokura_plugin::{Deadline, Error, KeySpec, Notice, PublicKey, Scope};
use x509_cert::spki::SubjectPublicKeyInfoOwned;
use yubikey::mgm::MgmAlgorithmId;
use yubikey::piv::AlgorithmId;
use yubikey::{Context, MgmKey, YubiKey};
use zeroize::Zeroizing;

use super::connection::{Connection, Session};
use super::device::{Device, NOBODY};
use super::login::{HeldPin, Login, unsettled, verify};
use super::metadata::algorithm;
use super::piv::{Found, Piv, Tries};
use super::tlv;
use crate::certificate;
use crate::config::{ManagementKey, NewKey};
use crate::error::Failure;
use crate::limits::MANAGEMENT_KEY_CHARS_MAX;
use crate::slot::Slot;

/// Where PIN-protected devices keep the management key (the printed information object).
const PROTECTED_OBJECT: u32 = 0x5F_C109;

/// The management key every YubiKey is delivered with, 3DES or AES-192.
const DELIVERED: [u8; 24] = [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8];

/// Makes a key and returns its public half, as the device answered: older firmware never tells it again. A certificate
/// for the key that was destroyed goes with it, for on older firmware it would stand for the new one.
///
/// # Errors
/// `VALIDATION_ERROR` if the slot is occupied or the device has no such keys, `ACCESS_DENIED` if the management key or
/// the PIN is refused.
pub(crate) fn create(
    device: &Arc<Device>,
    slot: Slot,
    spec: KeySpec,
    new: NewKey,
    management: &ManagementKey,
    login: &Login,
    deadline: Deadline,
) -> Result<PublicKey, Error> {
    let algorithm = algorithm(spec)
        .ok_or_else(|| Error::validation(format!("YubiKeys have no {spec} keys, expected P-256 or P-384")))?;
    let _turn = device.turn(deadline)?;
    let name = device.name();
    device.read(deadline, move |connection| {
        firmware_allows(connection, algorithm, &name)?;
        connection.transaction(|session| is_free(session, slot, new.overwrite, &name))
    })?;
    let key = Material::read(device, management, login, deadline)?;
    key.warn_if_delivered(device, login);
    let owner = Arc::clone(device);
    device
        .call(deadline, &NOBODY, false, move |connection, _| {
            let id = slot.id().ok_or_else(|| Error::internal("the slot has no number"))?;
            with_authority(connection, &owner, &key, |yubikey| {
                let made = yubikey::piv::generate(yubikey, id, algorithm, new.pin, new.touch)?;
                if new.overwrite {
                    yubikey.save_object(slot.certificate_object(), &mut [])?;
                }
                Ok(made)
            })
            .and_then(|made| public_key(&made, &owner))
        })
        .map_err(|error| unsettled(device, error))
}

fn public_key(made: &SubjectPublicKeyInfoOwned, device: &Device) -> Result<PublicKey, Failure> {
    let key = made.to_der().map_err(|e| e.to_string());
    let key = key.and_then(|der| PublicKey::from_spki_der(&der).map_err(|e| e.to_string()));
    key.map_err(|why| {
        let name = device.name();
        Error::internal(format!("{name} made a key and answered with one that cannot be read: {why}")).into()
    })
}

/// Stores a certificate in the slot of its key, which the caller has compared.
///
/// # Errors
/// `VALIDATION_ERROR` if it is too large, `ACCESS_DENIED` if the management key or the PIN is refused.
pub(crate) fn install(
    device: &Arc<Device>,
    slot: Slot,
    certificate: &[u8],
    management: &ManagementKey,
    login: &Login,
    deadline: Deadline,
) -> Result<(), Error> {
    let object = certificate::to_object(certificate)?;
    let _turn = device.turn(deadline)?;
    let key = Material::read(device, management, login, deadline)?;
    key.warn_if_delivered(device, login);
    let owner = Arc::clone(device);
    device
        .call(deadline, &NOBODY, false, move |connection, _| {
            with_authority(connection, &owner, &key, |yubikey| {
                yubikey.save_object(slot.certificate_object(), &mut object.clone())
            })?;
            let stored = connection.transaction(|session| {
                session.piv.object("read the certificate back", slot.certificate_object())
            })?;
            if stored.is_some_and(|stored| *stored == object) {
                return Ok(());
            }
            let name = owner.name();
            Err(Error::internal(format!(
                "{name} does not hold the certificate that was stored in slot {slot}"
            ))
            .into())
        })
        .map_err(|error| unsettled(device, error))
}

/// What the management key is made of.
enum Material {
    Bytes(Zeroizing<Vec<u8>>),
    Default,
    /// In the device, readable once the PIN is verified.
    Protected(HeldPin),
}

impl Material {
    fn read(
        device: &Arc<Device>,
        management: &ManagementKey,
        login: &Login,
        deadline: Deadline,
    ) -> Result<Self, Error> {
        match management {
            ManagementKey::Default => Ok(Self::Default),
            ManagementKey::Protected => {
                let tries: Tries =
                    device.read(deadline, |connection| connection.transaction(|s| s.piv.tries()))?;
                login.pin(device, tries, deadline).map(Self::Protected)
            }
            ManagementKey::Stored(source) => {
                let text = source.read(&login.surroundings, "", deadline)?;
                let text = text.ok_or_else(|| Error::access_denied("there is no management key"))?;
                from_hex(text.expose()).map(Self::Bytes).ok_or_else(|| {
                    let origin = text.origin();
                    Error::access_denied(format!(
                        "the management key {origin} is not understood, expected 32, 48 or 64 hexadecimal digits"
                    ))
                })
            }
        }
    }

    /// Tells the person that everybody knows this key.
    fn warn_if_delivered(&self, device: &Device, login: &Login) {
        let is_delivered = match self {
            Self::Default => true,
            Self::Bytes(bytes) => **bytes == DELIVERED,
            Self::Protected(_) => false,
        };
        if is_delivered {
            let (name, serial) = (device.name(), device.serial());
            drop(login.person.show(
                Notice::Message,
                &format!(
                    "the management key of {name} is the one every YubiKey is delivered with, and everybody knows it: \
                     whoever reaches the device can destroy its keys and put others in their place; change it: ykman \
                     --device {serial} piv access change-management-key --generate --protect"
                ),
            ));
        }
    }

    /// The key itself. For a protected one the crate's session has selected the application already, and selects it no
    /// more: a PIN verified now counts for it.
    fn key(&self, session: &mut Session<'_>, device: &Device, yubikey: &YubiKey) -> Result<MgmKey, Failure> {
        let number = session.piv.management_algorithm()?;
        let kind = MgmAlgorithmId::try_from(number)
            .map_err(|_| refused(device, "its management key is of an unknown kind"))?;
        let wrong =
            |_| refused(device, "the management key has not the length of the one in the device, or is weak");
        match self {
            Self::Bytes(bytes) => MgmKey::from_bytes(bytes.as_slice(), Some(kind)).map_err(wrong),
            Self::Default => MgmKey::get_default(yubikey).map_err(wrong),
            Self::Protected(pin) => {
                verify(session, device, pin)?;
                let bytes = protected_key(&session.piv)?.ok_or_else(|| {
                    refused(device, "no management key is kept in it; set plugin config \"management-key-source\" to another one")
                })?;
                MgmKey::from_bytes(bytes.as_slice(), Some(kind)).map_err(wrong)
            }
        }
    }
}

/// The key in the protected object: 88 { 89 key }.
fn protected_key(piv: &Piv<'_>) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
    let object = piv.object("read the protected management key", PROTECTED_OBJECT)?;
    Ok(object.and_then(|object| {
        let key = tlv::find(tlv::find(&object, 0x88)?, 0x89)?;
        Some(Zeroizing::new(key.to_vec()))
    }))
}

/// Opens the crate's session beside ours, proves the management key and does the work.
fn with_authority<T>(
    connection: &mut Connection,
    device: &Device,
    material: &Material,
    work: impl FnOnce(&mut YubiKey) -> Result<T, yubikey::Error>,
) -> Result<T, Failure> {
    let reader = connection.reader().to_owned();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut yubikey = open(&reader, device)?;
        let done =
            connection.transaction(|session| material.key(session, device, &yubikey)).and_then(|key| {
                yubikey.authenticate(&key).map_err(|e| unproven(device, e))?;
                work(&mut yubikey).map_err(|e| failed(device, e))
            });
        // Dropped, it would reset the card under other programs.
        drop(yubikey.disconnect(pcsc::Disposition::LeaveCard));
        done
    }));
    connection.forget();
    outcome.unwrap_or_else(|_| Err(refused(device, "it answered what the yubikey crate does not expect")))
}

fn open(reader: &str, device: &Device) -> Result<YubiKey, Failure> {
    let mut context = Context::open().map_err(|e| failed(device, e))?;
    let mut readers = context.iter().map_err(|e| failed(device, e))?;
    let found = readers.find(|r| r.name() == reader).map(|r| r.open());
    match found {
        Some(Ok(yubikey)) if yubikey.serial().0 == device.serial() => Ok(yubikey),
        Some(Err(error)) => Err(failed(device, error)),
        _ => {
            Err(Failure::Pcsc { doing: "find the device again".to_owned(), error: pcsc::Error::RemovedCard })
        }
    }
}

fn is_free(session: &Session<'_>, slot: Slot, overwrite: bool, name: &str) -> Result<(), Failure> {
    let occupied = match session.piv.metadata(slot)? {
        Found::It(_) => Some("a key"),
        Found::Nothing => None,
        // Older firmware tells of keys that it made, and of others by their certificates alone.
        Found::Unknown if session.piv.attest(slot)?.is_some() => Some("a key"),
        Found::Unknown => {
            let doing = format!("read the certificate in slot {slot}");
            session
                .piv
                .object(&doing, slot.certificate_object())?
                .map(|_| "a certificate, and so probably a key,")
        }
    };
    match occupied {
        Some(what) if !overwrite => Err(Error::validation(format!(
            "slot {slot} of {name} holds {what} already, which would be destroyed for ever; choose another slot, or set \
             plugin config \"overwrite\" to yes"
        ))
        .with_scope(Scope::Key)
        .into()),
        _ => Ok(()),
    }
}

/// Refuses RSA keys that the firmware does not have, or makes so that they can be broken.
fn firmware_allows(connection: &Connection, algorithm: AlgorithmId, name: &str) -> Result<(), Failure> {
    let version = connection.version();
    let found = (version.major, version.minor, version.patch);
    let is_long = matches!(algorithm, AlgorithmId::Rsa3072 | AlgorithmId::Rsa4096);
    let why = if is_long && found < (5, 7, 0) {
        "has no RSA keys beyond 2048 bits, which came with 5.7"
    } else if algorithm == AlgorithmId::Rsa2048 && found < (4, 3, 5) {
        "makes RSA keys that can be broken (CVE-2017-15361, Yubico's advisory YSA-2017-01)"
    } else {
        return Ok(());
    };
    Err(Error::validation(format!("firmware {version} of {name} {why}; firmware cannot be updated"))
        .with_scope(Scope::Vault)
        .into())
}

fn unproven(device: &Device, error: yubikey::Error) -> Failure {
    match error {
        yubikey::Error::AuthenticationError => refused(
            device,
            "it refused the management key; check plugin config \"management-key-source\" (ykman piv info says whether \
             the key is the default one or protected by the PIN)",
        ),
        other => failed(device, other),
    }
}

fn failed(device: &Device, error: yubikey::Error) -> Failure {
    let doing = "write to the device".to_owned();
    match error {
        yubikey::Error::PcscError { inner: Some(error) } => Failure::Pcsc { doing, error },
        yubikey::Error::AuthenticationError => Failure::Status { doing, status: 0x6982 },
        yubikey::Error::AlgorithmError => {
            refused(device, "its firmware does not have this kind of key or these policies in this slot")
        }
        other => refused(device, &format!("it did not do what was asked ({other})")),
    }
}

fn refused(device: &Device, why: &str) -> Failure {
    Error::access_denied(format!("{}: {why}", device.name())).with_scope(Scope::Vault).into()
}

fn from_hex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let text = text.trim();
    if !matches!(text.len(), 32 | 48 | MANAGEMENT_KEY_CHARS_MAX) || !text.is_ascii() {
        return None;
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 2));
    for pair in text.as_bytes().chunks_exact(2) {
        let [high, low] = pair else { return None };
        let digit = |c: &u8| char::from(*c).to_digit(16).and_then(|d| u8::try_from(d).ok());
        bytes.push(digit(high)? << 4 | digit(low)?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn management_keys_are_hexadecimal() {
        assert_eq!(from_hex(&"0aF1".repeat(12)).unwrap().as_slice(), [0x0A, 0xF1].repeat(12));
        for length in [32, 48, 64] {
            assert_eq!(from_hex(&"7".repeat(length)).unwrap().len() * 2, length);
        }
        for bad in ["", "01", &"g".repeat(48), &"0".repeat(47), &"0".repeat(50), &"\u{e9}".repeat(24)] {
            assert!(from_hex(bad).is_none(), "{bad}");
        }
    }
}
