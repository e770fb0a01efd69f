//! Firmware that tells less: before 5.3 no metadata, before 4.3 no attestation either.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use prokura_integration::backend::card::{Identity, OLD, OLDEST, PinPolicy, TouchPolicy};
use prokura_integration::pki::Authority;
use prokura_plugin::KeySpec;
use prokura_proto::plugin::v1;

use super::served::{Key, Served};
use super::{Fault, SOON, Scene, foreign_certificate, refused};

/// INS of Yubico's ATTEST.
const ATTEST: u8 = 0xF9;

/// Faults of the second card, which has this firmware.
pub(super) const FAULTS: &[(Identity, Fault)] = &[
    (OLD, ("old_firmware_attests", "firmware 4.3: a new key without a certificate", attested)),
    (
        OLD,
        (
            "old_firmware_occupied_slot",
            "firmware 4.3: a key made where one is, without a certificate",
            occupied,
        ),
    ),
    (OLD, ("old_firmware_certificate", "firmware 4.3: certificate in the slot is for another key", foreign)),
    (OLD, ("old_firmware_untold", "firmware 4.3: neither attestation nor certificate", untold)),
    (
        OLD,
        (
            "old_firmware_replaced_key",
            "firmware 4.3: a key made in place of one with a certificate",
            replaced,
        ),
    ),
    (OLDEST, ("oldest_firmware", "firmware 4.2: a new key, which nothing tells of any more", oldest)),
];

fn attested(scene: &mut Scene) -> Result<String> {
    let served = scene.serve()?;
    let key = key(scene, OLD).with("pin-policy", "always");
    let made = make(&served, &key)?;
    let details = made.details.clone().unwrap_or_default();
    ensure!(
        (details.pin_policy.as_str(), details.touch_policy.as_str()) == ("ALWAYS", "NEVER"),
        "{details:?}"
    );
    let described = served.describe(&key).map_err(|e| anyhow::anyhow!("{}", e.message))?;
    ensure!(
        described.public_key == made.public_key && described.certificate_chain.is_empty(),
        "{described:?}"
    );
    ensure!(described.details.unwrap_or_default().attestation.len() == 2, "the attestation and its issuer");
    let serial = BTreeMap::from([("serial".to_owned(), OLD.serial.to_string())]);
    let listed = served.list(&serial)?;
    let ids: Vec<&str> = listed.iter().map(|key| key.key_id.as_str()).collect();
    ensure!(ids == [key.id.as_str()], "{ids:?}");
    scene.signs(&served, &key, SOON)?;
    install(&served, &key, &made)?;
    scene.signs(&served, &key, SOON)?;
    Ok("described, listed, signs and takes its certificate".to_owned())
}

fn occupied(scene: &mut Scene) -> Result<String> {
    let served = scene.serve()?;
    let key = key(scene, OLD);
    make(&served, &key)?;
    let said = refused(served.create(&key), "VALIDATION_ERROR", &["holds a key already", "overwrite"])?;
    scene.signs(&served, &key, SOON)?;
    Ok(said)
}

fn foreign(scene: &mut Scene) -> Result<String> {
    let served = scene.serve()?;
    let key = key(scene, OLD);
    let made = make(&served, &key)?;
    scene.second().store_certificate(0x84, &foreign_certificate()?)?;
    let said = refused(served.describe(&key), "VALIDATION_ERROR", &["for another key", "cert install"])?;
    install(&served, &key, &made)?;
    scene.signs(&served, &key, SOON)?;
    Ok(said)
}

/// A key that was imported, which no firmware attests.
fn untold(scene: &mut Scene) -> Result<String> {
    let served = scene.serve()?;
    let key = key(scene, OLD);
    let made = make(&served, &key)?;
    // What an imported key is answered with.
    scene.second().fail(Some(ATTEST), prokura_integration::backend::card::Fault::Status(0x6A80), u32::MAX);
    let words = [
        "nothing tells",
        "4.3.7",
        "5.3",
        "attests no key",
        "no certificate",
        "certificates import",
        "key create",
    ];
    let said = refused(served.describe(&key), "VALIDATION_ERROR", &words)?;
    let certificate = issue(&made)?;
    scene.second().store_certificate(0x84, &certificate)?;
    scene.signs(&served, &key, SOON)?;
    Ok(said)
}

fn replaced(scene: &mut Scene) -> Result<String> {
    let served = scene.serve()?;
    let policies = (PinPolicy::Once, TouchPolicy::Never);
    scene.second().fill(0x84, KeySpec::Ec256, policies, &Authority::new("root of the first key")?)?;
    let key = key(scene, OLD);
    let first = served.describe(&key).map_err(|e| anyhow::anyhow!("{}", e.message))?;
    let made = make(&served, &key.clone().with("overwrite", "yes"))?;
    ensure!(made.public_key != first.public_key, "the first key is still there");
    let described = served.describe(&key).map_err(|e| anyhow::anyhow!("{}", e.message))?;
    ensure!(described.certificate_chain.is_empty(), "the certificate of the first key is still there");
    scene.signs(&served, &key, SOON)?;
    Ok("signs with the new key; the certificate of the destroyed one is gone".to_owned())
}

fn oldest(scene: &mut Scene) -> Result<String> {
    let served = scene.serve()?;
    let key = key(scene, OLDEST).with("pin-policy", "always").with("touch-policy", "cached");
    let made = make(&served, &key)?;
    let details = made.details.clone().unwrap_or_default();
    ensure!(
        (details.pin_policy.as_str(), details.touch_policy.as_str()) == ("ALWAYS", "CACHED"),
        "{details:?}"
    );
    let words = ["nothing tells", "4.2.8", "since 4.3", "no certificate", "certificates request"];
    let said = refused(served.describe(&key), "VALIDATION_ERROR", &words)?;
    scene.second().store_certificate(0x84, &issue(&made)?)?;
    scene.signs(&served, &key, SOON)?;
    Ok(said)
}

/// Slot 84 of the second card.
fn key(scene: &Scene, identity: Identity) -> Key {
    let mut key = scene.always().with("management-key-source", "default");
    key.config.remove("ca_certs");
    Key { id: format!("piv:serial={};slot=84", identity.serial), ..key }
}

fn make(served: &Served, key: &Key) -> Result<v1::DescribeKeyResponse> {
    served.create(key).map_err(|e| anyhow::anyhow!("{}", e.message))
}

fn issue(made: &v1::DescribeKeyResponse) -> Result<Vec<u8>> {
    let leaf = Authority::new("root of a new key")?.issue(&made.public_key, "a new key")?;
    let chain = prokura_plugin::CertificateChain::from_pem(leaf.as_bytes())?;
    chain.certificates().first().cloned().context("a leaf was issued")
}

fn install(served: &Served, key: &Key, made: &v1::DescribeKeyResponse) -> Result<()> {
    let leaf = issue(made)?;
    served.install(key, &leaf).map_err(|e| anyhow::anyhow!("{}", e.message))?;
    let described = served.describe(key).map_err(|e| anyhow::anyhow!("{}", e.message))?;
    ensure!(described.certificate_chain == [leaf], "the certificate is not there");
    Ok(())
}
