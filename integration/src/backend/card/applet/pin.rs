//! PIN and PUK of the virtual card: comparing, counting, changing (NIST SP 800-73-4 part 2 section 3.2).

use super::{Answer, Card, Command, PIN, PUK, Status};

const PIN_REFERENCE: u8 = 0x80;
const PUK_REFERENCE: u8 = 0x81;
/// A PIN is padded to this with FF.
const WIDTH: usize = 8;
/// What a YubiKey is delivered with.
const TRIES: u8 = 3;

/// A PIN or PUK and how often it may still be wrong.
pub(super) struct Secret {
    value: [u8; WIDTH],
    pub(super) left: u8,
    pub(super) max: u8,
    pub(super) is_factory: bool,
}

impl Secret {
    pub(super) fn new(value: &str) -> Self {
        let mut padded = [0xFF; WIDTH];
        padded.iter_mut().zip(value.bytes()).for_each(|(to, from)| *to = from);
        Self { value: padded, left: TRIES, max: TRIES, is_factory: value == PIN || value == PUK }
    }

    /// Counts down before it compares, so that no power cut gains a try.
    fn compare(&mut self, given: &[u8]) -> Result<(), Status> {
        if self.left == 0 {
            return Err(Status::BLOCKED);
        }
        self.left -= 1;
        if given != self.value {
            return Err(Status::tries(self.left));
        }
        self.left = self.max;
        Ok(())
    }

    fn change(&mut self, value: [u8; WIDTH]) {
        self.value = value;
        self.left = self.max;
        self.is_factory = false;
    }
}

/// Splits `old new`, the new one being six to eight characters with FF after them.
fn two(data: &[u8]) -> Result<(&[u8; WIDTH], [u8; WIDTH]), Status> {
    let (old, rest) = data.split_first_chunk().ok_or(Status::WRONG_DATA)?;
    let new: [u8; WIDTH] = rest.try_into().map_err(|_| Status::WRONG_DATA)?;
    let used = new.iter().position(|byte| *byte == 0xFF).unwrap_or(WIDTH);
    if used < 6 || new.iter().skip(used).any(|byte| *byte != 0xFF) {
        return Err(Status::WRONG_DATA);
    }
    Ok((old, new))
}

impl Card {
    /// VERIFY. Without data it asks whether the PIN was verified, or else how many tries are left.
    pub(super) fn verify(&mut self, command: &Command<'_>) -> Answer {
        if command.p2 != PIN_REFERENCE {
            return Err(Status::NO_REFERENCE);
        }
        match (command.p1, command.data) {
            (0xFF, []) => self.session.verified = false,
            (0, []) if self.session.verified => (),
            (0, []) if self.pin.left == 0 => return Err(Status::BLOCKED),
            (0, []) => return Err(Status::tries(self.pin.left)),
            (0, given) if given.len() == WIDTH => {
                self.session.verified = false;
                self.pin.compare(given)?;
                self.session.verified = true;
                self.session.fresh = true;
            }
            (0, _) => return Err(Status::WRONG_DATA),
            _ => return Err(Status::WRONG_PARAMETERS),
        }
        Ok(Vec::new())
    }

    /// CHANGE REFERENCE DATA: a new PIN for the old one, or a new PUK for the old one.
    pub(super) fn change_reference(&mut self, command: &Command<'_>) -> Answer {
        let (old, new) = two(command.data)?;
        let secret = match command.p2 {
            PIN_REFERENCE => &mut self.pin,
            PUK_REFERENCE => &mut self.puk,
            _ => return Err(Status::NO_REFERENCE),
        };
        secret.compare(old)?;
        secret.change(new);
        Ok(Vec::new())
    }

    /// RESET RETRY COUNTER: a new PIN for the PUK.
    pub(super) fn reset_retry(&mut self, command: &Command<'_>) -> Answer {
        let (puk, new) = two(command.data)?;
        self.puk.compare(puk)?;
        self.pin.change(new);
        self.session.verified = false;
        Ok(Vec::new())
    }

    /// Yubico's SET PIN RETRIES: new limits, and PIN and PUK as from the factory.
    pub(super) fn set_retries(&mut self, command: &Command<'_>) -> Answer {
        self.require_management()?;
        if !self.session.verified {
            return Err(Status::SECURITY);
        }
        if command.p1 == 0 || command.p2 == 0 {
            return Err(Status::WRONG_DATA);
        }
        self.pin = Secret { left: command.p1, max: command.p1, ..Secret::new(PIN) };
        self.puk = Secret { left: command.p2, max: command.p2, ..Secret::new(PUK) };
        self.session.verified = false;
        Ok(Vec::new())
    }

    /// Yubico's RESET, possible only when PIN and PUK are both blocked.
    pub(super) fn reset_all(&mut self) -> Answer {
        if self.pin.left > 0 || self.puk.left > 0 {
            return Err(Status::CONDITIONS);
        }
        self.clear();
        self.session = super::Session { selected: true, ..super::Session::default() };
        Ok(Vec::new())
    }
}
