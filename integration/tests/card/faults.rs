//! What happens to cards and readers: pulled, hanging, talking nonsense, held by others, pcscd killed.

use std::time::Duration;

use anyhow::{Result, ensure};
use prokura_integration::backend::card::PIN;
use prokura_plugin::KeySpec;
use yubikey::piv::SlotId;
use yubikey::{Error, YubiKey};

use super::signing::sign;
use super::{Cards, eventually};

const SLOT: SlotId = SlotId::KeyManagement;

fn signs(card: &mut YubiKey) -> yubikey::Result<Vec<u8>> {
    card.verify_pin(PIN.as_bytes())?;
    sign(card, SLOT, KeySpec::Ec384)
}

fn is_pcsc<T>(result: yubikey::Result<T>) -> bool {
    result.is_err_and(|error| matches!(error, Error::PcscError { inner: Some(_) }))
}

pub(super) fn pulled(cards: &Cards) -> Result<()> {
    let mut card = cards.first()?;
    signs(&mut card)?;
    cards.order("unplug 0")?;
    ensure!(is_pcsc(signs(&mut card)));
    drop(card);
    eventually(|| {
        ensure!(cards.first().is_err());
        Ok(())
    })?;
    cards.second()?;
    cards.order("plug 0")?;
    let mut card = eventually(|| cards.first())?;
    signs(&mut card)?;
    Ok(())
}

pub(super) fn pulled_in_a_command(cards: &Cards) -> Result<()> {
    for when in ["before", "after"] {
        let mut card = eventually(|| cards.first())?;
        cards.order(&format!("pull 0 87 {when}"))?;
        ensure!(is_pcsc(signs(&mut card)), "{when}");
        cards.order("plug 0")?;
    }
    // A PIN that was wrong counts, though the answer is lost.
    let mut card = eventually(|| cards.first())?;
    cards.order("pull 0 20 after")?;
    ensure!(is_pcsc(card.verify_pin(b"000000")));
    ensure!(cards.order("tries 0")? == "(2, 3)");
    Ok(())
}

pub(super) fn hangs(cards: &Cards) -> Result<()> {
    let mut card = cards.first()?;
    cards.order("hang 0 87")?;
    let signing = std::thread::spawn(move || signs(&mut card));
    eventually(|| {
        ensure!(cards.order("hanging 0")? == "true");
        Ok(())
    })?;
    std::thread::sleep(Duration::from_millis(200));
    ensure!(!signing.is_finished());
    // Not tried: `open_by_serial` for the other card. It asks every reader in turn and would wait for this one.
    cards.order("release 0")?;
    ensure!(signing.join().is_ok_and(|signed| signed.is_ok()));
    Ok(())
}

pub(super) fn garbage(cards: &Cards) -> Result<()> {
    let mut card = cards.first()?;
    for nonsense in ["7c059000", "9000", "00", "7c82ffff82829000"] {
        cards.order(&format!("garbage 0 87 {nonsense}"))?;
        ensure!(signs(&mut card).is_err(), "{nonsense}");
    }
    cards.order("status 0 87 6f00 1")?;
    ensure!(signs(&mut card).is_err_and(|e| e == Error::GenericError));
    signs(&mut card)?;
    cards.order("count-anew 0")?;
    signs(&mut card)?;
    ensure!(cards.order("count 0")? == "20=1 87=1", "{}", cards.order("count 0")?);
    Ok(())
}

pub(super) fn pcscd_killed(cards: &Cards) -> Result<()> {
    let mut card = cards.first()?;
    signs(&mut card)?;
    cards.order("kill-pcscd")?;
    ensure!(is_pcsc(signs(&mut card)));
    ensure!(cards.first().is_err());
    cards.order("restart-pcscd")?;
    let mut card = eventually(|| cards.first())?;
    signs(&mut card)?;
    Ok(())
}

pub(super) fn held(cards: &Cards) -> Result<()> {
    cards.order("hold 0")?;
    let refused = YubiKey::open_by_serial(prokura_integration::backend::card::FIRST.serial.into());
    ensure!(refused.is_err_and(|e| format!("{e:?}").contains("SharingViolation")));
    cards.second()?;
    cards.order("let-go")?;
    eventually(|| cards.first())?;
    Ok(())
}

pub(super) fn no_reader(cards: &Cards) -> Result<()> {
    cards.order("restart-pcscd-without-reader")?;
    let refused = YubiKey::open_by_serial(prokura_integration::backend::card::FIRST.serial.into());
    let refused = refused.err();
    ensure!(refused == Some(Error::NotFound), "{refused:?}");
    cards.order("restart-pcscd")?;
    eventually(|| cards.first())?;
    Ok(())
}

pub(super) fn pulled_while_asking(cards: &Cards) -> Result<()> {
    let mut card = super::touch::with_touch(cards, yubikey::TouchPolicy::Always)?;
    cards.order("touch-by-hand 1")?;
    let signing = std::thread::spawn(move || sign(&mut card, super::touch::SLOT, KeySpec::Ec256));
    eventually(|| {
        ensure!(cards.order("asking 1")? == "true");
        Ok(())
    })?;
    cards.order("unplug 1")?;
    ensure!(signing.join().is_ok_and(is_pcsc));
    cards.order("plug 1")?;
    eventually(|| cards.second())?;
    Ok(())
}
