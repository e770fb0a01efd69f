//! The key slots of the virtual card: generating, importing, signing, describing, attesting, moving.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use prokura_plugin::{CertificateChain, KeySpec};
use rcgen::CustomExtension;

use super::super::key::{PrivateKey, algorithm, spec};
use super::super::tlv;
use super::{Answer, Card, Command, Identity, Status};
use crate::pki::Authority;

/// How long a cached touch lasts.
const TOUCH_CACHED: Duration = Duration::from_secs(15);

/// Slot and data object of the attestation key.
const ATTESTATION_OBJECT: u32 = 0x5F_FF01;

/// Yubico's arc of certificate extensions, 1.3.6.1.4.1.41482.3.
const YUBICO: [u64; 9] = [1, 3, 6, 1, 4, 1, 41482, 3, 0];
const FIRMWARE: u64 = 3;
const SERIAL: u64 = 7;
const POLICIES: u64 = 8;
const FORM_FACTOR: u64 = 9;

/// When a slot wants the PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinPolicy {
    /// Never.
    Never = 1,
    /// Once between reset and reset.
    Once = 2,
    /// Right before every signature.
    Always = 3,
}

impl PinPolicy {
    fn parse(bytes: Option<&[u8]>, slot: u8) -> Result<Self, Status> {
        match (bytes, slot) {
            (None | Some([0]), 0x9C) | (Some([3]), _) => Ok(Self::Always),
            (None | Some([0]), 0x9E) | (Some([1]), _) => Ok(Self::Never),
            (None | Some([0 | 2]), _) => Ok(Self::Once),
            _ => Err(Status::WRONG_DATA),
        }
    }
}

/// When a slot wants a touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TouchPolicy {
    /// Never.
    Never = 1,
    /// For every signature.
    Always = 2,
    /// For the first signature in fifteen seconds.
    Cached = 3,
}

impl TouchPolicy {
    fn parse(bytes: Option<&[u8]>) -> Result<Self, Status> {
        match bytes {
            None | Some([0 | 1]) => Ok(Self::Never),
            Some([2]) => Ok(Self::Always),
            Some([3]) => Ok(Self::Cached),
            _ => Err(Status::WRONG_DATA),
        }
    }
}

/// A key in its slot.
pub(super) struct Slot {
    key: PrivateKey,
    pin: PinPolicy,
    touch: TouchPolicy,
    is_generated: bool,
    touched: Option<Instant>,
}

impl Slot {
    pub(super) fn generated(key: PrivateKey, pin: PinPolicy, touch: TouchPolicy) -> Self {
        Self { key, pin, touch, is_generated: true, touched: None }
    }
}

/// What vouches for keys made in the card: the key of slot f9 and its certificate.
pub(super) struct Attester {
    authority: Authority,
}

impl Attester {
    pub(super) fn new(identity: Identity) -> Result<Self> {
        let name = format!("Yubico PIV Attestation of test card {}", identity.serial);
        Ok(Self { authority: Authority::new(&name)? })
    }

    /// The data object with its certificate.
    pub(super) fn object(&self) -> (u32, Vec<u8>) {
        let der = first_certificate(self.authority.certificate()).unwrap_or_default();
        (ATTESTATION_OBJECT, certificate_object(&der))
    }

    fn attest(&self, identity: Identity, number: u8, slot: &Slot) -> Result<Vec<u8>> {
        let spki = prokura_plugin::PublicKey::from_spki_der(&slot.key.spki()?)?;
        let [major, minor, patch] = identity.version;
        let serial = tlv::encode(2, &[&[0][..], &identity.serial.to_be_bytes()].concat());
        let values = [
            (FIRMWARE, vec![major, minor, patch]),
            (SERIAL, serial),
            (POLICIES, vec![slot.pin as u8, slot.touch as u8]),
            (FORM_FACTOR, vec![1]),
        ];
        let name = format!("YubiKey PIV Attestation {number:02x}");
        let pem = self.authority.issue_to(&crate::pki::Elsewhere(spki), &name, |params| {
            for (last, value) in values {
                let [arc @ .., _] = YUBICO;
                let oid: Vec<u64> = arc.into_iter().chain([last]).collect();
                params.custom_extensions.push(CustomExtension::from_oid_content(&oid, value));
            }
        })?;
        first_certificate(&pem)
    }
}

fn first_certificate(pem: &str) -> Result<Vec<u8>> {
    let chain = CertificateChain::from_pem(pem.as_bytes())?;
    Ok(chain.certificates().first().context("a certificate was issued")?.clone())
}

/// A certificate as its data object holds it: DER, not compressed, no error code (SP 800-73-4 part 1 table 10).
pub(in super::super) fn certificate_object(der: &[u8]) -> Vec<u8> {
    [tlv::encode(0x70, der), tlv::encode(0x71, &[0]), tlv::encode(0xFE, &[])].concat()
}

/// The data object that belongs to a slot (NIST SP 800-73-4 part 1 table 3).
pub(in super::super) fn object_of(slot: u8) -> Option<u32> {
    match slot {
        0x9A => Some(0x5F_C105),
        0x9C => Some(0x5F_C10A),
        0x9D => Some(0x5F_C10B),
        0x9E => Some(0x5F_C101),
        0x82..=0x95 => Some(0x5F_C10D + u32::from(slot - 0x82)),
        _ => None,
    }
}

impl Card {
    /// GENERATE ASYMMETRIC KEY PAIR, with Yubico's policies.
    pub(super) fn generate(&mut self, command: &Command<'_>) -> Answer {
        self.require_management()?;
        object_of(command.p2).ok_or(Status::WRONG_SLOT)?;
        let template = tlv::unwrap(command.data, 0xAC).ok_or(Status::WRONG_DATA)?;
        let spec = match tlv::find(&template, 0x80) {
            Some([id]) => self.supported(*id)?,
            _ => return Err(Status::WRONG_DATA),
        };
        let pin = PinPolicy::parse(tlv::find(&template, 0xAA), command.p2)?;
        let touch = TouchPolicy::parse(tlv::find(&template, 0xAB))?;
        let key = PrivateKey::generate(spec).map_err(|_| Status::FAILED)?;
        let public = tlv::encode(0x7F49, &key.public());
        self.slots.insert(command.p2, Slot::generated(key, pin, touch));
        Ok(public)
    }

    /// RSA-3072 and RSA-4096 came with firmware 5.7.
    fn supported(&self, id: u8) -> Result<KeySpec, Status> {
        let spec = spec(id).ok_or(Status::WRONG_DATA)?;
        let is_new = matches!(spec, KeySpec::Rsa3072 | KeySpec::Rsa4096);
        if is_new && self.identity.version < [5, 7, 0] { Err(Status::WRONG_DATA) } else { Ok(spec) }
    }

    /// Yubico's IMPORT ASYMMETRIC KEY.
    pub(super) fn import(&mut self, command: &Command<'_>) -> Answer {
        self.require_management()?;
        object_of(command.p2).ok_or(Status::WRONG_SLOT)?;
        let spec = self.supported(command.p1)?;
        let elements = tlv::decode(command.data).ok_or(Status::WRONG_DATA)?;
        let part = |tag| tlv::find(&elements, tag).ok_or(Status::WRONG_DATA);
        let key = if spec.is_rsa() {
            PrivateKey::import_rsa(spec, [part(1)?, part(2)?, part(3)?, part(4)?, part(5)?])
        } else {
            PrivateKey::import_ec(spec, part(6)?)
        };
        let slot = Slot {
            key: key.map_err(|_| Status::WRONG_DATA)?,
            pin: PinPolicy::parse(tlv::find(&elements, 0xAA), command.p2)?,
            touch: TouchPolicy::parse(tlv::find(&elements, 0xAB))?,
            is_generated: false,
            touched: None,
        };
        self.slots.insert(command.p2, slot);
        Ok(Vec::new())
    }

    /// GENERAL AUTHENTICATE with the key of a slot.
    pub(super) fn sign(&mut self, command: &Command<'_>, fresh: bool) -> Answer {
        let slot = self.slots.get_mut(&command.p2).ok_or(Status::NO_REFERENCE)?;
        if algorithm(slot.key.spec) != Some(command.p1) {
            return Err(Status::WRONG_DATA);
        }
        let elements = tlv::unwrap(command.data, 0x7C).ok_or(Status::WRONG_DATA)?;
        let input = tlv::find(&elements, 0x81).ok_or(Status::WRONG_DATA)?;
        let allowed = match slot.pin {
            PinPolicy::Never => true,
            PinPolicy::Once => self.session.verified,
            PinPolicy::Always => fresh,
        };
        if !allowed {
            return Err(Status::SECURITY);
        }
        let is_cached = slot.touched.is_some_and(|at| at.elapsed() < TOUCH_CACHED);
        let wants_touch = match slot.touch {
            TouchPolicy::Never => false,
            TouchPolicy::Always => true,
            TouchPolicy::Cached => !is_cached,
        };
        if wants_touch {
            if !self.finger.wait() {
                return Err(Status::SECURITY);
            }
            slot.touched = Some(Instant::now());
        }
        let signature = slot.key.sign(input).ok_or(Status::WRONG_DATA)?;
        Ok(tlv::encode(0x7C, &tlv::encode(0x82, &signature)))
    }

    /// Yubico's GET METADATA, of PIN, PUK, management key or a slot.
    pub(super) fn metadata(&self, command: &Command<'_>) -> Answer {
        let secret = match command.p2 {
            0x80 => &self.pin,
            0x81 => &self.puk,
            super::management::REFERENCE => return Ok(self.management_metadata()),
            number => return self.slots.get(&number).map(Slot::metadata).ok_or(Status::NO_REFERENCE),
        };
        Ok([
            tlv::encode(1, &[0xFF]),
            tlv::encode(5, &[u8::from(secret.is_factory)]),
            tlv::encode(6, &[secret.max, secret.left]),
        ]
        .concat())
    }

    /// Yubico's ATTEST: a certificate for a key that was made in the card; its answer is bare DER.
    pub(super) fn attest(&self, command: &Command<'_>) -> Answer {
        let slot = self.slots.get(&command.p1).ok_or(Status::NO_REFERENCE)?;
        if !slot.is_generated {
            return Err(Status::WRONG_DATA);
        }
        self.attester.attest(self.identity, command.p1, slot).map_err(|_| Status::FAILED)
    }

    /// Yubico's MOVE KEY of firmware 5.7; to FF deletes.
    pub(super) fn move_key(&mut self, command: &Command<'_>) -> Answer {
        self.require_management()?;
        let (to, from) = (command.p1, command.p2);
        if to != 0xFF && (object_of(to).is_none() || self.slots.contains_key(&to)) {
            return Err(Status::WRONG_SLOT);
        }
        let slot = self.slots.remove(&from).ok_or(Status::NO_REFERENCE)?;
        if to != 0xFF {
            self.slots.insert(to, slot);
        }
        Ok(Vec::new())
    }
}

impl Slot {
    fn metadata(&self) -> Vec<u8> {
        [
            tlv::encode(1, &[algorithm(self.key.spec).unwrap_or_default()]),
            tlv::encode(2, &[self.pin as u8, self.touch as u8]),
            tlv::encode(3, &[if self.is_generated { 1 } else { 2 }]),
            tlv::encode(4, &self.key.public()),
        ]
        .concat()
    }
}
