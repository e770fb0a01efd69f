//! Nitrokey's card, which is none of ours, under the same crate.

use anyhow::{Context as _, Result, ensure};
use prokura_integration::backend::card::nitrokey::SERIAL;
use prokura_integration::backend::card::{KEYS, PIN};
use prokura_integration::pki::Authority;
use prokura_plugin::{CertificateChain, KeySpec, PublicKey};
use x509_cert::der::Encode as _;
use yubikey::certificate::CertInfo;
use yubikey::piv::{self, AlgorithmId, SlotId};
use yubikey::{Certificate, Error, MgmKey, PinPolicy, TouchPolicy, YubiKey};

use super::Cards;
use super::signing::{certificate_key, sign, verify};

fn open() -> Result<YubiKey> {
    Ok(YubiKey::open_by_serial(SERIAL.into())?)
}

pub(super) fn signs_with_every_key(_: &Cards) -> Result<()> {
    let mut card = open()?;
    ensure!(card.version().to_string() == "5.3.0", "{}", card.version());
    for (slot, spec, _) in KEYS {
        let slot = SlotId::try_from(*slot)?;
        let public = certificate_key(&mut card, slot)?;
        ensure!(public.spec() == *spec, "{slot} has a certificate for {}", public.spec());
        card.verify_pin(PIN.as_bytes())?;
        let signature = sign(&mut card, slot, *spec).with_context(|| format!("{spec} in {slot}"))?;
        verify(&public, &signature).with_context(|| format!("{spec} in {slot}"))?;
    }
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
    let (touch, pin) = (TouchPolicy::Default, PinPolicy::Default);
    let made = piv::generate(&mut card, SlotId::Signature, AlgorithmId::EccP256, pin, touch)?;
    let public = PublicKey::from_spki_der(&made.to_der()?)?;
    let leaf = Authority::new("another root")?.issue(public.spki_der(), "another")?;
    let chain = CertificateChain::from_pem(leaf.as_bytes())?;
    let certificate = Certificate::from_bytes(chain.certificates().first().context("a leaf")?.clone())?;
    certificate.write(&mut card, SlotId::Signature, CertInfo::Uncompressed)?;
    ensure!(certificate_key(&mut card, SlotId::Signature)?.spki_der() == public.spki_der());
    card.verify_pin(PIN.as_bytes())?;
    verify(&public, &sign(&mut card, SlotId::Signature, KeySpec::Ec256)?)
}
