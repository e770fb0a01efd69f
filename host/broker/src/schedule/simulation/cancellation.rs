//! Peers that go away leave nothing behind.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::fake::{Fake, SECOND, scheduler};
use super::load::ask;
use crate::schedule::budget::Quota;

#[tokio::test(start_paused = true)]
async fn who_asks_for_thousands_and_disconnects_leaves_nothing_and_delays_nobody() {
    let fakes = [Arc::new(Fake { latency: (SECOND, SECOND), ..Fake::new("v") })];
    let scheduler = scheduler(&fakes, Quota::per_second(20));
    let mut gone = JoinSet::new();
    for n in 0..10_000 {
        let (scheduler, fakes) = (Arc::clone(&scheduler), fakes.to_vec());
        gone.spawn(async move { ask(&scheduler, &fakes, &format!("peer {}", n % 7), 3600 * SECOND).await });
    }
    tokio::time::sleep(3 * SECOND).await;
    let (waiting, in_flight) = scheduler.load("v").unwrap();
    assert!(waiting > 5000 && in_flight > 0, "{waiting} {in_flight}");
    gone.shutdown().await;
    assert_eq!(scheduler.load("v"), Some((0, 0)));
    assert_eq!(fakes[0].seen.lock().unwrap().in_flight, 0, "the calls were dropped as well");
    let before = fakes[0].elapsed();
    ask(&scheduler, &fakes, "another", 5 * SECOND).await.unwrap();
    assert!(fakes[0].elapsed() - before < 1200 * Duration::from_millis(1));
    tokio::time::sleep(SECOND).await;
    ask(&scheduler, &fakes, "another", 5 * SECOND).await.unwrap();
    assert_eq!(scheduler.remembered("v"), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_given_up_does_not_keep_the_breaker_open() {
    use super::fake::{Trouble, facts};
    use crate::schedule::fault::Kind;
    let outage = Some((0, 5, Trouble::Says(facts(Kind::Vault, true))));
    let fakes = [Arc::new(Fake { outage, latency: (SECOND, SECOND), ..Fake::new("v") })];
    let scheduler = scheduler(&fakes, Quota::UNLIMITED);
    let mut first = JoinSet::new();
    for _ in 0..8 {
        let (scheduler, fakes) = (Arc::clone(&scheduler), fakes.to_vec());
        first.spawn(async move { ask(&scheduler, &fakes, "one", 60 * SECOND).await });
    }
    // After a second the breaker is open, soon after the probe is under way; its caller goes away with it.
    tokio::time::sleep(1700 * Duration::from_millis(1)).await;
    assert_eq!((scheduler.is_closed("v"), scheduler.load("v").unwrap().1), (Some(false), 1));
    first.shutdown().await;
    tokio::time::sleep(5 * SECOND).await;
    ask(&scheduler, &fakes, "two", 5 * SECOND).await.unwrap();
    assert_eq!(scheduler.is_closed("v"), Some(true));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_vault_that_the_operator_removes_is_told() {
    let fakes = [Arc::new(Fake::new("v"))];
    let scheduler = scheduler(&fakes, Quota::per_second(1));
    let mut waiting = JoinSet::new();
    for _ in 0..10 {
        let (scheduler, fakes) = (Arc::clone(&scheduler), fakes.to_vec());
        waiting.spawn(async move { ask(&scheduler, &fakes, "one", 60 * SECOND).await });
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    scheduler.set_vaults(std::collections::HashMap::new()).unwrap();
    let answers = waiting.join_all().await;
    let told =
        answers.iter().filter(|answer| answer.as_ref().is_err_and(|refusal| refusal.code() == "INTERNAL"));
    assert!(told.count() >= 8, "{answers:?}");
}
