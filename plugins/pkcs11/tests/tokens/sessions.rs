//! The pool: small limits are kept, waiting is bounded, nothing leaks.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use notation_pkcs11::Vault;
use notation_pkcs11::config::pin::DEFAULTS;
use prokura_plugin::message::PluginConfig;
use prokura_plugin::pin::Surroundings;
use prokura_plugin::{Deadline, Digest, ErrorCode, HashAlgorithm, KeyRequest, OpenKey, SigningKey};

use crate::keys::{sign, verifies};
use crate::world::World;

pub(crate) fn trials(world: &'static World) -> Vec<Trial> {
    vec![
        world.trial("one_session_serves_sixteen_threads", one_session_serves_sixteen_threads),
        world.trial("sessions_are_closed_with_the_vault", sessions_are_closed_with_the_vault),
        world.trial("idle_sessions_are_kept_alive", idle_sessions_are_kept_alive),
        world.trial("a_wait_for_a_session_ends_with_the_deadline", a_wait_for_a_session_ends),
    ]
}

/// A vault of its own: what others do does not count.
fn vault() -> Vault {
    Vault::new(Surroundings::new(DEFAULTS, |_| None, |_| {}), |why| panic!("{why}"))
}

fn open(vault: &Vault, world: &World, config: &[(&str, &str)]) -> Box<dyn SigningKey> {
    let config: PluginConfig = config.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let id = world.uri("token=Build%20Keys;object=EC-256");
    vault.open_key(&KeyRequest::new(id, config, Deadline::NONE).unwrap()).unwrap()
}

fn sign_on_threads(key: &dyn SigningKey, threads: usize) {
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..10 {
                    assert!(verifies(key, b"m", &sign(key, b"m")));
                }
            });
        }
    });
}

fn one_session_serves_sixteen_threads(world: &World) {
    let vault = vault();
    let key = open(&vault, world, &[("max-sessions", "1")]);
    sign_on_threads(key.as_ref(), 16);
    assert_eq!(vault.session_counts(), (1, 1));
}

fn sessions_are_closed_with_the_vault(world: &World) {
    let vault = vault();
    let key = open(&vault, world, &[]);
    sign_on_threads(key.as_ref(), 16);
    let (open_now, idle) = vault.session_counts();
    assert!((1..=16).contains(&open_now) && open_now == idle, "{open_now} open, {idle} idle");
    for _ in 0..50 {
        assert!(
            vault
                .open_key(
                    &KeyRequest::new(
                        world.uri("token=Build%20Keys;object=absent"),
                        PluginConfig::default(),
                        Deadline::NONE
                    )
                    .unwrap()
                )
                .is_err()
        );
    }
    assert!(vault.session_counts().0 <= open_now, "errors leave no session behind");
}

fn idle_sessions_are_kept_alive(world: &World) {
    let vault = vault();
    let key = open(&vault, world, &[("keep-alive", "1")]);
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(verifies(key.as_ref(), b"m", &sign(key.as_ref(), b"m")));
    let (open_now, idle) = vault.session_counts();
    assert!(open_now >= 1 && open_now == idle, "{open_now} open, {idle} idle");
}

fn a_wait_for_a_session_ends(world: &World) {
    let vault = vault();
    let key = open(&vault, world, &[("max-sessions", "1")]);
    let digest = Digest::of(HashAlgorithm::Sha256, b"m");
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    let deadline = Deadline::at(Instant::now() + Duration::from_micros(300));
                    key.sign_digest(&digest, deadline)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(
        outcomes.iter().flat_map(|o| o.as_ref().err()).all(|e| e.code == ErrorCode::Timeout),
        "{outcomes:?}"
    );
    assert_eq!(vault.session_counts(), (1, 1));
}
