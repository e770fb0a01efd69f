//! What a card tells of a slot: kind of key, policies, origin, public key (Yubico, "GET METADATA").

use prokura_plugin::{KeySpec, PublicKey};
use yubikey::piv::AlgorithmId;
use yubikey::{PinPolicy, TouchPolicy};

use super::tlv;
use crate::slot::Slot;

/// What the card knows of a slot's key.
#[derive(Debug)]
pub(crate) struct Metadata {
    /// Kind of key, or what the card calls it.
    pub(crate) algorithm: Result<AlgorithmId, u8>,
    /// `None` for a policy this plugin does not know.
    pub(crate) pin: Option<PinPolicy>,
    /// `None` for a policy this plugin does not know.
    pub(crate) touch: Option<TouchPolicy>,
    /// Whether the key was made in the device; `None` if the card does not say.
    pub(crate) generated: Option<bool>,
    /// The public key, for kinds that can sign.
    pub(crate) public: Option<PublicKey>,
}

/// Reads what a card answers to GET METADATA; `None` if that is malformed.
pub(super) fn parse(data: &[u8], slot: Slot) -> Option<Metadata> {
    let [algorithm] = tlv::find(data, 1)? else { return None };
    let known = AlgorithmId::try_from(*algorithm).map_err(|_| *algorithm);
    let (pin, touch) = match tlv::find(data, 2) {
        Some([pin, touch]) => policies(*pin, *touch, slot),
        _ => (None, None),
    };
    let generated = match tlv::find(data, 3) {
        Some([1]) => Some(true),
        Some([2]) => Some(false),
        _ => None,
    };
    let public = match key_spec(known) {
        Some(spec) => Some(public_key(spec, tlv::find(data, 4)?)?),
        None => None,
    };
    Some(Metadata { algorithm: known, pin, touch, generated, public })
}

/// Policies by the numbers metadata and attestation share; 4 and 5 are those of the YubiKey Bio, whose PIN does as
/// well as the finger.
pub(crate) fn policies(pin: u8, touch: u8, slot: Slot) -> (Option<PinPolicy>, Option<TouchPolicy>) {
    let pin = match pin {
        0 => Some(slot.usual_pin_policy()),
        4 => Some(PinPolicy::Once),
        5 => Some(PinPolicy::Always),
        other => PinPolicy::try_from(other).ok(),
    };
    let touch = match touch {
        0 => Some(TouchPolicy::Never),
        other => TouchPolicy::try_from(other).ok(),
    };
    (pin, touch)
}

/// The key spec of an algorithm that signs for Notary.
pub(crate) fn key_spec(algorithm: Result<AlgorithmId, u8>) -> Option<KeySpec> {
    match algorithm {
        Ok(AlgorithmId::Rsa2048) => Some(KeySpec::Rsa2048),
        Ok(AlgorithmId::Rsa3072) => Some(KeySpec::Rsa3072),
        Ok(AlgorithmId::Rsa4096) => Some(KeySpec::Rsa4096),
        Ok(AlgorithmId::EccP256) => Some(KeySpec::Ec256),
        Ok(AlgorithmId::EccP384) => Some(KeySpec::Ec384),
        _ => None,
    }
}

/// The algorithm of a key spec; `None` for P-521, which no YubiKey has.
pub(crate) const fn algorithm(spec: KeySpec) -> Option<AlgorithmId> {
    match spec {
        KeySpec::Rsa2048 => Some(AlgorithmId::Rsa2048),
        KeySpec::Rsa3072 => Some(AlgorithmId::Rsa3072),
        KeySpec::Rsa4096 => Some(AlgorithmId::Rsa4096),
        KeySpec::Ec256 => Some(AlgorithmId::EccP256),
        KeySpec::Ec384 => Some(AlgorithmId::EccP384),
        KeySpec::Ec521 => None,
    }
}

fn public_key(spec: KeySpec, data: &[u8]) -> Option<PublicKey> {
    let key = if spec.is_rsa() {
        PublicKey::from_rsa(tlv::find(data, 0x81)?, tlv::find(data, 0x82)?).ok()?
    } else {
        PublicKey::from_ec_point(spec, tlv::find(data, 0x86)?).ok()?
    };
    (key.spec() == spec).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> Slot {
        "9c".parse().unwrap()
    }

    #[test]
    fn metadata_is_read_and_garbage_is_none() {
        let mut point = vec![9; 65];
        point[0] = 4;
        let good = [
            tlv::element(&[1], &[0x11]),
            tlv::element(&[2], &[3, 2]),
            tlv::element(&[3], &[1]),
            tlv::element(&[4], &tlv::element(&[0x86], &point)),
        ]
        .concat();
        let read = parse(&good, slot()).unwrap();
        assert_eq!(read.algorithm, Ok(AlgorithmId::EccP256));
        assert_eq!((read.pin, read.touch), (Some(PinPolicy::Always), Some(TouchPolicy::Always)));
        assert_eq!(read.generated, Some(true));
        assert_eq!(read.public.unwrap().spec(), KeySpec::Ec256);
        for cut in 0..good.len() {
            assert!(parse(&good[..cut], slot()).is_none(), "{cut}");
        }
        // An algorithm of tomorrow has no public key we could read.
        let unknown = parse(&tlv::element(&[1], &[0x77]), slot()).unwrap();
        assert_eq!(unknown.algorithm, Err(0x77));
    }
}
