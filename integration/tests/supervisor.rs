//! Plugins that crash, hang, hang up and are killed while they sign: what their callers see of it.
//!
//! The rogue does what no real plugin can be made to do. `kills` does the same to a real one.

#[allow(dead_code, reason = "`kills` uses the rest")]
#[path = "supervisor/nest.rs"]
mod nest;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nest::{Nest, digest, eventually};
use prokura_integration::rogue::Break;
use prokura_plugin::KeySpec;
use prokura_signer::{Error, Plugin};

#[tokio::test]
async fn a_request_whose_process_crashed_is_repeated_once() -> Result<()> {
    for switch in [Break::GrpcAbortsInSign, Break::GrpcDiesWhileSigning, Break::GrpcHangsUpInSign] {
        let nest = Nest::new()?;
        let plugin = nest.rogue(switch, &[("until", "1")], 10).await?;
        nest.sign(&plugin).await.with_context(|| switch.name())?;
        let report = plugin.supervision();
        ensure!((report.generation, report.restarts) == (2, 1), "{switch:?}: {report:?}");
        ensure!(nest.asked_to_sign() == 2, "{switch:?}: asked {} times", nest.asked_to_sign());
        plugin.close().await;
        nest.nobody_is_left().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_plugin_that_always_crashes_is_asked_twice_and_then_given_up_with_its_last_words() -> Result<()> {
    let nest = Nest::new()?;
    let plugin = nest.rogue(Break::GrpcAbortsInSign, &[], 10).await?;
    let error = refused(nest.sign(&plugin).await)?;
    ensure!(matches!(error, Error::Died { .. }), "{error}");
    ensure!(
        error.to_string().contains("SIGABRT") && error.to_string().contains("session != NULL"),
        "{error}"
    );
    ensure!(nest.asked_to_sign() == 2, "asked {} times", nest.asked_to_sign());
    refused(nest.sign(&plugin).await)?;
    let error = refused(nest.sign(&plugin).await)?;
    let text = error.to_string();
    ensure!(matches!(error, Error::GivenUp { processes: 5, .. }), "{text}");
    ensure!(text.contains("started 5 times") && text.contains("session != NULL"), "{text}");
    let begun = Instant::now();
    refused(nest.sign(&plugin).await)?;
    ensure!(begun.elapsed() < Duration::from_millis(100), "a plugin that was given up was started");
    ensure!(nest.asked_to_sign() == 5, "asked {} times", nest.asked_to_sign());
    Ok(())
}

#[tokio::test]
async fn a_plugin_that_served_and_then_crashes_at_each_start_is_not_replaced_by_stdio() -> Result<()> {
    let nest = Nest::new()?;
    let plugin = nest.rogue(Break::GrpcAbortsAtStart, &[("after", "1")], 10).await?;
    nest.sign(&plugin).await?;
    nest::kill(plugin.supervision().process_id.context("a process")?)?;
    let error = refused(nest.sign(&plugin).await)?;
    ensure!(matches!(error, Error::GivenUp { .. }), "{error}");
    ensure!(error.to_string().contains("libvendor: cannot map the token"), "{error}");
    ensure!(plugin.fallback_reason().is_none() && plugin.supervision().generation == 1);
    Ok(())
}

#[tokio::test]
async fn callers_share_one_restart() -> Result<()> {
    let nest = Nest::new()?;
    let switches = [("until", "1"), ("only", "bad"), ("takes", "50")];
    let plugin = nest.rogue(Break::GrpcAbortsInSign, &switches, 10).await?;
    nest.sign(&plugin).await?;
    let (good, bad) = (nest::key("good")?, nest::key("bad")?);
    let calls = (0..16).map(|n| plugin.sign_digest_of(if n == 7 { &bad } else { &good }, n));
    for outcome in nest::together(calls).await {
        outcome?;
    }
    let report = plugin.supervision();
    ensure!((report.generation, report.restarts) == (2, 1), "{report:?}");
    Ok(())
}

#[tokio::test]
async fn nobody_is_asked_twice_for_a_touch() -> Result<()> {
    let nest = Nest::new()?;
    let plugin = nest.rogue(Break::GrpcAbortsInSign, &[("until", "1"), ("touch", "CACHED")], 10).await?;
    let error = refused(nest.sign(&plugin).await)?;
    ensure!(matches!(error, Error::Died { .. }), "{error}");
    ensure!(nest.asked_to_sign() == 1, "asked {} times", nest.asked_to_sign());
    nest.sign(&plugin).await
}

#[tokio::test]
async fn the_next_process_must_have_the_same_key() -> Result<()> {
    let nest = Nest::new()?;
    // Without a file for it, each process makes a key of its own.
    let plugin = nest.rogue(Break::GrpcAbortsInSign, &[("until", "1"), ("key", "")], 10).await?;
    let error = refused(nest.sign(&plugin).await)?;
    ensure!(matches!(error, Error::KeyChanged { .. }), "{error}");
    ensure!(nest.asked_to_sign() == 1, "the other key was asked to sign");
    // The caller was told; what it asks for next is the key there is now.
    nest.sign(&plugin).await
}

#[tokio::test]
async fn a_call_that_hangs_ends_at_the_deadline_and_the_second_takes_the_process_along() -> Result<()> {
    let nest = Nest::new()?;
    let switches = [("until", "1"), ("only", "bad"), ("takes", "200")];
    let plugin = nest.rogue(Break::GrpcHangsInSign, &switches, 3).await?;
    nest.sign(&plugin).await?;
    let (good, bad) = (nest::key("good")?, nest::key("bad")?);
    let others = async {
        let mut signed = 0;
        while plugin.supervision().generation == 1 || signed < 5 {
            plugin.sign_digest_of(&good, signed).await.context("another caller failed")?;
            signed += 1;
        }
        Ok::<_, anyhow::Error>(signed)
    };
    let hanging = async {
        for n in 1..=2 {
            let begun = Instant::now();
            let error = refused(plugin.sign_digest_of(&bad, n).await)?;
            let took = begun.elapsed();
            ensure!(matches!(error, Error::TooSlow { .. }), "{error}");
            ensure!(took >= Duration::from_secs(3) && took < Duration::from_secs(4), "{n}: {took:?}");
        }
        Ok(())
    };
    let both = async { tokio::join!(others, hanging) };
    let (others, hanging) = tokio::time::timeout(Duration::from_secs(20), both).await?;
    hanging?;
    ensure!(others? > 10, "the others were held up");
    plugin.sign_digest_of(&bad, 3).await?;
    ensure!(plugin.supervision().generation == 2, "{:?}", plugin.supervision());
    Ok(())
}

#[tokio::test]
async fn a_process_in_which_nothing_runs_any_more_is_replaced_after_one_call() -> Result<()> {
    let nest = Nest::new()?;
    let plugin = nest.rogue(Break::GrpcStopsInSign, &[("until", "1")], 2).await?;
    let error = refused(nest.sign(&plugin).await)?;
    ensure!(matches!(error, Error::TooSlow { .. }), "{error}");
    let begun = Instant::now();
    eventually("the process is not replaced", || plugin.supervision().process_id.is_none().then_some(()))
        .await?;
    ensure!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    nest.sign(&plugin).await?;
    ensure!(plugin.supervision().generation == 2);
    Ok(())
}

#[tokio::test]
async fn a_slow_start_is_waited_for_by_all() -> Result<()> {
    let nest = Nest::new()?;
    let plugin = nest.rogue(Break::GrpcSlowStart, &[], 10).await?;
    let key = nest::key("good")?;
    for outcome in nest::together((0..8).map(|n| plugin.sign_digest_of(&key, n))).await {
        outcome?;
    }
    ensure!(plugin.supervision().generation == 1, "{:?}", plugin.supervision());
    Ok(())
}

/// The error of a call that had to fail.
fn refused<T>(outcome: Result<T>) -> Result<Error> {
    match outcome {
        Ok(_) => bail!("it was signed"),
        Err(error) => error.downcast::<Error>(),
    }
}

trait SignDigestOf {
    async fn sign_digest_of(&self, key: &prokura_signer::KeyReference, n: u64) -> Result<()>;
}

impl SignDigestOf for Plugin {
    async fn sign_digest_of(&self, key: &prokura_signer::KeyReference, n: u64) -> Result<()> {
        self.sign_digest(key, KeySpec::Ec256, &digest(n)).await?;
        Ok(())
    }
}
