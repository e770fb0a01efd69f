//! The PIV applet of the virtual card: commands in, answers out, as a YubiKey 5 gives them.
//!
//! After NIST SP 800-73-4 part 2 and Yubico's public description of its extensions. Strict where devices may differ:
//! with PIN policy `always`, any command between VERIFY and the signature takes the verification away.

mod management;
mod pin;
mod slot;

use std::collections::BTreeMap;
use std::sync::Arc;

use prokura_plugin::KeySpec;

use self::management::ManagementKey;
use self::pin::Secret;
use self::slot::{Attester, Slot};
use super::key::PrivateKey;
use super::link::Applet;
use super::tlv;
use super::touch::Finger;

pub use self::slot::{PinPolicy, TouchPolicy};
pub(super) use self::slot::{certificate_object, object_of};

/// What a new card answers to who it is.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Serial number.
    pub serial: u32,
    /// Firmware, such as 5.7.1.
    pub version: [u8; 3],
}

/// Factory PIN.
pub const PIN: &str = "123456";
/// Factory PUK.
pub const PUK: &str = "12345678";

/// Application identifier of PIV without its version (NIST SP 800-73-4 part 1 section 2.2).
const PIV: &[u8] = &[0xA0, 0x00, 0x00, 0x03, 0x08];
/// Yubico's one-time passwords, where firmware 4 has the serial number.
const YUBICO_OTP: &[u8] = &[0xA0, 0x00, 0x00, 0x05, 0x27, 0x20, 0x01, 0x01];
/// Yubico's management application; selecting it leaves PIV.
const YUBICO_MANAGEMENT: &[u8] = &[0xA0, 0x00, 0x00, 0x05, 0x27, 0x47, 0x11, 0x17];

/// The management application's mark of PIV.
const PIV_OVER_USB: u8 = 0x10;

/// Largest data object a YubiKey 5 stores, in bytes.
const OBJECT_MAX: usize = 3052;
/// Bytes of a chained command or a long answer kept at most.
const BUFFER_MAX: usize = 4096;
/// Bytes of an answer sent at a time, without its status.
const ANSWER_MAX: usize = 256;

/// Cardholder unique identifier of a card that belongs to nobody (NIST SP 800-73-4 part 1 table 9).
const CHUID: u32 = 0x5F_C102;
const CHUID_FRONT: &[u8] = &[
    0x30, 0x19, 0xD4, 0xE7, 0x39, 0xDA, 0x73, 0x9C, 0xED, 0x39, 0xCE, 0x73, 0x9D, 0x83, 0x68, 0x58, 0x21,
    0x08, 0x42, 0x10, 0x84, 0x21, 0xC8, 0x42, 0x10, 0xC3, 0xEB, 0x34, 0x10,
];
const CHUID_BACK: &[u8] =
    &[0x35, 0x08, b'2', b'0', b'5', b'0', b'0', b'1', b'0', b'1', 0x3E, 0x00, 0xFE, 0x00];

/// The two status bytes that end an answer (ISO/IEC 7816-4 section 5.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status(pub(super) u16);

impl Status {
    pub(super) const OK: Self = Self(0x9000);
    const WRONG_LENGTH: Self = Self(0x6700);
    const SECURITY: Self = Self(0x6982);
    const BLOCKED: Self = Self(0x6983);
    const CONDITIONS: Self = Self(0x6985);
    const WRONG_DATA: Self = Self(0x6A80);
    const NOT_FOUND: Self = Self(0x6A82);
    const NO_SPACE: Self = Self(0x6A84);
    const WRONG_PARAMETERS: Self = Self(0x6A86);
    const NO_REFERENCE: Self = Self(0x6A88);
    const WRONG_SLOT: Self = Self(0x6B00);
    const UNKNOWN: Self = Self(0x6D00);
    const FAILED: Self = Self(0x6F00);

    fn tries(left: u8) -> Self {
        Self(0x63C0 | u16::from(left.min(15)))
    }
}

type Answer = Result<Vec<u8>, Status>;

/// A command (ISO/IEC 7816-4 section 5.1).
struct Command<'a> {
    class: u8,
    instruction: u8,
    p1: u8,
    p2: u8,
    data: &'a [u8],
}

impl<'a> Command<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (&[class, instruction, p1, p2], body) = bytes.split_first_chunk()?;
        let data = match body {
            // Only the length of the answer wanted, if anything.
            [] | [_] | [0, _, _] => &[],
            [0, high, low, data @ ..] => data.get(..usize::from(u16::from_be_bytes([*high, *low])))?,
            [length, data @ ..] => data.get(..usize::from(*length))?,
        };
        Some(Self { class, instruction, p1, p2, data })
    }

    fn is_chained(&self) -> bool {
        self.class & 0x10 != 0
    }
}

/// A card: what it keeps, and what it remembers until it is reset.
pub struct Card {
    identity: Identity,
    pin: Secret,
    puk: Secret,
    management: ManagementKey,
    slots: BTreeMap<u8, Slot>,
    objects: BTreeMap<u32, Vec<u8>>,
    attester: Attester,
    finger: Arc<Finger>,
    session: Session,
}

/// What power-off, reset and selecting another application take away.
#[derive(Default)]
struct Session {
    selected: bool,
    otp_selected: bool,
    management_selected: bool,
    verified: bool,
    /// The last command was a right VERIFY: what PIN policy `always` wants.
    fresh: bool,
    managing: bool,
    /// Challenge or witness of the management key that waits for its answer.
    challenge: Option<Vec<u8>>,
    chained: Vec<u8>,
    unsent: Vec<u8>,
}

impl Applet for Card {
    fn answer(&mut self, command: &[u8]) -> Vec<u8> {
        match self.command(command) {
            Ok(data) => {
                self.session.unsent = data;
                self.rest()
            }
            Err(status) => status.0.to_be_bytes().to_vec(),
        }
    }

    fn reset(&mut self) {
        self.session = Session::default();
    }
}

impl Card {
    /// A card as it leaves the factory.
    pub(super) fn new(identity: Identity, finger: Arc<Finger>) -> anyhow::Result<Self> {
        let attester = Attester::new(identity)?;
        let mut card = Self {
            identity,
            pin: Secret::new(PIN),
            puk: Secret::new(PUK),
            management: ManagementKey::factory(identity.version),
            slots: BTreeMap::new(),
            objects: BTreeMap::new(),
            attester,
            finger,
            session: Session::default(),
        };
        card.clear();
        Ok(card)
    }

    /// Everything as from the factory, but the attestation key.
    fn clear(&mut self) {
        self.pin = Secret::new(PIN);
        self.puk = Secret::new(PUK);
        self.management = ManagementKey::factory(self.identity.version);
        self.slots.clear();
        let guid = self.identity.serial.to_be_bytes().repeat(4);
        self.objects =
            BTreeMap::from([(CHUID, [CHUID_FRONT, &guid, CHUID_BACK].concat()), self.attester.object()]);
    }

    /// Puts a key made in here into a slot, with the policies given; returns its SubjectPublicKeyInfo, DER.
    pub(super) fn put_key(
        &mut self,
        slot: u8,
        spec: KeySpec,
        pin: PinPolicy,
        touch: TouchPolicy,
    ) -> anyhow::Result<Vec<u8>> {
        let key = PrivateKey::generate(spec)?;
        let spki = key.spki()?;
        self.slots.insert(slot, Slot::generated(key, pin, touch));
        Ok(spki)
    }

    /// Stores a data object; an empty one is deleted.
    pub(super) fn put_object(&mut self, tag: u32, value: Vec<u8>) {
        if value.is_empty() {
            self.objects.remove(&tag);
        } else {
            self.objects.insert(tag, value);
        }
    }

    /// Sets the PIN and its tries, as if by its owner.
    pub(super) fn put_pin(&mut self, pin: &str) {
        self.pin = Secret::new(pin);
    }

    /// Who it is.
    pub(super) const fn identity(&self) -> Identity {
        self.identity
    }

    /// Tries left of PIN and PUK.
    pub(super) fn tries(&self) -> (u8, u8) {
        (self.pin.left, self.puk.left)
    }

    fn command(&mut self, bytes: &[u8]) -> Answer {
        let command = Command::parse(bytes).ok_or(Status::WRONG_LENGTH)?;
        if command.instruction == 0xC0 {
            return Ok(std::mem::take(&mut self.session.unsent));
        }
        self.session.unsent.clear();
        if self.session.chained.len() + command.data.len() > BUFFER_MAX {
            self.session.chained.clear();
            return Err(Status::NO_SPACE);
        }
        self.session.chained.extend_from_slice(command.data);
        if command.is_chained() {
            return Ok(Vec::new());
        }
        let data = std::mem::take(&mut self.session.chained);
        // Strict: only the command right after VERIFY is fresh, whatever it is.
        let fresh = std::mem::take(&mut self.session.fresh);
        self.execute(&Command { data: &data, ..command }, fresh)
    }

    fn execute(&mut self, command: &Command<'_>, fresh: bool) -> Answer {
        if command.instruction == 0xA4 {
            return self.select(command);
        }
        if self.session.otp_selected && (command.instruction, command.p1) == (0x01, 0x10) {
            return Ok(self.identity.serial.to_be_bytes().to_vec());
        }
        if self.session.management_selected && command.instruction == 0x1D {
            return Ok(self.configuration());
        }
        if !self.session.selected || self.identity.version < introduced(command.instruction) {
            return Err(Status::UNKNOWN);
        }
        match command.instruction {
            0x20 => self.verify(command),
            0x24 => self.change_reference(command),
            0x2C => self.reset_retry(command),
            0x47 => self.generate(command),
            0x87 if command.p2 == management::REFERENCE => self.authenticate(command),
            0x87 => self.sign(command, fresh),
            0xCB => self.get_data(command),
            0xDB => self.put_data(command),
            0xF6 => self.move_key(command),
            0xF7 => self.metadata(command),
            0xF8 => Ok(self.identity.serial.to_be_bytes().to_vec()),
            0xF9 => self.attest(command),
            0xFA => self.set_retries(command),
            0xFB => self.reset_all(),
            0xFD => Ok(self.identity.version.to_vec()),
            0xFE => self.import(command),
            0xFF => self.set_management_key(command),
            _ => Err(Status::UNKNOWN),
        }
    }

    /// As much of the answer as fits, and how much is left.
    fn rest(&mut self) -> Vec<u8> {
        let length = self.session.unsent.len().min(ANSWER_MAX);
        let later = self.session.unsent.split_off(length);
        let mut part = std::mem::replace(&mut self.session.unsent, later);
        match self.session.unsent.len() {
            0 => part.extend(Status::OK.0.to_be_bytes()),
            left => part.extend([0x61, u8::try_from(left).unwrap_or(0)]),
        }
        part
    }

    fn select(&mut self, command: &Command<'_>) -> Answer {
        // As a device does, by the whole name or its beginning: ykman leaves the last byte out, the crate does not.
        let is_otp = command.data.len() >= 7 && YUBICO_OTP.starts_with(command.data);
        let is_management = command.data == YUBICO_MANAGEMENT;
        if is_management || is_otp {
            self.session =
                Session { otp_selected: is_otp, management_selected: is_management, ..Session::default() };
            let [major, minor, patch] = self.identity.version;
            return Ok(format!("Virtual mgr - FW version {major}.{minor}.{patch}").into_bytes());
        }
        if !command.data.starts_with(PIV) {
            return Err(Status::NOT_FOUND);
        }
        self.session = Session { selected: true, ..Session::default() };
        let version = tlv::encode(0x4F, &[0x00, 0x00, 0x10, 0x00, 0x01, 0x00]);
        let authority = tlv::encode(0x79, &tlv::encode(0x4F, PIV));
        Ok(tlv::encode(0x61, &[version, authority].concat()))
    }

    /// What the management application tells, for ykman: PIV alone over USB, serial number, shape, version.
    fn configuration(&self) -> Vec<u8> {
        let told = [
            tlv::encode(1, &[PIV_OVER_USB]),
            tlv::encode(2, &self.identity.serial.to_be_bytes()),
            tlv::encode(3, &[PIV_OVER_USB]),
            tlv::encode(4, &[1]),
            tlv::encode(5, &self.identity.version),
        ]
        .concat();
        [&[u8::try_from(told.len()).unwrap_or(0)][..], &told].concat()
    }

    fn get_data(&self, command: &Command<'_>) -> Answer {
        let elements = tlv::decode(command.data).ok_or(Status::WRONG_DATA)?;
        let tag = object_tag(&elements)?;
        self.objects.get(&tag).map(|value| tlv::encode(0x53, value)).ok_or(Status::NOT_FOUND)
    }

    fn put_data(&mut self, command: &Command<'_>) -> Answer {
        self.require_management()?;
        let elements = tlv::decode(command.data).ok_or(Status::WRONG_DATA)?;
        let tag = object_tag(&elements)?;
        let value = tlv::find(&elements, 0x53).ok_or(Status::WRONG_DATA)?;
        if value.len() > OBJECT_MAX {
            return Err(Status::NO_SPACE);
        }
        self.put_object(tag, value.to_vec());
        Ok(Vec::new())
    }
}

/// The firmware with which Yubico introduced an instruction.
fn introduced(instruction: u8) -> [u8; 3] {
    match instruction {
        0xF6 => [5, 7, 0],
        0xF7 => [5, 3, 0],
        0xF8 => [5, 0, 0],
        0xF9 => [4, 3, 0],
        _ => [0, 0, 0],
    }
}

fn object_tag(elements: &[tlv::Element<'_>]) -> Result<u32, Status> {
    let bytes = tlv::find(elements, 0x5C).filter(|bytes| (1..=3).contains(&bytes.len()));
    let bytes = bytes.ok_or(Status::WRONG_DATA)?;
    Ok(bytes.iter().fold(0, |tag, byte| tag << 8 | u32::from(*byte)))
}
