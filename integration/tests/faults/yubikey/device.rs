//! Devices and pcscd: absent, several, pulled, exchanged, held by others, killed.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use prokura_integration::backend::card::{FIRST, Fault as CardFault, PinPolicy, SECOND, TouchPolicy};
use prokura_integration::pki::Authority;
use prokura_integration::program::{run, system};
use prokura_plugin::KeySpec;

use super::served::Key;
use super::{Fault, SOON, Scene, refused, says};

const SELECT: u8 = 0xA4;
const SIGN: u8 = 0x87;
const WITHOUT_TOUCH: (PinPolicy, TouchPolicy) = (PinPolicy::Always, TouchPolicy::Never);

pub(super) const FAULTS: &[Fault] = &[
    ("no_such_device", "serial number of a YubiKey that is not there", no_such),
    ("several_devices", "two YubiKeys and no serial number", several),
    ("two_devices_one_slot", "two YubiKeys with a key in the same slot, and PINs of their own", two),
    ("pulled_in_the_middle_of_a_command", "card pulled in the middle of a signature", pulled),
    ("put_back", "card pulled and put back between two signatures", put_back),
    ("exchanged", "card exchanged for another one with the same slot", exchanged),
    ("held_by_another_program", "card held exclusively by another program", held),
    (
        "held_while_another_hangs",
        "card held exclusively, and another one that does not answer",
        held_and_hanging,
    ),
    ("let_go_by_another_program", "card held exclusively, and let go after a second", let_go),
    ("another_application_selected", "another program selects another application", other_application),
    ("pcscd_restarted", "pcscd killed and started again between two signatures", restarted),
    ("pcscd_gone", "pcscd killed for good", gone),
    ("pcscd_not_running", "pcscd not running when prokura signs, and when it lists keys", not_running),
    ("device_hangs", "card that does not answer", hangs),
    ("many_at_once", "sixteen signatures at once, two cards", many),
];

fn no_such(scene: &mut Scene) -> Result<String> {
    let mut key = scene.always();
    key.id = "piv:serial=42;slot=9c".to_owned();
    let said = scene.refusal(&key, 1)?;
    says(&said, &["YubiKey 42 is not connected", "12345678, 87654321"])?;
    Ok(said)
}

fn several(scene: &mut Scene) -> Result<String> {
    let mut key = scene.always();
    key.id = "9c".to_owned();
    let said = scene.refusal(&key, 1)?;
    says(&said, &["several YubiKeys", "12345678, 87654321", "piv:serial=12345678;slot=9c"])?;
    scene.prokura(&key.with("serial", FIRST.serial.to_string()))?.ok()?;
    Ok(said)
}

fn two(scene: &mut Scene) -> Result<String> {
    let served = scene.serve()?;
    scene.second().set_pin("654321");
    scene.second().fill(0x9C, KeySpec::Ec256, WITHOUT_TOUCH, &Authority::new("second root")?)?;
    let first = scene.always();
    let mut second = Key { id: format!("piv:serial={};slot=9c", SECOND.serial), ..first.clone() };
    second.config.remove("ca_certs");
    let described = [&first, &second].map(|key| served.describe(key).map(|key| key.public_key));
    ensure!(described[0] != described[1], "the same key in both");
    scene.signs(&served, &first, SOON)?;
    let said =
        refused(served.sign(&second, SOON), "ACCESS_DENIED", &["YubiKey 87654321", "2 tries are left"])?;
    // What one refused is still good for the other.
    scene.signs(&served, &first, SOON)?;
    ensure!(scene.card().tries().0 == 3, "{:?}", scene.card().tries());
    scene.store_pin("654321")?;
    scene.signs(&served, &second, SOON)?;
    Ok(said)
}

fn pulled(scene: &mut Scene) -> Result<String> {
    let served = scene.serve()?;
    let key = scene.key(KeySpec::Ec384);
    scene.signs(&served, &key, SOON)?;
    let mut said = String::new();
    for fault in [CardFault::PullBefore, CardFault::PullAfter] {
        scene.card().fail(Some(SIGN), fault, 1);
        let signed = served.sign(&key, Duration::from_secs(6));
        said = refused(signed, "ERROR", &["YubiKey 12345678", "plug it in"])?;
        scene.card().plug();
        scene.signs(&served, &key, SOON)?;
    }
    Ok(said)
}

fn put_back(scene: &mut Scene) -> Result<String> {
    let served = scene.serve()?;
    for spec in [KeySpec::Ec384, KeySpec::Ec256] {
        let key = scene.key(spec);
        scene.signs(&served, &key, SOON)?;
        scene.card().unplug();
        scene.filled.reader.daemon.wait_for_card(0, false)?;
        std::thread::scope(|threads| {
            let signing = threads.spawn(|| scene.signs(&served, &key, SOON));
            scene.card().plug();
            signing.join().map_err(|_| anyhow::anyhow!("the test panicked"))?
        })?;
    }
    Ok("signs again, having waited for it".to_owned())
}

fn exchanged(scene: &mut Scene) -> Result<String> {
    scene.second().unplug();
    scene.filled.reader.daemon.wait_for_card(1, false)?;
    let served = scene.serve()?;
    let mut key = scene.key(KeySpec::Ec384);
    key.id = "9d".to_owned();
    scene.signs(&served, &key, SOON)?;
    scene.card().unplug();
    scene.second().plug();
    scene.filled.reader.daemon.wait_for_card(1, true)?;
    let words = ["YubiKey 12345678 is not connected (connected: 87654321)"];
    let deadline = Duration::from_secs(5);
    refused(served.sign(&key, deadline), "ERROR", &words)?;
    // The other card's key would do; it is not the one that was signed with so far.
    scene.second().fill(0x9D, KeySpec::Ec384, WITHOUT_TOUCH, &Authority::new("second root")?)?;
    refused(served.sign(&key, deadline), "ERROR", &words)?;
    // Nor for a request that opens the key anew.
    key.config.remove("ca_certs");
    refused(served.describe(&key), "ERROR", &words)
}

fn held(scene: &mut Scene) -> Result<String> {
    let _holder = scene.filled.reader.daemon.hold(0)?;
    let said = refused(
        scene.serve()?.sign(&scene.always(), Duration::from_secs(4)),
        "TIMEOUT",
        &["SCARD_E_SHARING_VIOLATION", "scdaemon", "Yubico Authenticator"],
    )?;
    Ok(said)
}

fn held_and_hanging(scene: &mut Scene) -> Result<String> {
    let _holder = scene.filled.reader.daemon.hold(0)?;
    scene.second().fail(Some(SELECT), CardFault::Hang, 1);
    let words = ["SCARD_E_SHARING_VIOLATION", "scdaemon"];
    let said = refused(scene.serve()?.sign(&scene.always(), Duration::from_secs(4)), "TIMEOUT", &words);
    scene.second().release();
    said
}

fn let_go(scene: &mut Scene) -> Result<String> {
    let holder = scene.filled.reader.daemon.hold(0)?;
    let served = scene.serve()?;
    std::thread::scope(|threads| {
        let signing = threads.spawn(|| scene.signs(&served, &scene.always(), SOON));
        std::thread::sleep(Duration::from_secs(1));
        drop(holder);
        signing.join().map_err(|_| anyhow::anyhow!("the test panicked"))?
    })?;
    Ok("signs, having waited".to_owned())
}

fn other_application(scene: &mut Scene) -> Result<String> {
    let served = scene.serve()?;
    let (name, socket) = scene.filled.reader.daemon.environment();
    let opensc = system("opensc-tool", "apt-get install opensc")?;
    for spec in [KeySpec::Ec384, KeySpec::Ec256] {
        let key = scene.key(spec);
        scene.signs(&served, &key, SOON)?;
        #[expect(clippy::disallowed_methods, reason = "the test is the other program")]
        let mut other = std::process::Command::new(&opensc);
        other.env(name, &socket).args(["--reader", "0", "--card-driver", "default"]);
        run(other.args(["--send-apdu", "00A4040008A000000527471117"]))?;
        scene.signs(&served, &key, SOON)?;
    }
    Ok("signs all the same".to_owned())
}

fn restarted(scene: &mut Scene) -> Result<String> {
    let served = scene.serve()?;
    for spec in [KeySpec::Ec384, KeySpec::Ec256] {
        scene.signs(&served, &scene.key(spec), SOON)?;
    }
    scene.filled.reader.daemon.restart()?;
    for spec in [KeySpec::Ec384, KeySpec::Ec256] {
        scene.signs(&served, &scene.key(spec), SOON)?;
    }
    Ok("signs again, without being asked twice".to_owned())
}

fn gone(scene: &mut Scene) -> Result<String> {
    let served = scene.serve()?;
    scene.signs(&served, &scene.always(), SOON)?;
    scene.filled.reader.daemon.kill();
    refused(
        served.sign(&scene.always(), Duration::from_secs(5)),
        "ERROR",
        &["SCARD_E_NO_SERVICE", "systemctl enable --now pcscd.socket"],
    )
}

/// Exit code 3: nobody refused, the way to the device is not there.
fn not_running(scene: &mut Scene) -> Result<String> {
    scene.filled.reader.daemon.kill();
    let begun = Instant::now();
    let said = scene.refusal(&scene.always(), 3)?;
    ensure!(begun.elapsed() < Duration::from_secs(12), "it took {:?}", begun.elapsed());
    says(&said, &["SCARD_E_NO_SERVICE", "systemctl enable --now pcscd.socket"])?;
    let listed = scene.home.prokura(["key", "discover", "--plugin", "yubikey"])?.refused(3)?;
    says(&listed, &["SCARD_E_NO_SERVICE"])?;
    Ok(said)
}

fn hangs(scene: &mut Scene) -> Result<String> {
    let served = scene.serve()?;
    let key = scene.key(KeySpec::Ec384);
    scene.signs(&served, &key, SOON)?;
    scene.card().fail(Some(SIGN), CardFault::Hang, 1);
    let begun = Instant::now();
    let said = refused(
        served.sign(&key, Duration::from_secs(2)),
        "TIMEOUT",
        &["did not answer before the deadline"],
    )?;
    ensure!(begun.elapsed() < Duration::from_secs(3), "it took {:?}", begun.elapsed());
    refused(served.sign(&key, Duration::from_secs(1)), "TIMEOUT", &["earlier request"])?;
    scene.card().release();
    scene.signs(&served, &key, SOON)?;
    Ok(said)
}

fn many(scene: &mut Scene) -> Result<String> {
    let served = scene.serve()?;
    scene.second().fill(0x9C, KeySpec::Ec256, WITHOUT_TOUCH, &Authority::new("second root")?)?;
    let first = scene.always();
    let mut second = Key { id: format!("piv:serial={};slot=9c", SECOND.serial), ..first.clone() };
    second.config.remove("ca_certs");
    std::thread::scope(|threads| {
        let signing: Vec<_> = (0..16)
            .map(|n| if n % 2 == 0 { &first } else { &second })
            .map(|key| threads.spawn(|| scene.signs(&served, key, SOON)))
            .collect();
        for signed in signing {
            signed.join().map_err(|_| anyhow::anyhow!("the test panicked"))??;
        }
        Ok::<_, anyhow::Error>(())
    })?;
    Ok("all sixteen verify".to_owned())
}
