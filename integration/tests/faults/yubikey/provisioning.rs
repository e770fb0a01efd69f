//! Keys listed, made and certified in the device, and who may not.

use anyhow::{Context as _, Result, ensure};
use prokura_integration::backend::card::{Fault as CardFault, SECOND};
use prokura_integration::home::write_private;
use prokura_integration::pki::Authority;
use prokura_plugin::KeySpec;
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};

use super::served::Key;
use super::{Fault, SOON, Scene, foreign_certificate, refused, says};

/// The management key of every new YubiKey.
const FACTORY: &str = "010203040506070801020304050607080102030405060708";

/// INS of VERIFY.
const VERIFY: u8 = 0x20;

pub(super) const FAULTS: &[Fault] = &[
    ("keys_are_listed", "keys of all devices asked for, without a PIN", listed),
    ("key_made_and_certified", "a new key, its certificate installed", made),
    ("delivered_management_key", "the management key every YubiKey is delivered with", delivered),
    ("management_key_in_the_config", "management key itself in the plugin config", in_config),
    ("management_key_not_assumed", "no management key configured", not_assumed),
    ("protected_management_key", "management key kept in the device, under the PIN", protected),
    ("protected_key_unanswered", "card pulled while it checks the PIN for the management key in it", pulled),
    ("wrong_management_key", "another management key than the device's", wrong_key),
    ("occupied_slot", "key made in an occupied slot", occupied),
    ("long_rsa_on_old_firmware", "RSA-4096 on firmware 5.4", long_rsa),
    ("certificate_of_another_key_installed", "installed certificate is for another key", foreign),
    ("attestation", "attestation asked for", attested),
];

fn listed(scene: &mut Scene) -> Result<String> {
    let served = scene.serve()?;
    let keys = served.list(&Default::default())?;
    let ids: Vec<&str> = keys.iter().map(|key| key.key_id.as_str()).collect();
    let expected = ["9c", "9a", "9d", "82", "83"].map(|slot| format!("piv:serial=12345678;slot={slot}"));
    ensure!(ids == expected, "{ids:?}");
    for key in &keys {
        let details = key.details.clone().unwrap_or_default();
        let complete = key.certificate_chain.len() == 1
            && details.exportable == "NO"
            && details.touch_policy == "NEVER"
            && !details.pin_policy.is_empty()
            && details.attributes.get("firmware").is_some_and(|f| f == "5.7.1");
        ensure!(complete, "{key:?}");
    }
    ensure!(scene.card().count(0x20) == 0, "a PIN was asked for");
    Ok(format!("{} keys, none of them asked for a PIN", keys.len()))
}

fn made(scene: &mut Scene) -> Result<String> {
    let served = scene.serve()?;
    let file = scene.home.path().join("management-key");
    write_private(&file, FACTORY)?;
    for (spec, source) in [
        (KeySpec::Ec256, "default".to_owned()),
        (KeySpec::Ec384, format!("file:{}", file.display())),
        (KeySpec::Rsa2048, "default".to_owned()),
    ] {
        for serial in [SECOND.serial, prokura_integration::backend::card::FIRST.serial] {
            let slot = if spec == KeySpec::Ec256 {
                "90"
            } else if spec.is_rsa() {
                "91"
            } else {
                "92"
            };
            let key = Key { id: format!("piv:serial={serial};slot={slot}"), ..scene.key(spec) };
            let key = key.with("management-key-source", &source).with("pin-policy", "always");
            let made = served.create(&key).map_err(|e| anyhow::anyhow!("{spec}: {}", e.message))?;
            let details = made.details.clone().unwrap_or_default();
            ensure!(made.key_spec == spec.as_str() && details.pin_policy == "ALWAYS", "{made:?}");
            let authority = Authority::new("root of a new key")?;
            let leaf = authority.issue(&made.public_key, "a new key")?;
            let chain = prokura_plugin::CertificateChain::from_pem(leaf.as_bytes())?;
            let leaf = chain.certificates().first().context("a leaf was issued")?;
            served.install(&key, leaf).map_err(|e| anyhow::anyhow!("{spec}: {}", e.message))?;
            let mut described = key.clone();
            described.config.remove("ca_certs");
            let chain = served.describe(&described).map_err(|e| anyhow::anyhow!("{}", e.message))?;
            ensure!(chain.certificate_chain == std::slice::from_ref(leaf), "the certificate is not there");
            scene.signs(&served, &described, SOON)?;
        }
    }
    Ok("made, certified, and signs".to_owned())
}

fn delivered(scene: &mut Scene) -> Result<String> {
    let served = scene.serve()?;
    let file = scene.home.path().join("management-key");
    write_private(&file, FACTORY)?;
    for (slot, source) in [(0x90, "default".to_owned()), (0x91, format!("file:{}", file.display()))] {
        let key = scene.bare(slot, KeySpec::Ec256).with("management-key-source", source);
        served.create(&key).map_err(|e| anyhow::anyhow!("{}", e.message))?;
    }
    let told = || served.person().heard().iter().filter(|text| text.contains("delivered with")).count();
    // The answer and what is told travel on streams of their own.
    let until = std::time::Instant::now() + SOON;
    while told() < 2 && std::time::Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let heard = served.person().heard();
    ensure!(told() == 2, "{heard:?}");
    // A file with another key says nothing of the kind, nor does signing.
    write_private(&file, &"1f".repeat(24))?;
    let key = scene.bare(0x92, KeySpec::Ec256);
    let key = key.with("management-key-source", format!("file:{}", file.display()));
    refused(served.create(&key), "ACCESS_DENIED", &["refused the management key"])?;
    scene.signs(&served, &scene.always(), SOON)?;
    ensure!(served.person().heard() == heard, "{:?}", served.person().heard());
    heard.into_iter().next().context("something was told")
}

fn in_config(scene: &mut Scene) -> Result<String> {
    let key = scene.bare(0x90, KeySpec::Ec256).with("management-key", FACTORY);
    let said = refused(scene.serve()?.create(&key), "VALIDATION_ERROR", &["management-key-source=file"])?;
    ensure!(!said.contains("0102"), "it is shown: {said}");
    Ok(said)
}

fn not_assumed(scene: &mut Scene) -> Result<String> {
    let key = scene.bare(0x90, KeySpec::Ec256);
    refused(scene.serve()?.create(&key), "VALIDATION_ERROR", &["management-key-source", "default"])
}

fn protected(scene: &mut Scene) -> Result<String> {
    let served = scene.serve()?;
    let key = Key { id: scene.bare(0x90, KeySpec::Ec256).id, ..scene.always() };
    let key = key.with("management-key-source", "protected");
    let said = refused(served.create(&key), "ACCESS_DENIED", &["no management key is kept in it"])?;
    // As ykman does with --protect: 88 { 89 key } in the printed information object.
    let protected = [&[0x88, 26, 0x89, 24][..], &[1, 2, 3, 4, 5, 6, 7, 8].repeat(3)].concat();
    scene.card().store_object(0x5F_C109, protected);
    served.create(&key).map_err(|e| anyhow::anyhow!("{}", e.message))?;
    Ok(format!("{said}; once it is kept there, it is used"))
}

/// A host that repeated it would spend the next try.
fn pulled(scene: &mut Scene) -> Result<String> {
    let served = scene.serve()?;
    let key = Key { id: scene.bare(0x90, KeySpec::Ec256).id, ..scene.always() };
    let key = key.with("management-key-source", "protected");
    scene.store_pin("000000")?;
    scene.card().fail(Some(VERIFY), CardFault::PullAfter, 1);
    let Err(error) = served.create(&key) else { anyhow::bail!("it was not refused") };
    ensure!(error.retryable == Some(false), "a host would send it again: {error:?}");
    says(&error.message, &["had just been sent", "piv info"])?;
    scene.card().plug();
    scene.filled.reader.daemon.wait_for_card(0, true)?;
    refused(served.create(&key), "ACCESS_DENIED", &["2 tries are left"])?;
    ensure!(scene.card().tries().0 == 2, "{:?} tries are left", scene.card().tries());
    Ok(error.message)
}

fn wrong_key(scene: &mut Scene) -> Result<String> {
    let file = scene.home.path().join("management-key");
    write_private(&file, &FACTORY.replace('1', "2"))?;
    let key =
        scene.bare(0x90, KeySpec::Ec256).with("management-key-source", format!("file:{}", file.display()));
    let served = scene.serve()?;
    let said = refused(served.create(&key), "ACCESS_DENIED", &["refused the management key"])?;
    scene.signs(&served, &scene.always(), SOON)?;
    Ok(said)
}

fn occupied(scene: &mut Scene) -> Result<String> {
    let served = scene.serve()?;
    let key = scene.always().with("management-key-source", "default");
    let said = refused(served.create(&key), "VALIDATION_ERROR", &["holds a key already", "overwrite"])?;
    scene.signs(&served, &scene.always(), SOON)?;
    served.create(&key.with("overwrite", "yes")).map_err(|e| anyhow::anyhow!("{}", e.message))?;
    Ok(said)
}

fn long_rsa(scene: &mut Scene) -> Result<String> {
    let key = Key {
        id: format!("piv:serial={};slot=90", SECOND.serial),
        ..scene.bare(0x90, KeySpec::Rsa4096).with("management-key-source", "default")
    };
    refused(scene.serve()?.create(&key), "VALIDATION_ERROR", &["5.4.3", "5.7"])
}

fn foreign(scene: &mut Scene) -> Result<String> {
    let key = scene.always().with("management-key-source", "default");
    refused(scene.serve()?.install(&key, &foreign_certificate()?), "VALIDATION_ERROR", &["key"])
}

fn attested(scene: &mut Scene) -> Result<String> {
    let described = scene.serve()?.describe(&scene.always()).map_err(|e| anyhow::anyhow!("{}", e.message))?;
    let attestation = described.details.unwrap_or_default().attestation;
    let [key, device] = attestation.as_slice() else { anyhow::bail!("{} certificates", attestation.len()) };
    let (key, device) = (Certificate::from_der(key)?, Certificate::from_der(device)?);
    let attested = key.tbs_certificate().subject_public_key_info().to_der()?;
    ensure!(attested == described.public_key, "another key is attested");
    ensure!(key.tbs_certificate().issuer() == device.tbs_certificate().subject(), "by another device");
    Ok(format!(
        "two certificates: {} by {}",
        key.tbs_certificate().subject(),
        device.tbs_certificate().subject()
    ))
}
