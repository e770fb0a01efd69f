//! Refused at once, and told when it could be.

use std::sync::Arc;
use std::time::Duration;

use super::fake::{Fake, SECOND, scheduler};
use super::load::ask;
use crate::schedule::budget::Quota;
use crate::schedule::peers::PeerLimits;
use crate::schedule::refusal::Refusal;
use crate::schedule::scheduler::Scheduler;

#[tokio::test(start_paused = true)]
async fn a_deadline_that_cannot_be_met_is_refused_at_once_and_an_urgent_request_of_another_peer_is_not() {
    let fakes = [Arc::new(Fake::new("v"))];
    let scheduler = scheduler(&fakes, Quota::per_second(10));
    for _ in 0..1000 {
        let (scheduler, fakes) = (Arc::clone(&scheduler), fakes.to_vec());
        tokio::spawn(async move { ask(&scheduler, &fakes, "greedy", 600 * SECOND).await });
    }
    tokio::time::sleep(SECOND).await;
    let before = fakes[0].elapsed();
    let refusal = ask(&scheduler, &fakes, "greedy", 1000 * SECOND).await;
    assert!(refusal.is_ok(), "{refusal:?}");
    let waited = fakes[0].elapsed() - before;
    assert!((90 * SECOND..110 * SECOND).contains(&waited), "{waited:?}");

    for _ in 0..100 {
        let (scheduler, fakes) = (Arc::clone(&scheduler), fakes.to_vec());
        tokio::spawn(async move { ask(&scheduler, &fakes, "greedy", 600 * SECOND).await });
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    let before = fakes[0].elapsed();
    // Later than nothing that waits, so behind all of it is not true: it goes first in its own line.
    assert!(ask(&scheduler, &fakes, "greedy", 2 * SECOND).await.is_ok());
    assert!(ask(&scheduler, &fakes, "another", 2 * SECOND).await.is_ok(), "another peer's turn comes soon");
    assert!(fakes[0].elapsed() - before < 2 * SECOND);
    for _ in 0..100 {
        let (scheduler, fakes) = (Arc::clone(&scheduler), fakes.to_vec());
        tokio::spawn(async move { ask(&scheduler, &fakes, "urgent", 20 * SECOND).await });
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    let before = fakes[0].elapsed();
    let refusal = ask(&scheduler, &fakes, "urgent", 3 * SECOND + 20 * SECOND).await;
    assert!(refusal.is_ok(), "{refusal:?}");
    assert!(fakes[0].elapsed() - before > SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_moment_that_is_told_is_right() {
    let fakes = [Arc::new(Fake::new("v"))];
    let scheduler = scheduler(&fakes, Quota::per_second(10));
    for _ in 0..100 {
        let (scheduler, fakes) = (Arc::clone(&scheduler), fakes.to_vec());
        tokio::spawn(async move { ask(&scheduler, &fakes, "one", 9900 * Duration::from_millis(1)).await });
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    let before = tokio::time::Instant::now().into_std();
    let refusal = ask(&scheduler, &fakes, "one", 9950 * Duration::from_millis(1)).await.unwrap_err();
    assert_eq!(refusal.code(), "OUT_OF_QUOTA");
    assert_eq!(tokio::time::Instant::now().into_std(), before, "at once");
    let until = refusal.possible_at().unwrap() - before;
    assert!((9950..10_500).contains(&until.as_millis()), "{until:?}");
    assert!(ask(&scheduler, &fakes, "one", until + SECOND / 2).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_kept_to() {
    let fake = Fake { quota: Some((5, 3600 * SECOND)), retry_after: Some(30 * SECOND), ..Fake::new("v") };
    let fakes = [Arc::new(fake)];
    let scheduler = scheduler(&fakes, Quota::per_second(10));
    for _ in 0..5 {
        ask(&scheduler, &fakes, "one", SECOND).await.unwrap();
    }
    let refusal = ask(&scheduler, &fakes, "one", 10 * SECOND).await.unwrap_err();
    assert_eq!(refusal.code(), "OUT_OF_QUOTA", "{refusal:?}");
    let calls = fakes[0].seen.lock().unwrap().calls;
    let before = tokio::time::Instant::now().into_std();
    let refusal = ask(&scheduler, &fakes, "one", 10 * SECOND).await.unwrap_err();
    let Refusal::OutOfQuota { until, .. } = refusal else { panic!("{refusal:?}") };
    assert!((29..31).contains(&(until - before).as_secs()), "{:?}", until - before);
    assert_eq!(fakes[0].seen.lock().unwrap().calls, calls, "the vault is left alone");
}

#[tokio::test(start_paused = true)]
async fn what_the_vault_could_never_do_in_time_is_too_late() {
    let fakes = [Arc::new(Fake { latency: (4 * SECOND, 4 * SECOND), ..Fake::new("v") })];
    let scheduler = scheduler(&fakes, Quota::UNLIMITED);
    ask(&scheduler, &fakes, "one", 9 * SECOND).await.unwrap();
    let refusal = ask(&scheduler, &fakes, "one", 2 * SECOND).await.unwrap_err();
    assert_eq!(refusal.code(), "TOO_LATE");
    assert!(refusal.possible_at().is_some());
    assert_eq!(fakes[0].seen.lock().unwrap().calls, 1);
}

#[tokio::test(start_paused = true)]
async fn a_peer_has_its_own_limits() {
    let fakes = [Arc::new(Fake::new("v"))];
    let all = scheduler(&fakes, Quota::UNLIMITED);
    drop(all);
    let limited = Scheduler::new(PeerLimits { rate: 10.0, burst: 3, at_once: 2 }, 1);
    let refusal = ask(&limited, &fakes, "one", SECOND).await.unwrap_err();
    assert_eq!(refusal, Refusal::NoVault);
    assert_eq!(limited.remembered("v").0, 1);
    for _ in 0..2 {
        let _ = ask(&limited, &fakes, "one", SECOND).await;
    }
    let refusal = ask(&limited, &fakes, "one", SECOND).await.unwrap_err();
    assert_eq!(refusal.code(), "OUT_OF_QUOTA", "{refusal:?}");
}
