//! More is asked than the vault's quota allows.

use std::sync::Arc;
use std::time::Instant;

use super::fake::{Fake, FakeError, SECOND, facts, keys, scheduler};
use super::load::{Outcome, load, ten_peers};
use crate::schedule::budget::Quota;
use crate::schedule::fault::Kind;
use crate::schedule::queue::{Bounds, FairQueue};

struct Overload {
    outcome: Outcome,
    goodput: f64,
    throttled: f64,
}

/// `quota` is what the vault really allows in a second, `configured` what the schedule was told.
async fn overload(quota: u32, configured: u32, times: f64, seconds: u64) -> Overload {
    let fake = Arc::new(Fake { quota: Some((quota, SECOND)), ..Fake::new("v") });
    let scheduler = scheduler(&[Arc::clone(&fake)], Quota::per_second(configured));
    let habits = ten_peers(f64::from(quota) * times, 5 * SECOND);
    let begun = fake.elapsed();
    let outcome = load(&scheduler, &[Arc::clone(&fake)], &habits, seconds).await;
    let took = (fake.elapsed() - begun).as_secs_f64();
    let seen = fake.seen.lock().unwrap();
    Overload {
        goodput: f64::from(outcome.served()) / (f64::from(quota) * took),
        throttled: f64::from(seen.throttled) / f64::from(seen.calls),
        outcome,
    }
}

#[tokio::test(start_paused = true)]
async fn at_five_times_the_quota_nearly_all_of_it_is_used_and_nearly_nothing_is_throttled() {
    let found = overload(200, 200, 5.0, 60).await;
    assert!(found.goodput >= 0.95, "{:.3} of the quota", found.goodput);
    assert!(found.throttled < 0.01, "{:.4} of the calls", found.throttled);
    assert!(found.outcome.unfairness() <= 0.05, "{:?}", found.outcome.served);
    let refused: u32 = found.outcome.refused.values().sum();
    assert_eq!(found.outcome.served() + refused, found.outcome.asked);
    assert!(found.outcome.refused.keys().all(|code| ["OUT_OF_QUOTA", "TOO_LATE"].contains(code)));
}

#[tokio::test(start_paused = true)]
async fn a_quota_that_is_lower_than_configured_is_learned() {
    let found = overload(100, 200, 5.0, 60).await;
    assert!(found.goodput >= 0.85, "{:.3} of the quota", found.goodput);
    assert!(found.throttled < 0.03, "{:.4} of the calls", found.throttled);
}

#[tokio::test(start_paused = true)]
async fn below_the_quota_nobody_is_refused() {
    let found = overload(200, 200, 0.8, 20).await;
    assert_eq!(found.outcome.served(), found.outcome.asked, "{:?}", found.outcome.refused);
}

#[tokio::test(start_paused = true)]
async fn retries_do_not_storm() {
    let flaky = Some((0.18, facts(Kind::Vault, true)));
    let fake = Arc::new(Fake { flaky, ..Fake::new("v") });
    let scheduler = scheduler(&[Arc::clone(&fake)], Quota::UNLIMITED);
    let outcome = load(&scheduler, &[Arc::clone(&fake)], &ten_peers(200.0, 30 * SECOND), 60).await;
    let calls = fake.seen.lock().unwrap().calls;
    // A tenth, one a second, the reserve, and some while the breaker is open. Each failure repeated would make 2600.
    let most = outcome.asked + outcome.asked / 10 + 95 + 10 + 100;
    assert!(calls <= most, "{calls} calls for {} requests, at most {most}", outcome.asked);
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_are_in_flight_than_the_vault_may_have() {
    let fake = Arc::new(Fake { latency: (SECOND, SECOND), ..Fake::new("v") });
    let scheduler = scheduler(&[Arc::clone(&fake)], Quota::UNLIMITED);
    load(&scheduler, &[Arc::clone(&fake)], &ten_peers(500.0, 5 * SECOND), 10).await;
    assert_eq!(fake.seen.lock().unwrap().in_flight_most, 64);
}

#[tokio::test(start_paused = true)]
#[ignore = "by name only: prints a table; run with --ignored --nocapture"]
async fn overload_table() {
    println!(
        "A vault with 200 signatures a second, ten peers with arrival rates 1 : 2.8, deadlines of 5 s, 60 s."
    );
    println!("  asked | goodput | throttled | refused early or late | queue p50 / p99 ms | unfairness");
    for times in [0.5, 0.9, 1.0, 1.2, 2.0, 5.0, 10.0] {
        let Overload { mut outcome, goodput, throttled } = overload(200, 200, times, 60).await;
        let refused: u32 = outcome.refused.values().sum();
        let (p50, p99) = (outcome.quantile(0.5), outcome.quantile(0.99));
        println!(
            "  {times:>4} x | {goodput:>7.3} | {:>7.2} % | {:>19.1} % | {p50:>8} / {p99:>7} | {}",
            100.0 * throttled,
            100.0 * f64::from(refused) / f64::from(outcome.asked),
            // Below, the smallest peer asks less than its share and gets all of it.
            if times >= 2.0 {
                format!("{:>8.1} %", 100.0 * outcome.unfairness())
            } else {
                "       -".to_owned()
            },
        );
    }
    let found = overload(100, 200, 5.0, 60).await;
    println!(
        "  5 x, configured twice the real quota: goodput {:.3}, throttled {:.2} %",
        found.goodput,
        100.0 * found.throttled
    );
}

#[tokio::test]
#[ignore = "by name only: prints a table; run with --ignored --nocapture"]
async fn cost_table() {
    println!(
        "Microseconds, this build. Request: through the whole schedule to a vault that takes no time, with so many"
    );
    println!(
        "peers remembered and as many vaults. Turn: one push and one pop with so many peers waiting, ten requests each."
    );
    for count in [1, 10, 100, 1000, 10_000] {
        let (request, turn) = (cost_of_request(count).await, cost_of_turn(count));
        println!("  {count:>6}: request {request:>6.2}, turn {turn:>6.2}");
    }
}

const ROUNDS: usize = 20_000;

async fn cost_of_request(count: usize) -> f64 {
    let fakes: Vec<_> = (0..count).map(|n| Arc::new(Fake::new(&format!("vault {n}")))).collect();
    let scheduler = scheduler(&fakes, Quota::per_second(1_000_000));
    let sets: Vec<_> = fakes.iter().map(|fake| keys(std::slice::from_ref(fake))).collect();
    let peers: Vec<_> = (0..count).map(|n| format!("peer {n}")).collect();
    let mut started = Instant::now();
    for n in 0..ROUNDS + count {
        if n == count {
            started = Instant::now();
        }
        let deadline = Instant::now() + 5 * SECOND;
        let call = async |_| Ok::<_, FakeError>(());
        scheduler.run(&peers[n % count], &sets[n % count], deadline, call).await.unwrap();
    }
    started.elapsed().as_secs_f64() * 1e6 / ROUNDS as f64
}

fn cost_of_turn(count: usize) -> f64 {
    let peers: Vec<Arc<str>> = (0..count).map(|n| Arc::from(format!("peer {n}"))).collect();
    let mut queue = FairQueue::new(Bounds { per_peer: 100, overall: 1_000_000 });
    let start = Instant::now();
    for n in 0..10 * count {
        queue.push(&peers[n % count], start + SECOND, 1, ()).unwrap();
    }
    let started = Instant::now();
    for n in 0..ROUNDS {
        queue.push(&peers[n % count], start + SECOND, 1, ()).unwrap();
        queue.pop().unwrap();
    }
    started.elapsed().as_secs_f64() * 1e6 / ROUNDS as f64
}
