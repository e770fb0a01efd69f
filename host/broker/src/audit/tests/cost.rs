//! What the log costs; printed on request: `cargo test -p prokura-broker audit::tests::cost -- --ignored --nocapture`.

use std::time::Instant;

use super::*;

/// Where to measure: the disk of the temporary directory, or memory, which shows the cost without the disk's.
fn homes() -> Vec<(&'static str, tempfile::TempDir)> {
    let mut homes = vec![("disk", tempfile::tempdir().unwrap())];
    if let Ok(memory) = tempfile::tempdir_in("/dev/shm") {
        homes.push(("memory", memory));
    }
    homes
}

async fn measure(log: &Log, in_flight: u64, signatures: u64) -> (f64, Vec<Duration>) {
    let begin = Instant::now();
    let one = async |worker: u64| {
        let mut times = Vec::new();
        for n in 0..signatures / in_flight {
            let begin = Instant::now();
            sign(log, worker * 1_000_000 + n).await;
            times.push(begin.elapsed());
        }
        times
    };
    let times = futures_util::future::join_all((0..in_flight).map(one)).await;
    let mut times: Vec<_> = times.into_iter().flatten().collect();
    times.sort_unstable();
    (signatures as f64 / begin.elapsed().as_secs_f64(), times)
}

#[tokio::test]
#[ignore = "by name only: a measurement"]
async fn throughput_and_latency() {
    for (place, home) in homes() {
        let log = Log::open(&home.path().join("log"), key(home.path()), Options::default()).unwrap();
        for in_flight in [1, 16, 64, 256] {
            let count = if place == "disk" { 100 * in_flight } else { 4096 };
            let (rate, times) = measure(&log, in_flight, count).await;
            let at = |part: usize| times[times.len() * part / 100];
            println!(
                "{place:>6} {in_flight:>3} in flight: {rate:>7.0} signatures/s (two entries each), p50 {:?}, p99 {:?}",
                at(50),
                at(99)
            );
        }
        log.close().unwrap();
    }
}

#[tokio::test]
#[ignore = "by name only: a measurement; a million entries, 2 GiB in /dev/shm"]
async fn growth() {
    let home = tempfile::tempdir_in("/dev/shm").unwrap();
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        status.lines().find(|line| line.starts_with("VmRSS")).unwrap().to_owned()
    };
    let mut log = Log::open(&home.path().join("log"), key(home.path()), Options::default()).unwrap();
    for entries in [1_000_u64, 10_000, 100_000, 300_000, 1_000_000] {
        let missing = (entries - log.sizes().0) / 2;
        measure(&log, 256, missing.max(256)).await;
        let (rate, times) = measure(&log, 1, 1000).await;
        let (middle, late) = (times[500], times[990]);
        println!(
            "{:>8} entries: {rate:>6.0}/s one at a time, p50 {middle:?}, p99 {late:?}, {}",
            log.sizes().0,
            resident()
        );
        log.close().unwrap();
        let begin = Instant::now();
        log = Log::open(&home.path().join("log"), key(home.path()), Options::default()).unwrap();
        println!("         opened again in {:?}", begin.elapsed());
    }
    log.close().unwrap();
}
