//! Touches: asked for exactly when they are needed, taken back afterwards, and not given.

use std::time::Duration;

use anyhow::{Result, ensure};
use prokura_integration::backend::card::{Fault as CardFault, Habit, PinPolicy, TouchPolicy};
use prokura_integration::pki::Authority;
use prokura_plugin::KeySpec;

use super::served::Key;
use super::{Fault, SOON, Scene, refused};

const METADATA: u8 = 0xF7;
const ATTEST: u8 = 0xF9;

pub(super) const FAULTS: &[Fault] = &[
    ("touch_in_time", "key that wants a touch", in_time),
    ("touch_cached", "key that wants a touch every fifteen seconds", cached),
    ("touch_of_unknown_policy", "key whose touch policy nobody tells", unknown),
    ("touch_not_given", "nobody touches the card, which gives up", not_given),
    ("touch_too_late", "nobody touches the card until the deadline", too_late),
];

const TOLD: [&str; 2] = ["touch: touch your YubiKey 12345678 now (slot 95)", "withdrawn"];

fn in_time(scene: &mut Scene) -> Result<String> {
    let key = with_touch(scene, TouchPolicy::Always)?;
    let served = scene.serve()?;
    scene.card().set_touch(Habit::OnDemand);
    std::thread::scope(|threads| {
        let signing = threads.spawn(|| scene.signs(&served, &key, SOON));
        scene.card().wait_until_asking(SOON)?;
        let heard = served.person().heard();
        ensure!(heard == TOLD[..1], "while the card waits: {heard:?}");
        scene.card().touch();
        signing.join().map_err(|_| anyhow::anyhow!("the test panicked"))?
    })?;
    taken_back(&served)?;
    Ok(format!("signs; the person was told {:?}, which was taken back", TOLD[0]))
}

fn cached(scene: &mut Scene) -> Result<String> {
    let key = with_touch(scene, TouchPolicy::Cached)?;
    let served = scene.serve()?;
    scene.card().set_touch(Habit::After(Duration::from_millis(1200)));
    scene.signs(&served, &key, SOON)?;
    taken_back(&served)?;
    for _ in 0..3 {
        scene.signs(&served, &key, SOON)?;
    }
    taken_back(&served)?;
    Ok("the person was told once for four signatures".to_owned())
}

fn unknown(scene: &mut Scene) -> Result<String> {
    let key = with_touch(scene, TouchPolicy::Always)?;
    let served = scene.serve()?;
    scene.card().fail(Some(METADATA), CardFault::Status(0x6D00), u32::MAX);
    scene.card().fail(Some(ATTEST), CardFault::Status(0x6D00), u32::MAX);
    scene.signs(&served, &key, SOON)?;
    let heard = served.person().heard();
    ensure!(heard.is_empty(), "touched at once, nobody need be told: {heard:?}");
    scene.card().set_touch(Habit::After(Duration::from_millis(1200)));
    scene.signs(&served, &key, SOON)?;
    taken_back(&served)?;
    Ok("the person is told when the card has been silent for 0.4 s".to_owned())
}

fn not_given(scene: &mut Scene) -> Result<String> {
    let key = with_touch(scene, TouchPolicy::Always)?;
    let served = scene.serve()?;
    scene.card().set_touch(Habit::OnDemand);
    scene.card().set_touch_patience(Duration::from_millis(600));
    let said = refused(served.sign(&key, SOON), "ACCESS_DENIED", &["nobody touched YubiKey 12345678"])?;
    taken_back(&served)?;
    Ok(said)
}

fn too_late(scene: &mut Scene) -> Result<String> {
    let key = with_touch(scene, TouchPolicy::Always)?;
    let served = scene.serve()?;
    scene.card().set_touch(Habit::OnDemand);
    let said = refused(served.sign(&key, Duration::from_secs(2)), "TIMEOUT", &["nobody touched it in time"])?;
    taken_back(&served)?;
    Ok(said)
}

/// A key in slot 95 that wants no PIN and this touch.
fn with_touch(scene: &Scene, touch: TouchPolicy) -> Result<Key> {
    let authority = Authority::new("root of a key with a touch")?;
    scene.card().fill(0x95, KeySpec::Ec256, (PinPolicy::Never, touch), &authority)?;
    Ok(scene.key(KeySpec::Ec256)).map(|key| Key { id: scene.bare(0x95, KeySpec::Ec256).id, ..key })
}

/// The person was told to touch once, and that it is over.
fn taken_back(served: &super::Served) -> Result<()> {
    // The answer and the withdrawal travel on streams of their own.
    for _ in 0..200 {
        if served.person().heard() == TOLD {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    anyhow::bail!("the person heard {:?}", served.person().heard())
}
