//! One plugin that signs steadily with a few requests in flight while somebody disturbs its vault.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use prokura_signer::KeyReference;

use super::inventory::{Backend, Inventory, at_rest, left, survivors};
use super::{Outcomes, Report};
use crate::home::Home;
use crate::program::executable;
use crate::served::{Served, signed};
use crate::vault::TestVault;

/// The plugin of a vault, installed and serving.
///
/// # Errors
/// If it does not answer.
pub fn serve(home: &Home, vault: &dyn TestVault, deadline: Duration) -> Result<Served> {
    let plugin = vault.plugin();
    home.install(plugin, &executable(&format!("notation-{plugin}"))?)?;
    let environment = vault.environment().into_iter().map(|(name, value)| (name.into(), value));
    Served::start(home.plugins(), plugin, environment, deadline)
}

/// Signs with all keys in turn until `disturb` returns, then counts what is left, per process and kind. `backend` tells
/// what is the vault's own; `sessions`, while the plugin still runs, how many sessions with the vault are too many.
///
/// # Errors
/// If something cannot be counted.
pub fn soak(
    served: Served,
    keys: &[KeyReference],
    in_flight: usize,
    disturb: impl FnOnce() -> BTreeMap<String, u64> + Send,
    backend: impl Fn() -> Backend,
    sessions: impl FnOnce() -> Result<u64>,
) -> Result<Report> {
    let plugin = std::fs::canonicalize(served.plugin.executable().path())?;
    sign_until(&served, keys, in_flight, &Outcomes::default(), &|| true); // all is warm
    let take = || Inventory::take(served.process_id(), &backend());
    let before = at_rest(take);
    let outcomes = Arc::new(Outcomes::default());
    let disturbances = disturbed(&served, keys, in_flight, &outcomes, disturb)?;
    let restarts = served.plugin.supervision().restarts;
    let left = left(&before, take);
    let leaked_sessions = sessions()?;
    served.close();
    let outcomes = Arc::into_inner(outcomes).context("all tasks have ended")?;
    let count = |is_process: bool| {
        left.iter().filter(|s| s.kind.starts_with("process") == is_process).map(|s| s.count).sum::<u64>()
    };
    Ok(Report {
        leaked_sessions,
        leaked_descriptors: count(false),
        leaked_processes: count(true) + survivors(&plugin),
        left: left.iter().map(|s| format!("{}: {} x {}", s.owner, s.count, s.kind)).collect(),
        restarts,
        disturbances: disturbances.into_iter().collect(),
        ..outcomes.report("")
    })
}

/// Signs until `disturb` returns.
fn disturbed(
    served: &Served,
    keys: &[KeyReference],
    in_flight: usize,
    outcomes: &Outcomes,
    disturb: impl FnOnce() -> BTreeMap<String, u64> + Send,
) -> Result<BTreeMap<String, u64>> {
    let is_over = AtomicBool::new(false);
    let disturbances = std::thread::scope(|threads| {
        let disturber = threads.spawn(|| {
            let disturbances = disturb();
            is_over.store(true, Ordering::Relaxed);
            disturbances
        });
        sign_until(served, keys, in_flight, outcomes, &|| {
            is_over.load(Ordering::Relaxed) || disturber.is_finished()
        });
        disturber.join().ok()
    });
    disturbances.context("the thread that disturbs the vault ended early")
}

/// Each task signs at least once with each key.
fn sign_until(
    served: &Served,
    keys: &[KeyReference],
    in_flight: usize,
    outcomes: &Outcomes,
    is_over: &(dyn Fn() -> bool + Sync),
) {
    std::thread::scope(|threads| {
        for _ in 0..in_flight {
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
