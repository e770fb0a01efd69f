//! PIN and PUK: counting, blocking, and the PIN before every signature.

use anyhow::{Result, ensure};
use prokura_integration::backend::card::{PIN, PUK};
use prokura_plugin::KeySpec;
use yubikey::Error;
use yubikey::piv::SlotId;

use super::Cards;
use super::signing::{certificate_key, sign, verify};

pub(super) fn counts(cards: &Cards) -> Result<()> {
    let mut card = cards.first()?;
    ensure!(card.get_pin_retries()? == 3);
    for left in [2, 1, 0] {
        let refused = card.verify_pin(b"000000");
        ensure!(refused == Err(Error::WrongPin { tries: left }), "{refused:?}, {left} left");
    }
    // Blocked, and the right one no longer helps.
    ensure!(card.verify_pin(PIN.as_bytes()) == Err(Error::WrongPin { tries: 0 }));
    ensure!(cards.order("tries 0")? == "(0, 3)");
    ensure!(card.unblock_pin(b"00000000", b"654321") == Err(Error::WrongPin { tries: 2 }));
    card.unblock_pin(PUK.as_bytes(), b"654321")?;
    ensure!(cards.order("tries 0")? == "(3, 3)");
    card.verify_pin(b"654321")?;
    Ok(())
}

pub(super) fn always(cards: &Cards) -> Result<()> {
    let mut card = cards.first()?;
    let public = certificate_key(&mut card, SlotId::Signature)?;
    let refused = |result: yubikey::Result<Vec<u8>>| result.is_err_and(|e| e == Error::AuthenticationError);
    ensure!(refused(sign(&mut card, SlotId::Signature, KeySpec::Ec256)), "without a PIN");
    card.verify_pin(PIN.as_bytes())?;
    verify(&public, &sign(&mut card, SlotId::Signature, KeySpec::Ec256)?)?;
    ensure!(refused(sign(&mut card, SlotId::Signature, KeySpec::Ec256)), "a second one");
    card.verify_pin(PIN.as_bytes())?;
    certificate_key(&mut card, SlotId::Signature)?;
    ensure!(refused(sign(&mut card, SlotId::Signature, KeySpec::Ec256)), "after reading the certificate");
    // Where the PIN is wanted once, it is wanted once.
    card.verify_pin(PIN.as_bytes())?;
    sign(&mut card, SlotId::KeyManagement, KeySpec::Ec384)?;
    certificate_key(&mut card, SlotId::KeyManagement)?;
    sign(&mut card, SlotId::KeyManagement, KeySpec::Ec384)?;
    Ok(())
}

pub(super) fn changes(cards: &Cards) -> Result<()> {
    let mut card = cards.first()?;
    ensure!(card.change_pin(b"000000", b"654321") == Err(Error::WrongPin { tries: 2 }));
    card.change_pin(PIN.as_bytes(), b"654321")?;
    ensure!(card.verify_pin(PIN.as_bytes()) == Err(Error::WrongPin { tries: 2 }));
    card.verify_pin(b"654321")?;
    card.change_puk(PUK.as_bytes(), b"87654321")?;
    Ok(())
}
