//! What a slot holds: public key, certificate, policies; from metadata, on older firmware from the attestation, and where
//! there is none from the certificate. What the device says of its key counts before what a certificate says.

use std::sync::Arc;

use prokura_plugin::{CertificateChain, Deadline, Error, KeyDetails, KeyId, KeyState, PublicKey};
use yubikey::piv::AlgorithmId;
use yubikey::{PinPolicy, TouchPolicy, Version};

use crate::certificate;
use crate::config::{KeyName, NewKey};
use crate::error::Failure;
use crate::slot::{ATTESTATION_OBJECT, Slot};
use crate::vault::connection::Session;
use crate::vault::device::Device;
use crate::vault::metadata::Metadata;
use crate::vault::piv::Found;

/// A key that signs for Notary, and what is known of it.
pub(crate) struct Content {
    pub(crate) public: PublicKey,
    /// The public key is the certificate's, for the device does not tell the key's own.
    pub(crate) from_certificate: bool,
    /// The certificate in the slot, or what is wrong with it.
    certificate: Result<Option<Vec<u8>>, String>,
    pub(crate) pin: Option<PinPolicy>,
    pub(crate) touch: Option<TouchPolicy>,
    pub(crate) generated: Option<bool>,
    version: Version,
}

/// What was found in a slot.
pub(crate) enum Holds {
    Usable(Box<Content>),
    Nothing,
    /// A key of another kind.
    Unusable(String),
    /// Neither metadata nor attestation nor certificate: a key that nobody can name, or none.
    Untold(Version),
}

/// Reads a slot. No PIN is needed.
///
/// # Errors
/// If the device cannot be asked.
pub(crate) fn read(device: &Arc<Device>, slot: Slot, deadline: Deadline) -> Result<Holds, Error> {
    device.read(deadline, move |connection| {
        let version = connection.version();
        connection.transaction(|session| read_slot(session, slot, version))
    })
}

fn read_slot(session: &Session<'_>, slot: Slot, version: Version) -> Result<Holds, Failure> {
    let metadata = match session.piv.metadata(slot)? {
        Found::It(metadata) => Some(metadata),
        Found::Nothing => return Ok(Holds::Nothing),
        Found::Unknown => None,
    };
    let doing = format!("read the certificate in slot {slot}");
    let object = session.piv.object(&doing, slot.certificate_object())?;
    let certificate = object.map_or(Ok(None), |object| certificate::from_object(&object));
    match metadata {
        Some(metadata) => Ok(from_metadata(metadata, certificate, version)),
        None => without_metadata(session, slot, certificate, version),
    }
}

fn from_metadata(
    metadata: Metadata,
    certificate: Result<Option<Vec<u8>>, String>,
    version: Version,
) -> Holds {
    let Metadata { algorithm, pin, touch, generated, public } = metadata;
    let Some(public) = public else { return Holds::Unusable(named(algorithm)) };
    Holds::Usable(Box::new(Content {
        public,
        from_certificate: false,
        certificate,
        pin,
        touch,
        generated,
        version,
    }))
}

fn without_metadata(
    session: &Session<'_>,
    slot: Slot,
    certificate: Result<Option<Vec<u8>>, String>,
    version: Version,
) -> Result<Holds, Failure> {
    let attestation = session.piv.attest(slot)?;
    let public = match (&attestation, &certificate) {
        (Some(der), _) | (None, Ok(Some(der))) => certificate::public_key(der),
        (None, Ok(None)) => return Ok(Holds::Untold(version)),
        (None, Err(why)) => Err(format!("something that cannot be told: {why}")),
    };
    let public = match public {
        Ok(public) => public,
        Err(why) => return Ok(Holds::Unusable(why)),
    };
    let policies = attestation.as_ref().map(|attestation| certificate::attested_policies(attestation, slot));
    let (pin, touch) = policies.unwrap_or_default();
    Ok(Holds::Usable(Box::new(Content {
        public,
        from_certificate: attestation.is_none(),
        certificate,
        pin,
        touch,
        generated: attestation.map(|_| true),
        version,
    })))
}

impl Holds {
    /// The key that was just made, where nothing else tells which key is there.
    pub(crate) fn or_made(self, public: &PublicKey, new: NewKey) -> Self {
        let Self::Untold(version) = self else { return self };
        Self::Usable(Box::new(Content {
            public: public.clone(),
            from_certificate: false,
            certificate: Ok(None),
            pin: Some(new.pin).filter(|policy| *policy != PinPolicy::Default),
            touch: Some(new.touch),
            generated: Some(true),
            version,
        }))
    }

    /// The key, if there is one that signs for Notary.
    pub(crate) fn usable(self) -> Option<Box<Content>> {
        match self {
            Self::Usable(content) => Some(content),
            Self::Nothing | Self::Unusable(_) | Self::Untold(_) => None,
        }
    }

    /// The key.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` saying what is there instead, and what to do.
    pub(crate) fn required(self, device: &Device, slot: Slot) -> Result<Content, Error> {
        let (name, serial) = (device.name(), device.serial());
        let why = match self {
            Self::Usable(content) => return Ok(*content),
            Self::Nothing => format!(
                "slot {slot} of {name} holds no key; make one with prokura key create, or ykman --device {serial} piv \
                 keys generate {slot} pub.pem"
            ),
            Self::Unusable(found) => format!(
                "slot {slot} of {name} holds {found}; signing for Notary takes RSA 2048, 3072 or 4096, P-256 or P-384"
            ),
            Self::Untold(version) => untold(version, &name, serial, slot),
        };
        Err(Error::validation(why).with_scope(prokura_plugin::Scope::Key))
    }
}

/// What to do where nothing tells which key a slot holds.
fn untold(version: Version, name: &str, serial: u32, slot: Slot) -> String {
    let attests = (version.major, version.minor) >= (4, 3);
    let lacks = if attests {
        "has no metadata (since 5.3), attests no key of its own making there"
    } else {
        "has neither metadata (since 5.3) nor attestation (since 4.3)"
    };
    let or = if attests {
        ", or make a new key with prokura key create"
    } else {
        "; ykman piv certificates request makes the request for it from the public key that ykman piv keys generate wrote"
    };
    format!(
        "nothing tells which key is in slot {slot} of {name}: firmware {version} {lacks}, and the slot holds no \
         certificate. Import the certificate of its key (ykman --device {serial} piv certificates import --verify {slot} \
         cert.pem){or}"
    )
}

impl Content {
    /// The certificate in the slot, as far as there is one.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` if it cannot be read or is for another key.
    pub(crate) fn chain(&self, device: &Device, slot: Slot) -> Result<CertificateChain, Error> {
        let (name, serial) = (device.name(), device.serial());
        let refuse = |why: &str| {
            Error::validation(format!("slot {slot} of {name}: {why}")).with_scope(prokura_plugin::Scope::Key)
        };
        let Some(der) = self.certificate.as_ref().map_err(|why| refuse(why))? else {
            return Ok(CertificateChain::default());
        };
        if !certificate::public_key(der).is_ok_and(|key| key == self.public) {
            let subject = certificate::subject(der);
            return Err(refuse(&format!(
                "the certificate {subject:?} in it is for another key than the one in it; install the one issued for \
                 this key: prokura cert install, or ykman --device {serial} piv certificates import --verify {slot} cert.pem"
            )));
        }
        CertificateChain::from_der(vec![der.clone()]).map_err(|e| refuse(&e.to_string()))
    }

    /// What the contract says of it.
    pub(crate) fn details(&self, device: &Device, slot: Slot) -> KeyDetails {
        let origin = self.generated.map(|made| if made { "generated" } else { "imported" });
        let details = KeyDetails {
            state: Some(KeyState::Enabled),
            pin_policy: self.pin.or(Some(slot.usual_pin_policy())).map(pin_policy),
            touch_policy: self.touch.map(touch_policy),
            exportable: Some(false),
            exact_key_id: KeyId::new(KeyName::uri(device.serial(), slot)).ok(),
            ..KeyDetails::default()
        }
        .with("serial", device.serial().to_string())
        .with("slot", slot.to_string())
        .with("firmware", self.version.to_string());
        match origin {
            Some(origin) => details.with("origin", origin),
            None => details,
        }
    }
}

/// The attestation of a slot's key and the certificate of the key that attests, in this order; empty if the device
/// attests nothing, as for keys it did not make.
pub(crate) fn attestation(device: &Arc<Device>, slot: Slot) -> Vec<Vec<u8>> {
    let read = device.read(Deadline::NONE, move |connection| {
        connection.transaction(|session| {
            let Some(leaf) = session.piv.attest(slot)? else { return Ok(Vec::new()) };
            let issuer = session.piv.object("read the attestation certificate", ATTESTATION_OBJECT)?;
            let issuer = issuer.and_then(|object| certificate::from_object(&object).ok().flatten());
            Ok([Some(leaf), issuer].into_iter().flatten().collect())
        })
    });
    read.unwrap_or_default()
}

const fn pin_policy(policy: PinPolicy) -> prokura_plugin::PinPolicy {
    match policy {
        PinPolicy::Never => prokura_plugin::PinPolicy::Never,
        PinPolicy::Always => prokura_plugin::PinPolicy::Always,
        PinPolicy::Once | PinPolicy::Default => prokura_plugin::PinPolicy::Once,
    }
}

const fn touch_policy(policy: TouchPolicy) -> prokura_plugin::TouchPolicy {
    match policy {
        TouchPolicy::Always => prokura_plugin::TouchPolicy::Always,
        TouchPolicy::Cached => prokura_plugin::TouchPolicy::Cached,
        TouchPolicy::Never | TouchPolicy::Default => prokura_plugin::TouchPolicy::Never,
    }
}

fn named(algorithm: Result<AlgorithmId, u8>) -> String {
    match algorithm {
        Ok(AlgorithmId::Rsa1024) => "an RSA-1024 key".to_owned(),
        Ok(AlgorithmId::Ed25519) => "an Ed25519 key".to_owned(),
        Ok(AlgorithmId::X25519) => "an X25519 key, which cannot sign at all".to_owned(),
        Ok(_) => "a key whose public half it does not tell".to_owned(),
        Err(number) => format!("a key of a kind this plugin does not know ({number:#04x})"),
    }
}
