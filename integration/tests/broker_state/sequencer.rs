//! A sequencer in a process of its own, killed with kill -9 while it appends: another takes over, nothing is lost.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use prokura_broker::state::{Lease, Store};

use super::Test;
use super::ground::{Backend, Ground, config, runtime};

/// The environment variable that makes this program a sequencer, with the place of the state.
pub(crate) const PLACE: &str = "PROKURA_TEST_SEQUENCER_PLACE";

const LEASE_TIME: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const TESTS: &[Test] =
    &[("a killed sequencer is replaced", killed), ("a drained one hands over", drained)];

/// Acquires the lease and appends until it is killed; says each place once it is durable.
pub(crate) fn be(place: OsString) {
    let place = place.to_string_lossy().into_owned();
    let backend = if place.starts_with("postgres:") { Backend::Postgres } else { Backend::Sqlite };
    let work = async {
        let store = Store::open(&config(backend, &place)?).await?;
        for n in 0_u64.. {
            let lease =
                store.acquire("sequencer", Timestamp::now(), LEASE_TIME).await?.context("another has it")?;
            let place = store.append(vec![n.to_string().into_bytes()], Some(&lease)).await?;
            println!("{} {place}", lease.token());
        }
        anyhow::Ok(())
    };
    if let Err(error) = runtime().and_then(|runtime| runtime.block_on(work)) {
        println!("{error:#}");
    }
}

struct Sequencer(Child);

impl Sequencer {
    /// Starts one, waits until it has appended some entries, and kills it with kill -9. Returns its token and the last
    /// place it was told.
    fn start(place: &str) -> Result<Self> {
        let mut this = Command::new(std::env::current_exe()?);
        Ok(Self(this.env(PLACE, place).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?))
    }

    fn until_it_appended(&mut self, many: u64) -> Result<BufReader<std::process::ChildStdout>> {
        let mut said = BufReader::new(self.0.stdout.take().context("stdout is a pipe")?);
        for _ in 0..many {
            let mut line = String::new();
            said.read_line(&mut line)?;
            parse(&line)?;
        }
        Ok(said)
    }
}

impl Drop for Sequencer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn parse(line: &str) -> Result<(i64, u64)> {
    let numbers = line.trim().split_once(' ').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    numbers.with_context(|| format!("the sequencer said {line:?}"))
}

fn killed(ground: &Ground) -> Result<()> {
    // Made before, so that another may wait for the lease while the sequencer lives.
    ground.runtime.block_on(ground.open()?.close());
    let mut sequencer = Sequencer::start(&ground.address()?)?;
    let said = sequencer.until_it_appended(50)?;
    if ground.backend == Backend::Postgres {
        let store = ground.open()?;
        let taken = ground.runtime.block_on(store.acquire("sequencer", Timestamp::now(), LEASE_TIME))?;
        ensure!(taken.is_none(), "it lives, and has the lease");
    }
    drop(sequencer); // kill -9
    let begun = Instant::now();
    let (mut last, mut lines) = ((0, 0), 50_u64);
    for line in said.lines() {
        // The last line may be cut off.
        if let Ok(found) = parse(&line?) {
            (last, lines) = (found, lines + 1);
        }
    }
    let store = ground.open()?;
    let lease = wait_for_lease(ground, &store)?;
    println!("    handed over {:.1} s after the kill, {lines} entries", begun.elapsed().as_secs_f64());
    ensure!(lines == 50 || lease.token() > last.0, "the token grows: {lease:?} after {last:?}");
    ground.runtime.block_on(async {
        let next = store.append(vec![b"next".to_vec()], Some(&lease)).await?;
        ensure!(next == lines || next == lines + 1, "{lines} were told, the next is at {next}");
        let mut from = 0;
        while from <= next {
            let entries = store.read(from).await?;
            for (place, entry) in (from..).zip(&entries) {
                let expected = if place == next { "next".to_owned() } else { place.to_string() };
                ensure!(entry == expected.as_bytes(), "at {place}: {entry:?}");
            }
            from += entries.len() as u64;
        }
        Ok(())
    })
}

fn wait_for_lease(ground: &Ground, store: &Store) -> Result<Lease> {
    let until = Instant::now() + PATIENCE;
    loop {
        let lease = ground.runtime.block_on(store.acquire("sequencer", Timestamp::now(), LEASE_TIME))?;
        if let Some(lease) = lease {
            return Ok(lease);
        }
        ensure!(Instant::now() < until, "nobody gets the lease");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn drained(ground: &Ground) -> Result<()> {
    let [one, two] = ground.two()?;
    ground.runtime.block_on(async {
        let now = Timestamp::now();
        let lease = one.acquire("sequencer", now, Duration::from_secs(60)).await?.context("nobody has it")?;
        one.release(&lease).await?;
        let next = two.acquire("sequencer", now, LEASE_TIME).await?.context("at once")?;
        ensure!(next.token() > lease.token());
        Ok(())
    })
}
