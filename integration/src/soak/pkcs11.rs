//! A network HSM that is stalled, dropped, slowed down and restarted while one plugin signs with it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use prokura_plugin::KeySpec;
use prokura_signer::KeyReference;

use super::inventory::Backend;
use super::steady::{serve, soak};
use super::{Chance, Report};
use crate::backend::p11kit::P11Kit;
use crate::home::Home;
use crate::served::reference;
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
    let served = serve(&home, &hsm, DEADLINE)?;
    let keys = keys(&hsm)?;
    let soaked = soak(
        served,
        &keys,
        IN_FLIGHT,
        || disturb(&hsm, Duration::from_secs_f64(minutes * 60.0)),
        || backend(&hsm),
        || Ok(hsm.open_sessions()?.saturating_sub(IN_FLIGHT as u64 + 1)),
    )?;
    hsm.await_idle();
    Ok(Report {
        name: hsm.name().to_owned(),
        leaked_sessions: soaked.leaked_sessions + hsm.open_sessions()?,
        leaked_processes: soaked.leaked_processes + hsm.remotes().len() as u64,
        ..soaked
    })
}

/// The relay's sockets, p11-kit's server, and the processes it started, one for each connection.
pub fn backend(hsm: &P11Kit) -> Backend {
    let remotes = hsm.remotes().into_iter().map(|pid| ("p11-kit remote", pid));
    let server = hsm.server_id().map(|pid| ("p11-kit server", pid));
    Backend { sockets: hsm.relay.sockets().unwrap_or_default(), processes: remotes.chain(server).collect() }
}

fn keys(hsm: &P11Kit) -> Result<Vec<KeyReference>> {
    let with_limit = |spec| {
        let mut key = hsm.key(spec);
        key.config.push(("call-timeout".to_owned(), "5".to_owned()));
        reference(key)
    };
    [KeySpec::Ec256, KeySpec::Rsa2048].map(with_limit).into_iter().collect()
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
