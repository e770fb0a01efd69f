//! A network HSM that stalls, drops and restarts: SoftHSM behind p11-kit.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use libtest_mimic::Trial;
use prokura_integration::backend::nss::Nss;
use prokura_integration::backend::p11kit::P11Kit;
use prokura_integration::served::{Served, reference};
use prokura_integration::soak::inventory::Inventory;
use prokura_integration::soak::pkcs11::backend;
use prokura_integration::vault::TestVault;
use prokura_plugin::KeySpec;
use prokura_signer::KeyReference;

use super::scene::Stages;
use super::told;

const DEADLINE: Duration = Duration::from_secs(20);

pub(super) fn trials(stages: &Stages) -> Vec<Trial> {
    vec![
        told(stages, "network::connection_dropped", |stages| broken(stages, P11Kit::drop_connections)),
        told(stages, "network::connection_cut", |stages| broken(stages, |hsm| hsm.relay.cut())),
        told(stages, "network::server_restarted", |stages| {
            broken(stages, |hsm| {
                hsm.stop_server();
                let _ = hsm.start_server();
            })
        }),
        told(stages, "network::server_away", server_away),
        told(stages, "network::server_away_for_a_while", server_away_for_a_while),
        told(stages, "network::server_away_again_and_again::nothing_is_left", nothing_is_left),
        told(stages, "network::stalled_for_a_while", |stages| stalled(stages, P11Kit::stall, P11Kit::resume)),
        told(stages, "network::stalled_on_the_way", |stages| {
            stalled(stages, |h| h.relay.stall(true), |h| h.relay.stall(false))
        }),
        told(stages, "network::stalled_for_good", stalled_for_good),
        told(stages, "network::slow", |stages| {
            let (hsm, served, key) = start(stages)?;
            hsm.relay.delay(Duration::from_millis(20));
            served.sign(&key)?;
            Ok("signed".to_owned())
        }),
        told(stages, "network::not_there_at_first", |stages| {
            let hsm = P11Kit::start(&stages.stage()?.directory()?)?;
            let served = serve_within(stages, &hsm, Duration::from_secs(6))?;
            let key = reference(hsm.key(KeySpec::Ec256))?;
            hsm.stop_server();
            refusal(&served, &key)
        }),
        told(stages, "nss::all_specs", |stages| {
            let nss = Nss::new(&stages.stage()?.directory()?)?;
            all_specs(stages, &nss)
        }),
        told(stages, "network::all_specs", |stages| {
            all_specs(stages, &P11Kit::start(&stages.stage()?.directory()?)?)
        }),
    ]
}

fn start(stages: &Stages) -> Result<(P11Kit, Served, KeyReference)> {
    let hsm = P11Kit::start(&stages.stage()?.directory()?)?;
    let served = serve(stages, &hsm)?;
    let key = reference(hsm.key(KeySpec::Ec256))?;
    Ok((hsm, served, key))
}

fn serve(stages: &Stages, vault: &dyn TestVault) -> Result<Served> {
    serve_within(stages, vault, DEADLINE)
}

fn serve_within(stages: &Stages, vault: &dyn TestVault, deadline: Duration) -> Result<Served> {
    let environment = vault.environment().into_iter().map(|(name, value)| (name.into(), value));
    Served::start(stages.stage()?.home.plugins(), vault.plugin(), environment, deadline)
}

fn all_specs(stages: &Stages, vault: &dyn TestVault) -> Result<String> {
    let served = serve(stages, vault)?;
    for spec in vault.specs() {
        served.sign(&reference(vault.key(*spec))?)?;
    }
    Ok(format!("signed with {} keys", vault.specs().len()))
}

fn broken(stages: &Stages, break_it: impl Fn(&P11Kit)) -> Result<String> {
    let (hsm, served, key) = start(stages)?;
    for _ in 0..3 {
        served.sign(&key)?;
        break_it(&hsm);
        served.sign(&key)?;
    }
    Ok(format!("signed, {} restarts of the plugin", served.plugin.supervision().restarts))
}

/// For good, as far as the deadline goes; afterwards the same plugin signs again.
fn server_away(stages: &Stages) -> Result<String> {
    let hsm = P11Kit::start(&stages.stage()?.directory()?)?;
    let served = serve_within(stages, &hsm, Duration::from_secs(6))?;
    let key = reference(hsm.key(KeySpec::Ec256))?;
    served.sign(&key)?;
    hsm.stop_server();
    let refused = refusal(&served, &key)?;
    hsm.start_server()?;
    served.sign(&key).context("the server is back")?;
    Ok(refused)
}

/// Back in time: nobody notices but by the clock.
fn server_away_for_a_while(stages: &Stages) -> Result<String> {
    let (hsm, served, key) = start(stages)?;
    served.sign(&key)?;
    hsm.stop_server();
    let signed = std::thread::scope(|threads| {
        let back = threads.spawn(|| {
            std::thread::sleep(Duration::from_secs(5));
            hsm.start_server()
        });
        let signed = served.sign(&key);
        back.join().map_err(|_| anyhow!("the server did not come back"))??;
        signed
    });
    signed.map(|()| "signed after 5 s".to_owned())
}

/// Each outage ends with what was open before it: no descriptor of plugin, host or relay, and no process more.
fn nothing_is_left(stages: &Stages) -> Result<String> {
    let hsm = P11Kit::start(&stages.stage()?.directory()?)?;
    let served = serve_within(stages, &hsm, Duration::from_secs(4))?;
    let key = reference(hsm.key(KeySpec::Ec256))?;
    served.sign(&key)?;
    // The host's own descriptors are shared with the tests beside this one: they are the soak's to count.
    let take = || -> BTreeMap<_, _> {
        let all = Inventory::take(served.process_id(), &backend(&hsm)).more_than(&Inventory::default());
        let theirs = all.into_iter().filter(|surplus| surplus.owner != "host");
        theirs.map(|surplus| ((surplus.owner, surplus.kind), surplus.count)).collect()
    };
    let before = take();
    for _ in 0..3 {
        hsm.stop_server();
        refusal(&served, &key)?;
        hsm.start_server()?;
        served.sign(&key)?;
        served.sign(&key)?;
    }
    let until = Instant::now() + DEADLINE;
    while take() != before && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    let after = take();
    ensure!(after == before, "{after:?} after three outages, {before:?} before");
    Ok(format!("the same after 3 outages, {} restarts of the plugin", served.plugin.supervision().restarts))
}

fn refusal(served: &Served, key: &KeyReference) -> Result<String> {
    match served.sign(key) {
        Ok(()) => bail!("it signed without a server"),
        Err(refused) => Ok(refused.to_string()),
    }
}

fn stalled(stages: &Stages, stall: impl Fn(&P11Kit), resume: impl Fn(&P11Kit) + Sync) -> Result<String> {
    let (hsm, served, key) = start(stages)?;
    served.sign(&key)?;
    stall(&hsm);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            std::thread::sleep(Duration::from_secs(2));
            resume(&hsm);
        });
        served.sign(&key)
    })?;
    Ok("signed after 2 s".to_owned())
}

/// One connection hangs for ever; a new one does not. The watchdog gives it up in time.
fn stalled_for_good(stages: &Stages) -> Result<String> {
    let hsm = P11Kit::start(&stages.stage()?.directory()?)?;
    let served = serve(stages, &hsm)?;
    let mut named = hsm.key(KeySpec::Ec256);
    named.config.push(("call-timeout".to_owned(), "3".to_owned()));
    let key = reference(named)?;
    served.sign(&key)?;
    let remotes = hsm.remotes().len();
    ensure!(remotes == 1, "{remotes} connections");
    hsm.stall();
    served.sign(&key)?;
    Ok(format!("signed, {} restarts of the plugin", served.plugin.supervision().restarts))
}
