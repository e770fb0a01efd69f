//! Opening the card and signing with it.

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use prokura_integration::backend::card::{FIRST, KEYS, PIN, SECOND};
use prokura_plugin::{Digest, HashAlgorithm, KeySpec, PublicKey};
use yubikey::piv::{AlgorithmId, SlotId};
use yubikey::{Certificate, Error, YubiKey, piv};

use super::Cards;

/// What is signed.
pub(super) const MESSAGE: &[u8] = b"what is signed";

pub(super) fn opens(cards: &Cards) -> Result<()> {
    let first = cards.first()?;
    ensure!(first.version().to_string() == "5.7.1", "{}", first.version());
    ensure!(u32::from(first.serial()) == FIRST.serial);
    drop(first);
    let second = cards.second()?;
    ensure!(second.version().to_string() == "5.4.3", "{}", second.version());
    ensure!(u32::from(second.serial()) == SECOND.serial);
    drop(second);
    // The crate's `open` refuses to choose.
    ensure!(YubiKey::open().is_err_and(|e| e == Error::PcscError { inner: None }));
    ensure!(YubiKey::open_by_serial(1.into()).is_err_and(|e| e == Error::NotFound));
    Ok(())
}

pub(super) fn signs_with_every_key(cards: &Cards) -> Result<()> {
    every_key_signs(&mut cards.first()?)
}

/// Each key signs, and is the one its certificate is for; so on whatever card has been filled with [`KEYS`].
pub(super) fn every_key_signs(card: &mut YubiKey) -> Result<()> {
    for (slot, spec, _) in KEYS {
        let slot = SlotId::try_from(*slot)?;
        let public = certificate_key(card, slot)?;
        ensure!(public.spec() == *spec, "{slot} has a certificate for {}", public.spec());
        card.verify_pin(PIN.as_bytes())?;
        let signature = sign(card, slot, *spec).with_context(|| format!("{spec} in {slot}"))?;
        verify(&public, &signature).with_context(|| format!("{spec} in {slot}"))?;
    }
    Ok(())
}

pub(super) fn certificates_match(cards: &Cards) -> Result<()> {
    let mut card = cards.first()?;
    // The crate shows the certificate of 9d a second time, as that of a "slot" for the PIN.
    let listed = card.piv_keys()?;
    let listed = listed.iter().filter(|key| !matches!(key.slot(), SlotId::Management(_))).count();
    ensure!(listed == KEYS.len() + 1, "{listed}: the attestation certificate and one for every key");
    for (slot, spec, pin) in KEYS {
        let slot = SlotId::try_from(*slot)?;
        let metadata = piv::metadata(&mut card, slot)?;
        let (pin_policy, touch_policy) = metadata.policy.context("policies")?;
        ensure!(u8::from(pin_policy) == *pin as u8 && u8::from(touch_policy) == 1, "{metadata:?}");
        ensure!(metadata.algorithm == algorithm(*spec)?.into_slot(), "{metadata:?}");
        let held = x509_cert::der::Encode::to_der(&metadata.public.context("a public key")?)?;
        ensure!(held == certificate_key(&mut card, slot)?.spki_der(), "{slot} holds another key");
    }
    ensure!(matches!(piv::metadata(&mut card, SlotId::CardAuthentication), Err(Error::NotFound)));
    Ok(())
}

pub(super) fn refuses_unpadded(cards: &Cards) -> Result<()> {
    let mut card = cards.first()?;
    card.verify_pin(PIN.as_bytes())?;
    // Not below the modulus.
    let refused = piv::sign_data(&mut card, &[0xFF; 256], AlgorithmId::Rsa2048, SlotId::Authentication);
    ensure!(refused.is_err_and(|e| e == Error::GenericError));
    // Another algorithm than the key's.
    let refused = piv::sign_data(&mut card, &[1; 32], AlgorithmId::EccP256, SlotId::Authentication);
    ensure!(refused.is_err_and(|e| e == Error::GenericError));
    Ok(())
}

/// PIV's name of a key spec.
pub(super) fn algorithm(spec: KeySpec) -> Result<AlgorithmId> {
    Ok(match spec {
        KeySpec::Rsa2048 => AlgorithmId::Rsa2048,
        KeySpec::Rsa3072 => AlgorithmId::Rsa3072,
        KeySpec::Rsa4096 => AlgorithmId::Rsa4096,
        KeySpec::Ec256 => AlgorithmId::EccP256,
        KeySpec::Ec384 => AlgorithmId::EccP384,
        KeySpec::Ec521 => anyhow::bail!("PIV has no P-521"),
    })
}

trait IntoSlot {
    fn into_slot(self) -> piv::SlotAlgorithmId;
}

impl IntoSlot for AlgorithmId {
    fn into_slot(self) -> piv::SlotAlgorithmId {
        piv::SlotAlgorithmId::Asymmetric(self)
    }
}

/// The key of the certificate stored beside a slot.
pub(super) fn certificate_key(card: &mut YubiKey, slot: SlotId) -> Result<PublicKey> {
    let certificate = Certificate::read(card, slot).with_context(|| format!("certificate of {slot}"))?;
    Ok(PublicKey::from_spki_der(&x509_cert::der::Encode::to_der(&certificate.subject_pki())?)?)
}

/// Signs [`MESSAGE`], padded as RSASSA-PKCS1-v1_5 (RFC 8017 section 9.2) if the key is RSA.
pub(super) fn sign(card: &mut YubiKey, slot: SlotId, spec: KeySpec) -> yubikey::Result<Vec<u8>> {
    let input = if spec.is_rsa() {
        let prefix = [0x30, 49, 0x30, 13, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 32];
        let info = [&prefix[..], Digest::of(HashAlgorithm::Sha256, MESSAGE).bytes()].concat();
        let filling = vec![0xFF; spec.signature_len() - 3 - info.len()];
        [&[0, 1][..], &filling, &[0], &info].concat()
    } else {
        let hash = if spec == KeySpec::Ec256 { HashAlgorithm::Sha256 } else { HashAlgorithm::Sha384 };
        Digest::of(hash, MESSAGE).bytes().to_vec()
    };
    let algorithm = algorithm(spec).map_err(|_| Error::AlgorithmError)?;
    Ok(piv::sign_data(card, &input, algorithm, slot)?.to_vec())
}

pub(super) fn verify(public: &PublicKey, signature: &[u8]) -> Result<()> {
    let algorithm: &'static dyn VerificationAlgorithm = match public.spec() {
        KeySpec::Ec256 => &ECDSA_P256_SHA256_ASN1,
        KeySpec::Ec384 => &ECDSA_P384_SHA384_ASN1,
        _ => &RSA_PKCS1_2048_8192_SHA256,
    };
    let key = UnparsedPublicKey::new(algorithm, public.key_bits());
    key.verify(MESSAGE, signature).ok().context("the signature does not verify")
}
