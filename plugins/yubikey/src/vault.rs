//! The YubiKeys of this machine: found by serial number, each kept with its connection; keys listed, made, certified.

pub(crate) mod apdu;
mod borrowed;
pub(crate) mod connection;
pub(crate) mod device;
pub(crate) mod login;
mod manage;
pub(crate) mod metadata;
pub(crate) mod piv;
mod queue;
mod reader;
pub(crate) mod tlv;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prokura_plugin::pin::Surroundings;
use prokura_plugin::{
    CertificateChain, CreateRequest, Deadline, Error, KeyDescription, KeyRequest, Listed, Scope, SigningKey,
    VaultRequest,
};

use crate::config::{self, KeyName};
use crate::error::Failure;
use crate::key::{self, Key};
use crate::limits::{ANSWER_MARGIN, LISTED_MAX};
use crate::slot::Slot;
use device::{Device, absent, until};
use login::Login;
use reader::{Survey, survey_patiently};

/// All devices this process has met.
pub(crate) struct Vault {
    surroundings: Arc<Surroundings>,
    /// This process serves many requests.
    long_lived: bool,
    devices: Mutex<BTreeMap<u32, Arc<Device>>>,
    /// The device that requests without a serial number got: a process never goes on with another one.
    only: Mutex<Option<u32>>,
}

impl Vault {
    /// A vault of which nothing is known yet.
    pub(crate) fn new(surroundings: Surroundings, long_lived: bool) -> Self {
        let surroundings = Arc::new(surroundings);
        Self { surroundings, long_lived, devices: Mutex::default(), only: Mutex::default() }
    }

    /// Finds the key that a request names.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` if there is no such key or it cannot sign for Notary.
    pub(crate) fn open_key(&self, request: &KeyRequest) -> Result<Box<dyn SigningKey>, Error> {
        let lookup = |name: &str| request.config_optional(name);
        let name = KeyName::parse(request.key_id().as_str(), &lookup)?;
        let login = self.login(request.vault())?;
        let device = self.device(name.serial, request.deadline())?;
        Ok(Box::new(Key::open(device, name.slot, login, self.long_lived, request.deadline())?))
    }

    /// Lists the keys of all devices, or of the one the config names.
    ///
    /// # Errors
    /// If no device can be looked at.
    pub(crate) fn list_keys(
        &self,
        request: &VaultRequest,
        found: &mut dyn FnMut(Listed) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let lookup = |name: &str| request.config_optional(name);
        let devices = match config::configured_serial(&lookup)? {
            Some(serial) => vec![self.device(Some(serial), request.deadline())?],
            None => self.all_devices(request.deadline(), found)?,
        };
        for device in devices {
            for slot in Slot::all() {
                let listed = key::describe(&device, slot, request.deadline()).transpose();
                if listed.is_some_and(|listed| found(listed).is_break()) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Makes a key in a slot.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` if the slot is occupied, `ACCESS_DENIED` if the management key is refused.
    pub(crate) fn create_key(&self, request: &CreateRequest) -> Result<KeyDescription, Error> {
        let vault = request.vault();
        let lookup = |name: &str| vault.config_optional(name);
        let name = KeyName::parse(request.name().as_str(), &lookup)?;
        let new = config::new_key(&lookup)?;
        let login = self.login(vault)?;
        let management = config::management_key(&lookup)?;
        let device = self.device(name.serial, vault.deadline())?;
        let spec = request.spec();
        let made = manage::create(&device, name.slot, spec, new, &management, &login, vault.deadline())?;
        key::describe_new(&device, name.slot, (&made, new), vault.deadline())
    }

    /// Stores the leaf of a chain in the slot of its key.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` if it does not fit, `ACCESS_DENIED` if the management key is refused.
    pub(crate) fn install_certificate(
        &self,
        request: &KeyRequest,
        chain: &CertificateChain,
    ) -> Result<(), Error> {
        let lookup = |name: &str| request.config_optional(name);
        let name = KeyName::parse(request.key_id().as_str(), &lookup)?;
        let login = self.login(request.vault())?;
        let management = config::management_key(&lookup)?;
        let device = self.device(name.serial, request.deadline())?;
        let leaf =
            chain.certificates().first().ok_or_else(|| Error::validation("no certificate was given"))?;
        manage::install(&device, name.slot, leaf, &management, &login, request.deadline())
    }

    fn login(&self, request: &VaultRequest) -> Result<Login, Error> {
        let lookup = |name: &str| request.config_optional(name);
        Ok(Login {
            source: config::pin_source(&lookup)?,
            surroundings: Arc::clone(&self.surroundings),
            person: request.person().clone(),
        })
    }

    /// The device with this serial number, or the only one.
    fn device(&self, serial: Option<u32>, deadline: Deadline) -> Result<Arc<Device>, Error> {
        let wanted = serial.or(*lock(&self.only));
        if let Some(known) = wanted.and_then(|serial| lock(&self.devices).get(&serial).cloned()) {
            return Ok(known);
        }
        let survey = self.survey(wanted, deadline)?;
        let serials = survey.serials();
        let hidden = survey.hides_a_device();
        let unreachable = self.keep(survey);
        let chosen = match (wanted, serials.as_slice()) {
            (Some(serial), serials) if serials.contains(&serial) => serial,
            (None, [only]) if !hidden => *lock(&self.only).insert(*only),
            (None, [_, ..]) => return Err(several(&serials, hidden)),
            (wanted, serials) => {
                let missing = || wanted.map_or_else(none, |serial| absent(serial, serials));
                return Err(unreachable.map_or_else(missing, |f| f.into_error("a YubiKey")));
            }
        };
        lock(&self.devices).get(&chosen).cloned().ok_or_else(|| absent(chosen, &serials))
    }

    fn all_devices(
        &self,
        deadline: Deadline,
        found: &mut dyn FnMut(Listed) -> ControlFlow<()>,
    ) -> Result<Vec<Arc<Device>>, Error> {
        let survey = self.survey(None, deadline)?;
        let serials = survey.serials();
        let unreachable = self.keep(survey).map(|failure| failure.into_error("a YubiKey"));
        if serials.is_empty() {
            return unreachable.map_or(Ok(Vec::new()), Err);
        }
        if unreachable.is_some_and(|error| found(Err(error)).is_break()) {
            return Ok(Vec::new());
        }
        let devices = lock(&self.devices);
        Ok(serials.iter().filter_map(|serial| devices.get(serial).cloned()).collect())
    }

    /// Asks the readers, but those whose device this process has already. A thread of its own, for pcscd may hang.
    fn survey(&self, wanted: Option<u32>, deadline: Deadline) -> Result<Survey, Error> {
        let known: BTreeMap<String, u32> =
            lock(&self.devices).values().filter_map(|d| Some((d.reader()?, d.serial()))).collect();
        let until = until(deadline);
        let (sender, answer) = std::sync::mpsc::channel();
        let look = move || {
            // Nobody may be waiting any more.
            let _ = sender.send(survey_patiently(wanted, &known, until, Duration::ZERO));
        };
        let started = std::thread::Builder::new().spawn(look);
        started.map_err(|e| Error::internal(format!("no thread could be started: {e}")))?;
        // The look itself ends at `until` and knows more than that pcscd hangs.
        match answer.recv_timeout(until.saturating_duration_since(Instant::now()) + ANSWER_MARGIN / 2) {
            Ok(survey) => survey.map_err(|failure| failure.into_error("pcscd")),
            Err(_) => Err(Error::timeout(
                "pcscd did not answer before the deadline; restart it (systemctl restart pcscd)",
            )
            .with_scope(Scope::Vault)),
        }
    }

    /// Keeps the connections of a survey; returns what could not be reached.
    fn keep(&self, survey: Survey) -> Option<Failure> {
        let mut devices = lock(&self.devices);
        for connection in survey.found {
            match devices.get(&connection.serial()) {
                Some(device) => device.offer(connection),
                None => drop(devices.insert(connection.serial(), Arc::new(Device::new(connection)))),
            }
        }
        survey.unreachable
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serial numbers for a message.
pub(crate) fn listed(serials: &[u32]) -> String {
    let shown: Vec<String> = serials.iter().take(LISTED_MAX).map(u32::to_string).collect();
    let more = serials.len().saturating_sub(LISTED_MAX);
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

fn several(serials: &[u32], hidden: bool) -> Error {
    let and = if hidden { " and one that another program keeps to itself" } else { "" };
    let first = serials.first().copied().unwrap_or_default();
    Error::validation(format!(
        "several YubiKeys are connected: {}{and}; name one in the key id (piv:serial={first};slot=9c) or with \
         --plugin-config serial={first}",
        listed(serials)
    ))
    .with_scope(Scope::Vault)
}

fn none() -> Error {
    Error::internal(
        "no YubiKey with a PIV application is connected; plug one in, and see that pcscd finds its reader (opensc-tool \
         --list-readers)",
    )
    .with_scope(Scope::Vault)
    .retryable(false)
}
