//! Tests of the fair queue, properties first.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const WIDE: Bounds = Bounds { per_peer: 100_000, overall: 1_000_000 };

fn peer(n: usize) -> Arc<str> {
    Arc::from(format!("peer {n}"))
}

fn after(start: Instant, milliseconds: u64) -> Instant {
    start + Duration::from_millis(milliseconds)
}

#[test]
fn ten_peers_with_different_arrival_rates_are_served_alike() {
    let start = Instant::now();
    let peers: Vec<_> = (0..10).map(peer).collect();
    let mut queue = FairQueue::new(WIDE);
    let mut served = [0_u32; 10];
    for round in 0..20_000_u64 {
        for (n, peer) in peers.iter().enumerate() {
            // The first sends ten times as much as the last, and even the last more than a tenth of what is served.
            if round % 10 <= 9 - n as u64 || round % 5 == 0 {
                queue.push(peer, after(start, round), 1, n).unwrap();
            }
        }
        if let Some(n) = queue.pop() {
            served[n] += 1;
        }
    }
    let (least, most) = (served.iter().min().unwrap(), served.iter().max().unwrap());
    assert!(f64::from(*most) <= 1.05 * f64::from(*least), "{served:?}");
}

#[test]
fn a_peer_that_always_comes_back_gets_no_more_than_its_turn() {
    let start = Instant::now();
    let (patient, returning) = (peer(0), peer(1));
    let mut queue = FairQueue::new(WIDE);
    for n in 0..1000 {
        queue.push(&patient, after(start, n), 1, 0).unwrap();
    }
    let mut served = [0; 2];
    for _ in 0..500 {
        // One at a time, again as soon as it was served.
        if queue.lines.get(&returning).is_none_or(|line| line.items.is_empty()) {
            queue.push(&returning, start, 1, 1).unwrap();
        }
        served[queue.pop().unwrap()] += 1;
    }
    assert!((240..=260).contains(&served[1]), "{served:?}");
}

#[test]
fn dear_requests_count_for_what_they_cost() {
    let start = Instant::now();
    let mut queue = FairQueue::new(WIDE);
    for n in 0..4000 {
        queue.push(&peer(0), after(start, n), 8, 0).unwrap();
        queue.push(&peer(1), after(start, n), 1, 1).unwrap();
    }
    let mut served = [0; 2];
    for _ in 0..900 {
        served[queue.pop().unwrap()] += 1;
    }
    assert!((790..=810).contains(&served[1]), "{served:?}");
}

#[test]
fn within_a_peer_the_earliest_deadline_is_first() {
    let start = Instant::now();
    let mut queue = FairQueue::new(WIDE);
    for n in [5_u64, 1, 4, 2, 3] {
        queue.push(&peer(0), after(start, n), 1, n).unwrap();
    }
    let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
    assert_eq!(order, [1, 2, 3, 4, 5]);
}

#[test]
fn greedy_peers_leave_room_for_others() {
    let start = Instant::now();
    let mut queue = FairQueue::new(Bounds { per_peer: 1000, overall: 1000 });
    for greedy in 0..4 {
        while queue.push(&peer(greedy), start, 1, ()).is_ok() {}
    }
    assert!(queue.push(&peer(9), start, 1, ()).is_ok(), "{} wait", queue.len());
    assert_eq!(queue.push(&peer(0), start, 1, ()), Err(Full::Peer));
    assert!(queue.len() <= 1000);
}

#[test]
fn a_bound_per_peer_holds() {
    let start = Instant::now();
    let mut queue = FairQueue::new(Bounds { per_peer: 3, overall: 100 });
    for _ in 0..3 {
        queue.push(&peer(0), start, 1, ()).unwrap();
    }
    assert_eq!(queue.push(&peer(0), start, 1, ()), Err(Full::Peer));
    assert!(queue.push(&peer(1), start, 1, ()).is_ok());
}

#[test]
fn what_is_ahead_is_all_or_the_turns_before_ones_own() {
    let start = Instant::now();
    let mut queue = FairQueue::new(WIDE);
    for n in 0..1000 {
        queue.push(&peer(0), after(start, n), 1, ()).unwrap();
    }
    assert_eq!(queue.ahead("peer 0", after(start, 5000)), 1000);
    assert_eq!(
        queue.ahead("peer 1", after(start, 5000)),
        1,
        "another peer has its turn after one of the first"
    );
    assert_eq!(queue.ahead("peer 0", after(start, 9)), 11, "more urgent than most of its own");
}

#[derive(Clone, Debug)]
enum Step {
    Push { peer: usize, deadline: u64, cost: u32 },
    Pop,
    PopUnserved,
    Cancel { nth: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..6_usize, 0..50_u64, 1..9_u32).prop_map(|(peer, deadline, cost)| Step::Push { peer, deadline, cost }),
        2 => Just(Step::Pop),
        1 => Just(Step::PopUnserved),
        2 => (0..40_usize).prop_map(|nth| Step::Cancel { nth }),
    ];
    proptest::collection::vec(step, 0..300)
}

fn check<V>(queue: &FairQueue<V>) {
    let items = queue.lines.values().flat_map(|line| &line.items);
    assert_eq!(queue.length, items.clone().count());
    assert_eq!(queue.cost, items.map(|item| u64::from(item.cost)).sum::<u64>());
    assert_eq!(queue.lines.len(), queue.waiting.len() + queue.resting.len());
    for line in queue.lines.values() {
        assert!(line.items.iter().is_sorted_by_key(|item| (item.deadline, item.id)));
        assert!(line.items.is_empty() || line.start >= queue.virtual_time);
    }
}

proptest! {
    #[test]
    fn everything_comes_out_once_in_order_and_nothing_stays(steps in steps()) {
        let start = Instant::now();
        let bounds = Bounds { per_peer: 20, overall: 60 };
        let mut queue = FairQueue::new(bounds);
        let mut expected: BTreeMap<u64, (usize, u64, Place)> = BTreeMap::new();
        let mut next = 0;
        for step in steps {
            match step {
                Step::Push { peer: n, deadline, cost } => {
                    next += 1;
                    if let Ok(place) = queue.push(&peer(n), after(start, deadline), cost, next) {
                        expected.insert(next, (n, deadline, place));
                    }
                }
                Step::Pop | Step::PopUnserved => {
                    let first = queue.first();
                    let popped = if matches!(step, Step::Pop) { queue.pop() } else { queue.pop_unserved() };
                    prop_assert_eq!(popped.is_none(), expected.is_empty());
                    if let Some(value) = popped {
                        let (n, deadline, _) = expected.remove(&value).unwrap();
                        prop_assert_eq!(first.unwrap().deadline, after(start, deadline));
                        prop_assert!(expected.values().all(|(other, later, _)| *other != n || *later >= deadline));
                    }
                }
                Step::Cancel { nth } => {
                    let Some(value) = expected.keys().nth(nth).copied() else { continue };
                    let (_, _, place) = expected.remove(&value).unwrap();
                    prop_assert_eq!(queue.remove(&place), Some(value));
                    prop_assert_eq!(queue.remove(&place), None);
                }
            }
            prop_assert!(queue.len() <= bounds.overall);
            prop_assert_eq!(queue.len(), expected.len());
            check(&queue);
        }
        for (_, _, place) in expected.values() {
            queue.remove(place);
        }
        prop_assert_eq!((queue.peers(), queue.waiting.len(), queue.resting.len()), (0, 0, 0));
    }

    #[test]
    fn peers_that_always_wait_are_never_further_apart_than_their_dearest_requests(
        costs in proptest::collection::vec((0..4_usize, 1..9_u32), 50..400),
    ) {
        let start = Instant::now();
        let mut queue = FairQueue::new(WIDE);
        for n in 0..4 {
            for k in 0..500 {
                let cost = costs.iter().cycle().skip(k + n).find(|(who, _)| *who == n).map_or(1, |(_, cost)| *cost);
                queue.push(&peer(n), after(start, k as u64), cost, (n, cost)).unwrap();
            }
        }
        let mut served = [0_u64; 4];
        for _ in 0..400 {
            let (n, cost) = queue.pop().unwrap();
            served[n] += u64::from(cost);
            let apart = served.iter().max().unwrap() - served.iter().min().unwrap();
            prop_assert!(apart <= 2 * 8, "{served:?}");
        }
    }
}
