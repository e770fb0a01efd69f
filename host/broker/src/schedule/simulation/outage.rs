//! A vault goes away and comes back, or another one serves.

use std::sync::Arc;
use std::time::Duration;

use super::fake::{Fake, SECOND, Trouble, facts, scheduler};
use super::load::{ask, load, one_peer, ten_peers};
use crate::schedule::budget::Quota;
use crate::schedule::fault::Kind;

async fn outage(fault: Trouble, patience: u32) -> (Arc<Fake>, super::load::Outcome, Vec<bool>) {
    let fake = Arc::new(Fake { outage: Some((10, 70, fault)), ..Fake::new("v") });
    let scheduler = scheduler(&[Arc::clone(&fake)], Quota::per_second(100));
    let watched = {
        let scheduler = Arc::clone(&scheduler);
        tokio::spawn(async move {
            let mut closed = Vec::new();
            for _ in 0..90 {
                tokio::time::sleep(SECOND).await;
                closed.push(scheduler.is_closed("v").unwrap());
            }
            closed
        })
    };
    let outcome = load(&scheduler, &[Arc::clone(&fake)], &ten_peers(40.0, patience * SECOND), 80).await;
    (fake, outcome, watched.await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_a_minute_loses_no_request_whose_deadline_allows() {
    let (fake, outcome, closed) = outage(Trouble::Says(facts(Kind::Vault, true)), 120).await;
    assert_eq!(outcome.served(), outcome.asked, "{:?}", outcome.refused);
    let calls = fake.seen.lock().unwrap().calls_in_outage;
    assert!(calls <= 64 + 60, "{calls} calls to a vault that is away");
    assert!(closed[..9].iter().all(|closed| *closed), "{closed:?}");
    assert!(closed[12..69].iter().all(|closed| !closed), "{closed:?}");
    assert!(closed[76..].iter().all(|closed| *closed), "{closed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_alone_outlives_an_outage_as_well() {
    let outage = Some((0, 60, Trouble::Says(facts(Kind::Vault, true))));
    let fakes = [Arc::new(Fake { outage, ..Fake::new("v") })];
    let scheduler = scheduler(&fakes, Quota::per_second(100));
    let (_, times) = ask(&scheduler, &fakes, "one", 90 * SECOND).await.unwrap();
    assert!(times.attempts > crate::limits::ATTEMPTS_MAX, "it made the probes: {times:?}");
    assert!((60..66).contains(&times.queue.as_secs()), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_gives_no_answer_for_a_minute_loses_none_either() {
    let (fake, outcome, _) = outage(Trouble::Silent, 120).await;
    assert_eq!(outcome.served(), outcome.asked, "{:?}", outcome.refused);
    let calls = fake.seen.lock().unwrap().calls_in_outage;
    assert!(calls <= 64 + 60, "{calls} calls to a vault that is away");
}

#[tokio::test(start_paused = true)]
async fn who_cannot_wait_for_the_end_of_an_outage_is_told() {
    let (_, outcome, _) = outage(Trouble::Says(facts(Kind::Vault, true)), 5).await;
    let refused: u32 = outcome.refused.values().sum();
    assert_eq!(outcome.served() + refused, outcome.asked);
    // Those of the last five seconds of it could wait.
    assert!((40 * 50..40 * 60).contains(&refused), "{refused}: {:?}", outcome.refused);
}

#[tokio::test(start_paused = true)]
async fn an_equivalent_key_serves_while_a_vault_is_away() {
    for fault in [facts(Kind::Vault, true), facts(Kind::Vault, false), facts(Kind::Key, false)] {
        let away = Arc::new(Fake { outage: Some((0, 60, Trouble::Says(fault))), ..Fake::new("away") });
        let fakes = [away, Arc::new(Fake::new("well"))];
        let scheduler = scheduler(&fakes, Quota::per_second(100));
        let mut outcome = load(&scheduler, &fakes, &one_peer(50.0, 2 * SECOND), 60).await;
        assert_eq!(outcome.served(), outcome.asked, "{fault:?}: {:?}", outcome.refused);
        let calls = fakes[0].seen.lock().unwrap().calls;
        assert!(calls < 60, "{fault:?}: {calls} calls to the vault that is away");
        assert!(outcome.quantile(0.99) < 200, "{fault:?}: {} ms", outcome.quantile(0.99));
    }
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_comes_back_is_used_again() {
    let outage = Some((5, 20, Trouble::Says(facts(Kind::Vault, true))));
    let fakes = [Arc::new(Fake { outage, ..Fake::new("back") }), Arc::new(Fake::new("well"))];
    let scheduler = scheduler(&fakes, Quota::per_second(100));
    let outcome = load(&scheduler, &fakes, &one_peer(100.0, 30 * SECOND), 60).await;
    assert_eq!(outcome.served(), outcome.asked, "{:?}", outcome.refused);
    let back = fakes[0].seen.lock().unwrap().done;
    assert!(back > 1500, "{back} of 6000");
}

#[tokio::test(start_paused = true)]
async fn who_waits_at_a_vault_that_fails_goes_to_another() {
    let slow = Fake { latency: (Duration::ZERO, Duration::ZERO), ..Fake::new("away") };
    let away = Fake { outage: Some((1, 600, Trouble::Says(facts(Kind::Vault, true)))), ..slow };
    let fakes = [Arc::new(away), Arc::new(Fake::new("well"))];
    let scheduler = scheduler(&fakes, Quota::per_second(20));
    // At 30 a second both have a queue; when one fails its queue goes to the other.
    let outcome = load(&scheduler, &fakes, &one_peer(30.0, 60 * SECOND), 5).await;
    assert_eq!(outcome.served(), outcome.asked, "{:?}", outcome.refused);
}

#[tokio::test(start_paused = true)]
async fn refusals_of_the_request_never_open_the_breaker() {
    let flaky = Some((1.0, facts(Kind::Request, false)));
    let fakes = [Arc::new(Fake { flaky, ..Fake::new("v") })];
    let scheduler = scheduler(&fakes, Quota::per_second(100));
    for _ in 0..100 {
        let refusal = ask(&scheduler, &fakes, "one", SECOND).await.unwrap_err();
        assert_eq!((refusal.code(), refusal.may_retry()), ("VAULT", false));
    }
    assert_eq!(fakes[0].seen.lock().unwrap().calls, 100, "asked once each");
    assert_eq!(scheduler.is_closed("v"), Some(true));
}
