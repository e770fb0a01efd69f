//! One key in one slot: opened, described, and asked to sign.

mod check;
mod content;
mod pss;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use prokura_plugin::{
    CertificateChain, Deadline, Digest, Error, KeyDescription, KeyDetails, KeyId, Notice, PublicKey,
    RawSignature, Scope, SigningKey,
};
use yubikey::piv::AlgorithmId;
use yubikey::{PinPolicy, TouchPolicy};

use crate::config::{KeyName, NewKey};
use crate::error::Failure;
use crate::limits::SILENCE_MEANS_TOUCH;
use crate::slot::Slot;
use crate::vault::connection::{Connection, Session};
use crate::vault::device::{Device, Prompt};
use crate::vault::login::{HeldPin, Login, unsettled, verify};
use crate::vault::metadata;
use crate::vault::piv::Tries;
use content::Content;

/// The PIN was not verified, or nobody touched the device.
const NOT_SATISFIED: u16 = 0x6982;
/// Some firmware says this when nobody touched it.
const CONDITIONS_NOT_MET: u16 = 0x6985;

/// A key, ready to sign.
pub(crate) struct Key {
    device: Arc<Device>,
    slot: Slot,
    algorithm: AlgorithmId,
    login: Login,
    content: Content,
    /// Whether to ask for the attestation: it takes a signature by the device, which a process for one signature spares.
    attests: bool,
    attestation: OnceLock<Vec<Vec<u8>>>,
}

/// How an attempt to sign ended.
enum Attempt {
    Signed(Vec<u8>),
    /// A PIN must be verified first, which has so many tries.
    PinNeeded(Tries),
}

impl Key {
    /// Reads what the slot holds.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` if that is no key that signs for Notary.
    pub(crate) fn open(
        device: Arc<Device>,
        slot: Slot,
        login: Login,
        attests: bool,
        deadline: Deadline,
    ) -> Result<Self, Error> {
        let content = content::read(&device, slot, deadline)?.required(&device, slot)?;
        let spec = content.public.spec();
        let algorithm = metadata::algorithm(spec).ok_or_else(|| {
            Error::validation(format!("no YubiKey signs with {spec} keys, slot {slot} says it does"))
        })?;
        Ok(Self { device, slot, algorithm, login, content, attests, attestation: OnceLock::new() })
    }

    fn pin_policy(&self) -> PinPolicy {
        self.content.pin.unwrap_or(self.slot.usual_pin_policy())
    }

    /// How long the card may be silent before somebody is told to touch it.
    const fn patience(&self) -> Option<Duration> {
        match self.content.touch {
            Some(TouchPolicy::Never | TouchPolicy::Default) => None,
            Some(TouchPolicy::Always) => Some(Duration::ZERO),
            // A touch may have been given less than 15 seconds ago; or nobody knows the policy.
            Some(TouchPolicy::Cached) | None => Some(SILENCE_MEANS_TOUCH),
        }
    }

    /// What the card is to sign: the digest, or for RSA the padded block.
    fn input(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let spec = self.content.public.spec();
        if spec.is_rsa() { pss::encode(digest, spec.signature_len()) } else { Ok(digest.bytes().to_vec()) }
    }

    fn attempt(&self, input: &[u8], pin: Option<HeldPin>, deadline: Deadline) -> Result<Attempt, Error> {
        let text = format!("touch your {} now (slot {})", self.device.name(), self.slot);
        let show = || self.login.person.show(Notice::Touch, &text);
        let prompt = Prompt { patience: self.patience(), show: &show };
        // What a person has touched or typed for is not done again unasked.
        let repeat = prompt.patience.is_none() && !pin.as_ref().is_some_and(HeldPin::is_typed);
        let step = Step {
            device: Arc::clone(&self.device),
            slot: self.slot,
            algorithm: self.algorithm,
            policy: self.pin_policy(),
            may_touch: prompt.patience.is_some(),
            input: input.to_vec(),
            pin,
        };
        let done =
            self.device.call(deadline, &prompt, repeat, move |connection, touch| step.run(connection, touch));
        done.map_err(|error| unsettled(&self.device, error))
    }

    /// The signature, if it is one by this key.
    fn checked(&self, digest: &Digest, returned: &[u8]) -> Result<RawSignature, Error> {
        check::checked(&self.content.public, digest, returned).ok_or_else(|| {
            let (name, slot) = (self.device.name(), self.slot);
            let public = if self.content.from_certificate { "the key in the certificate of that slot" } else { "its own public key" };
            Error::internal(format!(
                "{name} returned a signature with slot {slot} that does not verify under {public}; it was discarded. The \
                 slot holds another key than it says, or the device is defective"
            ))
            .with_scope(Scope::Key)
            .retryable(false)
        })
    }
}

impl SigningKey for Key {
    fn public_key(&self) -> &PublicKey {
        &self.content.public
    }

    /// Read anew each time, so that a certificate installed meanwhile is seen.
    fn certificate_chain(&self) -> Result<CertificateChain, Error> {
        let found =
            content::read(&self.device, self.slot, Deadline::NONE)?.required(&self.device, self.slot)?;
        if found.public != self.content.public {
            let (name, slot) = (self.device.name(), self.slot);
            return Err(Error::validation(format!(
                "slot {slot} of {name} holds another key than when it was described; describe it again"
            ))
            .with_scope(Scope::Key)
            .retryable(true));
        }
        if self.attests && self.content.generated != Some(false) {
            self.attestation.get_or_init(|| content::attestation(&self.device, self.slot));
        }
        found.chain(&self.device, self.slot)
    }

    fn sign_digest(&self, digest: &Digest, deadline: Deadline) -> Result<RawSignature, Error> {
        deadline.check()?;
        let input = self.input(digest)?;
        let _turn = self.device.turn(deadline)?;
        let always = self.pin_policy() == PinPolicy::Always;
        let mut pin = if always { self.login.stored(&self.device, deadline)? } else { None };
        let had_pin = pin.is_some();
        let tries = match self.attempt(&input, pin.take(), deadline)? {
            Attempt::Signed(returned) => return self.checked(digest, &returned),
            Attempt::PinNeeded(_) if had_pin => return Err(self.asks_again()),
            Attempt::PinNeeded(tries) => tries,
        };
        let pin = self.login.pin(&self.device, tries, deadline)?;
        match self.attempt(&input, Some(pin), deadline)? {
            Attempt::Signed(returned) => self.checked(digest, &returned),
            Attempt::PinNeeded(_) => Err(self.asks_again()),
        }
    }

    /// Does not ask the device: the SDK calls it before each signature. The attestation was read with the certificate.
    fn details(&self) -> KeyDetails {
        let attestation = self.attestation.get().cloned().unwrap_or_default();
        KeyDetails { attestation, ..self.content.details(&self.device, self.slot) }
    }
}

impl Key {
    fn asks_again(&self) -> Error {
        let (name, slot) = (self.device.name(), self.slot);
        Error::access_denied(format!(
            "{name} does not sign with slot {slot} though its PIN was just verified; another program may be using the \
             device at the same time"
        ))
        .with_scope(Scope::Session)
        .vault_code("6982")
    }
}

/// One attempt to sign, as it runs in the thread that has the connection.
struct Step {
    device: Arc<Device>,
    slot: Slot,
    algorithm: AlgorithmId,
    policy: PinPolicy,
    may_touch: bool,
    input: Vec<u8>,
    pin: Option<HeldPin>,
}

impl Step {
    fn run(&self, connection: &mut Connection, touch: &dyn Fn()) -> Result<Attempt, Failure> {
        connection.transaction(|session| {
            let needs_no_pin = match self.policy {
                PinPolicy::Never => true,
                PinPolicy::Always => false,
                PinPolicy::Once | PinPolicy::Default => *session.verified,
            };
            if needs_no_pin {
                let begun = Instant::now();
                match self.sign(session, touch) {
                    // At once: somebody selected the application anew, or the policy is another than was believed.
                    Err(failure)
                        if failure.status() == Some(NOT_SATISFIED)
                            && begun.elapsed() < SILENCE_MEANS_TOUCH =>
                    {
                        *session.verified = false;
                    }
                    outcome => return outcome.map(Attempt::Signed).map_err(|f| self.untouched(f)),
                }
            }
            let Some(pin) = &self.pin else { return Ok(Attempt::PinNeeded(session.piv.tries()?)) };
            verify(session, &self.device, pin)?;
            self.sign(session, touch).map(Attempt::Signed).map_err(|failure| self.untouched(failure))
        })
    }

    fn sign(&self, session: &Session<'_>, touch: &dyn Fn()) -> Result<Vec<u8>, Failure> {
        if self.may_touch {
            touch();
        }
        session.piv.sign(self.slot, self.algorithm, &self.input)
    }

    /// Names the touch where a refusal can mean nothing else: the PIN was verified, or the card waited first.
    fn untouched(&self, failure: Failure) -> Failure {
        match failure.status() {
            Some(status @ (NOT_SATISFIED | CONDITIONS_NOT_MET)) if self.may_touch => {
                untouched(&self.device, status)
            }
            _ => failure,
        }
    }
}

fn untouched(device: &Device, status: u16) -> Failure {
    let name = device.name();
    Failure::Final(
        Error::access_denied(format!(
            "nobody touched {name} while it waited; sign again with somebody beside it, who touches it when it blinks"
        ))
        .with_scope(Scope::Request)
        .retryable(false)
        .vault_code(format!("{status:04X}")),
    )
}

/// The key in a slot as it is listed; `None` if there is none that signs for Notary.
///
/// # Errors
/// If the device cannot be asked.
pub(crate) fn describe(
    device: &Arc<Device>,
    slot: Slot,
    deadline: Deadline,
) -> Result<Option<KeyDescription>, Error> {
    let held = content::read(device, slot, deadline)?.usable();
    held.map(|content| description(device, slot, *content)).transpose()
}

/// A key that was just made, whose public half the device answered with.
///
/// # Errors
/// If the device cannot be asked, or says of another key that it is in the slot.
pub(crate) fn describe_new(
    device: &Arc<Device>,
    slot: Slot,
    (made, new): (&PublicKey, NewKey),
    deadline: Deadline,
) -> Result<KeyDescription, Error> {
    let content = content::read(device, slot, deadline)?.or_made(made, new);
    match content.usable() {
        Some(content) if content.public == *made => description(device, slot, *content),
        _ => {
            let name = device.name();
            Err(Error::internal(format!(
                "{name} made a key in slot {slot}, and does not say that this is the key it holds; it is defective, or \
                 another program writes to it at the same time"
            ))
            .with_scope(Scope::Vault)
            .retryable(false))
        }
    }
}

fn description(device: &Device, slot: Slot, content: Content) -> Result<KeyDescription, Error> {
    let certificates = content.chain(device, slot).unwrap_or_default();
    let details = content.details(device, slot);
    let key_id = KeyId::new(KeyName::uri(device.serial(), slot))?;
    Ok(KeyDescription { key_id, public_key: content.public.into(), certificates, details })
}
