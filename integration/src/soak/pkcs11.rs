//! A network HSM that is stalled, dropped, slowed down and restarted while one plugin signs with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use prokura_plugin::KeySpec;
use prokura_signer::KeyReference;

use super::{Chance, Outcomes, Report, descriptors, processes};
use crate::backend::p11kit::P11Kit;
use crate::home::Home;
use crate::served::{Served, reference, signed};
use crate::vault::TestVault as _;

/// What one signature may take; no disturbance lasts longer than a quarter of it.
const DEADLINE: Duration = Duration::from_secs(20);
const IN_FLIGHT: usize = 4;
const SEED: u64 = 0x5EED_0003;
/// How long nothing is disturbed before leaks are counted.
const CALM: Duration = Duration::from_secs(2);

/// Signs for so many minutes.
///
/// # Errors
/// [`crate::program::Missing`] without p11-kit, SoftHSM or the fault module, which counts the sessions; if the plugin
/// does not start.
pub fn run(minutes: f64) -> Result<Report> {
    let home = Home::new()?;
    let directory = home.path().join("hsm");
    std::fs::create_dir(&directory)?;
    let hsm = P11Kit::counted(&directory)?;
    let environment = hsm.environment().into_iter().map(|(name, value)| (name.into(), value));
    let served = Served::start(home.plugins(), "pkcs11", environment, DEADLINE)?;
    let plugin = std::fs::canonicalize(served.plugin.executable().path())?;
    let keys = keys(&hsm)?;

    sign_until(&served, &keys, &Outcomes::default(), &|| true); // all is warm
    let before = Inventory::take(&served);
    let outcomes = Arc::new(Outcomes::default());
    let is_over = AtomicBool::new(false);
    let disturbances = std::thread::scope(|threads| {
        let disturber = threads.spawn(|| {
            let disturbances = disturb(&hsm, Duration::from_secs_f64(minutes * 60.0));
            is_over.store(true, Ordering::Relaxed);
            disturbances
        });
        sign_until(&served, &keys, &outcomes, &|| is_over.load(Ordering::Relaxed));
        disturber.join().ok()
    });
    let disturbances = disturbances.context("the thread that disturbs the HSM ended early")?;

    let restarts = served.plugin.supervision().restarts;
    let after = Inventory::take(&served);
    let too_many_sessions = hsm.open_sessions()?.saturating_sub(IN_FLIGHT as u64 + 1);
    served.close();
    std::thread::sleep(CALM);
    let outcomes = Arc::into_inner(outcomes).context("all tasks have ended")?;
    Ok(Report {
        leaked_sessions: too_many_sessions + hsm.open_sessions()?,
        leaked_descriptors: after.more_than(&before),
        leaked_processes: (processes(&plugin).len() + hsm.remotes()) as u64,
        restarts,
        disturbances: disturbances.into_iter().collect(),
        ..outcomes.report("pkcs11/p11-kit")
    })
}

fn keys(hsm: &P11Kit) -> Result<Vec<KeyReference>> {
    let with_limit = |spec| {
        let mut key = hsm.key(spec);
        key.config.push(("call-timeout".to_owned(), "5".to_owned()));
        reference(key)
    };
    [KeySpec::Ec256, KeySpec::Rsa2048].map(with_limit).into_iter().collect()
}

/// Each task signs at least once with each key.
fn sign_until(
    served: &Served,
    keys: &[KeyReference],
    outcomes: &Outcomes,
    is_over: &(dyn Fn() -> bool + Sync),
) {
    std::thread::scope(|threads| {
        for _ in 0..IN_FLIGHT {
            threads.spawn(|| {
                loop {
                    for key in keys {
                        let begun = Instant::now();
                        let outcome = served.block_on(signed(&served.plugin, key));
                        outcomes.note(begun.elapsed(), outcome);
                    }
                    if is_over() {
                        break;
                    }
                }
            });
        }
    });
}

/// One thing after the other goes wrong, with pauses in which signatures go through; ends with a calm.
fn disturb(hsm: &P11Kit, duration: Duration) -> BTreeMap<String, u64> {
    let until = Instant::now() + duration;
    let mut chance = Chance::new(SEED);
    let mut done = BTreeMap::new();
    while Instant::now() < until {
        std::thread::sleep(chance.milliseconds(500, 3000));
        let what = match chance.below(6) {
            0 => {
                hsm.stall();
                std::thread::sleep(chance.milliseconds(200, 4000));
                hsm.resume();
                "stalled"
            }
            1 => {
                hsm.relay.stall(true);
                std::thread::sleep(chance.milliseconds(200, 4000));
                hsm.relay.stall(false);
                "held up on the way"
            }
            2 => {
                hsm.drop_connections();
                "dropped by the server"
            }
            3 => {
                hsm.relay.cut();
                "cut on the way"
            }
            4 => {
                hsm.stop_server();
                std::thread::sleep(chance.milliseconds(0, 3000));
                // Tried again below if it does not start.
                let _ = hsm.start_server();
                "restarted"
            }
            _ => {
                hsm.relay.delay(chance.milliseconds(1, 20));
                std::thread::sleep(chance.milliseconds(200, 4000));
                hsm.relay.delay(Duration::ZERO);
                "slowed down"
            }
        };
        *done.entry(what.to_owned()).or_default() += 1;
    }
    let _ = hsm.start_server();
    std::thread::sleep(CALM);
    done
}

/// Descriptors open when nothing is under way.
struct Inventory {
    host: u64,
    plugin: u64,
}

impl Inventory {
    fn take(served: &Served) -> Self {
        let plugin = served.process_id().map_or(0, descriptors);
        Self { host: descriptors(std::process::id()), plugin }
    }

    fn more_than(&self, before: &Self) -> u64 {
        self.host.saturating_sub(before.host) + self.plugin.saturating_sub(before.plugin)
    }
}
