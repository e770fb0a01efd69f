//! AWS KMS that throttles and fails in bursts while one plugin signs with it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use prokura_plugin::KeySpec;
use serde_json::json;

use super::inventory::Backend;
use super::steady::{serve, soak};
use super::{Chance, Report};
use crate::backend::aws::Kms;
use crate::home::Home;
use crate::served::reference;
use crate::vault::TestVault as _;

/// What one signature may take.
const DEADLINE: Duration = Duration::from_secs(30);
const IN_FLIGHT: usize = 4;
const SEED: u64 = 0x5EED_000A;

/// Signs for so many minutes.
///
/// # Errors
/// [`crate::program::Missing`] if the emulator cannot be installed; if the plugin does not start.
pub fn run(minutes: f64) -> Result<Report> {
    let home = Home::new()?;
    let kms = Kms::moto()?;
    let served = serve(&home, &kms, DEADLINE)?;
    let keys: Vec<_> = [KeySpec::Ec256, KeySpec::Rsa2048]
        .map(|spec| reference(kms.key(spec)))
        .into_iter()
        .collect::<Result<_>>()?;
    let soaked = soak(
        served,
        &keys,
        IN_FLIGHT,
        || disturb(&kms, Duration::from_secs_f64(minutes * 60.0)),
        Backend::default,
        || Ok(0),
    )?;
    Ok(Report { name: kms.name().to_owned(), ..soaked })
}

/// Bursts of refusals, as a quota that is spent gives them, and of internal errors.
fn disturb(kms: &Kms, duration: Duration) -> BTreeMap<String, u64> {
    let until = Instant::now() + duration;
    let mut chance = Chance::new(SEED);
    let mut done = BTreeMap::new();
    while Instant::now() < until {
        std::thread::sleep(chance.milliseconds(500, 3000));
        let times = 1 + chance.below(12);
        let (what, fault) = match chance.below(3) {
            0 => ("5xx", json!({"kind": "error", "code": "KMSInternalException", "status": 500, "times": 1})),
            _ => (
                "throttled",
                json!({"kind": "error", "code": "ThrottlingException", "status": 400, "times": times}),
            ),
        };
        if kms.api().fault("Sign", "", fault).is_ok() {
            *done.entry(what.to_owned()).or_default() += 1;
        }
    }
    std::thread::sleep(Duration::from_secs(3)); // the last burst is spent
    done
}
