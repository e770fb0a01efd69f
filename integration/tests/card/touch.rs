//! The finger on the contact: asked for, late, absent, remembered.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use prokura_plugin::KeySpec;
use yubikey::piv::{AlgorithmId, SlotId, generate};
use yubikey::{Error, MgmKey, PinPolicy, TouchPolicy, YubiKey};

use super::Cards;
use super::signing::sign;

pub(super) const SLOT: SlotId = SlotId::CardAuthentication;

/// A key that wants no PIN but a touch, in the second card.
pub(super) fn with_touch(cards: &Cards, policy: TouchPolicy) -> Result<YubiKey> {
    let mut card = cards.second()?;
    card.authenticate(&MgmKey::get_default(&card)?)?;
    generate(&mut card, SLOT, AlgorithmId::EccP256, PinPolicy::Never, policy)?;
    Ok(card)
}

pub(super) fn on_demand(cards: &Cards) -> Result<()> {
    let mut card = with_touch(cards, TouchPolicy::Always)?;
    cards.order("touch-by-hand 1")?;
    let signing = std::thread::spawn(move || sign(&mut card, SLOT, KeySpec::Ec256));
    super::eventually(|| {
        ensure!(cards.order("asking 1")? == "true", "it does not ask");
        Ok(())
    })?;
    ensure!(!signing.is_finished());
    cards.order("touch 1")?;
    ensure!(signing.join().is_ok_and(|signed| signed.is_ok()));
    Ok(())
}

pub(super) fn never_comes(cards: &Cards) -> Result<()> {
    let mut card = with_touch(cards, TouchPolicy::Always)?;
    cards.order("touch-by-hand 1")?;
    cards.order("patience 1 300")?;
    let begun = Instant::now();
    let refused = sign(&mut card, SLOT, KeySpec::Ec256);
    ensure!(refused.is_err_and(|e| e == Error::AuthenticationError));
    ensure!(begun.elapsed() >= Duration::from_millis(300));
    // And when it comes after a while, all is well.
    cards.order("touch-after 1 100")?;
    sign(&mut card, SLOT, KeySpec::Ec256)?;
    Ok(())
}

pub(super) fn cached(cards: &Cards) -> Result<()> {
    let mut card = with_touch(cards, TouchPolicy::Cached)?;
    sign(&mut card, SLOT, KeySpec::Ec256)?;
    cards.order("touch-by-hand 1")?;
    cards.order("patience 1 100")?;
    sign(&mut card, SLOT, KeySpec::Ec256)?;
    Ok(())
}
