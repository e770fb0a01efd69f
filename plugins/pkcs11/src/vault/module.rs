//! A PKCS#11 library, loaded and initialised once per process, and the tokens it shows.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Info, Pkcs11};
use cryptoki::error::{Error as CryptokiError, RvError};
use cryptoki::slot::{Slot, SlotInfo, TokenInfo};
use prokura_plugin::Error;

use crate::config::uri::{TokenFilter, text_attribute};
use crate::error::refused;
use crate::limits::{LISTED_MAX, SLOTS_MAX};

/// The usual reason why a module does not start or shows nothing.
const CONFIGURATION_HINT: &str = "; check that the module finds its configuration: the environment variables it reads must reach this plugin";

/// A loaded library. Finalised when dropped: by then no session with it is left.
pub struct Module {
    context: Pkcs11,
    path: PathBuf,
    /// Whether this process had it initialised before us; then it is not ours to finalise.
    borrowed: bool,
}

/// What tells one token from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Label, without its padding.
    pub label: String,
    /// Serial number, without its padding.
    pub serial: String,
    /// Manufacturer, without its padding.
    pub manufacturer: String,
    /// Model, without its padding.
    pub model: String,
}

/// A token in its slot.
#[derive(Clone, Debug)]
pub struct Present {
    /// The slot it is in.
    pub slot: Slot,
    /// Which token it is.
    pub identity: Identity,
}

impl Module {
    /// Loads a library and initialises it for use by several threads, with the locks of the operating system.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` if there is no such library, `ERROR` if it does not start.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let missing = |why: String| Error::validation(format!("PKCS#11 module {}: {why}", path.display()));
        let found = std::fs::metadata(path).map_err(|e| missing(e.to_string()))?;
        if !found.is_file() {
            return Err(missing("expected a file".to_owned()));
        }
        let context = Pkcs11::new(path).map_err(|e| match e {
            CryptokiError::LibraryLoading(_) | CryptokiError::MissingSymbol(_) => {
                missing(format!("not a PKCS#11 library: {e}"))
            }
            other => refused(&format!("load {}", path.display()), &other),
        })?;
        let borrowed = match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) => false,
            Err(CryptokiError::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => true,
            Err(e) => {
                let mut error = refused(&format!("initialise {}", path.display()), &e);
                error.message.push_str(CONFIGURATION_HINT);
                return Err(error);
            }
        };
        Ok(Self { context, path: path.to_owned(), borrowed })
    }

    /// The library's functions.
    pub const fn context(&self) -> &Pkcs11 {
        &self.context
    }

    /// File name of the library.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Finds the one token that matches.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` listing the tokens there are, if none or several match.
    pub fn find_token(&self, filter: &TokenFilter) -> Result<Present, Error> {
        let (present, unreadable) = self.present()?;
        let mut matching = Vec::new();
        for token in &present {
            if self.matches(token, filter)? {
                matching.push(token.clone());
            }
        }
        match matching.as_slice() {
            [one] => Ok(one.clone()),
            [] => Err(self.no_token(filter, &present, &unreadable)),
            several => Err(Error::validation(format!(
                "{} tokens match {}, expected one; tell them apart by serial or slot-id: {}",
                several.len(),
                described(filter),
                listed(several)
            ))),
        }
    }

    /// The slot that holds this token now, unless there is none or two that cannot be told apart.
    ///
    /// # Errors
    /// `ERROR` if the module does not answer.
    pub fn slot_of(&self, identity: &Identity) -> Result<Option<Slot>, Error> {
        let (present, _) = self.present()?;
        let mut same = present.into_iter().filter(|t| t.identity == *identity);
        let first = same.next();
        Ok(if same.next().is_none() { first.map(|t| t.slot) } else { None })
    }

    /// What the token says of itself now.
    ///
    /// # Errors
    /// `ERROR` if it does not answer.
    pub fn token_info(&self, slot: Slot) -> Result<TokenInfo, Error> {
        self.context.get_token_info(slot).map_err(|e| refused("read what the token says of itself", &e))
    }

    /// Initialised tokens, and a line for each that could not be read.
    fn present(&self) -> Result<(Vec<Present>, Vec<String>), Error> {
        let doing = format!("list the tokens of {}", self.path.display());
        let slots = self.context.get_slots_with_token().map_err(|e| refused(&doing, &e))?;
        let (mut present, mut unreadable) = (Vec::new(), Vec::new());
        for slot in slots.into_iter().take(SLOTS_MAX) {
            match self.context.get_token_info(slot) {
                Ok(info) if info.token_initialized() => {
                    present.push(Present { slot, identity: Identity::of(&info) });
                }
                Ok(_) => {}
                Err(e) => unreadable.push(format!("slot {slot} cannot be read ({e})")),
            }
        }
        Ok((present, unreadable))
    }

    fn matches(&self, token: &Present, filter: &TokenFilter) -> Result<bool, Error> {
        let equal = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|w| w == found);
        let id = &token.identity;
        let matches = equal(&filter.label, &id.label)
            && equal(&filter.serial, &id.serial)
            && equal(&filter.manufacturer, &id.manufacturer)
            && equal(&filter.model, &id.model)
            && filter.slot_id.is_none_or(|s| s == token.slot.id());
        Ok(matches && self.slot_matches(token.slot, filter)? && self.library_matches(filter)?)
    }

    fn slot_matches(&self, slot: Slot, filter: &TokenFilter) -> Result<bool, Error> {
        if filter.slot_manufacturer.is_none() && filter.slot_description.is_none() {
            return Ok(true);
        }
        let info: SlotInfo = self.context.get_slot_info(slot).map_err(|e| refused("read the slot", &e))?;
        Ok(filter.slot_manufacturer.as_deref().is_none_or(|w| w == info.manufacturer_id())
            && filter.slot_description.as_deref().is_none_or(|w| w == info.slot_description()))
    }

    fn library_matches(&self, filter: &TokenFilter) -> Result<bool, Error> {
        let TokenFilter { library_manufacturer, library_description, library_version, .. } = filter;
        if library_manufacturer.is_none() && library_description.is_none() && library_version.is_none() {
            return Ok(true);
        }
        let info: Info =
            self.context.get_library_info().map_err(|e| refused("read the library's version", &e))?;
        let version = (info.library_version().major(), info.library_version().minor());
        Ok(library_manufacturer.as_deref().is_none_or(|w| w == info.manufacturer_id())
            && library_description.as_deref().is_none_or(|w| w == info.library_description())
            && library_version.is_none_or(|w| w == version))
    }

    fn no_token(&self, filter: &TokenFilter, present: &[Present], unreadable: &[String]) -> Error {
        let mut message = format!("no token matches {}; {} ", described(filter), self.path.display());
        if present.is_empty() {
            message.push_str("shows no initialised token; is it connected?");
            message.push_str(CONFIGURATION_HINT);
        } else {
            let _ = write!(message, "shows {}", listed(present));
        }
        for line in unreadable.iter().take(LISTED_MAX) {
            let _ = write!(message, "; {line}");
        }
        Error::validation(message)
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        if !self.borrowed {
            // Nobody is left who could act on a failure.
            let _ = self.context.clone().finalize();
        }
    }
}

impl Identity {
    /// Reads the identity out of what a token says of itself.
    pub fn of(info: &TokenInfo) -> Self {
        Self {
            label: info.label().to_owned(),
            serial: info.serial_number().to_owned(),
            manufacturer: info.manufacturer_id().to_owned(),
            model: info.model().to_owned(),
        }
    }
}

fn listed(tokens: &[Present]) -> String {
    let mut lines: Vec<String> = tokens
        .iter()
        .take(LISTED_MAX)
        .map(|t| {
            let label = text_attribute("token", t.identity.label.as_bytes());
            let serial = text_attribute("serial", t.identity.serial.as_bytes());
            format!("pkcs11:{label};{serial} in slot {}", t.slot)
        })
        .collect();
    if tokens.len() > LISTED_MAX {
        lines.push(format!("{} more", tokens.len() - LISTED_MAX));
    }
    lines.join(", ")
}

/// The part of the filter people use most; enough to see what was asked for.
fn described(filter: &TokenFilter) -> String {
    let mut parts = Vec::new();
    let texts = [
        ("token", &filter.label),
        ("serial", &filter.serial),
        ("manufacturer", &filter.manufacturer),
        ("model", &filter.model),
        ("slot-manufacturer", &filter.slot_manufacturer),
        ("slot-description", &filter.slot_description),
        ("library-manufacturer", &filter.library_manufacturer),
        ("library-description", &filter.library_description),
    ];
    for (name, value) in texts {
        parts.extend(value.as_ref().map(|v| text_attribute(name, v.as_bytes())));
    }
    parts.extend(filter.slot_id.map(|id| format!("slot-id={id}")));
    parts.extend(filter.library_version.map(|(major, minor)| format!("library-version={major}.{minor}")));
    if parts.is_empty() {
        "the key id, which names no token".to_owned()
    } else {
        format!("pkcs11:{}", parts.join(";"))
    }
}
