//! Keys and certificates put into the card, with the management key.

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::encoding::AsBigEndian as _;
use prokura_integration::backend::card::{OLD, PIN};
use prokura_integration::pki::{Authority, generate_key};
use prokura_plugin::{CertificateChain, KeySpec, PublicKey};
use rcgen::PublicKeyData as _;
use x509_cert::der::{Decode as _, Encode as _};
use yubikey::certificate::CertInfo;
use yubikey::mgm::MgmAlgorithmId;
use yubikey::piv::{self, AlgorithmId, Origin, RetiredSlotId, SlotId};
use yubikey::{Certificate, Error, MgmKey, PinPolicy, TouchPolicy, YubiKey};

use super::Cards;
use super::signing::{algorithm, certificate_key, sign, verify};

const SLOT: SlotId = SlotId::Retired(RetiredSlotId::R20);

pub(super) fn generates(cards: &Cards) -> Result<()> {
    let mut card = cards.first()?;
    for spec in [KeySpec::Rsa2048, KeySpec::Rsa3072, KeySpec::Rsa4096, KeySpec::Ec256, KeySpec::Ec384] {
        // Every command but signing reads as another user of the card would: the key survives, the session does not.
        card.authenticate(&MgmKey::get_default(&card)?)?;
        let made = piv::generate(&mut card, SLOT, algorithm(spec)?, PinPolicy::Once, TouchPolicy::Cached)?;
        let public = PublicKey::from_spki_der(&made.to_der()?)?;
        ensure!(public.spec() == spec, "{spec}");
        let metadata = piv::metadata(&mut card, SLOT)?;
        ensure!(metadata.policy == Some((PinPolicy::Once, TouchPolicy::Cached)), "{metadata:?}");
        ensure!(metadata.origin == Some(Origin::Generated), "{metadata:?}");
        card.verify_pin(PIN.as_bytes())?;
        verify(&public, &sign(&mut card, SLOT, spec)?)?;
        let attestation = piv::attest(&mut card, SLOT)?;
        let attestation = x509_cert::Certificate::from_der(&attestation)?;
        let attested = attestation.tbs_certificate().subject_public_key_info().to_der()?;
        ensure!(attested == public.spki_der(), "another key is attested");
        let issuer = Certificate::read(&mut card, SlotId::Attestation)?;
        ensure!(issuer.subject() == attestation.tbs_certificate().issuer().to_string());
    }
    // The older card has no RSA-4096.
    let mut card = cards.second()?;
    card.authenticate(&MgmKey::get_default(&card)?)?;
    let refused =
        piv::generate(&mut card, SLOT, AlgorithmId::Rsa4096, PinPolicy::Default, TouchPolicy::Default);
    ensure!(refused.is_err_and(|e| e == Error::AlgorithmError));
    Ok(())
}

pub(super) fn imports(cards: &Cards) -> Result<()> {
    let mut card = cards.first()?;
    card.authenticate(&MgmKey::get_default(&card)?)?;
    let key = generate_key(KeySpec::Ec384)?;
    let private = aws_lc_rs::signature::EcdsaKeyPair::from_pkcs8(
        &aws_lc_rs::signature::ECDSA_P384_SHA384_ASN1_SIGNING,
        key.serialized_der(),
    )?;
    let scalar = private.private_key().as_be_bytes()?;
    let (touch, pin) = (TouchPolicy::Never, PinPolicy::Once);
    piv::import_ecc_key(&mut card, SLOT, AlgorithmId::EccP384, scalar.as_ref(), touch, pin)?;
    let public = PublicKey::from_spki_der(&key.subject_public_key_info())?;
    card.verify_pin(PIN.as_bytes())?;
    verify(&public, &sign(&mut card, SLOT, KeySpec::Ec384)?)?;
    ensure!(piv::metadata(&mut card, SLOT)?.origin == Some(Origin::Imported));
    ensure!(piv::attest(&mut card, SLOT).is_err(), "only what was made in the card is attested");
    import_rsa(cards)
}

fn import_rsa(cards: &Cards) -> Result<()> {
    let mut card = cards.second()?;
    card.authenticate(&MgmKey::get_default(&card)?)?;
    let key = generate_key(KeySpec::Rsa2048)?;
    let info = x509_cert::der::asn1::AnyRef::from_der(key.serialized_der())?;
    let [p, q] = primes(info.value()).context("not an RSA key")?;
    let data = piv::RsaKeyData::new(&p, &q)?;
    let (touch, pin) = (TouchPolicy::Never, PinPolicy::Never);
    piv::import_rsa_key(&mut card, SLOT, AlgorithmId::Rsa2048, data, touch, pin)?;
    let public = PublicKey::from_spki_der(&key.subject_public_key_info())?;
    verify(&public, &sign(&mut card, SLOT, KeySpec::Rsa2048)?)
}

/// The primes of the RSAPrivateKey in a PrivateKeyInfo's elements (RFC 8017 appendix A.1.2).
fn primes(info: &[u8]) -> Option<[Vec<u8>; 2]> {
    use x509_cert::der::asn1::{AnyRef, OctetStringRef, UintRef};
    use x509_cert::der::{Reader as _, SliceReader};
    let mut reader = SliceReader::new(info).ok()?;
    let (_, _) = (UintRef::decode(&mut reader).ok()?, AnyRef::decode(&mut reader).ok()?);
    let key = <&OctetStringRef>::decode(&mut reader).ok()?;
    let key = AnyRef::from_der(key.as_bytes()).ok()?;
    let mut reader = SliceReader::new(key.value()).ok()?;
    let mut integers = Vec::new();
    while !reader.is_finished() {
        integers.push(UintRef::decode(&mut reader).ok()?.as_bytes().to_vec());
    }
    let [_, _, _, _, p, q, ..] = integers.as_slice() else { return None };
    Some([p.clone(), q.clone()])
}

pub(super) fn needs_management_key(cards: &Cards) -> Result<()> {
    for mut card in [cards.first()?, cards.second()?] {
        let generate = |card: &mut _| {
            piv::generate(card, SLOT, AlgorithmId::EccP256, PinPolicy::Default, TouchPolicy::Default)
        };
        ensure!(generate(&mut card).is_err_and(|e| e == Error::AuthenticationError));
        let algorithm = MgmKey::get_default(&card)?.algorithm_id();
        let wrong = MgmKey::from_bytes([7; 24], Some(algorithm))?;
        ensure!(card.authenticate(&wrong) == Err(Error::AuthenticationError));
        ensure!(generate(&mut card).is_err_and(|e| e == Error::AuthenticationError));
        card.authenticate(&MgmKey::get_default(&card)?)?;
        generate(&mut card)?;
        let another = MgmKey::from_bytes([9; 32], Some(MgmAlgorithmId::Aes256))?;
        another.set_manual(&mut card, false)?;
        ensure!(card.authenticate(&MgmKey::get_default(&card)?) == Err(Error::AuthenticationError));
        card.authenticate(&another)?;
        // What comes last is kept in the card, open to who knows the PIN.
        let protected = MgmKey::from_bytes([5; 24], Some(MgmAlgorithmId::Aes192))?;
        protected.set_protected(&mut card)?;
        card.verify_pin(PIN.as_bytes())?;
        let found = MgmKey::get_protected(&mut card)?;
        card.authenticate(&found)?;
    }
    Ok(())
}

pub(super) fn stores_certificates(cards: &Cards) -> Result<()> {
    let mut card = cards.second()?;
    card.authenticate(&MgmKey::get_default(&card)?)?;
    ensure!(Certificate::read(&mut card, SLOT).is_err_and(|e| e == Error::InvalidObject));
    let certificate = makes_and_certifies(&mut card, SLOT)?;
    drop(card);
    let mut card = cards.second()?;
    ensure!(certificate.write(&mut card, SLOT, CertInfo::Uncompressed) == Err(Error::AuthenticationError));
    ensure!(Certificate::read(&mut card, SLOT)?.subject() == certificate.subject());
    Ok(())
}

/// Makes a P-256 key in a slot and stores a certificate for it; so on whatever card the management key was proved to.
pub(super) fn makes_and_certifies(card: &mut YubiKey, slot: SlotId) -> Result<Certificate> {
    let (touch, pin) = (TouchPolicy::Default, PinPolicy::Default);
    let made = piv::generate(card, slot, AlgorithmId::EccP256, pin, touch)?.to_der()?;
    let leaf = Authority::new("another root")?.issue(&made, "stored")?;
    let chain = CertificateChain::from_pem(leaf.as_bytes())?;
    let certificate = Certificate::from_bytes(chain.certificates().first().context("a leaf")?.clone())?;
    certificate.write(card, slot, CertInfo::Uncompressed)?;
    ensure!(certificate_key(card, slot)?.spki_der() == made, "the certificate is for another key");
    Ok(certificate)
}

/// Firmware 4.3: no metadata, 3DES only, no RSA-3072, the serial number in another application; but attestation.
pub(super) fn old_firmware(_: &Cards) -> Result<()> {
    let mut card = YubiKey::open_by_serial(OLD.serial.into())?;
    ensure!(card.version().to_string() == "4.3.7", "{}", card.version());
    ensure!(matches!(piv::metadata(&mut card, SLOT), Err(Error::NotSupported)));
    card.authenticate(&MgmKey::get_default(&card)?)?;
    let aes = MgmKey::from_bytes([9; 32], Some(MgmAlgorithmId::Aes256))?;
    ensure!(aes.set_manual(&mut card, false).is_err());
    let (touch, pin) = (TouchPolicy::Default, PinPolicy::Always);
    ensure!(piv::generate(&mut card, SLOT, AlgorithmId::Rsa3072, pin, touch).is_err());
    let made = piv::generate(&mut card, SLOT, AlgorithmId::EccP256, pin, touch)?;
    let attestation = x509_cert::Certificate::from_der(&piv::attest(&mut card, SLOT)?)?;
    ensure!(*attestation.tbs_certificate().subject_public_key_info() == made);
    Ok(())
}
