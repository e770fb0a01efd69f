//! Answers by idempotency key, counts, and what is forgotten.

use std::sync::Arc;

use anyhow::{Result, ensure};
use prokura_broker::peer::PeerKind;
use prokura_broker::state::{Begun, Caller, Finished, Signed, Store, Trouble, Usage, Windows};

use super::Test;
use super::ground::{Backend, CALLER, Ground, LEASE, SIGNED, TTL, at, begin, claim, refused};

pub(crate) const TESTS: &[Test] = &[
    ("one key is one answer", one_answer),
    ("of a thousand races each has one winner", races),
    ("a dead claim is taken over", taken_over),
    ("a claim is given back", given_back),
    ("keys and answers are bounded", bounded),
    ("counts slide", counts_slide),
    ("an answer and its counts are one", answer_and_counts),
    ("the clock jumps back", clock_jumps_back),
    ("pruning goes in steps", pruning),
    ("the state is there after a restart", reopened),
];

fn one_answer(ground: &Ground) -> Result<()> {
    let store = ground.open()?;
    ground.runtime.block_on(async {
        let first = claim(&store, "a", 0).await?;
        let second = begin(&store, "a", 1).await?;
        ensure!(matches!(second, Begun::InProgress { remaining_ms: 59_000 }), "{second:?}");
        ensure!(store.finish(&first, b"answer".to_vec(), None, at(2)).await? == Finished::Recorded);
        ensure!(
            store.finish(&first, b"answer".to_vec(), None, at(2)).await? == Finished::Recorded,
            "repeated"
        );
        let third = begin(&store, "a", 3).await?;
        ensure!(matches!(&third, Begun::Done(answer) if answer == b"answer"), "{third:?}");
        let other = store.begin(CALLER, "a", [2; 32], at(3), LEASE, TTL).await?;
        ensure!(matches!(other, Begun::Conflict), "{other:?}");
        for caller in [Caller { kind: PeerKind::Spiffe, ..CALLER }, Caller { id: "issuer|other", ..CALLER }] {
            let other = store.begin(caller, "a", [2; 32], at(3), LEASE, TTL).await?;
            ensure!(matches!(other, Begun::New(_)), "the key of another peer is another key: {other:?}");
        }
        let expired = store.begin(CALLER, "a", [2; 32], at(2 + 86_400), LEASE, TTL).await?;
        ensure!(matches!(expired, Begun::New(_)), "a day later: {expired:?}");
        Ok(())
    })
}

fn races(ground: &Ground) -> Result<()> {
    const RACERS: usize = 4;
    let stores = ground.two()?;
    ground.runtime.block_on(async {
        for round in 0..1000 {
            let key = format!("race {round}");
            let racers = (0..RACERS).map(|racer| {
                let (store, key) = (Arc::clone(&stores[racer % 2]), key.clone());
                tokio::spawn(async move { begin(&store, &key, 0).await })
            });
            let racers: Vec<_> = racers.collect();
            let mut won = 0;
            for racer in racers {
                match racer.await?? {
                    Begun::New(_) => won += 1,
                    Begun::InProgress { .. } => {}
                    other => anyhow::bail!("round {round}: {other:?}"),
                }
            }
            ensure!(won == 1, "round {round} has {won} winners");
        }
        Ok(())
    })
}

fn taken_over(ground: &Ground) -> Result<()> {
    let [dead, store] = ground.two()?;
    ground.runtime.block_on(async {
        let lost = claim(&dead, "a", 0).await?;
        ensure!(matches!(begin(&store, "a", 59).await?, Begun::InProgress { remaining_ms: 1000 }));
        let other = store.begin(CALLER, "a", [2; 32], at(61), LEASE, TTL).await?;
        ensure!(matches!(other, Begun::Conflict), "other content never takes over: {other:?}");
        let won = claim(&store, "a", 60).await?;
        ensure!(dead.finish(&lost, vec![1], Some(SIGNED), at(61)).await? == Finished::Overtaken(None));
        ensure!(store.finish(&won, vec![2], Some(SIGNED), at(62)).await? == Finished::Recorded);
        ensure!(dead.finish(&lost, vec![1], None, at(63)).await? == Finished::Overtaken(Some(vec![2])));
        dead.abandon(&lost).await?;
        ensure!(matches!(begin(&store, "a", 64).await?, Begun::Done(answer) if answer == [2]));
        ensure!(store.usage(SIGNED, at(64)).await?.key.hour == 2, "both signatures exist");
        Ok(())
    })
}

fn given_back(ground: &Ground) -> Result<()> {
    let store = ground.open()?;
    ground.runtime.block_on(async {
        let first = claim(&store, "a", 0).await?;
        store.abandon(&first).await?;
        let second = claim(&store, "a", 1).await?;
        store.abandon(&first).await?;
        ensure!(
            matches!(begin(&store, "a", 1).await?, Begun::InProgress { .. }),
            "an old claim gives nothing back"
        );
        store.finish(&second, vec![1], None, at(1)).await?;
        store.abandon(&second).await?;
        ensure!(matches!(begin(&store, "a", 1).await?, Begun::Done(_)), "an answer is not given back");
        Ok(())
    })
}

fn bounded(ground: &Ground) -> Result<()> {
    let store = ground.open()?;
    ground.runtime.block_on(async {
        for key in [String::new(), "k".repeat(129)] {
            let error = refused(begin(&store, &key, 0).await, &["1 to 128", "retry: no"])?;
            ensure!(error.trouble() == Trouble::Invalid);
        }
        let claim = claim(&store, &"k".repeat(128), 0).await?;
        refused(store.finish(&claim, vec![0; 256 * 1024 + 1], None, at(0)).await, &["262145", "262144"])?;
        ensure!(store.finish(&claim, vec![0; 256 * 1024], None, at(0)).await? == Finished::Recorded);
        Ok(())
    })
}

fn counts_slide(ground: &Ground) -> Result<()> {
    let [one, two] = ground.two()?;
    let other = Signed { key_name: "nightly", ..SIGNED };
    ground.runtime.block_on(async {
        for (store, signed, second) in
            [(&one, SIGNED, 0), (&two, SIGNED, 1), (&one, other, 2), (&two, SIGNED, 1800)]
        {
            store.count(signed, at(second)).await?;
        }
        let both = |hour, day| Windows { hour, day };
        let expected = Usage { peer: both(4, 4), key: both(3, 3), peer_and_key: both(3, 3) };
        let found = two.usage(SIGNED, at(1800)).await?;
        ensure!(found == expected, "{found:?}");
        let stranger = Signed { caller: Caller { id: "x", ..CALLER }, ..SIGNED };
        let found = two.usage(stranger, at(1800)).await?;
        ensure!(found == Usage { key: both(3, 3), ..Usage::default() }, "{found:?}");
        // The bucket of the first minute leaves with its last second.
        ensure!(one.usage(SIGNED, at(3659)).await?.key == both(3, 3));
        ensure!(one.usage(SIGNED, at(3660)).await?.key == both(1, 3));
        ensure!(one.usage(SIGNED, at(5460)).await?.key == both(0, 3));
        ensure!(one.usage(SIGNED, at(25 * 3600 - 1)).await?.key == both(0, 3));
        ensure!(one.usage(SIGNED, at(25 * 3600)).await?.key == both(0, 0));
        Ok(())
    })
}

fn answer_and_counts(ground: &Ground) -> Result<()> {
    let store = Arc::new(ground.open()?);
    ground.runtime.block_on(async {
        let tasks = (0..200).map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let claim = claim(&store, &n.to_string(), 0).await?;
                for _ in 0..2 {
                    store.finish(&claim, vec![1], Some(SIGNED), at(0)).await?;
                }
                anyhow::Ok(())
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await??;
        }
        let found = store.usage(SIGNED, at(0)).await?.peer;
        ensure!(found == Windows { hour: 200, day: 200 }, "each counts once, though told twice: {found:?}");
        Ok(())
    })
}

fn clock_jumps_back(ground: &Ground) -> Result<()> {
    const BACK: i64 = -30 * 86_400;
    let store = ground.open()?;
    ground.runtime.block_on(async {
        let done = claim(&store, "done", 0).await?;
        store.finish(&done, vec![1], Some(SIGNED), at(0)).await?;
        claim(&store, "dead", 0).await?;

        ensure!(matches!(begin(&store, "done", BACK).await?, Begun::Done(_)), "the answer is still there");
        let found = begin(&store, "dead", BACK).await?;
        ensure!(matches!(found, Begun::InProgress { remaining_ms: 3_600_000 }), "shortened: {found:?}");
        claim(&store, "dead", BACK + 3600).await?;
        ensure!(store.usage(SIGNED, at(BACK)).await?.peer.day == 1, "still counted");
        while store.prune(at(BACK)).await?.more {}
        ensure!(store.usage(SIGNED, at(BACK)).await?.peer == Windows { hour: 1, day: 1 }, "counted as now");
        ensure!(store.usage(SIGNED, at(BACK + 7200)).await?.peer == Windows { hour: 0, day: 1 });
        ensure!(store.usage(SIGNED, at(BACK + 2 * 86_400)).await?.peer == Windows::default(), "and ends");
        ensure!(matches!(begin(&store, "done", BACK + 86_400).await?, Begun::Done(_)));
        store.prune(at(BACK + 3 * 86_400)).await?;
        ensure!(
            matches!(begin(&store, "done", BACK + 3 * 86_400).await?, Begun::New(_)),
            "not kept for a month"
        );
        Ok(())
    })
}

fn pruning(ground: &Ground) -> Result<()> {
    let store = ground.open()?;
    ground.runtime.block_on(async {
        let mut waiting = Vec::new();
        for n in 0..1500 {
            waiting.push(claim(&store, &n.to_string(), 0).await?);
        }
        store.count(SIGNED, at(0)).await?;
        ensure!(store.prune(at(3600)).await?.claims == 0, "nothing is expired");
        let day = 86_400;
        let first = store.prune(at(day)).await?;
        ensure!(first.claims == 1000 && first.more, "{first:?}");
        let second = store.prune(at(day)).await?;
        ensure!(second.claims == 500 && !second.more, "{second:?}");
        let buckets = first.buckets + second.buckets;
        ensure!(buckets == 3, "the minutes' buckets are gone, the hours' are not: {buckets}");
        ensure!(store.prune(at(3 * day)).await?.buckets == 3);
        Ok(())
    })
}

fn reopened(ground: &Ground) -> Result<()> {
    let store = ground.open()?;
    ground.runtime.block_on(async {
        let first = claim(&store, "a", 0).await?;
        store.finish(&first, vec![9], Some(SIGNED), at(0)).await?;
        store.append(vec![b"entry".to_vec()], None).await?;
        store.close().await;
        anyhow::Ok(())
    })?;
    let store = ground.open()?;
    ground.runtime.block_on(async {
        ensure!(matches!(begin(&store, "a", 1).await?, Begun::Done(answer) if answer == [9]));
        ensure!(store.usage(SIGNED, at(1)).await?.peer.hour == 1);
        ensure!(store.read(0).await? == [b"entry"]);
        store.close().await;
        anyhow::Ok(())
    })?;
    migrations(ground)
}

/// A newer database, and one that other statements made, are left alone.
fn migrations(ground: &Ground) -> Result<()> {
    let versions = "_sqlx_migrations";
    let blob = if ground.backend == Backend::Sqlite { "x'00'" } else { "'\\x00'" };
    ground.sql(&format!("UPDATE {versions} SET version = 99"))?;
    let error = ground.runtime.block_on(Store::open(&ground.config()?));
    let error = refused(error, &["version 99", "update it", "retry: no"])?;
    ensure!(error.trouble() == Trouble::Newer);
    ground.sql(&format!("UPDATE {versions} SET version = 1"))?;
    ground.runtime.block_on(ground.open()?.close());
    let kept = ground.sql("SELECT count(*) FROM claims")?;
    ensure!(kept == "1", "{kept}");
    ground.sql(&format!("UPDATE {versions} SET checksum = {blob}"))?;
    let error = ground.runtime.block_on(Store::open(&ground.config()?));
    let error = refused(error, &["version 1", "other statements", "retry: no"])?;
    ensure!(error.trouble() == Trouble::Altered);
    Ok(())
}
