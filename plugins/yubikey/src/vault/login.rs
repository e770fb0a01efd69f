//! The PIN: where it comes from, and the rules that keep it from being blocked.
//!
//! A wrong PIN is sent once, also if the device goes before it has answered. The counter is read before each VERIFY, and the last try is spent only on a PIN that a
//! person typed just now and knowing that it is the last one.

use std::sync::Arc;

use prokura_plugin::pin::{PinSource, Surroundings};
use prokura_plugin::{Deadline, Error, Person, Pin, PinPrompt, Scope};

use super::connection::Session;
use super::device::{Device, InDoubt};
use super::piv::{Tries, Verdict};
use crate::error::Failure;
use crate::limits::PIN_BYTES;

/// Where the PIN for a key comes from.
pub(crate) struct Login {
    pub(crate) source: PinSource,
    pub(crate) surroundings: Arc<Surroundings>,
    pub(crate) person: Person,
}

/// A PIN to be sent.
pub(crate) struct HeldPin {
    pin: Pin,
    /// How many tries whoever typed it was told are left; `None` for a PIN that was stored.
    told: Option<Tries>,
}

impl HeldPin {
    /// Whether a person typed it just now.
    pub(crate) const fn is_typed(&self) -> bool {
        self.told.is_some()
    }
}

impl Login {
    /// The PIN from where it is stored; `None` if a person must be asked.
    ///
    /// # Errors
    /// `ACCESS_DENIED` if it cannot be read, or was refused by this device before.
    pub(crate) fn stored(&self, device: &Device, deadline: Deadline) -> Result<Option<HeldPin>, Error> {
        if self.source.is_interactive() {
            return Ok(None);
        }
        let Some(pin) = self.source.read(&self.surroundings, "", deadline)? else { return Ok(None) };
        if device.refused_pin().as_ref().is_some_and(|refused| refused.is_same(&pin)) {
            let (name, origin) = (device.name(), pin.origin());
            return Err(Error::access_denied(format!(
                "{name} refused the PIN {origin} before, and it is still the same: it is not sent again by this process; \
                 correct it there"
            ))
            .with_scope(Scope::Request));
        }
        checked(pin, None).map(Some)
    }

    /// The PIN from where it is stored, or from a person, who is told how many tries are left.
    ///
    /// # Errors
    /// `ACCESS_DENIED` if there is none, or the device must not be sent a stored one; `TIMEOUT` if nobody typed it in
    /// time.
    pub(crate) fn pin(&self, device: &Device, tries: Tries, deadline: Deadline) -> Result<HeldPin, Error> {
        let name = device.name();
        if tries == Tries::Left(0) {
            return Err(blocked(&name));
        }
        if let Some(held) = self.stored(device, deadline)? {
            return Ok(held);
        }
        let question = format!("PIN of {name}{}", warning(tries));
        if let Some(pin) = self.source.read(&self.surroundings, &question, deadline)? {
            return checked(pin, Some(tries));
        }
        let left = match tries {
            Tries::Left(left) => Some(u32::from(left)),
            Tries::Verified => None,
        };
        let prompt = PinPrompt { text: name.clone(), tries_left: left };
        match self.person.pin(&prompt, deadline)? {
            Some(pin) => checked(pin, Some(tries)),
            None => Err(Error::access_denied(format!(
                "{name} asks for its PIN, and there is none: nobody could be asked or whoever was declined. Set plugin \
                 config \"pin-source\" to file:/PATH, env:NAME, credential:NAME, pinentry, terminal or ask"
            ))
            .with_scope(Scope::Request)),
        }
    }
}

fn warning(tries: Tries) -> String {
    match tries {
        Tries::Left(1) => " (the last try before it is blocked)".to_owned(),
        Tries::Left(left) => format!(" ({left} tries left)"),
        Tries::Verified => String::new(),
    }
}

fn checked(pin: Pin, told: Option<Tries>) -> Result<HeldPin, Error> {
    if PIN_BYTES.contains(&pin.len()) {
        return Ok(HeldPin { pin, told });
    }
    let (origin, least, most) = (pin.origin(), PIN_BYTES.start(), PIN_BYTES.end());
    Err(Error::access_denied(format!(
        "the PIN {origin} has not the {least} to {most} bytes a YubiKey's PIN has; it was not sent"
    ))
    .with_scope(Scope::Request))
}

/// Verifies the PIN, after a look at the counter.
///
/// # Errors
/// `ACCESS_DENIED` with the number of tries left.
pub(crate) fn verify(session: &mut Session<'_>, device: &Device, held: &HeldPin) -> Result<(), Failure> {
    let name = device.name();
    let tries = session.piv.tries()?;
    if let Some(left) = spent_unseen(device, held, tries) {
        *device.refused_pin() = copy(&held.pin);
        return Err(wrong(&name, held, left).into());
    }
    match tries {
        Tries::Left(0) => return Err(blocked(&name).into()),
        // Whoever typed it was told another number: something else spends tries at this moment.
        last @ Tries::Left(1) if held.told != Some(last) => return Err(last_try(&name, &held.pin).into()),
        _ => {}
    }
    *device.pin_in_doubt() = copy(&held.pin).map(|pin| InDoubt { pin, before: tries });
    let verdict = session.piv.verify(held.pin.expose().as_bytes());
    if !verdict.as_ref().is_err_and(Failure::is_lost_connection) {
        *device.pin_in_doubt() = None;
    }
    match verdict? {
        Verdict::Right => {
            *session.verified = true;
            *device.refused_pin() = None;
            Ok(())
        }
        Verdict::Wrong(left) => {
            *session.verified = false;
            *device.refused_pin() = copy(&held.pin);
            Err(wrong(&name, held, left).into())
        }
    }
}

/// The tries left, if this PIN was sent before, its verdict was lost, and a try has gone since: it was wrong.
fn spent_unseen(device: &Device, held: &HeldPin, now: Tries) -> Option<u8> {
    let doubted = device.pin_in_doubt().take()?;
    match (doubted.before, now) {
        (Tries::Left(before), Tries::Left(now)) if now < before && doubted.pin.is_same(&held.pin) => {
            Some(now)
        }
        _ => None,
    }
}

/// The error of a call that lost the device while it checked a PIN. A host must not repeat it: a new process knows
/// nothing of this one's doubt, and would spend the next try.
pub(crate) fn unsettled(device: &Device, error: Error) -> Error {
    if device.pin_in_doubt().is_none() {
        return error;
    }
    let message = format!(
        "{}; the PIN had just been sent, and whether it was right is not known: before signing again see how many tries \
         are left (ykman --device {} piv info)",
        error.message,
        device.serial()
    );
    Error { message, ..error }.retryable(false)
}

fn copy(pin: &Pin) -> Option<Pin> {
    Pin::new(pin.expose().as_bytes(), pin.origin()).ok()
}

fn wrong(name: &str, held: &HeldPin, left: u8) -> Error {
    let origin = held.pin.origin();
    let then = match left {
        0 => format!("no try is left and the PIN is blocked now: {UNBLOCK}"),
        1 => "1 try is left; it is not spent on a stored PIN".to_owned(),
        left if held.told.is_some() => format!("{left} tries are left; sign again and type the right one"),
        left => format!("{left} tries are left; it is not tried again, correct it there"),
    };
    Error::access_denied(format!("{name} refused the PIN {origin}: {then}"))
        .with_scope(Scope::Request)
        .retryable(false)
        .vault_code(if left == 0 { "6983".to_owned() } else { format!("63C{left:X}") })
        .with("tries_left", left.to_string())
}

fn last_try(name: &str, pin: &Pin) -> Error {
    let origin = pin.origin();
    Error::access_denied(format!(
        "the PIN of {name} has one try left before it is blocked; the PIN {origin} was not sent. Enter the right PIN by \
         hand, which restores all tries: sign with pin-source=ask, or, with no other YubiKey connected, \
         yubico-piv-tool -a verify-pin"
    ))
    .with_scope(Scope::Request)
    .retryable(false)
    .with("tries_left", "1")
}

const UNBLOCK: &str =
    "whoever has the PUK must unblock it (ykman piv access unblock-pin, or yubico-piv-tool -a unblock-pin)";

fn blocked(name: &str) -> Error {
    Error::access_denied(format!("the PIN of {name} is blocked after too many wrong ones: {UNBLOCK}"))
        .with_scope(Scope::Vault)
        .retryable(false)
        .vault_code("6983")
        .with("tries_left", "0")
}
