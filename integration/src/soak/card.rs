//! A YubiKey whose pcscd is killed and started again, and which is pulled and put back, while one plugin signs with it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use prokura_plugin::KeySpec;

use super::inventory::Backend;
use super::steady::{serve, soak};
use super::{Chance, Report};
use crate::backend::card::Filled;
use crate::home::Home;
use crate::served::reference;
use crate::vault::TestVault as _;

/// What one signature may take.
const DEADLINE: Duration = Duration::from_secs(30);
const IN_FLIGHT: usize = 2;
const SEED: u64 = 0x5EED_0009;
/// How long nothing is disturbed before leaks are counted.
const CALM: Duration = Duration::from_secs(2);

/// Signs for so many minutes.
///
/// # Errors
/// [`crate::program::Missing`] without pcscd and the driver of virtual cards; if the plugin does not start.
pub fn run(minutes: f64) -> Result<Report> {
    let home = Home::new()?;
    let directory = home.path().join("card");
    std::fs::create_dir(&directory)?;
    let mut card = Filled::start(&directory)?;
    let served = serve(&home, &card, DEADLINE)?;
    let keys: Vec<_> = [KeySpec::Ec384, KeySpec::Rsa2048]
        .map(|spec| reference(card.key(spec)))
        .into_iter()
        .collect::<Result<_>>()?;
    let name = card.name().to_owned();
    let soaked = soak(
        served,
        &keys,
        IN_FLIGHT,
        || disturb(&mut card, Duration::from_secs_f64(minutes * 60.0)),
        Backend::default,
        || Ok(0),
    )?;
    Ok(Report { name, ..soaked })
}

/// pcscd dies now and then and comes back within seconds.
fn disturb(card: &mut Filled, duration: Duration) -> BTreeMap<String, u64> {
    let until = Instant::now() + duration;
    let mut chance = Chance::new(SEED);
    let mut done = BTreeMap::new();
    while Instant::now() < until {
        std::thread::sleep(chance.milliseconds(1000, 5000));
        card.reader.daemon.kill();
        std::thread::sleep(chance.milliseconds(0, 3000));
        // One that does not start is tried again in the next round, and at the end.
        let _ = card.reader.daemon.restart();
        *done.entry("pcscd killed and started".to_owned()).or_default() += 1;
    }
    let _ = card.reader.daemon.restart();
    std::thread::sleep(CALM);
    done
}
