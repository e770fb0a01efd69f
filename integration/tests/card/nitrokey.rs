//! Nitrokey's card, which is none of ours, under the same crate.

use anyhow::{Result, ensure};
use prokura_integration::backend::card::PIN;
use prokura_integration::backend::card::nitrokey::SERIAL;
use prokura_plugin::KeySpec;
use yubikey::piv::{self, SlotId};
use yubikey::{Error, MgmKey, PinPolicy, TouchPolicy, YubiKey};

use super::Cards;
use super::provisioning::makes_and_certifies;
use super::signing::{certificate_key, every_key_signs, sign, verify};

fn open() -> Result<YubiKey> {
    Ok(YubiKey::open_by_serial(SERIAL.into())?)
}

pub(super) fn signs_with_every_key(_: &Cards) -> Result<()> {
    let mut card = open()?;
    ensure!(card.version().to_string() == "5.3.0", "{}", card.version());
    every_key_signs(&mut card)?;
    let metadata = piv::metadata(&mut card, SlotId::Signature)?;
    ensure!(metadata.policy == Some((PinPolicy::Always, TouchPolicy::Never)), "{metadata:?}");
    ensure!(piv::attest(&mut card, SlotId::Signature).is_err());
    Ok(())
}

pub(super) fn counts(_: &Cards) -> Result<()> {
    let mut card = open()?;
    ensure!(card.get_pin_retries()? == 3);
    ensure!(card.verify_pin(b"000000") == Err(Error::WrongPin { tries: 2 }));
    // This card does not forget a verification when it is selected, and then the crate takes "verified" for 0 tries.
    card.verify_pin(PIN.as_bytes())?;
    ensure!(card.get_pin_retries()? == 0);
    drop(card);
    ensure!(open()?.get_pin_retries()? == 3);
    Ok(())
}

pub(super) fn provisions(_: &Cards) -> Result<()> {
    let mut card = open()?;
    card.authenticate(&MgmKey::get_default(&card)?)?;
    makes_and_certifies(&mut card, SlotId::Signature)?;
    let public = certificate_key(&mut card, SlotId::Signature)?;
    card.verify_pin(PIN.as_bytes())?;
    verify(&public, &sign(&mut card, SlotId::Signature, KeySpec::Ec256)?)
}
