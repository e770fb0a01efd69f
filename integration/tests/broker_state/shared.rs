//! What replicas share: budgets, leases, the journal.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use prokura_broker::state::{Budget, Store, Taken, Trouble};

use super::Test;
use super::ground::{Backend, Ground, at, refused};

pub(crate) const TESTS: &[Test] = &[
    ("a budget is never overdrawn", budget),
    ("a budget and a clock that jumps back", budget_and_clock),
    ("a lease has one holder", lease),
    ("a lease and a clock that jumps back", lease_and_clock),
    ("the journal has no gaps", journal),
    ("a damaged journal is found", journal_damaged),
    ("many start at once", start_at_once),
];

const BUDGET: Budget = Budget { milli_per_s: 10_000, burst: 50 };
const LEASE_TIME: Duration = Duration::from_secs(10);

fn budget(ground: &Ground) -> Result<()> {
    let stores = ground.two()?;
    ground.runtime.block_on(async {
        let takers = (0..8).map(|taker| {
            let store = Arc::clone(&stores[taker % 2]);
            tokio::spawn(async move {
                let mut taken = 0;
                for n in 0..40 {
                    if let Taken::Granted(tokens) = store.take("aws", BUDGET, 3, at(n / 10)).await? {
                        ensure!((1..=3).contains(&tokens), "{tokens} granted");
                        taken += tokens;
                    }
                }
                Ok(taken)
            })
        });
        let mut taken = 0;
        for taker in takers.collect::<Vec<_>>() {
            taken += taker.await??;
        }
        // 50 at first and 10 each second, of which three pass.
        ensure!((50..=80).contains(&taken), "{taken} tokens taken, there were 80");
        while let Taken::Granted(more) = stores[0].take("aws", BUDGET, 50, at(3)).await? {
            taken += more;
        }
        ensure!(taken == 80, "{taken} tokens taken, there were 80");
        let found = stores[1].take("aws", BUDGET, 1, at(3)).await?;
        ensure!(found == Taken::Wait { wait_ms: 100 }, "{found:?}");
        let found = stores[1].take("azure", BUDGET, 70, at(3)).await?;
        ensure!(found == Taken::Granted(50), "another budget is full: {found:?}");
        stores[0].exhaust("aws", at(10)).await?;
        ensure!(stores[1].take("aws", BUDGET, 1, at(10)).await? == Taken::Wait { wait_ms: 100 });
        ensure!(stores[1].take("aws", BUDGET, 99, at(11)).await? == Taken::Granted(10));
        Ok(())
    })
}

fn budget_and_clock(ground: &Ground) -> Result<()> {
    let store = ground.open()?;
    ground.runtime.block_on(async {
        ensure!(store.take("b", BUDGET, 50, at(0)).await? == Taken::Granted(50));
        for second in [-1, 0, -1, 0] {
            let found = store.take("b", BUDGET, 1, at(second)).await?;
            ensure!(matches!(found, Taken::Wait { .. }), "clocks that differ make no tokens: {found:?}");
        }
        let found = store.take("b", BUDGET, 1, at(-86_400)).await?;
        ensure!(matches!(found, Taken::Wait { .. }), "nor does one that jumps: {found:?}");
        ensure!(store.take("b", BUDGET, 20, at(-86_399)).await? == Taken::Granted(10), "and time goes on");
        Ok(())
    })
}

fn lease(ground: &Ground) -> Result<()> {
    let [one, two] = ground.two()?;
    ground.runtime.block_on(async {
        let first = one.acquire("sequencer", at(0), LEASE_TIME).await?.context("nobody has it")?;
        ensure!(one.acquire("sequencer", at(9), LEASE_TIME).await? == Some(first.clone()), "prolonged");
        one.append(vec![b"a".to_vec()], Some(&first)).await?;
        if ground.backend == Backend::Postgres {
            ensure!(two.acquire("sequencer", at(18), LEASE_TIME).await?.is_none(), "one holder");
        }
        let second = two.acquire("sequencer", at(19), LEASE_TIME).await?.context("it ran out")?;
        ensure!(second.token() > first.token(), "{second:?}");
        let late = one.append(vec![b"b".to_vec()], Some(&first)).await;
        let error = refused(late, &["handed over", "nothing was appended", "retry: no"])?;
        ensure!(error.trouble() == Trouble::Fenced);
        one.release(&first).await?;
        ensure!(
            two.append(vec![b"c".to_vec()], Some(&second)).await? == 1,
            "an old lease gives nothing back"
        );
        two.release(&second).await?;
        let third = one.acquire("sequencer", at(19), LEASE_TIME).await?.context("given back")?;
        ensure!(third.token() > second.token(), "{third:?}");
        ensure!(one.read(0).await? == [b"a", b"c"]);
        Ok(())
    })
}

fn lease_and_clock(ground: &Ground) -> Result<()> {
    if ground.backend == Backend::Sqlite {
        return Ok(()); // its holder is always the same
    }
    let [one, two] = ground.two()?;
    ground.runtime.block_on(async {
        one.acquire("sequencer", at(0), LEASE_TIME).await?.context("nobody has it")?;
        ensure!(two.acquire("sequencer", at(-86_400), LEASE_TIME).await?.is_none(), "it may live");
        let later = two.acquire("sequencer", at(-86_400 + 60), LEASE_TIME).await?;
        ensure!(later.is_some(), "no lease outlives the longest there is");
        Ok(())
    })
}

fn journal(ground: &Ground) -> Result<()> {
    const EACH: usize = 60;
    let stores = ground.two()?;
    ground.runtime.block_on(async {
        let writers = (0..4).map(|writer| {
            let store = Arc::clone(&stores[writer % 2]);
            tokio::spawn(async move {
                let mut places = Vec::new();
                for n in 0..EACH {
                    let entry = |part| format!("{writer} {n} {part}").into_bytes();
                    places.push((store.append(vec![entry(0), entry(1)], None).await?, entry(0), entry(1)));
                }
                anyhow::Ok(places)
            })
        });
        let mut places = Vec::new();
        for writer in writers.collect::<Vec<_>>() {
            places.extend(writer.await??);
        }
        places.sort();
        let entries = stores[1].read(0).await?;
        ensure!(entries.len() == places.len() * 2, "{} entries", entries.len());
        for ((place, one, two), pair) in places.iter().zip(entries.chunks(2)) {
            ensure!(pair == [one.clone(), two.clone()], "at {place}: {pair:?}");
        }
        ensure!(stores[0].read(480).await?.is_empty() && stores[0].read(479).await?.len() == 1);
        ensure!(stores[0].read(1_000_000).await?.is_empty());
        let large = vec![vec![0; 17 * 1024 * 1024]];
        ensure!(stores[0].append(large, None).await.is_err_and(|e| e.trouble() == Trouble::Invalid));
        stores[0].release_entries(100).await?;
        stores[0].release_entries(50).await?;
        ensure!(stores[1].read(100).await?.len() == 380);
        refused(stores[1].read(99).await, &["99", "below 100"])?;
        stores[1].release_entries(100_000).await?;
        ensure!(stores[0].append(vec![vec![1]], None).await? == 480, "the next place stays the next");
        ensure!(stores[0].read(480).await? == [[1]]);
        Ok(())
    })
}

fn journal_damaged(ground: &Ground) -> Result<()> {
    let store = ground.open()?;
    ground.runtime.block_on(async {
        store.append(vec![vec![0], vec![1], vec![2]], None).await?;
        store.close().await;
        anyhow::Ok(())
    })?;
    ground.sql("DELETE FROM journal WHERE place = 1")?;
    let store = ground.open()?;
    let error = refused(ground.runtime.block_on(store.read(0)), &["place 1 is missing", "retry: no"])?;
    ensure!(error.trouble() == Trouble::Damaged);
    ensure!(ground.runtime.block_on(store.read(2))? == [[2]]);
    Ok(())
}

fn start_at_once(ground: &Ground) -> Result<()> {
    let config = Arc::new(ground.config()?);
    ground.runtime.block_on(async {
        let starting = (0..6).map(|_| {
            let config = Arc::clone(&config);
            tokio::spawn(async move { Store::open(&config).await })
        });
        let (mut open, mut in_use) = (Vec::new(), 0);
        for start in starting.collect::<Vec<_>>() {
            match start.await? {
                Ok(store) => open.push(store),
                Err(error) if error.trouble() == Trouble::InUse => in_use += 1,
                Err(error) => return Err(error.into()),
            }
        }
        let expected = if ground.backend == Backend::Sqlite { (1, 5) } else { (6, 0) };
        ensure!((open.len(), in_use) == expected, "{} open, {in_use} refused", open.len());
        for store in open {
            store.count(super::ground::SIGNED, at(0)).await?;
            store.close().await;
        }
        Ok(())
    })
}
