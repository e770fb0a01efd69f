//! PINs: wrong, blocked, the last try, none at all; and that none reaches a log.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use prokura_integration::backend::card::{Fault as CardFault, PIN};
use prokura_integration::home::write_private;
use prokura_plugin::KeySpec;

use super::served::{Key, Refusal, Served};
use super::{Fault, SOON, Scene, refused, says, verified};

/// INS of VERIFY.
const VERIFY: u8 = 0x20;

pub(super) const FAULTS: &[Fault] = &[
    ("wrong_pin", "wrong PIN in the file", wrong),
    ("wrong_pin_is_not_sent_again", "the same wrong PIN, asked for sixteen times", not_again),
    ("wrong_pin_unanswered", "card pulled while it checks a wrong PIN, and put back", unanswered),
    (
        "wrong_pin_unanswered_for_good",
        "card pulled while it checks a wrong PIN, and not put back in time",
        unsettled,
    ),
    ("blocked_pin", "PIN blocked", blocked),
    ("last_try_of_a_stored_pin", "one try left, PIN in a file", last_try),
    ("last_try_by_a_person", "one try left, PIN typed by a person", typed),
    ("nobody_to_ask", "no PIN configured and nobody to ask", nobody),
    ("pin_of_the_wrong_length", "a PIN no YubiKey can have", wrong_length),
    ("once_and_always", "PIN policies once and always", policies),
    ("nothing_of_a_pin_is_logged", "every log switched on", no_log),
];

fn wrong(scene: &mut Scene) -> Result<String> {
    scene.store_pin("000000")?;
    let said = scene.refusal(&scene.always(), 1)?;
    says(&said, &["ACCESS_DENIED", "refused the PIN file", "2 tries are left"])?;
    ensure!(!said.contains("000000"), "the PIN is shown: {said}");
    ensure!(scene.card().tries().0 == 2, "one try was spent, not {:?}", scene.card().tries());
    Ok(said)
}

fn not_again(scene: &mut Scene) -> Result<String> {
    let served = scene.serve()?;
    let key = scene.always();
    scene.store_pin("000000")?;
    refused(served.sign(&key, SOON), "ACCESS_DENIED", &["2 tries"])?;
    let mut said = String::new();
    for _ in 0..15 {
        said = refused(served.sign(&key, SOON), "ACCESS_DENIED", &["not sent again"])?;
    }
    ensure!(scene.card().count(VERIFY) == 1, "{} PINs were sent", scene.card().count(VERIFY));
    scene.store_pin(PIN)?;
    scene.signs(&served, &key, SOON)?;
    Ok(said)
}

/// The try is gone though nobody saw the answer; the same PIN would spend the next one.
fn unanswered(scene: &mut Scene) -> Result<String> {
    let mut said = String::new();
    for spec in [KeySpec::Ec384, KeySpec::Ec256] {
        let (served, key) = (scene.serve()?, scene.key(spec));
        scene.card().set_pin(PIN);
        scene.card().count_anew();
        scene.store_pin("000000")?;
        said = refused(pulled_in_verify(scene, &served, &key)?, "ACCESS_DENIED", &["2 tries are left"])?;
        refused(served.sign(&key, SOON), "ACCESS_DENIED", &["not sent again"])?;
        ensure!(scene.card().count(VERIFY) == 1, "{} PINs were sent", scene.card().count(VERIFY));
        ensure!(scene.card().tries().0 == 2, "{spec}: {:?} tries are left", scene.card().tries());
        scene.store_pin(PIN)?;
        pulled_in_verify(scene, &served, &key)?
            .map_err(|e| anyhow::anyhow!("the right one: {}", e.message))?;
    }
    Ok(said)
}

/// Signs while the card is pulled before it has answered to the PIN, and put back.
fn pulled_in_verify(scene: &Scene, served: &Served, key: &Key) -> Result<Result<(), Refusal>> {
    scene.card().fail(Some(VERIFY), CardFault::PullAfter, 1);
    std::thread::scope(|threads| {
        let signing = threads.spawn(|| served.sign(key, SOON).map(drop));
        scene.filled.reader.daemon.wait_for_card(0, false)?;
        scene.card().plug();
        signing.join().map_err(|_| anyhow::anyhow!("the test panicked"))
    })
}

fn unsettled(scene: &mut Scene) -> Result<String> {
    let (served, key) = (scene.serve()?, scene.always());
    let mut said = String::new();
    for (fault, pin) in [(CardFault::Hang, PIN), (CardFault::PullAfter, "000000")] {
        scene.signs(&served, &key, SOON)?;
        scene.store_pin(pin)?;
        scene.card().fail(Some(VERIFY), fault, 1);
        let Err(error) = served.sign(&key, Duration::from_secs(4)) else { bail!("it was not refused") };
        says(&error.message, &["had just been sent", "piv info"])?;
        ensure!(error.retryable == Some(false), "a host would send it again: {error:?}");
        scene.card().release();
        said = error.message;
    }
    scene.card().plug();
    scene.filled.reader.daemon.wait_for_card(0, true)?;
    refused(served.sign(&key, SOON), "ACCESS_DENIED", &["2 tries are left"])?;
    ensure!(scene.card().tries().0 == 2, "{:?} tries are left", scene.card().tries());
    Ok(said)
}

fn blocked(scene: &mut Scene) -> Result<String> {
    spend(scene, 2)?;
    let served = scene.serve()?;
    served.person().types("000000");
    let asked = scene.bare(0x9C, KeySpec::Ec256);
    refused(served.sign(&asked, SOON), "ACCESS_DENIED", &["blocked now", "unblock-pin"])?;
    scene.store_pin(PIN)?;
    let said = scene.refusal(&scene.always(), 1)?;
    says(&said, &["ACCESS_DENIED", "is blocked", "ykman piv access unblock-pin"])?;
    Ok(said)
}

fn last_try(scene: &mut Scene) -> Result<String> {
    spend(scene, 2)?;
    scene.store_pin("111111")?;
    let said = scene.refusal(&scene.always(), 1)?;
    says(&said, &["ACCESS_DENIED", "one try left", "was not sent"])?;
    ensure!(scene.card().tries().0 == 1, "the last try was spent");
    Ok(said)
}

fn typed(scene: &mut Scene) -> Result<String> {
    spend(scene, 2)?;
    let served = scene.serve()?;
    served.person().types(PIN);
    scene.signs(&served, &scene.bare(0x9C, KeySpec::Ec256), SOON)?;
    ensure!(scene.card().tries().0 == 3, "the right PIN restores the tries");
    let heard = served.person().heard();
    ensure!(heard == ["pin: YubiKey 12345678 (1)"], "{heard:?}");
    Ok(format!("signs; the person was asked {:?}", heard.concat()))
}

fn nobody(scene: &mut Scene) -> Result<String> {
    let said = scene.refusal(&scene.bare(0x9C, KeySpec::Ec256).with("ca_certs", root(scene)), 1)?;
    says(&said, &["ACCESS_DENIED", "pin-source"])?;
    Ok(said)
}

fn wrong_length(scene: &mut Scene) -> Result<String> {
    scene.store_pin("123456789")?;
    let said = scene.refusal(&scene.always(), 1)?;
    says(&said, &["6 to 8 bytes", "not sent"])?;
    ensure!(scene.card().count(VERIFY) == 0, "it was sent");
    Ok(said)
}

fn policies(scene: &mut Scene) -> Result<String> {
    let served = scene.serve()?;
    for (spec, verifications, per_signature) in [(KeySpec::Ec384, 1, 1), (KeySpec::Ec256, 4, 2)] {
        let key = scene.key(spec);
        let described = served.describe(&key).map_err(|e| anyhow::anyhow!("{}", e.message))?;
        scene.card().count_anew();
        for _ in 0..4 {
            let signed = served.sign(&key, SOON).map_err(|e| anyhow::anyhow!("{}", e.message))?;
            verified(&key, &described, &signed)?;
        }
        let counted = scene.card().counted();
        let verified = counted.get(&VERIFY).copied().unwrap_or(0);
        ensure!(verified == verifications, "{spec}: {verified} verifications for 4 signatures");
        let all: u64 = counted.values().sum();
        let least = 4 * per_signature;
        ensure!(all <= least + 4, "{spec}: {all} commands for 4 signatures: {counted:x?}");
    }
    Ok("4 signatures take 1 VERIFY with policy once, 4 with always".to_owned())
}

fn no_log(scene: &mut Scene) -> Result<String> {
    for (name, value) in [("RUST_LOG", "trace"), ("PCSCLITE_DEBUG", "0")] {
        let served = Served::start(&[scene.filled.reader.daemon.environment(), (name, value.into())])?;
        scene.store_pin(PIN)?;
        scene.signs(&served, &scene.always(), SOON)?;
        scene.store_pin("765432")?;
        refused(served.sign(&scene.always(), SOON), "ACCESS_DENIED", &["tries"])?;
        let file = scene.home.path().join("management-key");
        write_private(&file, &"1f2e3d4c".repeat(6))?;
        let new = scene.bare(0x90, KeySpec::Ec256);
        let new = new.with("management-key-source", format!("file:{}", file.display()));
        refused(served.create(&new), "ACCESS_DENIED", &["refused the management key"])?;
        let said = served.stop()?;
        // libpcsclite says what it does when it is told to, which the plugin cannot keep it from.
        ensure!(name != "RUST_LOG" || said.is_empty(), "the plugin wrote to standard error: {said}");
        let lower = said.to_lowercase();
        for secret in
            [PIN, "765432", "31323334", "31 32 33 34", "37363534", "37 36 35 34", "1f2e3d4c", "1f 2e 3d 4c"]
        {
            ensure!(!lower.contains(secret), "{name}: a PIN is shown: {said}");
        }
    }
    Ok("no PIN is written, neither by the plugin nor by libpcsclite".to_owned())
}

/// Spends tries with wrong PINs, each of its own and by a process of its own.
fn spend(scene: &Scene, tries: u8) -> Result<()> {
    for wrong in 0..tries {
        scene.store_pin(&format!("00000{wrong}"))?;
        scene.prokura(&scene.always())?.refused(1)?;
    }
    ensure!(scene.card().tries().0 == 3 - tries, "{:?}", scene.card().tries());
    Ok(())
}

fn root(scene: &Scene) -> String {
    scene.filled.root.display().to_string()
}
