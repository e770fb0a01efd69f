//! The real softkey killed a hundred times in full work. Alone in its process, whose descriptors and children it counts.

#[allow(dead_code, reason = "the supervisor's tests use the rest")]
#[path = "supervisor/nest.rs"]
mod nest;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use nest::{Nest, digest, eventually};
use prokura_plugin::KeySpec;
use prokura_signer::Error;

const KILLS: u64 = 100;
const WORKERS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn softkey_killed_a_hundred_times_costs_no_request_no_descriptor_and_no_process() -> Result<()> {
    let nest = Nest::new()?;
    let (plugin, key) = nest.softkey().await?;
    plugin.sign_digest(&key, KeySpec::Ec256, &digest(0)).await?;
    let (before, begun) = (nest::descriptors()?, Instant::now());
    let signed: Arc<[AtomicU64; WORKERS]> = Arc::default();
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let (plugin, key, signed) = (plugin.clone(), key.clone(), signed.clone());
            tokio::spawn(async move {
                while plugin.supervision().generation <= KILLS {
                    plugin.sign_digest(&key, KeySpec::Ec256, &digest(worker as u64)).await?;
                    signed.get(worker).map(|signed| signed.fetch_add(1, Ordering::Relaxed));
                }
                Ok::<_, Error>(())
            })
        })
        .collect();
    for generation in 1..=KILLS {
        let now = || plugin.supervision().generation == generation;
        eventually("the process is not replaced", || now().then_some(())).await?;
        let before = counts(&signed);
        // Then each worker's request is one that no kill has met: each may be lost once.
        let is_new = || counts(&signed).iter().zip(before).all(|(now, before)| *now >= before + 2);
        eventually("the workers do not sign on", || is_new().then_some(())).await?;
        nest::kill(plugin.supervision().process_id.context("a process")?)?;
    }
    for worker in workers {
        worker.await?.context("a request failed")?;
    }
    let report = plugin.supervision();
    ensure!((report.generation, report.restarts) == (KILLS + 1, KILLS), "{report:?}");
    eventually("descriptors leaked", || (nest::descriptors().ok()? <= before).then_some(())).await?;
    let signed: u64 = counts(&signed).iter().sum();
    println!("{KILLS} kills, {signed} signatures, 0 failed, {before} descriptors, {:?}", begun.elapsed());
    plugin.close().await;
    eventually("processes are left", || (nest::children().ok()? == 0).then_some(())).await
}

fn counts(signed: &[AtomicU64; WORKERS]) -> [u64; WORKERS] {
    signed.each_ref().map(|signed| signed.load(Ordering::Relaxed))
}
