//! A slot of the PIV application: where a private key and its certificate are (NIST SP 800-73-4 part 1 section 5).

use std::fmt;
use std::str::FromStr;

use yubikey::PinPolicy;
use yubikey::piv::SlotId;

/// A slot whose key signs: 9a, 9c, 9d, 9e or one of the twenty retired ones, 82 to 95.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Slot(u8);

/// Where the key and certificate are that attest other keys.
pub(crate) const ATTESTATION_OBJECT: u32 = 0x5F_FF01;

const NAMES: [(&str, Slot); 4] = [
    ("authentication", Slot(0x9A)),
    ("signature", Slot(0x9C)),
    ("key-management", Slot(0x9D)),
    ("card-authentication", Slot(0x9E)),
];
const RETIRED: std::ops::RangeInclusive<u8> = 0x82..=0x95;

impl Slot {
    /// All 24, the signature slot first: it is the one meant for signing.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        [0x9C, 0x9A, 0x9D, 0x9E].into_iter().chain(RETIRED).map(Self)
    }

    /// The number on the wire.
    pub(crate) const fn number(self) -> u8 {
        self.0
    }

    /// The slot in the `yubikey` crate's terms.
    pub(crate) fn id(self) -> Option<SlotId> {
        SlotId::try_from(self.0).ok()
    }

    /// The data object that holds the certificate (NIST SP 800-73-4 part 1 table 3).
    pub(crate) fn certificate_object(self) -> u32 {
        match self.0 {
            0x9A => 0x5F_C105,
            0x9C => 0x5F_C10A,
            0x9D => 0x5F_C10B,
            0x9E => 0x5F_C101,
            retired => 0x5F_C10D + u32::from(retired.saturating_sub(*RETIRED.start())),
        }
    }

    /// The PIN policy a key has that was made without one, and every key of firmware before 4.0.
    pub(crate) const fn usual_pin_policy(self) -> PinPolicy {
        match self.0 {
            0x9C => PinPolicy::Always,
            0x9E => PinPolicy::Never,
            _ => PinPolicy::Once,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}", self.0)
    }
}

impl FromStr for Slot {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((_, slot)) = NAMES.iter().find(|(name, _)| text.eq_ignore_ascii_case(name)) {
            return Ok(*slot);
        }
        let number = (text.len() == 2).then(|| u8::from_str_radix(text, 16).ok()).flatten();
        match number {
            Some(n @ (0x9A | 0x9C | 0x9D | 0x9E | 0x82..=0x95)) => Ok(Self(n)),
            Some(0xF9) => {
                Err("slot f9 holds the attestation key, which signs nothing but attestations".to_owned())
            }
            _ => Err(format!(
                "{text:?} is no slot, expected 9a, 9c, 9d, 9e, 82 to 95, or signature, authentication, \
                 key-management, card-authentication"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_have_numbers_names_and_objects() {
        for (text, number, object) in [
            ("9a", 0x9A, 0x5F_C105),
            ("9C", 0x9C, 0x5F_C10A),
            ("signature", 0x9C, 0x5F_C10A),
            ("Key-Management", 0x9D, 0x5F_C10B),
            ("card-authentication", 0x9E, 0x5F_C101),
            ("82", 0x82, 0x5F_C10D),
            ("95", 0x95, 0x5F_C120),
        ] {
            let slot: Slot = text.parse().unwrap();
            assert_eq!((slot.number(), slot.certificate_object()), (number, object), "{text}");
            assert_eq!(slot.id().map(u8::from), Some(number));
        }
        assert_eq!(Slot::all().count(), 24);
    }

    #[test]
    fn other_slots_are_refused() {
        for text in ["", "9", "9b", "80", "96", "0x9c", "+9", "9cc", "sign", "9\u{e9}"] {
            assert!(text.parse::<Slot>().unwrap_err().contains("is no slot"), "{text}");
        }
        assert!("f9".parse::<Slot>().unwrap_err().contains("attestation"));
    }
}
