//! What breaks in a PostgreSQL server: restarts and kills under load, locks, logins, certificates.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use prokura_broker::state::{Begun, Config, PostgresConfig, StateError, Store, Trouble};
use prokura_integration::backend::postgres::Postgres;
use prokura_integration::suite::trial;
use zeroize::Zeroizing;

use super::ground::{SIGNED, at, begin, claim, refused, runtime, server};

pub(crate) fn trials() -> Vec<Trial> {
    let tests: [(&str, fn() -> Result<()>); 8] = [
        ("the server is restarted under load", || broken_under_load(Postgres::stop)),
        ("the server is killed under load", || broken_under_load(Postgres::kill)),
        ("the server is away", away),
        ("all connections are taken", connections_taken),
        ("somebody holds a lock", locked),
        ("the login is refused", login),
        ("the database is read-only", read_only),
        ("the server proves who it is", certificates),
    ];
    tests.into_iter().map(|(name, test)| trial(format!("postgresql/{name}"), test)).collect()
}

async fn open(url: &str, password: Option<&str>) -> Result<Store, StateError> {
    let password = password.map(|password| Zeroizing::new(password.to_owned()));
    Store::open(&Config::Postgres(PostgresConfig { url: url.to_owned(), password, connections: 6 })).await
}

/// Signs on and on while the server goes and comes back; then everything told is there, and nothing is there in half.
fn broken_under_load(end: fn(&Postgres) -> Result<()>) -> Result<()> {
    let (runtime, server) = (runtime()?, Postgres::start("")?);
    let database = server.database()?;
    let store = Arc::new(runtime.block_on(open(&server.url(&database), None))?);
    let (stop, told, failed) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let workers: Vec<_> = (0..8)
        .map(|worker| {
            let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
            let (told, failed) = (Arc::clone(&told), Arc::clone(&failed));
            runtime.spawn(async move {
                let mut keys = Vec::new();
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let key = format!("{worker} {n}");
                    let done = async {
                        let Begun::New(claim) = begin(&store, &key, 0).await? else { return Ok(false) };
                        store.finish(&claim, key.clone().into_bytes(), Some(SIGNED), at(0)).await?;
                        store.append(vec![key.clone().into_bytes()], None).await?;
                        Ok::<_, StateError>(true)
                    };
                    match done.await {
                        Ok(true) => {
                            told.fetch_add(1, Ordering::Relaxed);
                            keys.push(key);
                        }
                        Ok(false) => anyhow::bail!("{key} was claimed by nobody else"),
                        Err(error) => {
                            ensure!(error.is_retryable(), "{error}");
                            failed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
                Ok(keys)
            })
        })
        .collect();
    for _ in 0..2 {
        more(&told, 100)?;
        end(&server)?;
        server.start_again()?;
    }
    more(&told, 100)?;
    stop.store(true, Ordering::Relaxed);
    let keys = runtime.block_on(async {
        let mut keys = Vec::new();
        for worker in workers {
            keys.extend(worker.await??);
        }
        anyhow::Ok(keys)
    })?;
    println!("    {} signed, {} calls failed", keys.len(), failed.load(Ordering::Relaxed));
    runtime.block_on(async {
        for key in &keys {
            let found = begin(&store, key, 0).await?;
            ensure!(matches!(&found, Begun::Done(answer) if answer == key.as_bytes()), "{key}: {found:?}");
        }
        let counted = store.usage(SIGNED, at(0)).await?.peer.hour;
        let answers: u64 =
            server.psql(&database, "SELECT count(*) FROM claims WHERE answer IS NOT NULL")?.parse()?;
        ensure!(counted == answers, "{answers} answers, {counted} counted");
        let (mut from, mut entries) = (0, std::collections::BTreeSet::new());
        loop {
            let step = store.read(from).await?;
            if step.is_empty() {
                break;
            }
            from += step.len() as u64;
            entries.extend(step);
        }
        let lost = keys.iter().filter(|key| !entries.contains(key.as_bytes())).count();
        ensure!(lost == 0, "{lost} entries were told and are not there");
        Ok(())
    })
}

/// Waits until so many more were signed.
fn more(told: &AtomicU64, many: u64) -> Result<()> {
    let (goal, until) = (told.load(Ordering::Relaxed) + many, Instant::now() + Duration::from_secs(60));
    while told.load(Ordering::Relaxed) < goal {
        ensure!(Instant::now() < until, "nothing is signed any more");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn away() -> Result<()> {
    let (runtime, server) = (runtime()?, Postgres::start("")?);
    let store = runtime.block_on(open(&server.url("postgres"), None))?;
    runtime.block_on(claim(&store, "before", 0))?;
    server.kill()?;
    let error = refused(runtime.block_on(begin(&store, "during", 0)), &["PostgreSQL at", "retry: yes"])?;
    ensure!(matches!(error.trouble(), Trouble::Unreachable | Trouble::Busy));
    let error = runtime.block_on(open(&server.url("postgres"), None));
    refused(error, &["PostgreSQL at", "retry: yes"])?;
    server.start_again()?;
    runtime.block_on(async {
        ensure!(
            matches!(begin(&store, "before", 0).await?, Begun::InProgress { .. }),
            "a claim outlives a crash"
        );
        claim(&store, "during", 0).await.map(|_| ())
    })
}

fn connections_taken() -> Result<()> {
    let runtime = runtime()?;
    let server = Postgres::start("max_connections = 4\nsuperuser_reserved_connections = 1")?;
    server.psql("postgres", "CREATE ROLE broker LOGIN; GRANT CREATE ON SCHEMA public TO broker")?;
    let url = server.url("postgres").replace("user=postgres", "user=broker");
    runtime.block_on(async {
        let stores = [open(&url, None).await?, open(&url, None).await?, open(&url, None).await?];
        let error = refused(open(&url, None).await, &["number of connections", "retry: yes"])?;
        ensure!(error.trouble() == Trouble::Busy, "{error:?}");
        stores[0].count(SIGNED, at(0)).await.err();
        claim(&stores[0], "a", 0).await.map(|_| ())
    })
}

fn locked() -> Result<()> {
    let (runtime, server) = (runtime()?, server()?);
    let database = server.database()?;
    let store = Arc::new(runtime.block_on(open(&server.url(&database), None))?);
    let held = runtime.block_on(claim(&store, "a", 0))?;
    let sql = "BEGIN; LOCK TABLE counts; SELECT pg_sleep(60)";
    let holder = {
        let database = database.clone();
        std::thread::spawn(move || server.psql(&database, sql))
    };
    let waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'counts'::regclass AND granted";
    while server.psql(&database, waiting)? == "0" {
        std::thread::sleep(Duration::from_millis(10));
    }
    let error = runtime.block_on(store.finish(&held, vec![1], Some(SIGNED), at(0)));
    let error = refused(error, &["timeout", "pg_stat_activity", "retry: yes"])?;
    ensure!(error.trouble() == Trouble::Busy);
    let found = runtime.block_on(begin(&store, "a", 0))?;
    ensure!(matches!(found, Begun::InProgress { .. }), "no answer without its counts: {found:?}");
    server.psql(&database, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)' AND pid <> pg_backend_pid()")?;
    ensure!(holder.join().is_ok_and(|ended| ended.is_err()));
    runtime.block_on(store.finish(&held, vec![1], Some(SIGNED), at(0)))?;
    Ok(())
}

fn login() -> Result<()> {
    let (runtime, server) = (runtime()?, server()?);
    let database = server.database()?;
    server.psql(&database, "CREATE ROLE clerk LOGIN PASSWORD 'right'")?;
    let url = server.tcp_url("clerk", "127.0.0.1", &database);
    let error =
        refused(runtime.block_on(open(&url, Some("wrong"))), &["password", "pg_hba.conf", "retry: no"])?;
    ensure!(error.trouble() == Trouble::Refused && !error.to_string().contains("wrong"), "{error}");
    let error =
        refused(runtime.block_on(open(&url, Some("right"))), &["permission denied", "GRANT", "retry: no"])?;
    ensure!(error.trouble() == Trouble::Refused);
    let absent = server.tcp_url("clerk", "127.0.0.1", "absent");
    let error = refused(runtime.block_on(open(&absent, Some("right"))), &["does not exist", "retry: no"])?;
    ensure!(error.trouble() == Trouble::Refused);
    server.psql(&database, "GRANT CREATE ON SCHEMA public TO clerk")?;
    runtime.block_on(async { claim(&open(&url, Some("right")).await?, "a", 0).await.map(|_| ()) })
}

fn read_only() -> Result<()> {
    let (runtime, server) = (runtime()?, server()?);
    let database = server.database()?;
    runtime.block_on(async { open(&server.url(&database), None).await.map(|_| ()) })?;
    server.psql("postgres", &format!("ALTER DATABASE {database} SET default_transaction_read_only = on"))?;
    // A standby that was not promoted says the same.
    let store = runtime.block_on(open(&server.url(&database), None));
    let done = runtime.block_on(async { begin(&store?, "a", 0).await });
    let error = refused(done, &["read-only transaction", "retry: no"])?;
    ensure!(error.trouble() == Trouble::ReadOnly);
    Ok(())
}

fn certificates() -> Result<()> {
    let (runtime, server) = (runtime()?, Postgres::start("")?);
    let authority = authority()?;
    let other = authority_file(&self::authority()?)?;
    let trusted = authority_file(&authority)?;
    let key = rcgen::KeyPair::generate()?;
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()])?;
    server.keep("server.crt", &params.signed_by(&key, &authority.0)?.pem())?;
    server.keep("server.key", &key.serialize_pem())?;
    server.psql("postgres", "ALTER SYSTEM SET ssl = on")?;
    server.psql("postgres", "SELECT pg_reload_conf()")?;
    server.psql(
        "postgres",
        "CREATE ROLE clerk LOGIN PASSWORD 'right'; GRANT CREATE ON SCHEMA public TO clerk",
    )?;
    let url = |host: &str, authority: &tempfile::NamedTempFile| {
        let path = authority.path().display();
        format!("{}?sslmode=verify-full&sslrootcert={path}", server.tcp_url("clerk", host, "postgres"))
    };
    runtime.block_on(async {
        let until = Instant::now() + Duration::from_secs(20);
        let store = loop {
            // Until the server has read its settings again.
            match open(&url("localhost", &trusted), Some("right")).await {
                Ok(store) => break store,
                Err(error) => ensure!(Instant::now() < until, "{error}"),
            }
        };
        claim(&store, "a", 0).await?;
        let tls = server.psql("postgres", "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND usename = 'clerk'")?;
        ensure!(tls != "0", "the connections are not protected");
        for (host, authority) in [("localhost", &other), ("127.0.0.1", &trusted)] {
            let error = open(&url(host, authority), Some("right")).await;
            let error = refused(error, &["certificate", "sslrootcert", "retry: no"])?;
            ensure!(error.trouble() == Trouble::Untrusted, "{error}");
        }
        Ok(())
    })
}

type Authority = (rcgen::Issuer<'static, rcgen::KeyPair>, String);

fn authority() -> Result<Authority> {
    let key = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::new(Vec::new())?;
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "postgres tls ca");
    let certificate = params.self_signed(&key)?.pem();
    Ok((rcgen::Issuer::new(params, key), certificate))
}

fn authority_file(authority: &Authority) -> Result<tempfile::NamedTempFile> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), &authority.1)?;
    Ok(file)
}
