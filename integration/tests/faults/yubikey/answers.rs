//! What cards answer and hold: nothing, other keys, other certificates, nonsense.

use anyhow::{Result, ensure};
use aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1_SIGNING;
use prokura_integration::backend::card::Fault as CardFault;
use prokura_integration::{pki, signature};
use prokura_plugin::KeySpec;

use super::{Fault, SOON, Scene, foreign_certificate, refused, says, slot_of};

const SIGN: u8 = 0x87;
const METADATA: u8 = 0xF7;
const ATTEST: u8 = 0xF9;

pub(super) const FAULTS: &[Fault] = &[
    ("empty_slot", "slot without a key", empty),
    ("ed25519", "slot with an Ed25519 key", ed25519),
    ("rsa_1024", "slot with an RSA-1024 key", rsa_1024),
    ("certificate_for_another_key", "certificate in the slot is for another key", other_certificate),
    ("no_certificate", "slot with a key and no certificate", no_certificate),
    ("signature_by_another_key", "card returns a signature by another key", other_key),
    ("another_key_meanwhile", "key in the slot replaced between description and signature", replaced),
    ("garbage", "garbage instead of every answer", garbage),
    ("refusals", "status words instead of a signature", refusals),
    ("firmware_without_metadata", "firmware that does not tell public keys and policies", older),
];

fn empty(scene: &mut Scene) -> Result<String> {
    let said = scene.refusal(&scene.bare(0x95, KeySpec::Ec256), 1)?;
    says(&said, &["VALIDATION_ERROR", "slot 95 of YubiKey 12345678 holds no key", "piv keys generate"])?;
    Ok(said)
}

fn ed25519(scene: &mut Scene) -> Result<String> {
    of_kind(scene, 0xE0, "Ed25519")
}

fn rsa_1024(scene: &mut Scene) -> Result<String> {
    of_kind(scene, 0x06, "RSA-1024")
}

/// The card says that the key is of another kind, as one made by another program may be.
fn of_kind(scene: &Scene, algorithm: u8, name: &str) -> Result<String> {
    let metadata = [&[1, 1, algorithm, 2, 2, 2, 1, 3, 1, 1][..], &[0x90, 0x00]].concat();
    scene.card().fail(Some(METADATA), CardFault::Garbage(metadata), 1);
    let said = scene.refusal(&scene.always(), 1)?;
    says(&said, &["VALIDATION_ERROR", name, "RSA 2048, 3072 or 4096, P-256 or P-384"])?;
    Ok(said)
}

fn other_certificate(scene: &mut Scene) -> Result<String> {
    scene.card().store_certificate(slot_of(KeySpec::Ec256), &foreign_certificate()?)?;
    let said = scene.refusal(&scene.always(), 1)?;
    says(
        &said,
        &["VALIDATION_ERROR", "for another key", "for another key than the one in it", "cert install"],
    )?;
    Ok(said)
}

fn no_certificate(scene: &mut Scene) -> Result<String> {
    scene.card().store_certificate(slot_of(KeySpec::Ec256), &[])?;
    let said = scene.refusal(&scene.always(), 1)?;
    says(&said, &["certificate"])?;
    Ok(said)
}

fn other_key(scene: &mut Scene) -> Result<String> {
    let served = scene.serve()?;
    let key = scene.always();
    let foreign = pki::generate_key(KeySpec::Ec256)?;
    let der = signature::sign_ec(&foreign, &ECDSA_P256_SHA256_ASN1_SIGNING, &key.digest()?)?;
    let length = u8::try_from(der.len())?;
    let answer = [&[0x7C, length + 2, 0x82, length][..], &der, &[0x90, 0x00]].concat();
    scene.card().fail(Some(SIGN), CardFault::Garbage(answer), 1);
    let said = refused(served.sign(&key, SOON), "ERROR", &["does not verify", "discarded"])?;
    scene.signs(&served, &key, SOON)?;
    Ok(said)
}

fn replaced(scene: &mut Scene) -> Result<String> {
    let served = scene.serve()?;
    let key = scene.always();
    scene.signs(&served, &key, SOON)?;
    let authority = pki::Authority::new("the same root")?;
    use prokura_integration::backend::card::{PinPolicy, TouchPolicy};
    scene.card().fill(0x9C, KeySpec::Ec256, (PinPolicy::Always, TouchPolicy::Never), &authority)?;
    let said = refused(served.sign(&key, SOON), "ERROR", &["does not verify", "another key than it says"])?;
    // Described anew, it is the new key that signs.
    scene.signs(&served, &key, SOON)?;
    Ok(said)
}

fn garbage(scene: &mut Scene) -> Result<String> {
    let key = scene.always();
    let mut said = String::new();
    // Not nothing at all: vpcd takes that for a card that was pulled.
    let nonsense: [&[u8]; 6] =
        [&[0x00], &[0x90], &[0x00; 300], &[0x7C, 0x82, 0xFF, 0xFF, 0x90, 0x00], &[0x61, 0x00], &[0x90, 0x00]];
    for (at, instruction) in [0xA4, 0xFD, 0xF8, METADATA, 0xCB, 0x20, SIGN].into_iter().enumerate() {
        // Three of the six for each instruction, so that the trial ends this minute.
        for bytes in nonsense.iter().skip(at % 2).step_by(2) {
            scene.card().fail(Some(instruction), CardFault::Garbage(bytes.to_vec()), u32::MAX);
            let run = scene.prokura(&key)?;
            scene.card().release();
            // Success without data is all that SELECT and VERIFY have to say.
            let may_sign = matches!(instruction, 0xA4 | 0x20) && *bytes == [0x90, 0x00];
            ensure!(
                run.code == Some(1) || may_sign,
                "{instruction:02X} {bytes:02X?}: {:?} {}",
                run.code,
                run.stderr
            );
            ensure!(!run.stderr.contains("panicked"), "{instruction:02X} {bytes:02X?}: {}", run.stderr);
            if instruction == SIGN {
                run.stderr
                    .lines()
                    .find(|l| l.starts_with("Error: "))
                    .unwrap_or_default()
                    .clone_into(&mut said);
            }
        }
    }
    scene.prokura(&key)?.ok()?;
    Ok(said.trim_start_matches("Error: ").to_owned())
}

fn refusals(scene: &mut Scene) -> Result<String> {
    let served = scene.serve()?;
    let key = scene.always();
    served.describe(&key).map_err(|e| anyhow::anyhow!("{}", e.message))?;
    let mut all = Vec::new();
    for (status, code) in [
        (0x6982, "ACCESS_DENIED"),
        (0x6985, "ACCESS_DENIED"),
        (0x6A80, "VALIDATION_ERROR"),
        (0x6A88, "VALIDATION_ERROR"),
        (0x6F00, "ERROR"),
        (0x6581, "ERROR"),
        (0x1234, "ERROR"),
    ] {
        scene.card().fail(Some(SIGN), CardFault::Status(status), u32::MAX);
        let word = format!("{status:04X}");
        all.push(refused(served.sign(&key, SOON), code, &[&word])?);
        scene.card().release();
    }
    scene.signs(&served, &key, SOON)?;
    Ok(all.join(" | "))
}

fn older(scene: &mut Scene) -> Result<String> {
    let served = scene.serve()?;
    scene.card().fail(Some(METADATA), CardFault::Status(0x6D00), u32::MAX);
    let key = scene.always();
    scene.signs(&served, &key, SOON)?;
    let details =
        served.describe(&key).map_err(|e| anyhow::anyhow!("{}", e.message))?.details.unwrap_or_default();
    ensure!(details.pin_policy == "ALWAYS" && details.touch_policy == "NEVER", "{details:?}");
    scene.card().store_certificate(slot_of(KeySpec::Ec384), &[])?;
    let other = scene.key(KeySpec::Ec384);
    scene.signs(&served, &other, SOON)?;
    scene.card().fail(Some(ATTEST), CardFault::Status(0x6D00), u32::MAX);
    refused(served.describe(&other), "VALIDATION_ERROR", &["firmware", "certificates import"])
}
